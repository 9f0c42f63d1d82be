"""The choice of exits and thresholds, against brute force."""

import itertools
import math

import numpy as np
import pytest
from calibration_cases import cases, random_costs, random_outcomes
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.errors import ConfigError
from edgesdk.outcomes import replay
from edgesdk.train.calibration.choice import (
    Candidate,
    Objective,
    candidates,
    check_objective,
    choose,
    pessimistic_loss,
    plans_of,
)
from edgesdk.train.calibration.costs import mean_cost, multiply_add_costs
from edgesdk.train.calibration.thresholds import compares, family, fits, kinds, loss_curves


def brute_force(outcomes, costs, kind):
    """(policy, plan, cost, lost, gained) of everything that can be chosen, image by image."""
    curves = loss_curves(outcomes, kind)
    early = range(outcomes.exit_count - 1)
    for kept in itertools.product((False, True), repeat=outcomes.exit_count - 1):
        plan = tuple(index for index in early if kept[index]) + (outcomes.exit_count - 1,)
        if not fits(kind, plan, outcomes.exit_count):
            continue
        for policy in family(kind, curves, plan, outcomes.exit_count, costs):
            replayed = replay(outcomes, policy, plan)
            cost = mean_cost(replayed, plan, costs, compares(kind))
            lost = gained = 0
            for image, left in enumerate(replayed.exit_index):
                right = outcomes.prediction[image, left] == outcomes.label[image]
                final = outcomes.prediction[image, -1] == outcomes.label[image]
                lost, gained = lost + (final and not right), gained + (right and not final)
            loss = lost - gained + 2 * math.sqrt(lost + gained)
            yield cost, 100 * loss / outcomes.image_count


@pytest.mark.parametrize("kind", kinds())
@settings(max_examples=4)
@given(case=cases(3), points=st.floats(0, 40))
def test_the_choice_is_the_cheapest_within_the_loss_that_is_allowed(kind, case, points):
    outcomes, costs = case
    found = candidates(outcomes, kind, plans_of(outcomes.exit_count), costs)
    every = list(brute_force(outcomes, costs, kind))
    assert len(every) == len(found)
    if not every:
        assert kind == "difference"  # a network without an early exit
        return
    allowed = [cost for cost, loss in every if loss <= points]
    assert choose(found, Objective(points), "us").cost == pytest.approx(min(allowed))


@pytest.mark.parametrize("kind", ["max_probability", "patience", "similarity"])
@settings(max_examples=4)
@given(case=cases(3), share=st.floats(0.3, 1.2))
def test_the_choice_loses_least_within_the_budget(kind, case, share):
    outcomes, costs = case
    budget = share * costs.stages_until((outcomes.exit_count - 1,))[-1]
    found = candidates(outcomes, kind, plans_of(outcomes.exit_count), costs)
    every = list(brute_force(outcomes, costs, kind))
    allowed = [loss for cost, loss in every if cost <= budget]
    if allowed:
        best = choose(found, Objective(budget=budget), "us")
        assert best.pessimistic_loss_points == pytest.approx(min(allowed))
        assert best.cost <= budget
    else:
        nearest = min(cost for cost, _ in every)
        with pytest.raises(ConfigError, match=f"no plan meets it; .* needs {nearest:.0f} us"):
            choose(found, Objective(budget=budget), "us")


@given(cases())
@settings(max_examples=20)
def test_whatever_is_allowed_nothing_costs_more_than_the_uncut_network(case):
    outcomes, costs = case
    last = outcomes.exit_count - 1
    uncut = costs.stages_until((last,))[-1] + costs.heads_each(False)[last]
    found = candidates(outcomes, "entropy", plans_of(outcomes.exit_count), costs)
    assert choose(found, Objective(0.0), "us").cost <= uncut + 1e-9


@given(cases())
@settings(max_examples=20)
def test_more_allowed_loss_never_costs_more(case):
    outcomes, costs = case
    found = candidates(outcomes, "margin", plans_of(outcomes.exit_count), costs)
    chosen = [choose(found, Objective(points), "us").cost for points in (0, 1, 5, 100)]
    assert chosen == sorted(chosen, reverse=True)


def test_with_nothing_to_lose_no_image_of_the_split_is_lost():
    outcomes = random_outcomes(0)
    never_wrong = outcomes._replace(label=outcomes.prediction[:, 3])
    found = candidates(never_wrong, "max_probability", plans_of(4), random_costs(0))
    chosen = choose(found, Objective(0.0), "us")
    assert chosen.accuracy == 1
    assert chosen.pessimistic_loss_points == 0


