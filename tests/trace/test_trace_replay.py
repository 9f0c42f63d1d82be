"""Replay: a fresh core that is told the same does the same, whatever it was; if not, where."""

import pytest
import trace_golden
from traces import SPEC, Recorded, lines_of, record_world, write_trace

from edgesdk.core.events import MessageReceived, PeerFound, Submit, Timer
from edgesdk.core.fleet import FleetWorker
from edgesdk.core_spec import new_core
from edgesdk.sim.chaos import draw
from edgesdk.trace.file import TraceWriter, read_trace
from edgesdk.trace.replay import kind_of, replay
from edgesdk.trace.values import digest

SEEDS = (1, 2, 3, 6, 11, 12, 15, 16, 18, 19)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "worker.trace")


def all_differences(path):
    found = []
    replayed = replay(read_trace(path), lambda difference: found.append(difference) or True)
    return replayed, found


class TestTheSame:
    def test_counts_what_happened(self, path):
        write_trace(path, item_count=3)
        told, asked = [], []
        replayed = replay(
            read_trace(path),
            on_record=told.append,
            on_actions=lambda record, actions: asked.append((record, digest(actions))),
        )
        assert asked == [(record, record.digest) for record in told]
        assert replayed.difference is None and replayed.is_complete and not replayed.raised
        assert replayed.kinds == {"PeerFound": 1, "Submit": 3, "StageDone": 6}
        assert replayed.event_count == 10 == len(told)
        assert replayed.ended == {"result.threshold": 2, "result.final": 1}
        assert replayed.duration_us == told[-1].now_us - told[0].now_us > 0

    def test_a_trace_without_events_is_one(self, path):
        TraceWriter(path, SPEC, {}).close()
        replayed = replay(read_trace(path))
        assert (replayed.event_count, replayed.duration_us, replayed.ended) == (0, 0, {})

    def test_tags_of_any_kind_do_not_matter(self, path):
        writer = TraceWriter(path, SPEC, {})
        recorded = Recorded(new_core(SPEC)[0], writer)
        recorded.handle(Submit((0, 1), (object(), [1, 2]), 0, 100), 0)
        recorded.handle(Timer(0), 100)
        recorded.handle(Timer(1), 100)
        writer.close()
        replayed = replay(read_trace(path))
        assert replayed.difference is None and replayed.ended == {"expired.deadline": 2}


@pytest.mark.parametrize("through_wire", [False, True], ids=["as it was", "through the wire"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_process_of_a_world_where_much_goes_wrong_replays(tmp_path, seed, through_wire):
    world = draw(seed)
    paths = record_world(tmp_path, world, seed, through_wire)
    assert len(paths) >= len(world.nodes)
    for path in paths:
        replayed = replay(read_trace(path))
        assert replayed.difference is None and replayed.is_complete, path


def test_these_worlds_have_what_is_needed():
    worlds = [draw(seed) for seed in SEEDS]
    assert any(world.is_disturbed for world in worlds)
    assert any(fault.kind == "crash" for world in worlds for fault in world.faults)
    assert any(workload.deadline_us for world in worlds for workload in world.workloads)
    assert len({world.model.policy.kind for world in worlds}) == 3


def test_through_the_wire_scores_are_rounded(tmp_path):
    for through_wire in (False, True):
        folder = tmp_path / str(through_wire)
        folder.mkdir()
        scores = [
            record.event.envelope.message.answer.scores.margin  # 0.1 where it was made
            for path in record_world(folder, draw(16), 16, through_wire)
            for record in read_trace(path).records()
            if kind_of(record.event) == "MessageReceived ResultMessage"
        ]
        assert scores and all((score != 0.1) == through_wire for score in scores)


class TestADifference:
    def change(self, path, line, old, new):
        lines = lines_of(path)
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new)
        with open(path, "wb") as file:
            file.write(b"".join(lines))

    def test_is_told_with_line_event_and_what_the_core_does_now(self, path):
        write_trace(path, item_count=2)
        self.change(path, 4, b"0.95", b"0.05")  # too unsure now to leave
        replayed = replay(read_trace(path))
        found = replayed.difference
        assert found.record.line == 4 and found.record.event.scores[0].max_probability == 0.05
        assert [type(action).__name__ for action in found.actions] == ["RunStage"]
        assert replayed.event_count == 3 and not replayed.is_complete

    def test_one_may_go_on_behind_it(self, path):
        write_trace(path, item_count=3)
        self.change(path, 4, b"0.95", b"0.05")
        replayed, found = all_differences(path)
        assert len(found) > 1 and replayed.difference is found[0]
        assert replayed.event_count == 10 and replayed.is_complete

    def test_another_seed_is_one(self, path):
        write_trace(path)
        lines = lines_of(path)
        writer = TraceWriter(path, SPEC, {})
        core = new_core(SPEC._replace(seed=5))[0]
        for now_us, event in ((0, PeerFound(9)), (0, Timer(-1))):
            writer.record(now_us, event, core.handle(event, now_us))
        writer.close()
        assert writer.path != path and lines == lines_of(path)
        found = replay(read_trace(writer.path)).difference
        assert found.record.line == 3 and "Hello" in str(found.actions)

    def test_a_core_that_raises_now_is_one(self, path):
        write_trace(path)
        self.change(path, 4, b'"StageDone":[0,0,[0]', b'"StageDone":[0,0,[7]')
        replayed = replay(read_trace(path))
        assert replayed.difference.error == "KeyError: 7" and replayed.difference.actions == ()
        assert "Traceback" in replayed.raised

    def test_so_is_one_that_does_not_raise_any_more(self, path):
        writer = TraceWriter(path, SPEC, {})
        writer.record_failure(5, Submit((0,), (None,), 5), AssertionError("then"))
        writer.close()
        found = replay(read_trace(path)).difference
        assert found.record.error == "AssertionError" and not found.error
        assert type(found.actions[0]).__name__ == "RunStage"

    def test_the_golden_trace_is_no_run_but_can_be_told_to_its_end(self):
        replayed, found = all_differences(str(trace_golden.PATH))
        assert replayed.event_count == len(trace_golden.EVENTS) + 1 and replayed.is_complete
        assert replayed.kinds["MessageReceived Task"] == 1
        assert found


def test_a_failure_in_the_field_is_seen_again(path, monkeypatch):
    on_submit = FleetWorker._on_submit

    def fails(core, event, now_us, actions):
        on_submit(core, event, now_us, actions)
        if event.items == (2,):
            raise AssertionError("the bug")

    monkeypatch.setattr(FleetWorker, "_on_submit", fails)
    with pytest.raises(AssertionError):
        write_trace(path)
    replayed = replay(read_trace(path))  # the worker died: nobody closed the file
    assert replayed.difference is None and not replayed.is_complete
    assert replayed.raised.splitlines()[-1] == "AssertionError: the bug"
    monkeypatch.undo()
    assert replay(read_trace(path)).difference.record.error == "AssertionError"


def test_messages_are_told_apart():
    event = next(e for e in trace_golden.EVENTS if isinstance(e, MessageReceived))
    assert kind_of(event) == "MessageReceived Hello"
    assert kind_of(Timer(0)) == "Timer"
