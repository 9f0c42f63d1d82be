"""Which exits to keep and where to set their thresholds: the best candidate within a limit.

Exits that are off cost nothing: the segments around them merge into one stage of the plan. So every
set of exits is a plan with costs of its own, and for each the family of `thresholds` is tried from
careful to careless. With at most `EARLY_EXITS_MAX` exits all of it is tried.

A split flatters whatever is fitted to it. The loss that counts is therefore pessimistic: images
lost, less images gained, plus two standard deviations of that difference. Both counts are Poisson,
so its deviation is the root of their sum.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple, Optional

import numpy as np

from ...core.exits import ThresholdPolicy
from ...errors import ConfigError
from ...outcomes import Outcomes
from .costs import Costs
from .thresholds import bounds, compares, family, fits, loss_curves, sureness

EARLY_EXITS_MAX = 10  # 2 ** 10 plans
DEVIATIONS_HELD_BACK = 2.0
COST_DECIMALS = 6  # sums in another order are the same cost


class Candidate(NamedTuple):
    """A policy on a plan with `exit_indices`: mean cost per image, accuracy 0..1, and the loss
    against the final exit that must be reckoned with, in percent points."""

    policy: ThresholdPolicy
    exit_indices: tuple[int, ...]
    cost: float
    accuracy: float
    pessimistic_loss_points: float


class Objective(NamedTuple):
    """Either the least cost that loses at most `max_loss_points`, or the least loss whose mean
    cost is at most `budget`."""

    max_loss_points: Optional[float] = None
    budget: Optional[float] = None


def check_objective(objective: Objective) -> None:
    """Raise ConfigError unless the objective is one of the two, with a possible number."""
    points, budget = objective
    if (points is None) == (budget is None):
        raise ConfigError("objective: expected either max_loss_points or a budget")
    if points is not None and not 0 <= points <= 100:
        raise ConfigError(f"max_loss_points: found {points}, expected 0 to 100")
    if budget is not None and not 0 < budget < math.inf:
        raise ConfigError(f"budget: found {budget}, expected a number above 0")


def plans_of(exit_count: int) -> list[tuple[int, ...]]:
    """The exits of every plan, those with few first. Raises ConfigError if they are too many."""
    early = exit_count - 1
    if early > EARLY_EXITS_MAX:
        raise ConfigError(f"found {early} early exits, expected at most {EARLY_EXITS_MAX}")
    return [
        (*chosen, early) for size in range(early + 1) for chosen in combinations(range(early), size)
    ]


def candidates(
    outcomes: Outcomes, kind: str, plans: Iterable[Sequence[int]], costs: Costs
) -> list[Candidate]:
    """Every policy of the family of `kind` on every one of `plans` that it fits."""
    curves = loss_curves(outcomes, kind)
    found = []
    for exit_indices in plans:
        if not fits(kind, exit_indices, outcomes.exit_count):
            continue
        scores = sureness(outcomes, kind, exit_indices)
        for policy in family(kind, curves, exit_indices, outcomes.exit_count, costs):
            found.append(candidate(outcomes, policy, exit_indices, costs, scores))
    return found


def candidate(
    outcomes: Outcomes,
    policy: ThresholdPolicy,
    exit_indices: Sequence[int],
    costs: Costs,
    scores: np.ndarray,
) -> Candidate:
    """`outcomes.replay` of a policy, all images at once; `scores` as `thresholds.sureness`."""
    position = positions(policy, exit_indices, scores)
    cost_at = costs_at(policy, exit_indices, costs)
    right = outcomes.correct[np.arange(outcomes.image_count), np.asarray(exit_indices)[position]]
    cost = float(np.bincount(position, minlength=len(cost_at)) @ cost_at) / outcomes.image_count
    return judged(policy, exit_indices, cost, right, outcomes.correct[:, -1])


def positions(
    policy: ThresholdPolicy, exit_indices: Sequence[int], scores: np.ndarray
) -> np.ndarray:
    """int64 [n]: which of `exit_indices` each image leaves at; `scores` as `candidate`."""
    leaves = np.ones((len(scores), len(exit_indices)), bool)  # at the final exit, all do
    np.greater(scores, bounds(policy, exit_indices), out=leaves[:, :-1])
    position: np.ndarray = leaves.argmax(axis=1)
    return position


def costs_at(policy: ThresholdPolicy, exit_indices: Sequence[int], costs: Costs) -> np.ndarray:
    """float64 [len(exit_indices)]: what it costs to leave at each, heads on the way included."""
    heads = costs.heads_each(compares(policy.kind))[list(exit_indices)]
    evaluated = [policy.evaluates(index, None) for index in exit_indices[:-1]] + [True]
    until: np.ndarray = costs.stages_until(exit_indices) + np.cumsum(heads * evaluated)
    return until


def judged(
    policy: ThresholdPolicy,
    exit_indices: Sequence[int],
    cost: float,
    right: np.ndarray,
    final: np.ndarray,
) -> Candidate:
    """A policy of mean `cost`, by which images it answers right and which the full network does:
    bool [n] each."""
    lost, gained = int((final & ~right).sum()), int((right & ~final).sum())
    return Candidate(
        policy,
        tuple(exit_indices),
        cost,
        float(right.mean()),
        100 * pessimistic_loss(lost, gained) / len(right),
    )


def pessimistic_loss(lost: int, gained: int) -> float:
    """Images by which a policy may be worse than the final exit; see the module."""
    return lost - gained + DEVIATIONS_HELD_BACK * math.sqrt(lost + gained)


def choose(found: Sequence[Candidate], objective: Objective, unit: str) -> Candidate:
    """The best of `found`. Raises ConfigError, with the nearest, if none is within the limit."""
    points, budget = objective
    if points is not None:
        allowed = [one for one in found if one.pessimistic_loss_points <= points]
        # The full network loses nothing, so there is always one, if its plan was tried.
        # Of equals the one with few exits: cuts that no image of the split reached cost others.
        return min(
            allowed,
            key=lambda one: (
                round(one.cost, COST_DECIMALS),
                len(one.exit_indices),
                one.pessimistic_loss_points,
            ),
        )
    assert budget is not None
    allowed = [one for one in found if one.cost <= budget]
    if not allowed:
        nearest = min(found, key=lambda one: one.cost)
        raise ConfigError(
            f"budget: found {budget:g} {unit} per image, but no plan meets it; the nearest has the "
            f"exits {', '.join(map(str, nearest.exit_indices))} and needs {nearest.cost:.0f} "
            f"{unit} at an accuracy of {100 * nearest.accuracy:.2f} %; allow at least that"
        )
    return min(allowed, key=lambda one: (one.pessimistic_loss_points, one.cost))