def test_an_exit_that_costs_more_than_it_saves_is_merged_away():
    outcomes = random_outcomes(0, 400, skill=8)
    cheap = multiply_add_costs((100, 100, 100, 100), (0, 0, 0, 0))
    dear = cheap._replace(heads=(0.0, 1000.0, 0.0, 0.0))
    plans = plans_of(4)
    with_cheap = choose(candidates(outcomes, "margin", plans, cheap), Objective(5.0), "us")
    with_dear = choose(candidates(outcomes, "margin", plans, dear), Objective(5.0), "us")
    assert 1 in with_cheap.exit_indices
    assert 1 not in with_dear.exit_indices


def test_a_cut_that_costs_more_than_its_exit_saves_is_not_made():
    outcomes = random_outcomes(0, 400, skill=8)
    free = multiply_add_costs((100, 100, 100, 100), (0, 0, 0, 0))
    chosen = [
        choose(
            candidates(outcomes, "margin", plans_of(4), free._replace(stage=stage)),
            Objective(1.0),
            "us",
        )
        for stage in (0.0, 1e6)
    ]
    assert len(chosen[0].exit_indices) > 2
    assert chosen[1].exit_indices == (3,)


def test_what_is_chosen_on_one_half_holds_on_the_other():
    """Ten draws; the mean loss on unseen images stays within the point that is allowed."""
    costs = multiply_add_costs((100, 100, 100, 100), (1, 1, 1, 1))
    lost, saved = [], []
    for seed in range(10):
        seen, unseen = (
            random_outcomes(seed, 1000, skill=2),
            random_outcomes(900 + seed, 1000, skill=2),
        )
        one = choose(candidates(seen, "margin", plans_of(4), costs), Objective(1.0), "us")
        replayed = replay(unseen, one.policy, one.exit_indices)
        right = unseen.correct[np.arange(1000), replayed.exit_index].mean()
        lost.append(100 * (unseen.correct[:, -1].mean() - right))
        saved.append(1 - mean_cost(replayed, one.exit_indices, costs) / 401)
    assert np.mean(lost) < 1.0
    assert np.mean(saved) > 0.1


@pytest.mark.parametrize(
    ("lost", "gained", "expected"),
    [(0, 0, 0.0), (4, 0, 8.0), (0, 4, 0.0), (7, 9, 6.0), (0, 9, -3.0)],
)
def test_two_standard_deviations_are_held_back(lost, gained, expected):
    assert pessimistic_loss(lost, gained) == expected


def test_plans_are_every_set_of_exits_with_the_final_one():
    assert plans_of(1) == [(0,)]
    assert plans_of(3) == [(2,), (0, 2), (1, 2), (0, 1, 2)]
    assert len(plans_of(7)) == 64


def test_more_exits_than_can_be_tried_are_refused():
    with pytest.raises(ConfigError, match="found 11 early exits, expected at most 10"):
        plans_of(12)


@pytest.mark.parametrize("points", [-0.1, 100.1, float("nan"), float("inf")])
def test_a_loss_outside_0_to_100_points_is_refused(points):
    with pytest.raises(ConfigError, match=r"max_loss_points: found .*, expected 0 to 100"):
        check_objective(Objective(points))


@pytest.mark.parametrize("budget", [0, -5, float("nan"), float("inf")])
def test_a_budget_that_is_no_amount_is_refused(budget):
    with pytest.raises(ConfigError, match=r"budget: found .*, expected a number above 0"):
        check_objective(Objective(budget=budget))


@pytest.mark.parametrize("objective", [Objective(), Objective(1.0, 100.0)])
def test_an_objective_is_one_of_two(objective):
    with pytest.raises(ConfigError, match="expected either max_loss_points or a budget"):
        check_objective(objective)


def test_of_equals_the_one_that_loses_less_is_chosen():
    found = [Candidate(None, (1,), 5.0, 0.9, loss) for loss in (0.5, 0.2, 0.4)]
    assert choose(found, Objective(1.0), "us").pessimistic_loss_points == 0.2


def test_of_equals_the_one_with_fewer_exits_is_chosen():
    found = [Candidate(None, exits, 5.0, 0.9, 0.1) for exits in ((0, 1, 3), (0, 3), (0, 2, 3))]
    assert choose(found, Objective(1.0), "us").exit_indices == (0, 3)
