"""Which files the traces of a run are, and what the processes that wrote them are called."""

import pytest

from edgesdk.errors import ConfigError
from edgesdk.trace.run import find_traces, process_names


class TestFinding:
    def test_takes_files_and_folders_each_trace_once(self, tmp_path):
        for name in ("b.trace", "a.trace", "a.trace.2", "a.trace.tmp", "notes.txt"):
            (tmp_path / name).write_text("x")
        found = find_traces([str(tmp_path), str(tmp_path / "a.trace")])
        assert [path[len(str(tmp_path)) + 1 :] for path in sorted(found)] == [
            "a.trace",
            "a.trace.2",
            "b.trace",
        ]

    def test_a_folder_without_traces(self, tmp_path):
        with pytest.raises(ConfigError, match=r"found no \*.trace in this folder"):
            find_traces([str(tmp_path)])

    def test_a_file_that_is_missing(self, tmp_path):
        with pytest.raises(ConfigError, match=r"gone\.trace: no such file, expected a trace"):
            find_traces([str(tmp_path / "gone.trace")])


class TestNames:
    def test_are_those_of_the_workers_numbered_in_the_order_of_their_begin(self):
        begun = [("nano", 30.0), ("robot", 10.0), ("nano", 20.0), ("nano", 25.0)]
        assert process_names(begun) == ["nano (3)", "robot", "nano", "nano (2)"]

    def test_of_nobody(self):
        assert process_names([]) == []
