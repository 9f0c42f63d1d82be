"""What a plan expects is what the simulator finds, with the decisions of the real workers."""

import pytest
from placements import all_placements

from edgesdk.core.exits import MaxProbability
from edgesdk.core.offload import Offloading
from edgesdk.core.placement import (
    LATENCY,
    OBJECTIVES,
    THROUGHPUT,
    Problem,
    Site,
    Stage,
    evaluate,
    stages_of,
)
from edgesdk.core.placement import Link as Way
from edgesdk.core.placement_search import search
from edgesdk.sim.runs import run_scenario
from edgesdk.sim.scenario_model import synthetic_images
from edgesdk.sim.spec import Link, Model, Node, Part, Scenario, Workload

SHARES = (0.5, 0.3, 0.2)
BYTES = (20_000, 60_000, 30_000)
STAGE_US = (10_000, 30_000, 50_000)
SPEEDS = (1.0, 2.0, 4.0)
DELAY_US, BYTES_PER_S = 2_000, 5e6
# What goes with features and results; the scenario counts the same.
HEAD_BYTES, RESULT_BYTES = 130, 101


def problem(reach=(1.0, 0.5, 0.2)):
    """A source, a worker twice and one four times as fast, in a mesh."""
    way = Way(DELAY_US, BYTES_PER_S)
    return Problem(
        tuple(Stage(share, size + HEAD_BYTES) for share, size in zip(reach, BYTES)),
        tuple(
            Site(name, tuple(us / speed for us in STAGE_US), (1.0, 1.0, 1.0))
            for name, speed in zip("abc", SPEEDS)
        ),
        {(i, j): way for i in range(3) for j in range(3) if i != j},
        0,
        RESULT_BYTES,
    )


def simulated(placement, rate_hz, seconds=20):
    """The report of a run with the stages where `placement` says."""
    held = stages_of(placement, 3)
    images = synthetic_images((0, 1, 2), SHARES, (0.7, 0.8, 0.9), 0.8, 2000)
    model = Model((Part((0, 1, 2), STAGE_US, BYTES),), images, MaxProbability(0.8))
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    scenario = Scenario(
        "planned",
        model,
        tuple(Node(name, stages, speed) for name, stages, speed in zip("abc", held, SPEEDS)),
        tuple(Link(i, j, (i, j), DELAY_US, 0, BYTES_PER_S) for i, j in pairs),
        (Workload("a", "periodic", rate_hz),),
        duration_us=seconds * 1_000_000,
        offloading=Offloading(offload_inputs=True),
    )
    return run_scenario(scenario).total


@pytest.mark.parametrize("placement", [each for each, _ in all_placements(problem())][::5])
def test_latency_of_images_that_meet_no_other(placement):
    found = simulated(placement, 8.0)
    assert found.result_count > 150
    left = [found.exit_shares[index] for index in range(3)]  # of those that were drawn
    expected = evaluate(problem((1.0, 1 - left[0], left[2])), placement)
    mean_us = sum(found.latencies_us) / len(found.latencies_us)
    assert mean_us == pytest.approx(expected.latency_us, rel=0.01)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_as_many_images_as_there_can_be_and_no_more(objective):
    found = search(problem(), objective)
    most_hz = found.expected.throughput_per_s
    below = simulated(found.placement, 0.9 * most_hz)
    assert below.items_per_s == pytest.approx(0.9 * most_hz, rel=0.03)
    above = simulated(found.placement, 1.3 * most_hz)
    assert above.items_per_s == pytest.approx(most_hz, rel=0.07)


def test_the_best_of_each_is_the_best_when_it_runs():
    """The placements differ, and each is ahead in what it is for."""
    soon, many = search(problem(), LATENCY), search(problem(), THROUGHPUT)
    assert soon.placement != many.placement
    assert soon.expected.latency_us < many.expected.latency_us
    rate_hz = 0.95 * many.expected.throughput_per_s
    assert rate_hz > 1.1 * soon.expected.throughput_per_s
    assert simulated(many.placement, rate_hz).items_per_s > 0.97 * rate_hz
    assert simulated(soon.placement, rate_hz).items_per_s < 0.9 * rate_hz
