"""Traces on disk: written beside a worker that must not notice, read wherever they were cut off."""

import json
import logging
import os

import pytest
import trace_golden
from traces import SPEC, lines_of, write_trace

from edgesdk import files
from edgesdk.core.events import Submit, Timer
from edgesdk.core.exits import MaxProbability
from edgesdk.core_spec import CoreSpec
from edgesdk.errors import ConfigError
from edgesdk.files import FLUSH_CHARS, FLUSH_US
from edgesdk.trace import file as trace_file
from edgesdk.trace.file import TraceWriter, read_trace
from edgesdk.trace.values import digest


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "worker.trace")


@pytest.fixture
def writer(path):
    return TraceWriter(path, SPEC, {})


def read_all(path):
    trace = read_trace(str(path))
    return trace, list(trace.records())


def spec_values(spec):
    """A spec with its policy as plain values: policies do not compare."""
    return spec._replace(policy=spec.policy.describe())


class TestGolden:
    def test_is_read(self):
        trace, records = read_all(trace_golden.PATH)
        assert spec_values(trace.spec) == spec_values(trace_golden.SPEC)
        assert trace.note == trace_golden.NOTE and trace.is_complete
        assert sorted(trace.versions) == ["edgesdk", "machine", "python"]
        assert repr([r.event for r in records[:-1]]) == repr(list(trace_golden.EVENTS))
        assert [r.digest for r in records[:-1]] == [
            digest(trace_golden.ACTIONS[n:]) for n in range(len(trace_golden.EVENTS))
        ]
        assert [r.now_us for r in records][:2] == [1_000_000, 1_000_001]
        assert (records[-1].digest, records[-1].error) == (None, "KeyError")
        assert [r.line for r in records] == list(range(2, len(records) + 2))

    def test_is_written_the_same_today(self, path):
        trace_golden.write(path)
        header, *lines = lines_of(path)
        golden_header, *golden_lines = lines_of(trace_golden.PATH)
        assert lines == golden_lines
        found, golden = json.loads(header.decode()), json.loads(golden_header.decode())
        for document in (found, golden):
            del document["versions"]
        assert found == golden


class TestWriting:
    def test_a_file_of_before_is_kept_and_the_next_has_a_number(self, path, monkeypatch):
        write_trace(path)
        before = lines_of(path)
        assert write_trace(path, 1).path == path + ".2"
        assert write_trace(path, 2).path == path + ".3"
        assert lines_of(path) == before
        assert len(read_all(path + ".2")[1]) == 3
        monkeypatch.setattr(files, "FILES_MAX", 3)
        with pytest.raises(ConfigError, match="found 3 files of this name"):
            TraceWriter(path, SPEC, {})

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot be written"):
            TraceWriter(str(tmp_path / "no" / "a.trace"), SPEC, {})

    def test_a_policy_of_your_own_is_refused(self, path):
        class Mine(MaxProbability):
            pass

        with pytest.raises(ConfigError, match="policy: found Mine, expected one of final"):
            TraceWriter(path, SPEC._replace(policy=Mine(0.5)), {})
        assert not os.path.exists(path)

    def test_every_field_of_the_spec_is_written(self):
        header = json.loads(lines_of(trace_golden.PATH)[0].decode())
        assert set(header["spec"]) == set(CoreSpec._fields)

    def test_the_header_is_there_at_once(self, path, writer):
        assert len(lines_of(path)) == 1
        writer.close()

    def test_events_reach_the_disk_within_a_second_or_so(self, path, writer):
        writer.record(0, Timer(0), [])
        writer.record(FLUSH_US - 1, Timer(1), [])
        assert len(lines_of(path)) == 1
        writer.record(FLUSH_US, Timer(2), [])
        assert len(lines_of(path)) == 4
        writer.record(FLUSH_US + 1, Timer(3), [])
        assert len(lines_of(path)) == 4
        writer.close()

    def test_and_sooner_if_they_are_many(self, path, writer):
        writer.record(0, Submit((0,), (None,) * FLUSH_CHARS, 0), [])
        assert len(lines_of(path)) == 2
        writer.close()

    def test_what_the_core_raised_is_on_disk_at_once(self, path, writer):
        writer.record_failure(5, Timer(0), AssertionError("what only this machine knows"))
        assert lines_of(path)[1] == b'[5,{"Timer":[0]},"AssertionError"]\n'
        writer.close()

    def test_closing_is_idempotent_and_final(self, path, writer):
        writer.record(0, Timer(0), [])
        writer.close()
        writer.close()
        writer.record(1, Timer(1), [])
        writer.record_failure(1, Timer(1), KeyError())
        assert not writer.is_open
        assert lines_of(path)[2:] == [b'{"end":1}\n']


