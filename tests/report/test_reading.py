"""From files to recordings: whole, cut, changed, empty and hostile ones."""

import tracemalloc

import pytest
from recorded_runs import read_all
from traces import SPEC, lines_of, write_trace

from edgesdk.errors import ConfigError
from edgesdk.report.facts import facts_of
from edgesdk.report.reading import open_traces


def facts(path):
    return facts_of(read_all([str(path)]))


def changed(path, number, old, new):
    """Line `number`, from 1, with another text."""
    lines = lines_of(path)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new)
    path.write_bytes(b"".join(lines))


class TestFinding:
    def test_traces_of_one_process(self, tmp_path):
        paths = [write_trace(tmp_path / name).path for name in ("a.trace", "b.trace")]
        with pytest.raises(ConfigError, match="two traces of one process"):
            open_traces(paths)

    def test_traces_of_two_networks(self, tmp_path):
        other = SPEC._replace(identity=SPEC.identity._replace(epoch=8, model_id=b"o" * 16))
        paths = [
            write_trace(tmp_path / "a.trace").path,
            write_trace(tmp_path / "b.trace", spec=other).path,
        ]
        with pytest.raises(ConfigError, match=r"b\.trace: found the model id 6f6f"):
            open_traces(paths)


class TestReading:
    def test_a_trace_tells_everything(self, tmp_path):
        found = facts(write_trace(tmp_path / "a.trace", 30).path)
        assert found.admitted_count == found.result_count == 30
        assert [row.answer_count for row in found.exits] == [10, 10, 10]
        assert found.latency.p50_us == 1000 and found.verdict == "good"
        assert found.spent == (1000, 0, 0, 0, 0)
        assert [row.busy_us for row in found.stages] == [15_000, 10_000, 5_000]

    def test_little_is_kept_of_each_image(self, tmp_path):
        path = write_trace(tmp_path / "a.trace", 1000).path
        read_all([path])  # what is kept once, whatever the trace
        tracemalloc.start()
        try:
            run = read_all([path])
            kept_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(run.recordings[0].items) == 1000
        assert kept_bytes < 1000 * 400

    def test_a_trace_that_was_cut(self, tmp_path):
        path = tmp_path / "a.trace"
        write_trace(path, 30)
        path.write_bytes(path.read_bytes()[:-700])
        found = facts(path)
        assert 20 < found.admitted_count < 30
        assert [trouble.name for trouble in found.troubles if trouble.level == "warning"] == (
            ["cut"] if found.admitted_count == found.result_count else ["cut", "open"]
        )

    def test_an_image_that_was_under_way_is_open(self, tmp_path):
        path = tmp_path / "a.trace"
        write_trace(path, 3)
        path.write_bytes(b"".join(lines_of(path)[:-3]))  # the last image, and its last stages
        found = facts(path)
        assert [tuple(row) for row in found.outcomes][-1] == ("open", "", 1)
        (row,) = found.unanswered
        assert (row.tag, row.status, row.spent) == ("tag", "open", None)

    def test_a_trace_without_events(self, tmp_path):
        path = tmp_path / "a.trace"
        write_trace(path, 0)
        path.write_bytes(lines_of(path)[0])
        found = facts(path)
        assert (found.admitted_count, found.latency, found.duration_us) == (0, None, 0)

    def test_where_the_core_does_something_else_it_goes_on(self, tmp_path):
        path = tmp_path / "a.trace"
        write_trace(path, 9)
        line = lines_of(path)[3]
        digest = line.rsplit(b",", 1)[1].rstrip(b"]\n")
        changed(path, 4, digest, b"5")
        found = facts(path)
        assert found.result_count == 9 and not found.origins[0].is_same
        assert found.troubles[0].name == "difference" and found.verdict == "bad"
        assert "1 of" in found.troubles[0].sentence and "line 4" in found.troubles[0].sentence

    def test_as_long_as_the_core_can_follow(self, tmp_path):
        path = tmp_path / "a.trace"
        write_trace(path, 9)
        changed(path, 4, b'"StageDone":[0,0,[0]', b'"StageDone":[0,0,[7]')
        found = facts(path)
        assert (found.admitted_count, found.result_count) == (1, 0)
        assert "could follow for" in found.troubles[0].sentence
        assert "KeyError" in found.troubles[0].sentence

    def test_a_line_that_no_worker_writes(self, tmp_path):
        path = tmp_path / "a.trace"
        write_trace(path, 9)
        changed(path, 13, b'"StageDone"', b'"StageGone"')
        found = facts(path)
        assert found.result_count > 1 and not found.origins[0].is_same
        assert "cannot be read on" in found.troubles[0].sentence
        assert ":13: " in found.troubles[0].sentence

    def test_numbers_that_no_worker_writes(self, tmp_path):
        path = tmp_path / "a.trace"
        write_trace(path, 1)
        number = b'"Submit":[[%d]' % 10**30
        lines = [line.replace(b'"Submit":[[0]', number) for line in lines_of(path)]
        path.write_bytes(b"".join(lines[:3]))
        with pytest.raises(ConfigError, match="an item that a worker has numbered"):
            facts(path)

    def test_a_file_that_is_no_trace(self, tmp_path):
        path = tmp_path / "a.trace"
        path.write_bytes(b"hello\n")
        with pytest.raises(ConfigError, match=r"a.trace:1: not JSON"):
            open_traces([str(path)])
