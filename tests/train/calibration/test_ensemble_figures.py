"""Figures of an ensemble: by hand, and against every mixture tried one by one."""

import itertools

import numpy as np
import pytest
import tiny_ensemble as te
from ensemble_cases import costs_of, random_features

from edgesdk import CosineDifference, RandomExit
from edgesdk.features import accuracy, exits_of, gathered, outcomes_alone, replay_students
from edgesdk.outcomes import Replay
from edgesdk.train.calibration.costs import multiply_add_costs
from edgesdk.train.calibration.ensemble_figures import (
    forced,
    is_right,
    oracle,
    random_report,
    report,
    student_costs,
)


def spent_on(exits, costs):
    """Of one student, for one mixture: segments up to the exit and its own head."""
    each = [
        own.spans[0, left] + own.heads[left]
        for own, left in zip(costs, np.minimum(exits, [len(own.heads) - 1 for own in costs]))
    ]
    return float(np.mean(each))


def test_a_student_costs_its_segments_its_heads_and_its_view_of_the_classes(tmp_path):
    costs = student_costs(te.write_tiny_ensemble(tmp_path / "ensemble").manifest)
    assert [own.heads for own in costs] == [(4 + 8 / 2,) * 3] * 2
    assert costs[0].spans[0, 2] == 300


def test_figures_are_those_of_two_images_by_hand():
    features = random_features(0, 1, (3, 2))
    costs = (
        multiply_add_costs([100, 200, 400], [1, 2, 3]),
        multiply_add_costs([10, 20], [5, 5]),
    )
    replays = [
        Replay(np.array([0, 2]), np.array([[True, False, False], [True, False, True]])),
        Replay(np.array([1, 0]), np.array([[True, True], [True, False]])),
    ]
    found = report(features, replays, costs)
    assert found.image_count == 2
    assert found.share_per_exit == ((0.5, 0, 0.5), (0.5, 0.5))
    of_first, of_second = (101, 700 + 1 + 3), (30 + 10, 15)
    assert found.mean_multiply_adds == np.mean([of_first, of_second])
    assert found.slowest_multiply_adds == (101 + 704) / 2
    assert found.accuracy == accuracy(features, np.array([[0, 1], [2, 0]]))


def test_forced_students_evaluate_no_head_on_the_way_a_shallow_one_gives_its_last():
    features = random_features(1, 3, (3, 2))
    first, second = forced(features, np.array([2, 2]))
    assert first.exit_index.tolist() == [2] * 6 and second.exit_index.tolist() == [1] * 6
    assert first.evaluated.tolist() == [[False, False, True]] * 6
    assert second.evaluated.tolist() == [[False, True]] * 6
    mixed = forced(features, np.array([[0, 1], [1, 0]] * 3))
    assert exits_of(mixed).tolist() == [[0, 1], [1, 0]] * 3


def test_heads_passed_can_be_left_out_as_in_the_papers_table():
    features = random_features(2, 20, (3, 3))
    costs = costs_of((3, 3))
    replays = replay_students(outcomes_alone(features), CosineDifference([1.0, 1.1, 1.0]))
    with_heads = report(features, replays, costs)
    without = report(features, forced(features, exits_of(replays)), costs)
    assert without.mean_multiply_adds < with_heads.mean_multiply_adds
    assert without._replace(mean_multiply_adds=0, slowest_multiply_adds=0) == (
        with_heads._replace(mean_multiply_adds=0, slowest_multiply_adds=0)
    )


def test_random_is_the_mean_over_all_exits_as_the_policy_draws_them():
    features, costs = random_features(3, 200, (4, 2)), costs_of((4, 2))
    found = random_report(features, costs)
    expected = report(features, replay_students(outcomes_alone(features), RandomExit()), costs)
    assert found.mean_multiply_adds == pytest.approx(expected.mean_multiply_adds, rel=0.05)
    assert found.slowest_multiply_adds == pytest.approx(expected.slowest_multiply_adds, rel=0.05)
    assert found.accuracy == pytest.approx(expected.accuracy, abs=0.06)
    assert found.share_per_exit[0] == pytest.approx([0.25] * 4, abs=0.02)
    assert found.share_per_exit[1] == pytest.approx([0.5] * 2, abs=0.02)
    assert found == random_report(features, costs) != random_report(features, costs, seed=1)


@pytest.mark.parametrize("depths", [(4,), (3, 2), (2, 3, 2)])
def test_the_oracle_is_the_cheapest_mixture_that_is_right(depths):
    features, costs = random_features(4, 40, depths, skill=0.6), costs_of(depths)
    mixtures = list(itertools.product(*map(range, depths)))
    right = np.stack([is_right(features, np.array(mixture)) for mixture in mixtures], axis=1)
    spent = np.array([spent_on(mixture, costs) for mixture in mixtures])
    assert 0 < right.any(axis=1).mean() < 1  # or half of it would not be seen
    for image, exits in enumerate(oracle(features, costs)):
        possible = spent[right[image]] if right[image].any() else spent
        assert spent_on(exits, costs) == possible.min()
        assert right[image, mixtures.index(tuple(exits))] == right[image].any()


def test_more_students_than_three_leave_in_groups_which_bounds_the_oracle_from_below():
    depths = (3, 2, 2, 3)
    features, costs = random_features(5, 40, depths, skill=0.3), costs_of(depths)
    found = oracle(features, costs)
    assert np.array_equal(np.minimum(found[:, 0], 1), found[:, 1])  # the two of one group
    exact = np.zeros(80, bool)
    cheapest = np.full(80, np.inf)
    for mixture in itertools.product(*map(range, depths)):
        right = is_right(features, np.array(mixture))
        exact |= right
        cheapest[right] = np.minimum(cheapest[right], spent_on(mixture, costs))
    right = is_right(features, found)
    assert not (right & ~exact).any() and right.sum() > exact.sum() / 2
    for image in np.flatnonzero(right):
        assert spent_on(found[image], costs) >= cheapest[image]


def test_whether_it_is_right_is_what_the_classifier_says():
    features = random_features(6, 20, (2, 2))
    exits = np.array([1, 0])
    expected = gathered(features, exits).argmax(axis=1) == features.label
    assert is_right(features, exits).tolist() == expected.tolist()
