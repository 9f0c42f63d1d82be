"""Bundles on disk: read whole or not at all, written whole or not at all."""

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from edgesdk import bundle as bundle_module
from edgesdk.bundle import MANIFEST, MANIFEST_BYTES_MAX, read_bundle, write_bundle
from edgesdk.errors import BundleError

FILES = tiny.tiny_files()
HEAD = "heads/exit_1.npz"


@pytest.fixture
def path(tmp_path):
    """A written bundle."""
    folder = tmp_path / "net" / "1"
    tiny.write_tiny_bundle(folder)
    return folder


def refusal(action):
    with pytest.raises(BundleError) as caught:
        action()
    return str(caught.value)


def renamed(name):
    return dict(tiny.tiny_manifest(), name=name)


def names_beside(path):
    return sorted(os.listdir(os.path.dirname(str(path))))


class TestRoundTrip:
    def test_what_is_written_is_read(self, path):
        bundle = read_bundle(path)
        assert bundle.manifest.name == "tiny"
        assert bundle.path == str(path)
        for name, content in FILES.items():
            assert Path(bundle.file(name)).read_bytes() == content

    def test_writing_returns_what_reading_returns(self, path, tmp_path):
        written = tiny.write_tiny_bundle(tmp_path / "again")
        assert written.path == str(tmp_path / "again")
        assert written.manifest.document == read_bundle(path).manifest.document

    def test_the_folder_holds_nothing_else(self, path):
        found = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
        assert found == {MANIFEST, *FILES}
        assert names_beside(path) == ["1"]

    def test_others_may_read_it(self, path):
        assert path.stat().st_mode & 0o777 == 0o755

    def test_the_same_input_gives_the_same_bytes(self, path, tmp_path):
        tiny.write_tiny_bundle(tmp_path / "again")
        assert (path / MANIFEST).read_bytes() == (tmp_path / "again" / MANIFEST).read_bytes()

    def test_a_relative_path_survives_a_change_of_folder(self, path, monkeypatch, tmp_path):
        monkeypatch.chdir(path.parent)
        bundle = read_bundle("1")
        monkeypatch.chdir(tmp_path)
        assert os.path.exists(bundle.file(HEAD))

    def test_a_symbolic_link_is_followed_for_its_content_is_checked(self, path, tmp_path):
        (path / HEAD).rename(tmp_path / "elsewhere.npz")
        (path / HEAD).symlink_to(tmp_path / "elsewhere.npz")
        read_bundle(path)
        (tmp_path / "elsewhere.npz").write_bytes(b"other")
        assert HEAD in refusal(lambda: read_bundle(path))

    def test_files_that_are_not_listed_are_ignored(self, path):
        (path / "notes.txt").write_text("ours")
        read_bundle(path)


class TestNotABundle:
    def test_no_such_folder(self, tmp_path):
        message = refusal(lambda: read_bundle(tmp_path / "nowhere"))
        assert message == (
            str(tmp_path / "nowhere")
            + ": no such folder; expected a bundle such as engines/NAME/VERSION"
        )

    def test_a_folder_of_versions_lists_them_in_order(self, path):
        for version in ("2", "10", "9"):
            tiny.write_tiny_bundle(path.parent / version)
        (path.parent / "empty").mkdir()
        message = refusal(lambda: read_bundle(path.parent))
        assert "holds versions 1, 2, 9, 10; expected one of them, such as" in message
        assert message.endswith(str(path.parent / "10"))

    def test_what_a_killed_writer_left_is_no_version(self, path):
        path.rename(path.parent / ".writing-x")
        message = refusal(lambda: read_bundle(path.parent))
        assert message.endswith(
            "holds no manifest.json; expected a bundle such as engines/NAME/VERSION"
        )

    def test_a_file(self, path):
        message = refusal(lambda: read_bundle(path / MANIFEST))
        assert message.startswith(str(path / MANIFEST) + ": no such folder")

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "not JSON"),
            (b'{"format": "edgesdk-bun', "not JSON"),
            (b"\xff\xfe\x00", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"[]", "found a JSON list, expected an object"),
            (b'[["format", 1]]', "found a JSON list, expected an object"),
            (b"null", "found a JSON NoneType, expected an object"),
            (b"3", "found a JSON int, expected an object"),
            (b"{}", "format: missing"),
        ],
        ids=["empty", "cut", "binary", "nested", "list", "pairs", "null", "number", "table"],
    )
    def test_a_manifest_that_is_none(self, path, content, expected):
        (path / MANIFEST).write_bytes(content)
        message = refusal(lambda: read_bundle(path))
        assert message.startswith(str(path / MANIFEST) + ": ")
        assert expected in message

    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
    def test_a_manifest_cut_anywhere(self, path, kept):
        content = (path / MANIFEST).read_bytes()
        (path / MANIFEST).write_bytes(content[: int(len(content) * kept) - 2])
        assert "not JSON" in refusal(lambda: read_bundle(path))

    def test_a_huge_manifest_is_not_even_opened(self, path):
        os.truncate(path / MANIFEST, MANIFEST_BYTES_MAX + 1)
        message = refusal(lambda: read_bundle(path))
        assert message.endswith(
            "larger than {} bytes; expected a manifest".format(MANIFEST_BYTES_MAX)
        )

    def test_a_manifest_that_is_a_folder(self, path):
        (path / MANIFEST).unlink()
        (path / MANIFEST).mkdir()
        assert "manifest.json: cannot be read: " in refusal(lambda: read_bundle(path))


