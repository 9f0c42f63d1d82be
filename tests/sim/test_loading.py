"""Stages that move in simulated worlds: loaded in time, nothing lost, and worth it."""

import statistics
from pathlib import Path

import pytest
from sim_worlds import SECOND, model

from edgesdk.core.events import Deliver, KeepStages, LoadStages, StagesLoaded
from edgesdk.core.replanning import Replanning
from edgesdk.sim.checkers import Checks
from edgesdk.sim.events import Scheduler
from edgesdk.sim.loading import LOAD_US, Loading
from edgesdk.sim.scenario import read_scenario
from edgesdk.sim.simulator import Simulator
from edgesdk.sim.spec import Fault, Link, Node, Scenario, Workload

ROOT = Path(__file__).resolve().parent.parent.parent
SLOW_US = 20 * SECOND  # when the worker of the example becomes slow


class Latencies(Checks):
    """Every check, and when each item ended, after how long."""

    def __init__(self, scenario):
        super().__init__(scenario)
        self.ended = []

    def on_event(self, node, event, actions, now_us):
        super().on_event(node, event, actions, now_us)
        for action in actions:
            if isinstance(action, Deliver):
                self.ended.append((now_us, action.outcome.latency_us))

    def mean_ms(self, from_us, to_us):
        return statistics.mean(us for at, us in self.ended if from_us <= at < to_us) / 1000


def simulate(scenario, seed=1, rest_us=5 * SECOND):
    """Run with every check; gives the watcher, the totals and the simulator."""
    watcher = Latencies(scenario)
    simulator = Simulator(scenario, seed, observer=watcher)
    watcher.watch(simulator)
    totals = simulator.run(rest_us)
    watcher.check_end()
    return watcher, totals, simulator


def held(simulator):
    return [sorted(stage for _, stage in body._loading.stage_us) for body in simulator.bodies]


class TestLoading:
    def test_takes_its_time_and_what_is_let_go_is_gone(self):
        told, scheduler = [], Scheduler()
        loading = Loading(model(), Node("a", (0,), speed=2.0), scheduler, told.append)
        loading.begin()
        verbs = loading.verbs()
        verbs[LoadStages](LoadStages(((0, 0), (0, 2))))
        assert loading.stage_us == {(0, 0): 500.0} and told == []
        scheduler.run()
        assert told == [StagesLoaded(((0, 0), (0, 2)))] and scheduler.now_us == LOAD_US
        assert loading.stage_us == {(0, 0): 500.0, (0, 2): 500.0}
        verbs[KeepStages](KeepStages(((0, 2),)))
        assert loading.stage_us == {(0, 2): 500.0}

    def test_a_process_that_starts_again_has_its_own_stages(self):
        told, scheduler = [], Scheduler()
        loading = Loading(model(), Node("a", (1,)), scheduler, told.append)
        loading.begin()
        loading.verbs()[LoadStages](LoadStages(((0, 0),)))
        loading.begin()
        scheduler.run()
        assert told == [] and list(loading.stage_us) == [(0, 1)]


class TestAWorkerThatBecomesSlow:
    """examples/scenarios/slow-worker.toml, as docs/placement.md shows it."""

    PATH = ROOT / "examples" / "scenarios" / "slow-worker.toml"

    def test_is_relieved_and_the_latency_is_what_it_was(self):
        watcher, totals, simulator = simulate(read_scenario(self.PATH))
        before_ms = watcher.mean_ms(5 * SECOND, SLOW_US)
        after_ms = watcher.mean_ms(SLOW_US + 20 * SECOND, SLOW_US + 40 * SECOND)
        assert after_ms < 2 * before_ms
        assert held(simulator)[1] == []
        nodes = {node.name: node.counters for node in totals.nodes}
        assert nodes["robot"]["placements_changed"] == 1
        assert [nodes[name]["stages_changed"] for name in nodes] == [1, 1, 1]

    def test_stays_slow_without_the_table(self):
        scenario = read_scenario(self.PATH, [("duration_s", 40)])._replace(replanning=None)
        watcher, _, simulator = simulate(scenario)
        before_ms = watcher.mean_ms(5 * SECOND, SLOW_US)
        after_ms = watcher.mean_ms(SLOW_US + 10 * SECOND, SLOW_US + 20 * SECOND)
        assert after_ms > 50 * before_ms
        assert held(simulator) == [[0, 1], [2, 3], [4, 5]]

    def test_equal_seeds_give_equal_runs(self):
        scenario = read_scenario(self.PATH, [("duration_s", 30)])
        runs = {simulate(scenario, seed)[1].trace_hash for seed in (5, 5)}
        assert len(runs) == 1


def hostile(seed):
    """Three nodes that move stages at every chance, while everything goes wrong."""
    nodes = (Node("a", (0,), max_batch=2), Node("b", (1,)), Node("c", (2,)))
    ends = (("a", "b"), ("b", "c"), ("a", "c"))
    wrong = {"jitter_us": 2000, "loss": 0.02, "duplication": 0.02, "reordering": 0.05}
    at = SECOND * (3 + seed % 3)
    faults = (
        Fault("slow", "b", at, 8 * SECOND, 20.0),
        Fault("crash", "c", at + 5 * SECOND, 4 * SECOND),
        Fault("slow", "a", at + 10 * SECOND, 6 * SECOND, 10.0),
        Fault("pause", "b", at + 18 * SECOND, 5 * SECOND),
        Fault("crash", "b", at + 25 * SECOND, 3 * SECOND),
    )
    return Scenario(
        "hostile",
        model((2000, 3000, 2000)),
        nodes,
        tuple(Link(one, other, (one, other), **wrong) for one, other in ends),
        (Workload("a", "poisson", rate_hz=40.0),),
        faults=faults,
        mode="chaos",
        duration_us=40 * SECOND,
        heal_us=45 * SECOND,
        is_disturbed=True,
        replanning=Replanning(1, 500_000, 0.05, 1),
    )


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_whatever_goes_wrong(seed):
    watcher, totals, _ = simulate(hostile(seed), seed, 30 * SECOND)
    assert watcher.outcome_count == sum(totals.sources[0].ended.values()) > 1000
    counters = {node.name: node.counters for node in totals.nodes}
    assert counters["a"]["placements_changed"] >= 2
