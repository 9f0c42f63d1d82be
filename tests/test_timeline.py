"""`python -m edgesdk.timeline` as a stranger meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from trace_events import problems, processes, read, slices
from traces import SPEC, lines_of, record_world, write_trace

from edgesdk.sim import chaos
from edgesdk.trace.file import TraceWriter

ROOT = Path(__file__).parent.parent


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "edgesdk.timeline", *map(str, arguments)],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
    )


@pytest.fixture
def out(tmp_path):
    return tmp_path / "timeline.json"


def change_digest(path, number):
    """The core is said to have done something else at line `number`."""
    lines = lines_of(path)
    lines[number - 1] = lines[number - 1][: lines[number - 1].rindex(b",")] + b",1]\n"
    with open(path, "wb") as file:
        file.write(b"".join(lines))


class TestMerging:
    def test_a_folder_of_traces(self, tmp_path, out):
        folder = tmp_path / "traces"
        folder.mkdir()
        paths = record_world(folder, chaos.draw(3), 3)
        TraceWriter(str(folder / "empty.trace"), SPEC, {}).close()
        done = run(folder, "--out", out)
        assert (done.returncode, done.stderr) == (0, "")
        assert "clock aligned with that of worker 1, within" in done.stdout
        assert "left out: 1 trace without events" in done.stdout
        assert "https://ui.perfetto.dev" in done.stdout
        assert problems(read(out)) == [] and len(processes(read(out))) == len(paths)

    def test_says_the_same_to_programs(self, tmp_path, out):
        path = write_trace(tmp_path / "a.trace").path
        write_trace(tmp_path / "a.trace", 1, spec=again())
        done = run(tmp_path, "--out", out, "--json")
        document = json.loads(done.stdout)
        assert done.returncode == 0 and document["timeline"] == str(out)
        first, second = document["workers"]
        assert first["trace"] == path and second["trace"] == path + ".2"
        assert first["ended"] == {"result.threshold": 2, "result.final": 1}
        assert first["aligned"] and first["uncertainty_us"] == 0 and first["same"]
        assert second["name"] == first["name"] + " (2)" and not second["aligned"]

    def test_replaces_what_was_there(self, tmp_path, out):
        out.write_text("old")
        assert run(write_trace(tmp_path / "a.trace").path, "--out", out).returncode == 0
        assert problems(read(out)) == []


class TestTrouble:
    def test_another_edgesdk_decides_otherwise(self, tmp_path, out):
        path = write_trace(tmp_path / "a.trace").path
        change_digest(path, 7)
        done = run(path, "--out", out)
        assert done.returncode == 1 and "NOT drawn from line 7 on" in done.stdout
        assert "--replay " + path in done.stdout
        assert len(slices(read(out), "items")) == 2

    def test_a_killed_process(self, tmp_path, out):
        path = write_trace(tmp_path / "a.trace").path
        content = b"".join(lines_of(path))
        with open(path, "wb") as file:
            file.write(content[:-20])
        done = run(path, "--out", out)
        assert done.returncode == 0 and "its trace was not closed" in done.stdout

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "x: no such file, expected a trace"),
            (b"", "x:1: found no whole line, expected the header of a trace"),
            (b"\x89PNG\n", "x:1: not JSON"),
            (b'{"format":"other"}\n', "format: found 'other'"),
        ],
    )
    def test_what_is_no_trace(self, tmp_path, out, content, said):
        if content is not None:
            (tmp_path / "x").write_bytes(content)
        done = run(tmp_path / "x", "--out", out)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert done.stderr.startswith("ConfigError: ") and said in done.stderr
        assert not out.exists()

    def test_a_folder_without_traces(self, tmp_path):
        done = run(tmp_path)
        assert done.returncode == 1 and "found no *.trace in this folder" in done.stderr

    def test_where_nothing_can_be_written(self, tmp_path):
        path = write_trace(tmp_path / "a.trace").path
        done = run(path, "--out", tmp_path / "no" / "t.json")
        assert done.returncode == 1 and "OSError" in done.stderr and "no" in done.stderr


def again():
    """The same worker, started again."""
    return SPEC._replace(identity=SPEC.identity._replace(epoch=99))