@pytest.mark.parametrize("name", sorted(FILES))
class TestChangedFiles:
    def test_missing(self, path, name):
        (path / name).unlink()
        message = refusal(lambda: read_bundle(path))
        assert (
            message
            == "{}: {}: the file cannot be read (No such file or directory); copy the "
            "bundle again".format(path / MANIFEST, name)
        )

    def test_one_flipped_bit(self, path, name):
        content = bytearray(FILES[name])
        content[len(content) // 2] ^= 1
        (path / name).write_bytes(content)
        message = refusal(lambda: read_bundle(path))
        assert "{}: the file has changed: found sha256 ".format(name) in message
        assert message.endswith("copy or export the bundle again")

    @pytest.mark.parametrize("change", [-1, 1])
    def test_another_length(self, path, name, change):
        os.truncate(path / name, len(FILES[name]) + change)
        assert "{}: the file has changed: found {} bytes, expected {} bytes".format(
            name, len(FILES[name]) + change, len(FILES[name])
        ) in refusal(lambda: read_bundle(path))

    def test_a_folder_in_its_place(self, path, name):
        (path / name).unlink()
        (path / name).mkdir()
        assert name in refusal(lambda: read_bundle(path))

    def test_a_pipe_in_its_place_does_not_block(self, path, name):
        (path / name).unlink()
        os.mkfifo(path / name)
        assert "found 0 bytes" in refusal(lambda: read_bundle(path))


@pytest.mark.parametrize("name", ["../x", "/x", "onnx/../../x"])
def test_a_manifest_cannot_point_outside_the_bundle(path, name):
    document = json.loads((path / MANIFEST).read_text())
    document["files"][name] = {"bytes": 0, "sha256": "0"}
    (path / MANIFEST).write_text(json.dumps(document))
    assert "expected a path inside the bundle" in refusal(lambda: read_bundle(path))


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


class TestHeads:
    @staticmethod
    def good():
        ones = np.ones(2, np.float32)
        return {"weight": np.ones((2, 2), np.float32), "bias": ones, "scale": ones, "shift": ones}

    @staticmethod
    def head(folder, content):
        bundle = write_bundle(folder, tiny.tiny_manifest(), dict(FILES, **{HEAD: content}))
        return bundle.head(0, 1)

    def test_parameters_of_each_exit(self, path):
        bundle = read_bundle(path)
        for index, sharpness in enumerate(tiny.SHARPNESS):
            head = bundle.head(0, index)
            np.testing.assert_array_equal(head.weight, sharpness * np.array([[1, -1], [-1, 1]]))
            for array, value in ((head.bias, 0), (head.scale, 1), (head.shift, 0)):
                np.testing.assert_array_equal(array, [value, value])
                assert array.dtype == np.float32

    def test_scale_and_shift_may_be_absent(self, tmp_path):
        arrays = self.good()
        del arrays["scale"], arrays["shift"]
        assert self.head(tmp_path / "b", npz(**arrays))[2:] == (None, None)

    @pytest.mark.parametrize("name", ["weight", "bias", "scale", "shift"])
    @pytest.mark.parametrize(
        "change",
        [
            lambda a: a.astype(np.float64),
            lambda a: a.astype(np.int32),
            lambda a: a[..., :1],
            lambda a: a[None],
            lambda a: a.T[..., None],
            lambda a: np.empty((0, *a.shape), np.float32),
        ],
        ids=["float64", "int32", "narrow", "axis in front", "axis behind", "empty"],
    )
    def test_an_array_of_wrong_shape_or_type(self, tmp_path, name, change):
        arrays = self.good()
        expected = list(arrays[name].shape)
        arrays[name] = change(arrays[name])
        message = refusal(lambda: self.head(tmp_path / "b", npz(**arrays)))
        assert message == "{}: {}: {} is {} {}, expected float32 {}".format(
            tmp_path / "b", HEAD, name, arrays[name].dtype, list(arrays[name].shape), expected
        )

    @pytest.mark.parametrize("name", ["weight", "bias"])
    def test_a_missing_array(self, tmp_path, name):
        arrays = self.good()
        del arrays[name]
        message = refusal(lambda: self.head(tmp_path / "b", npz(**arrays)))
        assert HEAD in message and "expected an .npz with weight and bias" in message
        assert repr(name) in message or name + " is not" in message

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"not an archive",
            b"PK\x03\x04 is how one begins",
            npz(weight=np.ones((2, 2), np.float32))[:-30],
            npy(np.ones((2, 2), np.float32)),
            npz(weight=np.ones((2, 2), np.float32), bias=np.array([None, None])),
        ],
        ids=["empty", "text", "begins like one", "cut", "a single array", "objects"],
    )
    def test_a_file_that_is_no_archive_of_numbers(self, tmp_path, content):
        message = refusal(lambda: self.head(tmp_path / "b", content))
        assert "expected an .npz with weight and bias" in message

    @pytest.mark.parametrize("name", ["weight", "bias", "scale", "unknown"])
    def test_nothing_is_ever_unpickled(self, tmp_path, name):
        sprung = tmp_path / "sprung"
        content = npz(**dict(self.good(), **{name: np.array([Trap(sprung)], object)}))
        with contextlib.closing(np.load(io.BytesIO(content), allow_pickle=True)[name][0]):
            sprung.unlink()  # the trap works
        refusal(lambda: self.head(tmp_path / "b", content))
        assert not sprung.exists()


