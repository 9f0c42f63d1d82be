"""Many small worlds in which much goes wrong, the checks that watch them, and mistakes planted."""

import pytest
from planted_bugs import PLANTED

from edgesdk.sim import trial
from edgesdk.sim.chaos import draw

SEEDS = 300
SEEDS_TO_FIND_A_BUG = 1000


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_every_check_holds_in_every_world(first):
    found = [trial.run(seed) for seed in range(first, first + 50)]
    failures = ["seed {}: {}".format(one.seed, one.failure) for one in found if one.failure]
    assert not failures, "\n".join(failures)
    assert sum(one.outcome_count for one in found) > 1000


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant, monkeypatch):
    plant(monkeypatch)
    assert any(trial.run(seed).failure for seed in range(SEEDS_TO_FIND_A_BUG))


def test_equal_seeds_draw_equal_worlds():
    assert repr(draw(5)) == repr(draw(5))
    assert repr(draw(5)) != repr(draw(6))


def test_worlds_differ_in_what_goes_wrong():
    worlds = [draw(seed) for seed in range(200)]
    kinds = {fault.kind for world in worlds for fault in world.faults}
    assert kinds == {"crash", "pause", "slow", "fail", "cut", "reset", "loss", "rate"}
    assert {world.mode for world in worlds} == {"tcp", "chaos"}
    assert {world.is_disturbed for world in worlds} == {True, False}
    assert any(not world.faults for world in worlds)
    assert any(node.leave_us for world in worlds for node in world.nodes)
    assert any(len(world.workloads) == 2 for world in worlds)


def test_a_finding_can_be_replayed():
    first, second = (trial.run(3, trace=True) for _ in range(2))
    assert first.trace_hash == second.trace_hash != ""
    assert first == second


def test_a_failing_world_is_made_small(monkeypatch):
    from planted_bugs import accepted_before_it_is_queued

    accepted_before_it_is_queued(monkeypatch)
    seed = next(seed for seed in range(1000) if trial.run(seed).failure and draw(seed).faults)
    cuts = trial.shrink(seed, lambda cuts: bool(trial.run(seed, cuts).failure))
    world = trial.cut(draw(seed), cuts)
    assert trial.run(seed, cuts).failure
    assert world.faults == ()
    assert max(workload.item_count for workload in world.workloads) < 100
