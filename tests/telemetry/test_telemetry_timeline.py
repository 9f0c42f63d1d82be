"""A timeline is what viewers expect, whatever happens to its writer; rows say what happened."""

import json
import os
import signal
import subprocess
import sys

import pytest
from trace_events import problems, processes, read, slices, threads

from edgesdk.core.events import Deliver, Outcome, RunStage, StageDone, Submit, Timer
from edgesdk.core.messages import ItemId
from edgesdk.files import FLUSH_US
from edgesdk.telemetry.spans import (
    ACCEPTED,
    OPEN,
    REFUSED,
    UP,
    Arrival,
    Instant,
    ItemSpan,
    ResultSpan,
    StageSpan,
    TransferSpan,
)
from edgesdk.telemetry.timeline import Sheet, TimelineWriter, WorkerRows, whole_sheet

OURS, THEIRS = ItemId(1, 7, 3), ItemId(2, 5, 3)


def item_span(begin_us, end_us, item=OURS, status="result", exit_index=2, tag="tag"):
    return ItemSpan(begin_us, end_us, item, tag, status, "why", exit_index, 4)


@pytest.fixture
def drawn(tmp_path):
    """A function that draws spans of the worker "a", beside "b"; gives the events."""

    def draw(*spans, **options):
        path = str(tmp_path / "drawn.json")
        with whole_sheet(path) as sheet:
            WorkerRows(sheet, "a", {1: "a", 2: "b"}, **options).draw(spans)
        events = read(path)
        assert problems(events) == []
        return events

    return draw


class TestRows:
    def test_are_named_after_what_they_show(self, drawn):
        events = drawn(
            StageSpan(0, 5, 0, 1, (OURS, THEIRS), True),
            TransferSpan(5, 9, OURS, 2, 2, ACCEPTED),
            ResultSpan(6, 9, THEIRS, "final", 2, ACCEPTED),
            Arrival(7, THEIRS, 0, 2),
            item_span(0, 12),
            Instant(13, UP, 9, None, "why"),
        )
        expected = ["compute", "to b: tasks", "to b: results", "from b: tasks", "items", "events"]
        assert list(threads(events).values()) == expected
        assert processes(events) == {1: "a"}
        named = {
            threads(events)[e["pid"], e["tid"]]: e["name"] for e in events if e["ph"] in ("X", "i")
        }
        assert list(named.values()) == [
            "stage 1", "stage 2", "result", "stage 0", "exit 2", "neighbour up: worker 9"
        ]  # fmt: skip
        (compute,) = slices(events, "compute")
        assert compute["args"] == {"items": ["a 3", "b 3"], "count": 2}
        (item,) = slices(events, "items")
        assert item["args"] == {
            "item": "a 3", "reason": "why", "tag": "tag", "exit": 2, "class_index": 4, "worker": "a"
        }  # fmt: skip

    def test_say_what_went_wrong(self, drawn):
        events = drawn(
            StageSpan(0, 5, 1, 1, (OURS,), False),
            TransferSpan(5, 9, OURS, 2, 2, REFUSED),
            TransferSpan(9, 15, OURS, 2, 2, OPEN),
            item_span(0, 20, status="expired", exit_index=None),
        )
        assert [e["name"] for e in slices(events)] == [
            "stage 1 of part 1, no result", "stage 2, refused", "stage 2, no verdict", "expired"
        ]  # fmt: skip

    def test_what_is_open_at_once_has_rows_of_its_own(self, drawn):
        events = drawn(item_span(0, 10), item_span(5, 11), item_span(10, 20), item_span(12, 21))
        rows = [threads(events)[e["pid"], e["tid"]] for e in slices(events)]
        assert rows == ["items", "items (2)", "items", "items (2)"]

    def test_stand_in_one_order(self, drawn):
        spans = [TransferSpan(0, 9, OURS, 2, peer, ACCEPTED) for peer in range(2, 400)]
        spans += [ResultSpan(0, 9, OURS, "final", 2, ACCEPTED)] * 1_100
        spans += [
            item_span(0, 9),
            StageSpan(0, 5, 0, 1, (OURS,), True),
            Instant(0, UP, 2, None, ""),
        ]
        rows = sorted(threads(drawn(*spans)).items())
        names = [name for _, name in rows]
        assert names[:4] == ["events", "compute", "to b: tasks", "to b: results"]
        assert len(set(names)) == 398 + 1_100 + 3

    @pytest.mark.parametrize("tag", [None, float("nan"), float("inf"), object(), "\u20ac" * 500, 7])
    def test_tags_of_any_kind(self, drawn, tag):
        (item,) = slices(drawn(item_span(0, 10, tag=tag)))
        assert item["args"]["tag"] is None or len(str(item["args"]["tag"])) <= 200

    def test_times_may_be_those_of_another_clock(self, drawn):
        (item,) = slices(drawn(item_span(1_000, 2_000), to_timeline=lambda us: us * 1.5 + 0.25))
        assert (item["ts"], item["dur"]) == (1_500, 1_500)

    def test_two_workers_have_rows_of_their_own(self, tmp_path):
        path = str(tmp_path / "two.json")
        with whole_sheet(path, seed=5) as sheet:
            for name in "ab":
                WorkerRows(sheet, name, {}, "label").draw([item_span(0, 10)])
        events = read(path)
        assert problems(events) == [] and len(threads(events)) == 2
        assert events[0]["args"]["seed"] == 5
        assert [e["args"] for e in events if e["name"] == "process_labels"] == [
            {"labels": "label"}
        ] * 2