class Full:
    """A file on a disk that is full."""

    def __init__(self, file):
        self.file = file

    def write(self, content):
        self.file.write(content[:5])
        raise OSError(28, "No space left on device")

    def flush(self):
        raise OSError(28, "No space left on device")

    def close(self):
        self.file.close()
        raise OSError(28, "No space left on device")


class TestTroubleOnTheWay:
    def fill(self, writer):
        writer._file._file = Full(writer._file._file)

    def test_a_full_disk_ends_the_trace_with_one_warning(self, path, writer, caplog):
        self.fill(writer)
        with caplog.at_level(logging.WARNING, "edgesdk"):
            for time in range(5):
                writer.record(time * FLUSH_US, Timer(0), [])
            writer.close()
        assert len(caplog.records) == 1
        message = caplog.records[0].getMessage()
        assert path in message and "No space left on device" in message
        assert not writer.is_open
        trace, records = read_all(path)
        assert records == [] and not trace.is_complete

    def test_so_does_one_that_fills_while_it_is_closed(self, writer, caplog):
        writer.record(0, Timer(0), [])
        self.fill(writer)
        writer.close()
        assert len(caplog.records) == 1 and not writer.is_open

    def test_so_does_the_limit(self, path, caplog):
        TraceWriter(path + ".header", SPEC, {}).close()
        header_bytes = len(lines_of(path + ".header")[0])
        writer = TraceWriter(path, SPEC, {}, bytes_max=header_bytes + 100)  # 4 events take more
        for time in range(9):
            writer.record(time * FLUSH_US, Timer(0), [])
        assert not writer.is_open and len(caplog.records) == 1
        assert "reached its limit" in caplog.records[0].getMessage()
        assert len(read_all(path)[1]) == 2

    @pytest.mark.parametrize("name", ["record", "record_failure"])
    def test_so_does_what_cannot_be_recorded(self, writer, name, caplog):
        getattr(writer, name)(0, Timer(object()), [])
        assert not writer.is_open and len(caplog.records) == 1
        assert "found a value of the class object" in caplog.records[0].getMessage()


class TestCutOff:
    def test_anywhere_it_is_read_up_to_the_last_whole_line(self, path, tmp_path):
        write_trace(path)
        content = b"".join(lines_of(path))
        _, whole = read_all(path)
        header_bytes = len(lines_of(path)[0])
        for size in range(header_bytes, len(content)):
            cut = tmp_path / "cut.trace"
            cut.write_bytes(content[:size])
            trace, records = read_all(cut)
            assert records == [record for record in whole if record.end_bytes <= size]
            assert not trace.is_complete

    @pytest.mark.parametrize("size", [0, 1, 100])
    def test_within_the_header_nothing_is_left(self, path, tmp_path, size):
        write_trace(path)
        cut = tmp_path / "cut.trace"
        cut.write_bytes(lines_of(path)[0][:size])
        with pytest.raises(ConfigError, match=r"cut\.trace:1: found no whole line"):
            read_trace(str(cut))

    def test_zeros_behind_it_are_no_line(self, path):
        write_trace(path)
        count = len(read_all(path)[1])
        with open(path, "ab") as file:
            file.write(bytes(4096))
        assert len(read_all(path)[1]) == count

    def test_it_may_be_read_twice(self, path):
        write_trace(path)
        trace = read_trace(path)
        assert list(trace.records()) == list(trace.records())


