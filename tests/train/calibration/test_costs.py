"""What an image costs that leaves at an exit."""

import numpy as np
import pytest
from calibration_cases import random_outcomes
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.bundle import read_bundle
from edgesdk.core.exits import FinalExit, FixedExit, MaxProbability, RandomExit
from edgesdk.outcomes import replay
from edgesdk.train.calibration.costs import (
    Costs,
    Report,
    mean_cost,
    multiply_add_costs,
    report,
    spans,
)
from edgesdk.train.calibration.workflow import part_costs

COSTS = multiply_add_costs((100, 200, 400, 800), (1, 2, 3, 4))


def test_every_stage_a_plan_could_have_has_a_cost():
    assert spans(3) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert set(COSTS.spans) == set(spans(4))


def test_multiply_adds_of_merged_segments_add_up():
    assert COSTS.spans[1, 3] == 1400
    assert COSTS.stages_until((0, 1, 2, 3)).tolist() == [100, 300, 700, 1500]
    assert COSTS.stages_until((1, 3)).tolist() == [300, 1500]
    assert (COSTS.item, COSTS.stage, COSTS.head, COSTS.comparison) == (0, 0, 0, 0)


def test_the_runtime_adds_to_each_image_stage_head_and_comparison():
    costs = Costs("us", {(0, 0): 10.0, (1, 1): 20.0, (0, 1): 25.0}, (1.0, 2.0), 100, 5, 0.5, 3)
    assert costs.stages_until((0, 1)).tolist() == [115, 140]
    assert costs.stages_until((1,)).tolist() == [130]
    assert costs.heads_each(compares=False).tolist() == [1.5, 2.5]
    assert costs.heads_each(compares=True).tolist() == [4.5, 5.5]


def test_the_mean_cost_counts_stages_run_and_heads_evaluated():
    outcomes = random_outcomes(0, 10)
    everybody_at_2 = replay(outcomes, FixedExit(2), (0, 2, 3))
    assert mean_cost(everybody_at_2, (0, 2, 3), COSTS) == 700 + 3
    to_the_end = replay(outcomes, FinalExit(), (0, 1, 2, 3))
    assert mean_cost(to_the_end, (0, 1, 2, 3), COSTS) == 1500 + 4
    hopeful = replay(outcomes, MaxProbability([0.9999999, 1.0, 1.0, 0.0]), (0, 1, 2, 3))
    assert mean_cost(hopeful, (0, 1, 2, 3), COSTS) == 1500 + 1 + 4


@given(st.integers(0, 1000), st.sampled_from([(0, 1, 2, 3), (0, 3), (1, 2, 3)]))
def test_the_mean_cost_is_that_of_a_worker_which_counts_image_by_image(seed, plan):
    outcomes = random_outcomes(seed, 20)
    replayed = replay(outcomes, RandomExit(), plan, seed)
    part = read_part()
    total = sum(
        part.multiply_adds_until(left, tuple(np.flatnonzero(evaluated)))
        for left, evaluated in zip(replayed.exit_index.tolist(), replayed.evaluated)
    )
    assert mean_cost(replayed, plan, part_costs(part)) == pytest.approx(total / 20)


def read_part():
    """Four segments and exits of the shipped network."""
    part = read_bundle("engines/wrn16_1-digits/1").manifest.parts[0]
    return part._replace(segments=part.segments[:4], exits=part.exits[:4])


def test_a_report_counts_on_the_images_it_is_given():
    outcomes = random_outcomes(1, 40)
    replayed = replay(outcomes, FixedExit(1), (0, 1, 2, 3))
    found = report(outcomes, replayed, (0, 1, 2, 3), COSTS, None)
    assert found == Report(40, outcomes.correct[:, 1].mean(), (0, 1, 0, 0), 302, None)


def test_a_report_without_times_does_not_speak_of_them():
    assert "mean_us" not in Report(1, 1.0, (1.0,), 5.0, None).document()
    assert Report(1, 1.0, (1.0,), 5.0, 7.0).document()["mean_us"] == 7.0