class TestWritingRefuses:
    def test_a_path_that_exists(self, path):
        message = refusal(lambda: tiny.write_tiny_bundle(path))
        assert message == (
            "{} exists; choose the next version number, or overwrite it (--force)".format(path)
        )

    def test_to_overwrite_what_is_no_bundle(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(BundleError, match="exists and is not a bundle"):
            write_bundle(tmp_path, tiny.tiny_manifest(), FILES, overwrite=True)
        with pytest.raises(BundleError, match="exists and is not a bundle"):
            write_bundle(tmp_path / "thesis.tex", tiny.tiny_manifest(), FILES, overwrite=True)
        assert (tmp_path / "thesis.tex").read_text() == "years of work"

    @pytest.mark.parametrize("field", ["name", "labels", "parts", "policies"])
    def test_a_manifest_that_would_not_read(self, tmp_path, field):
        manifest = tiny.tiny_manifest()
        del manifest[field]
        message = refusal(lambda: write_bundle(tmp_path / "b", manifest, FILES))
        assert field + ": missing" in message
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped"])
    def test_files_outside_the_bundle(self, tmp_path, name):
        files = dict(FILES, **{name: b"x"})
        message = refusal(lambda: write_bundle(tmp_path / "b", tiny.tiny_manifest(), files))
        assert "expected a path inside the bundle" in message
        assert os.listdir(tmp_path) == []

    def test_a_file_where_another_needs_a_folder(self, tmp_path):
        files = dict(FILES, onnx=b"x")
        message = refusal(lambda: write_bundle(tmp_path / "b", tiny.tiny_manifest(), files))
        assert "could not be written" in message
        assert os.listdir(tmp_path) == []

    def test_a_folder_that_cannot_be_made(self, path):
        inside_a_file = path / MANIFEST / "2"
        message = refusal(lambda: tiny.write_tiny_bundle(inside_a_file))
        assert message.startswith(str(inside_a_file) + ": could not be written: ")

    def test_a_folder_that_may_not_be_written(self, tmp_path, monkeypatch):
        def refuse(*args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

        monkeypatch.setattr(bundle_module.tempfile, "mkdtemp", refuse)  # root may write anywhere
        message = refusal(lambda: tiny.write_tiny_bundle(tmp_path / "b"))
        assert message.startswith(str(tmp_path / "b") + ": could not be written: ")
        assert "Permission denied" in message and str(tmp_path) in message


def fill_disk(patch, owner, name, after_calls):
    """Let the function `owner.name` fail with ENOSPC after some calls that work."""
    original, calls = getattr(owner, name), []

    def wrapper(*args, **kwargs):
        calls.append(args)
        if len(calls) > after_calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **kwargs)

    patch.setattr(owner, name, wrapper)


class TestOverwriting:
    def overwrite(self, path, name="new"):
        return write_bundle(path, renamed(name), FILES, overwrite=True)

    def assert_unchanged(self, path):
        assert read_bundle(path).manifest.name == "tiny"
        assert names_beside(path) == [path.name]

    def test_replaces_the_whole_folder(self, path):
        (path / "of the old one").write_text("x")
        assert self.overwrite(path).manifest.name == "new"
        assert not (path / "of the old one").exists()
        assert names_beside(path) == ["1"]

    def test_a_bundle_that_has_rotted(self, path):
        (path / HEAD).write_bytes(b"rotten")
        assert self.overwrite(path).manifest.name == "new"

    @pytest.mark.parametrize(
        ("owner", "name", "after_calls"),
        [
            (os, "makedirs", 0),
            (os, "makedirs", 3),
            (bundle_module.tempfile, "mkdtemp", 0),
            (bundle_module.tempfile, "mkdtemp", 1),
            (os, "chmod", 0),
            (json, "dump", 0),
            (os, "rename", 0),
            (bundle_module, "read_bundle", 0),
        ],
    )
    def test_a_full_disk_at_any_step_keeps_the_old_bundle(
        self, path, monkeypatch, owner, name, after_calls
    ):
        with monkeypatch.context() as patch:
            fill_disk(patch, owner, name, after_calls)
            message = refusal(lambda: self.overwrite(path))
        assert message == "{}: could not be written: [Errno 28] No space left on device".format(
            path
        )
        self.assert_unchanged(path)

    def test_a_failure_between_the_two_renames_brings_the_old_bundle_back(self, path, monkeypatch):
        original, calls = os.rename, []

        def rename(source, target):
            calls.append(target)
            if len(calls) == 2:
                raise OSError(errno.EIO, "Input/output error")
            original(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", rename)
            assert "Input/output error" in refusal(lambda: self.overwrite(path))
        assert len(calls) == 3
        self.assert_unchanged(path)

    def test_the_old_bundle_is_never_deleted_before_the_new_one_stands(self, path, monkeypatch):
        with monkeypatch.context() as patch:
            fill_disk(patch, os, "rename", 1)  # neither forth nor back
            assert "No space left" in refusal(lambda: self.overwrite(path))
        (old,) = path.parent.glob(".old-*/folder")
        assert read_bundle(old).manifest.name == "tiny"

    def test_an_interruption_between_the_two_renames(self, path, monkeypatch):
        original, calls = os.rename, []

        def rename(source, target):
            calls.append(target)
            if len(calls) == 2:
                raise KeyboardInterrupt
            original(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", rename)
            with pytest.raises(KeyboardInterrupt):
                self.overwrite(path)
        self.assert_unchanged(path)

    @pytest.mark.parametrize("name", sorted(FILES)[:2])
    def test_a_disk_that_writes_something_else_is_noticed(self, path, monkeypatch, name):
        original = bundle_module._write_files

        def corrupt(folder, manifest, files):
            original(folder, manifest, files)
            os.truncate(os.path.join(folder, name), 10)

        with monkeypatch.context() as patch:
            patch.setattr(bundle_module, "_write_files", corrupt)
            assert name + ": the file has changed" in refusal(lambda: self.overwrite(path))
        self.assert_unchanged(path)

    def test_an_interruption_leaves_nothing_behind(self, path, monkeypatch):
        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(json, "dump", interrupt)
            with pytest.raises(KeyboardInterrupt):
                self.overwrite(path)
        self.assert_unchanged(path)


@contextlib.contextmanager
def small_disk(folder, size_bytes):
    """Mount a file system of `size_bytes` at `folder`; skips where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", "size={}".format(size_bytes), "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a full disk needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("room_bytes", [32 * 1024, 64 * 1024, 128 * 1024])
def test_a_real_full_disk_keeps_the_old_bundle(tmp_path, room_bytes):
    with small_disk(tmp_path, 64 * 1024 + room_bytes):
        tiny.write_tiny_bundle(tmp_path / "1")
        big = dict(FILES, **{"notes.bin": b"x" * (256 * 1024)})
        message = refusal(lambda: write_bundle(tmp_path / "1", renamed("new"), big, overwrite=True))
        assert "could not be written: [Errno 28] No space left on device" in message
        assert read_bundle(tmp_path / "1").manifest.name == "tiny"
        assert os.listdir(tmp_path) == ["1"]


KILLED_WRITER = """
import os, signal, sys
sys.path[:0] = {paths!r}
import tiny
from edgesdk import bundle
owner, name, after_calls = {owner}, {name!r}, {after_calls}
original, calls = getattr(owner, name), []
def wrapper(*args, **kwargs):
    calls.append(args)
    if len(calls) > after_calls:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)
setattr(owner, name, wrapper)
manifest = dict(tiny.tiny_manifest(), name="new")
bundle.write_bundle({path!r}, manifest, tiny.tiny_files(), overwrite=True)
"""


class TestKilledWriter:
    """`kill -9` at a step of writing: (owner, function, calls that work before)."""

    @staticmethod
    def kill(path, owner, name, after_calls):
        code = KILLED_WRITER.format(
            paths=[str(Path(tiny.__file__).parents[1]), str(Path(tiny.__file__).parent)],
            owner=owner,
            name=name,
            after_calls=after_calls,
            path=str(path),
        )
        assert subprocess.call([sys.executable, "-c", code]) == -signal.SIGKILL

    @pytest.mark.parametrize(
        ("owner", "name", "after_calls"),
        [
            ("bundle.tempfile", "mkdtemp", 0),
            ("bundle.os", "makedirs", 4),
            ("bundle.json", "dump", 0),
            ("bundle", "read_bundle", 0),
            ("bundle.os", "rename", 0),
        ],
    )
    def test_the_old_bundle_is_whole_and_can_be_overwritten(self, path, owner, name, after_calls):
        self.kill(path, owner, name, after_calls)
        assert read_bundle(path).manifest.name == "tiny"
        assert write_bundle(path, renamed("new"), FILES, overwrite=True).manifest.name == "new"

    def test_between_the_two_renames_both_bundles_are_whole_beside_the_path(self, path):
        self.kill(path, "bundle.os", "rename", 1)
        assert "no such folder" in refusal(lambda: read_bundle(path))
        (old,) = path.parent.glob(".old-*/folder")
        (new,) = path.parent.glob(".writing-*")
        assert [read_bundle(found).manifest.name for found in (old, new)] == ["tiny", "new"]


def test_readers_see_the_old_bundle_or_the_new_one_or_a_clear_error(path):
    stop, wrong, names = threading.Event(), [], set()

    def read():
        while not stop.is_set():
            try:
                names.add(read_bundle(path).manifest.name)
            except BundleError as error:
                if str(path) not in str(error):
                    wrong.append(error)
            except BaseException as error:
                wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    written = 0
    give_up = time.monotonic() + 20
    while written < 30 or (len(names) < 2 and time.monotonic() < give_up):
        write_bundle(path, renamed("new {}".format(written % 2)), FILES, overwrite=True)
        written += 1
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert names <= {"tiny", "new 0", "new 1"} and len(names) >= 2
    assert names_beside(path) == ["1"]
