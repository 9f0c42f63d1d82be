"""Thresholds of ensembles: what is tried in one go is what students do one by one."""

import numpy as np
import pytest
from ensemble_cases import costs_of, random_features

from edgesdk.errors import ConfigError
from edgesdk.features import exits_of, gathered, outcomes_alone, replay_students
from edgesdk.train.calibration.choice import Candidate, Objective
from edgesdk.train.calibration.costs import image_costs
from edgesdk.train.calibration.ensemble_choice import (
    candidates,
    choose_all,
    leaving,
    losses,
    trial_of,
    typical_costs,
)
from edgesdk.train.calibration.ensemble_figures import report
from edgesdk.train.calibration.thresholds import bounds, kinds

DEPTHS = [(4, 4), (4, 2), (3,), (2, 3, 1)]


def trial(seed=0, depths=(4, 4), count=50):
    return trial_of(random_features(seed, count, depths).select("calibration"), costs_of(depths))


@pytest.mark.parametrize("depths", DEPTHS)
@pytest.mark.parametrize("kind", kinds())
def test_every_policy_tried_is_what_students_do_one_by_one(depths, kind):
    tried = trial(7, depths)
    scores = tried.scores(kind)
    found = candidates(tried, kind, losses(tried.features))
    for one in found[:: max(1, len(found) // 8)] + found[-1:]:
        replays = replay_students(outcomes_alone(tried.features), one.policy)
        exits, spent = leaving(tried, one.policy, scores)
        assert np.array_equal(exits, exits_of(replays))
        for index, (replayed, own) in enumerate(zip(replays, tried.costs)):
            expected = image_costs(replayed, range(depths[index]), own)
            assert spent[:, index] == pytest.approx(expected)
        figures = report(tried.features, replays, tried.costs)
        assert one.accuracy == figures.accuracy
        assert one.cost == pytest.approx(figures.mean_multiply_adds)
        assert one.exit_indices == tuple(range(max(depths)))


@pytest.mark.parametrize("kind", kinds())
def test_families_go_from_nobody_to_everybody(kind):
    tried = trial(1)
    found = candidates(tried, kind, losses(tried.features))
    last = np.full(2, 3)
    early = 1 if kind in ("difference", "similarity") else 0
    exits = [leaving(tried, one.policy, tried.scores(kind))[0] for one in found]
    assert any(np.array_equal(each, np.broadcast_to(last, each.shape)) for each in exits)
    assert any((each == early).all() for each in exits)
    assert len({one.cost for one in found}) > 3
    thresholds = [one.policy.thresholds for one in found]
    assert len(set(thresholds)) == len(thresholds)


def test_an_image_is_lost_where_leaving_makes_a_right_answer_wrong():
    features = random_features(3, 30, (3, 2), skill=1.0)
    single, together = losses(features)
    assert (
        [lost.shape for lost in single] == [lost.shape for lost in together] == [(60, 2), (60, 1)]
    )

    def right(image, *exits):
        return gathered(features, np.array(exits))[image].argmax() == features.label[image]

    for image in range(60):
        final = right(image, 2, 1)
        assert single[0][image].tolist() == [final and not right(image, j, 1) for j in (0, 1)]
        assert single[1][image].tolist() == [final and not right(image, 2, 0)]
        branches = [final and not right(image, j, min(j, 1)) for j in (0, 1)]
        assert together[0][image].tolist() == branches
        assert together[1][image].tolist() == branches[:1]
    assert single[0].any() and together[1].any()


def test_one_student_alone_is_a_plain_network():
    single, together = losses(random_features(3, 30, (4,)))
    assert np.array_equal(single[0], together[0]) and single[0].any()


def test_typical_costs_are_means_of_those_that_have_the_segment():
    first, second = costs_of((3, 2))
    found = typical_costs((first, second))
    assert found.spans[0, 0] == (50 + 100) / 2
    assert found.spans[2, 2] == 100
    assert found.heads == (7.5, 7.5, 7)


def test_the_main_policy_is_the_best_of_all_kinds():
    tried = trial(5, count=300)
    lost = losses(tried.features)
    found = {kind: candidates(tried, kind, lost) for kind in kinds()}
    chosen = choose_all(found, Objective(max_loss_points=5), "multiply-adds")
    assert set(chosen) == set(kinds())
    costs = [one.cost for one in chosen.values()]
    assert costs[0] == min(costs) and len(set(costs)) > 1
    for kind, one in chosen.items():
        assert one.policy.kind == kind and one.pessimistic_loss_points <= 5
        cheaper = [each for each in found[kind] if each.cost < one.cost - 1e-6]
        assert all(each.pessimistic_loss_points > 5 for each in cheaper)


def test_kinds_without_a_policy_within_the_budget_are_left_out():
    policies = {kind: candidates(trial(), kind, losses(trial().features))[0] for kind in kinds()}

    def costing(kind, cost):
        return [Candidate(policies[kind].policy, (0, 1, 2, 3), cost, 0.9, 1.0)]

    tried = {kind: costing(kind, 10 if kind in ("margin", "entropy") else 99) for kind in kinds()}
    assert list(choose_all(tried, Objective(budget=50), "x")) == ["margin", "entropy"]
    with pytest.raises(ConfigError, match=r"found 5 x per image, .* needs 10 x"):
        choose_all(tried, Objective(budget=5), "x")


def test_a_shallow_student_is_bound_by_the_thresholds_of_its_own_exits():
    tried = trial(7, (4, 2))
    margins, seen = tried.alone[1].margin[:, 0], set()
    for one in candidates(tried, "margin", losses(tried.features)):
        exits, _ = leaving(tried, one.policy, tried.scores("margin"))
        sure = margins > bounds(one.policy, (0, 1, 2, 3))[0]
        assert np.array_equal(exits[:, 1] == 0, sure)
        seen.add(sure.sum())
    assert len(seen) > 3