def header(**changes):
    def edit(lines):
        document = json.loads(lines[0].decode())
        document.update(changes)
        return [json.dumps(document).encode() + b"\n"] + lines[1:]

    return edit


def spec(**changes):
    def edit(lines):
        document = json.loads(lines[0].decode())["spec"]
        document.update(changes)
        return header(spec={k: v for k, v in document.items() if v is not None})(lines)

    return edit


def third(text):
    return lambda lines: lines[:2] + [text.encode() + b"\n"] + lines[3:]


BAD = [
    (header(format="other"), "1: format: found 'other'"),
    (header(format_version=2), "1: format_version: found 2, expected 1"),
    (header(note=5), "1: note: found 5, expected a table"),
    (header(spec=[]), "1: spec: found [], expected a table"),
    (spec(identity=None), "1: spec.identity: missing"),
    (spec(identity=[]), "1: spec.identity: found ()"),
    (spec(identitty=5), "did you mean identity?"),
    (spec(seed="x"), "1: spec.seed: found 'x'"),
    (spec(exit_count=1.5, plans=5), "1: spec.plans: found 5"),
    (spec(policy={"kind": "magic"}), "1: spec.policy.kind: found 'magic'"),
    (spec(policy={"kind": "fixed", "exit_index": 9}), "1: policy fixed: exit_index 9"),
    (lambda lines: [b"[]\n"] + lines[1:], "1: document: found [], expected a table"),
    (lambda lines: [b"\xff\n"] + lines[1:], "1: not JSON"),
    (third("{"), "3: not JSON"),
    (third("[" * 100_000), "3: not JSON"),
    (third("[1,2]"), "3: expected [time, event, digest of the actions]"),
    (third('["1",{"Timer":[1]},5]'), "3: time: found '1'"),
    (third('[1,{"Timer":[1]},null]'), "3: digest: found None"),
    (third('[1,{"Keep":[1]},5]'), "3: found Keep, expected an event"),
    (third('[1,{"Timer":["a"]},5]'), "3: Timer.item: found 'a'"),
    (third("[1,5,5]"), "3: found int, expected an event"),
    (third('{"end":7}'), "3: found {'end': 7}, expected {'end': 1}"),
    (third('{"end":1}'), "4: found a line behind the end"),
    (lambda lines: lines[:2] + lines[3:], "expected {'end': "),
]


class TestBadFiles:
    @pytest.mark.parametrize(("edit", "message"), BAD, ids=[message for _, message in BAD])
    def test_the_file_and_the_line_are_named(self, path, edit, message):
        write_trace(path)
        lines = edit(lines_of(path))
        with open(path, "wb") as file:
            file.write(b"".join(lines))
        with pytest.raises(ConfigError) as raised:
            read_all(path)
        assert str(raised.value).startswith(path + ":") and message in str(raised.value)

    def test_a_line_without_end(self, path, monkeypatch):
        write_trace(path)
        monkeypatch.setattr(trace_file, "LINE_BYTES_MAX", 2000)
        with open(path, "ab") as file:
            file.write(b"x" * 5000)
        with pytest.raises(ConfigError, match=r"\.trace:\d+: the line is too long"):
            read_all(path)

    def test_a_file_that_is_missing(self, tmp_path):
        with pytest.raises(ConfigError, match=r"No such file or directory.*expected a trace"):
            read_trace(str(tmp_path / "none.trace"))

    def test_a_field_of_the_spec_that_came_later_has_its_default(self, path):
        write_trace(path)
        lines = spec(seed=None, is_disturbed=None)(lines_of(path))
        with open(path, "wb") as file:
            file.write(b"".join(lines))
        assert read_trace(path).spec.seed == 0
