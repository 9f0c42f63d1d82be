"""Families of thresholds, and the model of a loss behind them."""

import numpy as np
import pytest
from calibration_cases import cases, random_outcomes
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.core.exits import POLICIES
from edgesdk.outcomes import replay
from edgesdk.train.calibration.choice import candidate, plans_of
from edgesdk.train.calibration.costs import mean_cost, multiply_add_costs
from edgesdk.train.calibration.thresholds import (
    DECIMALS,
    LossCurve,
    bounds,
    compares,
    family,
    fits,
    kinds,
    loss_curve,
    loss_curves,
    sureness,
)

EVERY_KIND = pytest.mark.parametrize("kind", kinds())
COSTS = multiply_add_costs((100, 200, 400, 800), (1, 2, 3, 4))


def tried(kind, outcomes, plan, costs=COSTS):
    return list(family(kind, loss_curves(outcomes, kind), plan, outcomes.exit_count, costs))


def test_every_policy_that_has_thresholds_is_calibrated():
    assert set(kinds()) == {kind for kind in POLICIES if hasattr(POLICIES[kind], "never")}


@EVERY_KIND
def test_a_family_reaches_from_nobody_leaves_to_everybody_leaves_at_once(kind):
    outcomes = random_outcomes(0)
    plan = (0, 1, 2, 3)
    careful, *_, careless = tried(kind, outcomes, plan)
    first = 1 if compares(kind) else 0  # comparisons need a second exit
    assert (replay(outcomes, careful, plan).exit_index == 3).all()
    left = replay(outcomes, careless, plan).exit_index
    comparable = np.ones(len(left), bool)
    if compares(kind):  # NaN never leaves; an output at a right angle has difference +inf
        comparable = ~np.isnan(getattr(outcomes, kind)[:, 1])
    assert (left[comparable] == first).all()


@EVERY_KIND
def test_a_family_leaves_sooner_and_sooner(kind):
    outcomes, plan = random_outcomes(3, 300), (0, 1, 2, 3)
    costs = [
        replay(outcomes, policy, plan).exit_index.mean() for policy in tried(kind, outcomes, plan)
    ]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) >= {"patience": 3, "difference": 5}.get(kind, 10)


@EVERY_KIND
@settings(max_examples=15)
@given(case=cases())
def test_all_images_at_once_equal_the_policy_that_folds_over_each(kind, case):
    """The vectorised evaluation of choice.candidate is outcomes.replay."""
    outcomes, costs = case
    for plan in plans_of(outcomes.exit_count):
        if not fits(kind, plan, outcomes.exit_count):
            continue
        scores = sureness(outcomes, kind, plan)
        for policy in tried(kind, outcomes, plan, costs)[::9]:
            found = candidate(outcomes, policy, plan, costs, scores)
            replayed = replay(outcomes, policy, plan)
            expected = mean_cost(replayed, plan, costs, compares(kind))
            assert found.cost == pytest.approx(expected)
            rows = np.arange(outcomes.image_count)
            assert found.accuracy == outcomes.correct[rows, replayed.exit_index].mean()


@EVERY_KIND
def test_thresholds_fit_their_plan_and_a_manifest_shows_them_exactly(kind):
    outcomes = random_outcomes(5)
    for plan in plans_of(4):
        if fits(kind, plan, 4):
            for policy in tried(kind, outcomes, plan):
                policy.check(4, plan)
                finite = [value for value in policy.thresholds if np.isfinite(value)]
                assert [round(value, DECIMALS) for value in finite] == finite


def test_a_comparison_needs_the_exit_it_compares_with():
    assert fits("difference", (0, 3), 4)
    assert not fits("difference", (1, 3), 4)
    assert not fits("difference", (3,), 4)
    assert fits("similarity", (0, 1, 2, 3), 4)
    assert not fits("similarity", (0, 1, 3), 4)
    assert fits("max_probability", (3,), 4)
    assert fits("patience", (3,), 4)


