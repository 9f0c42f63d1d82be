"""What each strategy does, phase by phase."""

import pytest

from edgesdk.train.strategies.phases import STRATEGIES, epochs_of


def told(name, count=3):
    return [
        (phase.depth, phase.learns, phase.loss, phase.distillation)
        for phase in STRATEGIES[name].phases(count)
    ]


def test_joint_training_is_one_phase_by_either_loss():
    assert told("joint") == [(3, "all", "sum", 0.0)]
    assert told("combined") == [(3, "all", "combined", 0.0)]


def test_branches_come_one_after_the_other_and_models_are_whole():
    assert told("branch-wise") == [(depth, "last", "sum", 0.0) for depth in (1, 2, 3)]
    assert told("separate") == [(depth, "backbone", "sum", 0.0) for depth in (1, 2, 3)]
    assert [name for name, each in STRATEGIES.items() if each.is_separate] == ["separate"]


def test_early_exits_come_behind_the_backbone_and_may_learn_from_it():
    assert told("two-stage") == [(3, "backbone", "sum", 0.0), (3, "exits", "sum", 0.0)]
    assert told("distillation") == [(3, "backbone", "sum", 0.0), (3, "exits", "sum", 0.5)]
    assert told("hybrid") == [(3, "all", "sum", 0.0), (3, "exits", "sum", 0.5)]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("count", [2, 5, 7])
@pytest.mark.parametrize("epochs", [7, 10, 100])
def test_epochs_are_shared_out_or_each_model_has_them_all(name, count, epochs):
    phases = STRATEGIES[name].phases(count)
    assert len({phase.name for phase in phases}) == len(phases)
    found = epochs_of(phases, epochs)
    whole = epochs * count if STRATEGIES[name].is_separate else epochs
    assert sum(found) == whole and min(found) >= 1


def test_with_too_few_epochs_every_phase_has_one():
    assert epochs_of(STRATEGIES["branch-wise"].phases(5), 2) == [1] * 5