class TestArrows:
    def test_follow_an_item(self, drawn):
        events = drawn(
            StageSpan(10, 20, 0, 0, (OURS,), True),
            TransferSpan(20, 30, OURS, 1, 2, ACCEPTED),
            item_span(5, 40),
        )
        ends = [(e["ph"], e["ts"]) for e in events if e["ph"] in "stf"]
        assert sorted(ends, key=lambda end: end[1]) == [
            ("s", 5),
            ("t", 10.5),
            ("t", 20.5),
            ("f", 39.5),
        ]
        assert len({e["id"] for e in events if e["ph"] in "stf"}) == 1

    def test_of_different_items_are_bound_by_different_numbers(self, drawn):
        items = [
            ItemId(source, epoch, number)
            for source in (1, 2, 2**64 - 1)
            for epoch in (1, 2, 2**32 - 1)
            for number in (0, 1, 99)
        ]
        events = drawn(StageSpan(0, 10, 0, 0, tuple(items), True))
        assert len({e["id"] for e in events if e["ph"] == "t"}) == len(items)

    def test_are_not_bound_to_what_took_no_time(self, drawn):
        events = drawn(StageSpan(10, 10, 0, 0, (OURS,), True), item_span(10, 10))
        assert not [e for e in events if e["ph"] in "stf"]
        assert len(slices(events)) == 2


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "live.json")


@pytest.fixture
def writer(path):
    return TimelineWriter(path, "a", 1, 7, {2: "b"})


def run_items(writer, *items):
    """Each takes 1 ms, one after the other from 0 on; the last one does not end."""
    for item in items:
        at_us = 1_000 * item
        writer.record(at_us, Submit((item,), (None,), at_us), [RunStage(0, 0, (item,), True)])
        if item != items[-1]:
            outcome = Outcome(item, None, "failed", "why", None, 1_000)
            writer.record(at_us + 1_000, StageDone(0, 0, (item,), None), [Deliver(outcome)])


class TestWriting:
    def test_a_whole_file_is_json(self, path, writer):
        run_items(writer, 0, 1, 2)
        writer.close()
        writer.close()
        events = read(path)
        assert problems(events) == []
        with open(path) as file:
            assert events == json.load(file)
        assert [e["name"] for e in slices(events, "items")] == ["failed", "failed", "open"]
        assert [e["name"] for e in slices(events, "compute")] == ["stage 0"] * 2 + [
            "stage 0, no result"
        ]
        assert processes(events) == {1: "a"}

    def test_is_on_disk_within_a_second_or_so(self, path, writer):
        run_items(writer, 0, 1, 2)
        before = os.path.getsize(path)
        writer.record(FLUSH_US + 5_000, Timer(0), [])  # nothing to draw, but it is time
        assert os.path.getsize(path) > before
        assert len(slices(read(path), "items")) == 2
        writer.close()

    def test_what_the_core_raised(self, path, writer):
        writer.record_failure(5, Timer(0), KeyError("what only this machine knows"))
        (mark,) = [e for e in read(path) if e["ph"] == "i"]
        assert mark["args"] == {"event": "Timer", "error": "KeyError"}
        writer.close()

    def test_a_file_of_before_is_kept(self, path, writer):
        other = TimelineWriter(path, "a", 1, 8, {})
        assert other.path == path + ".2"
        other.close()
        writer.close()

    def test_the_limit_ends_it_with_one_warning(self, path, caplog):
        writer = TimelineWriter(path, "a", 1, 7, {}, bytes_max=3_000)
        for round in range(20):
            run_items(writer, 100 * round, 100 * round + 1)
            writer.record(round * FLUSH_US, Timer(0), [])
        writer.close()
        assert not writer.is_open and len(caplog.records) == 1
        assert "the timeline " + path in caplog.records[0].getMessage()
        assert 0 < os.path.getsize(path) <= 3_000
        assert problems(read(path)) == []

    def test_what_it_does_not_understand_ends_it_too(self, writer, caplog):
        writer.record(0, StageDone(0, 0, (1,), None), [RunStage(0, 0, None, True)])
        writer.record(1, Timer(0), [])
        assert not writer.is_open and len(caplog.records) == 1


KILLED = """
import sys
from edgesdk.core.events import Deliver, Outcome, Submit, Timer
from edgesdk.telemetry.timeline import TimelineWriter
writer = TimelineWriter(sys.argv[1], "a", 1, 7, {})
for item in range(10**9):
    outcome = Outcome(item, None, "failed", "why", None, 5)
    writer.record(10 * item, Submit((item,), (None,), 10 * item), [])
    writer.record(10 * item + 5, Timer(item), [Deliver(outcome)])
    if item == 5000:
        print("ready", flush=True)
"""


def test_a_killed_process_leaves_a_file_that_opens(path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with open(path) as file:
        text = file.read()
    assert not text.endswith("]\n")
    whole = text[: text.rindex("\n")]  # a line may be cut off by the kill
    events = json.loads(whole.rstrip(",") + "]")
    assert problems(events) == [] and len(slices(events, "items")) > 1_000


def test_a_sheet_that_cannot_be_finished_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), whole_sheet(str(path)) as sheet:
        assert isinstance(sheet, Sheet)
        raise KeyError
    assert path.read_text() == "old" and os.listdir(str(tmp_path)) == ["file"]
