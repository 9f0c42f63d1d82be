"""What is asked of the other end, asked here: it looks, and gives a name to what is whole."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgesdk.push import far_side

FILES = {"manifest.json": b'{"model_id": "m"}', "onnx/a.onnx": b"aaa", "heads/b.npz": b"bb"}


def order(folder, verb="look", to="engines/mine/1", files=None):
    files = FILES if files is None else files
    listed = {name: [len(files[name]), _sha256(files[name])] for name in files}
    return {
        "verb": verb,
        "folder": str(folder),
        "to": to,
        "manifest": listed["manifest.json"][1],
        "files": listed,
    }


def ask(*arguments, **options):
    line = far_side.answer(json.dumps(order(*arguments, **options)))
    assert line.startswith(far_side.MARK) and "\n" not in line
    return json.loads(line[len(far_side.MARK) :])


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _sha256(content):
    return far_side.hashlib.sha256(content).hexdigest()


@pytest.fixture
def received(tmp_path):
    """A folder that was prepared and has received everything."""
    ask(tmp_path, "prepare")
    temporary = Path(ask(tmp_path)["temporary"])
    write(temporary, FILES)
    return temporary


class TestAlone:
    def test_it_needs_nothing_but_the_library_of_python(self, tmp_path):
        """Without site-packages and edgesdk, from standard input, as over ssh."""
        text = Path(far_side.__file__).read_text("utf-8")
        text += "\nprint(answer({!r}))\n".format(json.dumps(order(tmp_path)))
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-"],
            input=text.encode("utf-8"),
            stdout=subprocess.PIPE,
            cwd=str(tmp_path),
            check=True,
        )
        assert done.stdout.decode("ascii").startswith(far_side.MARK)

    def test_it_imports_only_that(self):
        known = {"contextlib", "fcntl", "hashlib", "json", "os", "shutil", "typing"}
        tree = ast.parse(Path(far_side.__file__).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= known
            if isinstance(node, ast.ImportFrom):
                assert not node.level and node.module in known


class TestLook:
    def test_at_an_empty_place(self, tmp_path):
        there = ask(tmp_path)
        assert there["path"] == str(tmp_path / "engines" / "mine" / "1")
        assert there["found"] == {"state": "nothing"}
        assert sorted(there["missing"]) == sorted(FILES)
        assert (there["base"], there["held_bytes"], there["next_version"]) == (None, 0, 1)
        assert there["free_bytes"] > 0
        assert os.listdir(str(tmp_path)) == []

    def test_a_relative_folder_is_where_the_session_begins(self, tmp_path, monkeypatch):
        monkeypatch.chdir(str(tmp_path))
        assert ask("robots")["path"] == str(tmp_path / "robots" / "engines" / "mine" / "1")

    def test_what_was_received_before_is_not_missing(self, received, tmp_path):
        (received / "onnx" / "a.onnx").write_bytes(b"a")
        there = ask(tmp_path)
        assert there["missing"] == ["onnx/a.onnx"]
        assert there["held_bytes"] == sum(map(len, FILES.values())) - 2

    def test_the_version_with_most_in_common_is_the_base(self, tmp_path):
        engines = tmp_path / "engines" / "mine"
        listed = order(tmp_path)["files"]
        for version, names in (("1", []), ("2", ["onnx/a.onnx"]), ("3", ["heads/b.npz"])):
            files = {name: {"bytes": 1, "sha256": listed[name][1]} for name in names}
            write(engines / version, {"manifest.json": json.dumps({"files": files}).encode()})
        there = ask(tmp_path, to="engines/mine/4")
        assert (there["base"], there["next_version"]) == ("2", 4)
        assert sorted(there["missing"]) == ["heads/b.npz", "manifest.json"]

    @pytest.mark.parametrize(
        "manifest", [b"", b"[]", b"{", b'{"files": 3}', b'{"files": {"onnx/a.onnx": 3}}', b"\xff"]
    )
    def test_versions_that_cannot_be_read_are_no_base(self, tmp_path, manifest):
        write(tmp_path / "engines" / "mine" / "7", {"manifest.json": manifest, "x/y": b""})
        there = ask(tmp_path)
        assert (there["base"], there["next_version"]) == (None, 8)

    @pytest.mark.parametrize(
        ("files", "state"),
        [
            (FILES, "same"),
            (dict(FILES, more=b"engines of this device"), "same"),
            (dict(FILES, **{"onnx/a.onnx": b"aab"}), "damaged"),
            ({"manifest.json": FILES["manifest.json"]}, "damaged"),
            ({"manifest.json": b'{"model_id": "n"}'}, "another"),
            ({"readme": b""}, "something else"),
        ],
    )
    def test_what_is_at_the_place(self, tmp_path, files, state):
        write(tmp_path / "engines" / "mine" / "1", files)
        found = ask(tmp_path)["found"]
        assert found["state"] == state
        assert found.get("model_id") == {"same": "m", "damaged": "m", "another": "n"}.get(state)

    def test_a_link_that_leads_nowhere_is_something(self, tmp_path):
        (tmp_path / "engines" / "mine").mkdir(parents=True)
        (tmp_path / "engines" / "mine" / "1").symlink_to("gone")
        assert ask(tmp_path)["found"]["state"] == "something else"

    def test_the_place_of_pieces_is_no_version_and_depends_on_the_bundle(self, tmp_path):
        other = dict(FILES, **{"manifest.json": b"{}"})
        names = [
            os.path.basename(ask(tmp_path, files=files)["temporary"]) for files in (FILES, other)
        ]
        assert all(name.startswith(".push-1-") for name in names) and names[0] != names[1]


class TestFinish:
    def test_what_is_whole_gets_its_name(self, received, tmp_path):
        (received / "onnx" / ".partial").mkdir()
        (received / "onnx" / ".partial" / "a.onnx").write_bytes(b"a")
        end = ask(tmp_path, "finish")
        assert end == {"wrong": [], "found": {"state": "same", "model_id": "m"}}
        engines = tmp_path / "engines" / "mine"
        assert os.listdir(str(engines)) == ["1"]
        found = {str(p.relative_to(engines / "1")) for p in engines.rglob("*") if p.is_file()}
        assert found == set(FILES)

    @pytest.mark.parametrize("content", [b"aab", b"aa", None])
    def test_what_is_not_whole_does_not(self, received, tmp_path, content):
        path = received / "onnx" / "a.onnx"
        path.write_bytes(content) if content else path.unlink()
        end = ask(tmp_path, "finish")
        assert end == {"wrong": ["onnx/a.onnx"], "found": {"state": "nothing"}}
        assert os.listdir(str(tmp_path / "engines" / "mine")) == [received.name]

    def test_what_came_there_in_between_stays(self, received, tmp_path):
        write(tmp_path / "engines" / "mine" / "1", {"manifest.json": b'{"model_id": "n"}'})
        end = ask(tmp_path, "finish")
        assert end["found"] == {"state": "another", "model_id": "n"}
        assert received.exists()

    def test_after_a_loss_of_power_between_the_last_steps(self, received, tmp_path, monkeypatch):
        def no_power(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
            broken.setattr(far_side.os, "rename", no_power)
            far_side.finish(order(tmp_path))
        assert ask(tmp_path)["found"]["state"] == "nothing"
        write(received, FILES)  # they are sent again
        assert ask(tmp_path, "finish")["found"]["state"] == "same"
        assert os.listdir(str(tmp_path / "engines" / "mine")) == ["1"]

    def test_a_file_system_that_refuses_is_said(self, tmp_path):
        (tmp_path / "engines").write_bytes(b"")
        answer = ask(tmp_path, "prepare")
        assert answer["error"] in ("Not a directory", "File exists")
        assert answer["place"].startswith(str(tmp_path / "engines"))
