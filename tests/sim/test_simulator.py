"""Whole runs: equal seeds give equal runs, totals add up, nothing grows with the items."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sim_worlds import SECOND, Forward, PingPong, Recorder, load, local, model, pair, run

from edgesdk.core.events import Send, Submit
from edgesdk.core.exits import FinalExit, RandomExit
from edgesdk.core.messages import CONTROL
from edgesdk.sim.simulator import Simulator
from edgesdk.sim.spec import Fault, Node, Workload
from edgesdk.sim.trace import RECENT_COUNT

ROOT = Path(__file__).resolve().parent.parent.parent
POISSON = Workload("a", "poisson", rate_hz=300.0, item_count=200)


def rough(seed):
    """The trace hash of a run with chance everywhere."""
    faults = (
        Fault("crash", "b", 100_000, 50_000),
        Fault("cut", "a->b", 300_000, 100_000),
        Fault("fail", "b", 0, None, 0.1),
    )
    kinds = {"jitter_us": 3000, "loss": 0.1, "duplication": 0.0, "reordering": 0.1}
    world = pair((POISSON,), faults=faults, mode="chaos", **kinds)
    return run(world, seed, new_worker=Robust).trace_hash


class Robust(Forward):
    """Forgets a task whose stage failed, as one whose stage was done."""

    def on_StageFailed(self, event, now_us):
        return self.on_StageDone(event, now_us)

    def on_PeerLost(self, event, now_us):
        return []


class TestDeterminism:
    def test_the_same_seed_gives_the_same_run(self):
        assert rough(5) == rough(5)

    def test_another_seed_gives_another(self):
        assert len({rough(seed) for seed in range(5)}) == 5

    @pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
    def test_so_does_another_process_whatever_its_hashes(self, hash_seed):
        program = "import sys; sys.path.insert(0, {!r}); import test_simulator; print({})".format(
            str(Path(__file__).parent), "test_simulator.rough(5)"
        )
        environment = dict(os.environ, PYTHONHASHSEED=hash_seed, PYTHONPATH=str(ROOT))
        found = subprocess.check_output([sys.executable, "-c", program], env=environment)
        assert found.decode().strip() == rough(5)

    def test_a_run_differs_by_what_a_message_says(self):
        class Liar(PingPong):
            def on_MessageReceived(self, event, now_us):
                number = event.envelope.message.report + 1
                return [Send(event.peer, CONTROL, load(number + (number == 30)))]

        world = pair(duration_us=0, heal_us=SECOND, grace_us=0)
        assert run(world, new_worker=Liar).trace_hash != run(world, new_worker=PingPong).trace_hash

    def test_the_policy_draws_by_the_seed_too(self):
        world = local(POISSON, model=model()._replace(policy=RandomExit()))
        counts = [run(world, seed).sources[0].exit_counts for seed in (1, 1, 2)]
        assert counts[0] == counts[1] != counts[2]

    def test_watching_changes_nothing(self):
        plain = run(local(POISSON))
        watched = run(local(POISSON), observer=Recorder())
        assert plain.trace_hash == watched.trace_hash
        silent = run(local(POISSON), trace=False)
        assert silent.trace_hash == ""
        assert silent[2:4] == plain[2:4]


class TestTotals:
    def test_items_add_up_and_answers_are_judged_by_the_labels(self):
        (source,) = run(local(POISSON)).sources
        assert source.submitted_count == source.answered_count == source.correct_count == 200
        assert source.ended == {"result.threshold": 100, "result.final": 100}
        assert source.exit_counts == (100, 0, 100)
        assert source.latency.count == 200
        assert (source.open_count, source.lost_count, source.missed_count) == (0, 0, 0)

    def test_wrong_answers_are_not_correct(self):
        found = model()
        images = tuple(image._replace(label=3) for image in found.images)
        (source,) = run(local(POISSON, model=found._replace(images=images))).sources
        assert (source.answered_count, source.correct_count) == (200, 100)

    def test_a_source_alone_is_as_fast_as_its_stages(self):
        found = model((1500, 700, 300))._replace(policy=FinalExit())
        workload = Workload("a", "periodic", rate_hz=1000.0, item_count=500)
        totals = run(local(workload, model=found))
        assert totals.end_us == 500 * (1500 + 700 + 300)
        assert totals.nodes[0].busy_us == totals.end_us
        assert totals.nodes[0].stage_run_count == 1500
        assert totals.nodes[0].queue_length_max > 100

    def test_batches_save_what_they_share(self):
        found = model((1500, 700, 300), batch_share=0.5)._replace(policy=FinalExit())
        workload = Workload("a", "trace", times_us=(0,) * 41)
        nodes = (Node("a", max_batch=4),)
        totals = run(local(workload, model=found, nodes=nodes))
        assert totals.end_us == 2500 * (1 + 10 * 2.5)

    def test_messages_and_bytes_are_counted_by_kind(self):
        world = pair((Workload("a", "periodic", rate_hz=10.0, item_count=7),))
        forward, back = run(world, new_worker=Forward).directions
        assert forward[:3] == ("a->b", {"Task": 7}, {"Task": 7 * (64 + 1000)})
        assert back[:3] == ("b->a", {}, {})

    def test_events_are_those_that_cores_were_told(self):
        recorder = Recorder()
        totals = run(local(POISSON), observer=recorder)
        told = [event for _, _, event in recorder.events if not isinstance(event, str)]
        assert totals.event_count == len(told) == 200 * 3


class TestTheEnd:
    def test_it_comes_with_the_last_outcome(self):
        assert run(local(Workload("a", "trace", times_us=(70_000,)))).end_us == 71_000

    def test_or_later_if_asked(self):
        simulator = Simulator(local(Workload("a", "trace", times_us=(70_000,))), 1)
        assert simulator.run(linger_us=500).end_us == 71_500

    def test_not_before_everything_planned_has_happened(self):
        faults = (Fault("slow", "a", 2 * SECOND, SECOND),)
        assert run(local(faults=faults)).end_us == 3 * SECOND
        assert run(local(heal_us=5 * SECOND)).end_us == 5 * SECOND
        assert run(local(nodes=(Node("a"), Node("b", join_us=SECOND)))).end_us == SECOND

    def test_and_not_after_the_grace(self):
        faults = (Fault("pause", "a", 0),)
        totals = run(local(duration_us=2 * SECOND, grace_us=SECOND, faults=faults))
        assert totals.end_us == 3 * SECOND
        assert totals.sources[0].open_count == 20

    def test_without_anything_to_do_it_comes_at_once(self):
        assert run(local()._replace(workloads=())).end_us == 0


class TestObserver:
    def test_it_sees_what_was_asked_for(self):
        seen = []

        class Watcher(Recorder):
            def on_event(self, node, event, actions, now_us):
                seen.append((node, type(event).__name__, [type(a).__name__ for a in actions]))

        run(local(Workload("a", "trace", times_us=(0,))), observer=Watcher())
        assert seen == [
            ("a", "Submit", ["RunStage"]),
            ("a", "StageDone", ["Deliver", "Release"]),
        ]

    def test_it_sees_the_world_after_the_actions(self):
        held = []

        class Watcher(Recorder):
            def on_event(self, node, event, actions, now_us):
                held.append(len(simulator.bodies[0].held))

        simulator = Simulator(local(Workload("a", "trace", times_us=(0,))), 1, Watcher())
        simulator.run()
        assert held == [1, 0]


def test_the_last_events_are_there_for_whoever_must_understand_a_failure():
    class Breaks(Forward):
        def on_Submit(self, event, now_us):
            if event.items[0] == 150:
                raise AssertionError("broken")
            return super().on_Submit(event, now_us)

    simulator = Simulator(pair((POISSON,)), 1, new_worker=Breaks)
    with pytest.raises(AssertionError, match="broken"):
        simulator.run()
    lines = simulator.recent_events()
    assert len(lines) == RECENT_COUNT
    assert "us  a  Submit(items=(150,)" in lines[-1]


def test_nothing_grows_with_the_items():
    workload = Workload(
        "a", "periodic", rate_hz=400.0, item_count=20_000, deadline_us=SECOND, start_us=5
    )
    world = local(workload, duration_us=10**9)
    largest = {}

    class Watcher(Recorder):
        def on_event(self, node, event, actions, now_us):
            if isinstance(event, Submit):
                (body,) = simulator.bodies
                half = event.items[0] // 10_000
                sizes = (
                    len(body.held),
                    len(body.timers),
                    len(body._timers._armed),
                    len(simulator.scheduler),
                )
                largest[half] = max(largest.get(half, sizes), sizes)

    simulator = Simulator(world, 1, Watcher())
    assert simulator.run().sources[0].answered_count == 20_000
    assert largest[1] <= largest[0]
    assert largest[0][3] < 500  # the cancelled deadlines of one second, and a few more
