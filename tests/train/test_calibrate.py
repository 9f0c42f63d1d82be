"""Thresholds chosen on one split hold on another."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesdk.core.events import Scores
from edgesdk.core.exits import MaxProbability
from edgesdk.errors import ConfigError
from edgesdk.train.calibrate import (
    LEAVES_ALWAYS,
    LOWEST,
    MARGIN_ODDS,
    OFF,
    Outcomes,
    allowed_losses,
    choose_thresholds,
    evaluate,
    outcomes,
)
from edgesdk.train.counting import Costs

COSTS = Costs((100, 200, 400), (10, 20, 30))


def random_split(seed, count, exits=3, correct_share=0.9):
    random = np.random.default_rng(seed)
    return Outcomes(
        1 - random.random((count, exits)) ** 2, random.random((count, exits)) < correct_share
    )


@st.composite
def splits(draw):
    return random_split(
        draw(st.integers(0, 2**32)),
        draw(st.integers(1, 300)),
        draw(st.integers(1, 5)),
        draw(st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0])),
    )


@st.composite
def splits_with_costs(draw):
    split = draw(splits())
    exits = split.correct.shape[1]
    numbers = st.lists(st.integers(0, 10**6), min_size=exits, max_size=exits)
    return split, Costs(tuple(draw(numbers)), tuple(draw(numbers)))


def lost_at(split, thresholds):
    """Images that leave at an exit that is wrong while the final exit is right."""
    leaves = split.max_probability > np.array(thresholds)
    leaves[:, -1] = True
    chosen = split.correct[np.arange(len(leaves)), leaves.argmax(1)]
    return int((split.correct[:, -1] & ~chosen).sum())


@given(splits_with_costs(), st.floats(0, 20))
@settings(max_examples=60, deadline=None)
def test_no_more_is_lost_on_the_split_than_allowed(case, points):
    split, costs = case
    thresholds = choose_thresholds(split, costs, points)
    assert lost_at(split, thresholds) <= allowed_losses(len(split.correct), points)
    final = split.correct[:, -1].mean()
    assert evaluate(split, thresholds, costs).accuracy >= final - points / 100 - 1e-9


@given(splits_with_costs(), st.floats(0, 20))
@settings(max_examples=60, deadline=None)
def test_early_exits_never_cost_more_than_the_final_exit_alone(case, points):
    split, costs = case
    thresholds = choose_thresholds(split, costs, points)
    alone = [OFF] * (len(thresholds) - 1) + [LEAVES_ALWAYS]
    found, final = (evaluate(split, t, costs).mean_multiply_adds for t in (thresholds, alone))
    assert found <= final * (1 + 1e-12)


@given(splits_with_costs())
@settings(max_examples=40, deadline=None)
def test_thresholds_are_probabilities_that_a_policy_accepts(case):
    split, costs = case
    thresholds = choose_thresholds(split, costs, 1.0)
    assert thresholds[-1] == LEAVES_ALWAYS
    assert all(LOWEST <= threshold <= OFF for threshold in thresholds[:-1])
    assert all(round(threshold, 6) == threshold for threshold in thresholds)
    MaxProbability(thresholds).check(len(thresholds), range(len(thresholds)))


@given(splits())
@settings(max_examples=30, deadline=None)
def test_more_allowed_loss_never_costs_more(split):
    costs = Costs((100,) * split.correct.shape[1], (5,) * split.correct.shape[1])
    found = [
        evaluate(split, choose_thresholds(split, costs, points), costs).mean_multiply_adds
        for points in (0, 2, 10)
    ]
    assert found == sorted(found, reverse=True)


@given(splits_with_costs())
@settings(max_examples=30, deadline=None)
def test_a_report_agrees_with_the_policy_of_the_runtime(case):
    split, costs = case
    thresholds = choose_thresholds(split, costs, 5.0)
    policy, last = MaxProbability(thresholds), len(thresholds) - 1
    exits, spent = [], []
    for probabilities in split.max_probability:
        cost = 0
        for index in range(last + 1):
            cost += costs.segments[index]
            if index == last or policy.evaluates(index, None):
                cost += costs.exits[index]
            scores = Scores(0, probabilities[index], 0.0, 0.0)
            if index == last or policy.step(index, scores, None)[0]:
                break
        exits.append(index)
        spent.append(cost)
    report = evaluate(split, thresholds, costs)
    assert report.mean_multiply_adds == pytest.approx(np.mean(spent))
    assert report.share_per_exit == pytest.approx(
        np.bincount(exits, minlength=last + 1) / len(exits)
    )
    assert report.accuracy == pytest.approx(split.correct[range(len(exits)), exits].mean())
    assert report.image_count == len(exits)


def test_with_nothing_to_lose_no_choice_of_exits_is_cheaper():
    split = random_split(3, 200, correct_share=0.97)
    chosen = choose_thresholds(split, COSTS, 0.0)
    safe = []
    for index in range(2):
        lost = split.correct[:, 2] & ~split.correct[:, index]
        odds = (
            MARGIN_ODDS * (split.max_probability / (1 - split.max_probability))[lost, index].max()
        )
        safe.append(odds / (1 + odds))
    cheapest = min(
        evaluate(split, (*(t if on else OFF for t, on in zip(safe, used)), 0.0), COSTS)
        .mean_multiply_adds
        for used in itertools.product([False, True], repeat=2)
    )  # fmt: skip
    assert evaluate(split, chosen, COSTS).mean_multiply_adds == pytest.approx(cheapest, rel=1e-3)


def test_an_image_that_would_be_lost_keeps_its_exit_at_a_distance():
    probability = np.full((50, 2), 0.99)
    correct = np.full((50, 2), True)
    probability[0, 0], correct[0, 0] = 0.6, False
    found = choose_thresholds(Outcomes(probability, correct), Costs((1, 9), (0, 0)), 0.0)
    assert found[0] == pytest.approx(MARGIN_ODDS * 0.6 / (0.4 + MARGIN_ODDS * 0.6), abs=2e-6)


def test_an_exit_that_is_surest_when_it_is_wrong_is_switched_off():
    probability = np.full((50, 2), 0.9)
    correct = np.full((50, 2), True)
    probability[0, 0], correct[0, 0] = 1.0, False
    found = choose_thresholds(Outcomes(probability, correct), Costs((1, 9), (1, 1)), 0.0)
    assert found == (OFF, LEAVES_ALWAYS)


def test_an_exit_whose_head_costs_more_than_it_saves_is_switched_off():
    everything_leaves_later = random_split(0, 100, correct_share=1.0)
    dear_head = Costs((100, 1, 10), (0, 500, 0))
    assert choose_thresholds(everything_leaves_later, dear_head, 0.0)[1] == OFF
    assert choose_thresholds(everything_leaves_later, dear_head, 0.0)[0] == LOWEST


def test_a_head_that_is_off_costs_nothing():
    split = random_split(0, 10)
    assert evaluate(split, (OFF, OFF, 0.0), COSTS).mean_multiply_adds == 700 + 30
    assert evaluate(split, (0.0, OFF, 0.0), COSTS).mean_multiply_adds == 100 + 10
    never_in_fact = evaluate(split, (0.9999999, OFF, 0.0), COSTS)
    assert never_in_fact.mean_multiply_adds == 700 + 10 + 30


def test_leaving_is_strict():
    split = Outcomes(np.array([[0.75, 0.9]]), np.array([[True, False]]))
    assert evaluate(split, (0.75, 0.0), Costs((1, 1), (0, 0))).share_per_exit == (0, 1)
    assert evaluate(split, (0.74, 0.0), Costs((1, 1), (0, 0))).share_per_exit == (1, 0)


@pytest.mark.parametrize(
    ("count", "points", "expected"), [(355, 0.5, 0), (5000, 0.5, 20), (1000, 0, 0), (100, 100, 90)]
)
def test_one_standard_deviation_of_the_losses_is_held_back(count, points, expected):
    assert allowed_losses(count, points) == expected


def test_an_allowance_is_spent_where_it_saves_most():
    """One loss is allowed. At exit 0 it frees 40 images, at exit 1 only one."""
    probability, correct = np.full((400, 3), 0.55), np.full((400, 3), True)
    probability[:, 0] = probability[:, 1] = 0.2
    probability[:40, 0], probability[40, 1] = 0.8, 0.8
    probability[100, 0], probability[100, 1] = 0.9, 0.9
    correct[100, :2] = False
    split = Outcomes(probability, correct)
    assert allowed_losses(400, 1.0) == 2
    with_none, with_some = (choose_thresholds(split, COSTS, points) for points in (0.0, 0.8))
    assert allowed_losses(400, 0.8) == 1
    assert evaluate(split, with_none, COSTS).share_per_exit == (0, 0, 1)
    assert with_some[0] == LOWEST
    assert evaluate(split, with_some, COSTS).share_per_exit[0] == 41 / 400


def test_outcomes_are_the_softmax_maximum_and_whether_its_class_is_right():
    logits = np.log(
        np.array([[[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]], [[0.2, 0.2, 0.6], [0, 1, 0]]]) + 1e-30
    )
    found = outcomes(logits.astype(np.float32), np.array([0, 1]))
    assert found.max_probability == pytest.approx(np.array([[0.7, 0.6], [0.5, 1.0]]))
    assert found.correct.tolist() == [[True, False], [True, True]]


def test_large_logits_do_not_overflow():
    found = outcomes(np.array([[[1e4, -1e4]]], np.float32), np.array([0]))
    assert found.max_probability.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.full((1, 1, 2), np.nan), [0]),
        (np.full((1, 1, 2), np.inf), [0]),
        (np.ones((1, 0, 2)), []),
    ],
)
def test_logits_that_cannot_be_judged_are_refused(logits, labels):
    with pytest.raises(ConfigError, match="expected at least one image and finite values"):
        outcomes(logits, np.array(labels, int))


@pytest.mark.parametrize("points", [-0.1, 100.1, float("nan")])
def test_a_loss_outside_0_to_100_points_is_refused(points):
    with pytest.raises(ConfigError, match="max_loss_points"):
        choose_thresholds(random_split(0, 5), COSTS, points)


def test_more_exits_than_can_be_tried_are_refused():
    with pytest.raises(ConfigError, match="found 13 early exits, expected at most 12"):
        choose_thresholds(random_split(0, 5, exits=14), COSTS, 1.0)