def test_a_score_that_is_not_a_number_is_never_sure():
    outcomes = random_outcomes(0)
    outcomes.margin[7, 1] = np.nan
    assert sureness(outcomes, "margin", (1, 3))[7, 0] == -np.inf


def test_the_lower_the_entropy_the_surer():
    outcomes = random_outcomes(0)
    assert (sureness(outcomes, "entropy", (0, 3))[:, 0] == -outcomes.entropy[:, 0]).all()


def test_patience_counts_equal_predictions_at_the_exits_of_the_plan():
    outcomes = random_outcomes(0, count=1)
    outcomes.prediction[0] = [2, 1, 2, 2]
    assert sureness(outcomes, "patience", (0, 1, 2, 3)).tolist() == [[1, 1, 1]]
    assert sureness(outcomes, "patience", (0, 2, 3)).tolist() == [[1, 2]]


# --- the model of a loss ------------------------------------------------------------------------


def test_the_curve_finds_the_probability_it_was_drawn_from():
    random = np.random.RandomState(0)
    scores = random.rand(20000)
    logit = np.log(scores / (1 - scores))
    lost = random.rand(20000) < 1 / (1 + np.exp(-(-2.0 - 1.5 * logit)))
    curve = loss_curve(scores, lost)
    assert curve.intercept == pytest.approx(-2.0, abs=0.1)
    assert curve.slope == pytest.approx(-1.5, abs=0.1)
    at_half = 1 / (1 + np.exp(2.0))
    assert curve.threshold(at_half) == pytest.approx(0.5, abs=0.03)


def test_only_the_order_of_scores_matters():
    random = np.random.RandomState(1)
    scores, lost = random.rand(300), random.rand(300) < 0.2
    one, cubed = loss_curve(scores, lost), loss_curve(scores**3, lost)
    assert one[:2] == pytest.approx(cubed[:2])
    assert cubed.threshold(0.2) == pytest.approx(one.threshold(0.2) ** 3, abs=0.02)


@pytest.mark.parametrize("lost", [False, True])
def test_a_curve_stays_finite_where_all_or_nothing_was_lost(lost):
    curve = loss_curve(np.arange(50.0), np.full(50, lost))
    assert np.isfinite([curve.intercept, curve.slope]).all()
    if lost:
        assert curve.threshold(0.01) == np.inf
    else:
        assert curve.threshold(0.5) == -np.inf


def test_a_score_that_is_surest_when_it_is_wrong_is_no_reason_to_leave_early():
    scores = np.arange(200.0)
    curve = loss_curve(scores, scores > 180)
    assert curve.slope < 0
    assert curve.threshold(0.01) == np.inf


def test_a_single_image_gives_a_curve():
    assert np.isfinite(loss_curve(np.array([0.3]), np.array([True]))[:2]).all()


def test_scores_that_are_all_equal_leave_together_or_not_at_all():
    curve = loss_curve(np.full(40, 0.5), np.arange(40) < 4)
    for probability in (0.001, 0.1, 0.5, 0.999):
        left = (np.full(40, 0.5) > curve.threshold(probability)).sum()
        assert left in (0, 40)


@given(st.floats(0, 1), st.floats(0, 1))
def test_whoever_risks_more_asks_for_less(one, other):
    curve = LossCurve(-3.0, -1.0, np.linspace(0, 1, 101))
    low, high = sorted((one, other))
    assert curve.threshold(high) <= curve.threshold(low)


def test_the_bounds_of_a_policy_are_on_the_scale_of_sureness():
    outcomes = random_outcomes(0)
    entropy = tried("entropy", outcomes, (0, 1, 2, 3))[40]
    assert bounds(entropy, (0, 1, 2, 3)).tolist() == [-t for t in entropy.thresholds[:3]]
    similarity = tried("similarity", outcomes, (0, 1, 2, 3))[40]
    assert bounds(similarity, (0, 1, 2, 3)).tolist()[1:] == list(similarity.thresholds[:2])
