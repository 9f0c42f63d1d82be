"""Nodes that go and come back: when, how, and that no item suffers."""

import pytest
from worlds import LOCAL, world

from edgesdk.errors import ConfigError
from edgesdk.sim.checkers import Checks
from edgesdk.sim.scenario import parse_scenario
from edgesdk.sim.simulator import Simulator

REST_US = 15_000_000
FLEET = dict(
    LOCAL,
    topology="radio",
    duration_s=4,
    node=[{"name": "camera", "count": 2}, {"name": "board", "count": 8}],
    workload=[{"source": "camera", "kind": "poisson", "rate_hz": 150}],
    churn={"up_s": 1, "down_s": 0.5},
)
SLOW = {  # so that work is sent away, and lost on the way
    "stage_us": [1000, 6000, 9000],
    "feature_bytes": [1000, 20000, 30000],
    "policy": {"kind": "max_probability", "thresholds": 0.8},
    "exit_shares": [0.1, 0.3, 0.6],
    "exit_accuracy": [0.6, 0.7, 0.9],
}


def fleet(**changes):
    return parse_scenario(world(FLEET, **changes), "")


def refusal(**changes):
    with pytest.raises(ConfigError) as caught:
        fleet(**changes)
    return str(caught.value)


class TestWhenTheyGo:
    def test_they_go_and_come_back_in_turn(self):
        for name in {fault.where for fault in fleet().faults}:
            own = [fault for fault in fleet().faults if fault.where == name]
            for before, after in zip(own, own[1:]):
                assert before.at_us + before.duration_us < after.at_us

    def test_all_are_back_when_the_scenario_ends(self):
        ends = [fault.at_us + fault.duration_us for fault in fleet().faults]
        assert max(ends) <= 4_000_000

    def test_and_when_it_heals(self):
        ends = [fault.at_us + fault.duration_us for fault in fleet(heal_s=2).faults]
        assert max(ends) <= 2_000_000

    def test_about_as_often_as_they_shall(self):
        churn = {"up_s": 2, "down_s": 1}
        faults = fleet(duration_s=600, churn=churn).faults
        assert len(faults) == pytest.approx(8 * 600 / 3, rel=0.1)
        mean_us = sum(fault.duration_us for fault in faults) / len(faults)
        assert mean_us == pytest.approx(1e6, rel=0.1)

    def test_sources_stay(self):
        assert {fault.where for fault in fleet().faults} <= {"board" + str(i) for i in range(1, 9)}

    def test_unless_they_are_named(self):
        churn = {"up_s": 0.2, "down_s": 0.1, "nodes": ["camera", "board3"]}
        assert {f.where for f in fleet(churn=churn).faults} == {"camera1", "camera2", "board3"}

    @pytest.mark.parametrize(("share", "kinds"), [(0, {"leave"}), (1, {"crash"})])
    def test_by_a_crash_or_gracefully(self, share, kinds):
        found = fleet(churn={"up_s": 1, "down_s": 1, "crash_share": share}).faults
        assert {fault.kind for fault in found} == kinds

    def test_the_seed_is_its_own(self):
        again = fleet(churn={"up_s": 1, "down_s": 0.5, "seed": 1}).faults
        assert fleet().faults == fleet().faults != again

    def test_beside_other_faults(self):
        pause = {"kind": "pause", "where": "camera1", "at_s": 1, "duration_s": 1}
        assert fleet(fault=[pause]).faults[1:] == fleet().faults


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_every_admitted_item_has_exactly_one_outcome(share):
    churn = {"up_s": 0.8, "down_s": 0.4, "crash_share": share}
    scenario = fleet(model=SLOW, churn=churn, grace_s=100)
    checks = Checks(scenario)
    simulator = Simulator(scenario, 3, observer=checks)
    checks.watch(simulator)
    totals = simulator.run(linger_us=REST_US)
    checks.check_end()
    sources = totals.sources
    assert sum(source.submitted_count for source in sources) == checks.outcome_count > 1000
    assert [source.open_count + source.lost_count for source in sources] == [0, 0]
    gone = [name for node in totals.nodes for name in node.counters if name == "sessions_lost.left"]
    assert bool(gone) == (share < 1)


def test_who_has_left_comes_back_and_works():
    leaves = {"kind": "leave", "where": "board1", "at_s": 1, "duration_s": 1}
    nodes = [{"name": "camera", "count": 1}, {"name": "board", "count": 1}]
    workload = [{"source": "camera", "kind": "poisson", "rate_hz": 60}]
    busy = []
    for faults in ([], [leaves], [dict(leaves, duration_s=2.9)]):
        changes = {"model": SLOW, "node": nodes, "workload": workload, "fault": faults}
        scenario = fleet(churn=None, **changes)
        totals = Simulator(scenario, 0, trace=False).run()
        busy.append(totals.nodes[1].busy_us)
    assert busy[0] > busy[1] > 1.2 * busy[2] > 0


def test_a_crash_ends_the_leave_that_it_meets():
    leaves = {"kind": "leave", "where": "board1", "at_s": 1, "duration_s": 1}
    crash = {"kind": "crash", "where": "board1", "at_s": 1.5}
    nodes = [{"name": "camera", "count": 1}, {"name": "board", "count": 1}]
    scenario = fleet(node=nodes, churn=None, fault=[leaves, crash])
    simulator = Simulator(scenario, 0, trace=False)
    simulator.run()
    assert not simulator.bodies[1].is_up


def test_equal_seeds_equal_runs():
    runs = [Simulator(fleet(), seed).run().trace_hash for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("churn", "begins", "says"),
    [
        ({"down_s": 1}, "churn.up_s: missing", ""),
        ({"up_s": 0, "down_s": 1}, "churn.up_s: found 0", "above 0"),
        ({"up_s": 1, "down_s": 1, "rate": 2}, "churn.rate: unknown key", "crash_share"),
        ({"up_s": 1, "down_s": 1, "crash_share": 2}, "churn.crash_share: found 2", "to 1"),
        ({"up_s": 1, "down_s": 1, "nodes": ["x"]}, "churn.nodes[0]: found 'x'", "board, camera"),
        ({"up_s": 1, "down_s": 1, "nodes": []}, "churn.nodes: found []", "at least 1"),
    ],
)
def test_mistakes(churn, begins, says):
    message = refusal(churn=churn)
    assert message.startswith(begins) and says in message
