"""Thresholds of an ensemble: one policy for all students, each of which leaves by itself.

An exit of a student *loses* an image where the answer is right if all students leave at their last
exit, and wrong if this one leaves there. What the others do then is not known: all may go on, or
all may leave there too. Curves are fitted to either (`thresholds`), over pairs of image and
student, for every student has the same thresholds. What mixtures of exits really lose is seen where
the policies of both families are tried, on all students at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ...core.exits import ThresholdPolicy
from ...errors import ConfigError
from ...features import Features, outcomes_alone
from ...outcomes import Outcomes
from .choice import Candidate, Objective, choose, costs_at, judged, positions
from .costs import Costs, multiply_add_costs
from .ensemble_figures import is_right
from .thresholds import family, kinds, pooled_curves, sureness


class Trial(NamedTuple):
    """A split on which policies are tried: the features, what each student's policy sees of them,
    and `costs` of each student."""

    features: Features
    alone: tuple[Outcomes, ...]
    costs: tuple[Costs, ...]

    @property
    def depth(self) -> int:
        """Exits of the deepest student: the policies are for so many."""
        return max(self.features.depths)

    def scores(self, kind: str) -> list[np.ndarray]:
        """`thresholds.sureness` of each student, float64 [n, M - 1]."""
        return [sureness(one, kind, range(one.exit_count)) for one in self.alone]


def trial_of(features: Features, costs: Sequence[Costs]) -> Trial:
    """Everything that is the same for all policies; `costs` as `ensemble_figures.student_costs`."""
    return Trial(features, outcomes_alone(features), tuple(costs))


def try_all(trial: Trial) -> dict[str, list[Candidate]]:
    """The candidates of every kind."""
    lost = losses(trial.features)
    bar = tqdm(kinds(), "policies", leave=False, disable=None)
    return {kind: candidates(trial, kind, lost) for kind in bar}


def losses(features: Features) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per student bool [n, M - 1]: whether its leaving there loses the image, if all others go on,
    and if all leave there."""
    last = np.array(features.depths) - 1
    final = is_right(features, last)
    branches = [final & ~is_right(features, np.full_like(last, j)) for j in range(max(last))]
    single, together = [], []
    for student, depth in enumerate(features.depths):
        lost = np.empty((len(final), depth - 1), bool)
        for exit_index in range(depth - 1):
            exits = last.copy()
            exits[student] = exit_index
            lost[:, exit_index] = final & ~is_right(features, exits)
        single.append(lost)
        together.append(np.array(branches[: depth - 1]).reshape(-1, len(final)).T)
    return single, together


def candidates(trial: Trial, kind: str, lost: Sequence[Sequence[np.ndarray]]) -> list[Candidate]:
    """Every policy of the families of `kind`, tried on all students; `lost` as `losses`."""
    every, scores = range(trial.depth), trial.scores(kind)
    typical = typical_costs(trial.costs)
    final = is_right(trial.features, np.array(trial.features.depths) - 1)
    families: dict[tuple[float, ...], ThresholdPolicy] = {}
    for each in lost:
        curves = pooled_curves(kind, scores, each)
        for policy in family(kind, curves, every, trial.depth, typical):
            families[policy.thresholds] = policy
    found = []
    for policy in families.values():
        exits, spent = leaving(trial, policy, scores)
        right = is_right(trial.features, exits)
        found.append(judged(policy, every, float(spent.mean()), right, final))
    return found


def leaving(
    trial: Trial, policy: ThresholdPolicy, scores: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Where each student leaves, int64 [n, N], and what that costs it, float64 [n, N]: as
    `features.replay_students`, all images at once. `scores`: the trial's, of this kind."""
    exits, spent = [], []
    for own, its_scores, its_costs in zip(trial.alone, scores, trial.costs):
        every = range(own.exit_count)
        position = positions(policy, every, its_scores)
        exits.append(position)
        spent.append(costs_at(policy, every, its_costs)[position])
    return np.stack(exits, axis=1), np.stack(spent, axis=1)


def typical_costs(costs: Sequence[Costs]) -> Costs:
    """The mean student: of each segment and head, the mean of the students that have it."""
    deepest = max(len(own.heads) for own in costs)
    having = [[own for own in costs if index < len(own.heads)] for index in range(deepest)]
    return multiply_add_costs(
        [float(np.mean([own.spans[j, j] for own in some])) for j, some in enumerate(having)],
        [float(np.mean([own.heads[j] for own in some])) for j, some in enumerate(having)],
    )


def choose_all(
    tried: dict[str, list[Candidate]], objective: Objective, unit: str
) -> dict[str, Candidate]:
    """The best policy of each kind, the best of all kinds first; those that have none within a
    budget are missing. Raises ConfigError, with the nearest, if all are."""
    best = choose([one for kind in kinds() for one in tried[kind]], objective, unit)
    chosen = {best.policy.kind: best}
    for kind in kinds():
        if kind in chosen:
            continue
        try:
            chosen[kind] = choose(tried[kind], objective, unit)
        except ConfigError:
            continue
    return chosen
