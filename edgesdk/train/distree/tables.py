"""Table I and Table II of DistrEE, and what its Fig. 3 shows, as numbers.

Multiply-adds are of one student, the mean over all, by the rule of Table I (`counting.table_one`).
Table II charges a student its backbone up to the exit and that exit; the paper's 17.10 M for random
exits fits nothing else. A policy that compares features must compute the exits on its way too, so
both are given: `own` as printed, `passed` with every exit that was evaluated and what an exit of
ours computes besides, its student's own view of the classes.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from ...core.exits import ExitPolicy
from ...errors import ConfigError
from ...features import (
    Features,
    differences,
    exits_of,
    gathered,
    outcomes_alone,
    replay_students,
    similarities,
)
from ...outcomes import Replay
from .. import counting
from ..calibration.costs import image_costs, multiply_add_costs
from ..calibration.ensemble_figures import forced, oracle
from ..counting import Costs
from ..models import MultiExit
from . import paper

ORACLE = "oracle"  # of each image, the cheapest mixture of exits that is right


class TableOne(NamedTuple):
    """Of one student: multiply-adds by both rules, parameters, and those with its last exit
    alone."""

    table_one: Costs
    plain: Costs
    parameters: int
    parameters_last_exit: int


class Charged(NamedTuple):
    """Multiply-adds float64 [n] per image, see the module; `slowest`: of the student that computes
    longest, every exit counted, where the others are means over students."""

    own: np.ndarray
    passed: np.ndarray
    slowest: np.ndarray


class PolicyRow(NamedTuple):
    """A row of Table II. Accuracies 0..1: of the test split, and mean and standard deviation over
    the draws of the paper's protocol. Multiply-adds: means over the test split. `exit_shares`:
    per student, how many of its images leave at each exit."""

    accuracy: float
    drawn_accuracy: float
    drawn_deviation: float
    multiply_adds: Charged
    exit_shares: tuple[tuple[float, ...], ...]


class Criterion(NamedTuple):
    """What Fig. 3 shows of one student: quartiles [3, exits] over images, of the similarity to the
    exit before (NaN at the first) and of the difference to the first exit."""

    similarity: np.ndarray
    difference: np.ndarray


def table_one(student: MultiExit, input_shape: tuple[int, ...]) -> TableOne:
    """Count one student that takes inputs of `input_shape`."""
    every = sum(values.numel() for values in student.parameters())
    heads = [sum(values.numel() for values in head.parameters()) for head in student.exits]
    return TableOne(
        counting.table_one(student, input_shape),
        counting.multiply_adds(student, input_shape),
        every,
        every - sum(heads[:-1]),
    )


def policy_rows(
    test: Features,
    policies: Mapping[str, ExitPolicy],
    costs: Sequence[Costs],
    seed: int = 0,
) -> dict[str, PolicyRow]:
    """Table II on the images of `test`, and the oracle; `costs` by `table_one`, one per student.
    `seed` draws the samples of the paper's protocol, the same for every policy, and random exits.

    Raises ConfigError if a class has too few images for the protocol.
    """
    draws = stratified_draws(test.label, paper.IMAGES_PER_CLASS, paper.DRAWS, seed)
    alone = outcomes_alone(test)
    replays = {name: replay_students(alone, policy, seed) for name, policy in policies.items()}
    replays[ORACLE] = forced(test, oracle(test, [multiply_add_costs(*each) for each in costs]))
    return {name: _policy_row(test, each, costs, draws) for name, each in replays.items()}


def _policy_row(
    test: Features, replays: Sequence[Replay], costs: Sequence[Costs], draws: np.ndarray
) -> PolicyRow:
    view = test.weight[:, : test.mean_features.shape[1]].size
    right = gathered(test, exits_of(replays)).argmax(axis=1) == test.label
    drawn = right[draws].mean(axis=1)
    shares = [
        np.bincount(each.exit_index, minlength=depth) / len(test.label)
        for each, depth in zip(replays, test.depths)
    ]
    return PolicyRow(
        float(right.mean()),
        float(drawn.mean()),
        float(drawn.std()),
        Charged(*(values.mean() for values in charged(replays, costs, view))),
        tuple(tuple(share.tolist()) for share in shares),
    )


def charged(replays: Sequence[Replay], costs: Sequence[Costs], view: int = 0) -> Charged:
    """What every image of a replay costs; `costs` one per student, `view` of the classes per
    exit."""
    own, passed = [], []
    for replayed, cost in zip(replays, costs):
        every = range(len(cost.exits))
        alone = Replay(replayed.exit_index, np.eye(len(every), dtype=bool)[replayed.exit_index])
        own.append(image_costs(alone, every, multiply_add_costs(*cost)))
        passed.append(image_costs(replayed, every, multiply_add_costs(*cost, view)))
    return Charged(np.mean(own, axis=0), np.mean(passed, axis=0), np.max(passed, axis=0))


def stratified_draws(labels: np.ndarray, per_class: int, count: int, seed: int) -> np.ndarray:
    """int64 [count, classes * per_class]: places of images, so many of each class in each draw,
    none twice in one. Raises ConfigError if a class has fewer."""
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    fewest = min(map(len, members))
    if fewest < per_class:
        raise ConfigError(
            f"test split: found {fewest} images of a class, expected at least {per_class} for a "
            "draw of DistrEE's protocol"
        )
    drawn = [
        [random.choice(places, per_class, replace=False) for places in members]
        for _ in range(count)
    ]
    return np.array(drawn).reshape(count, -1)


def criteria(test: Features) -> list[Criterion]:
    """What the exits of every student say of the images of `test`, as Fig. 3 has it."""
    return [
        Criterion(quartiles(similarities(values)), quartiles(differences(values)))
        for values in test.students
    ]


def quartiles(values: np.ndarray) -> np.ndarray:
    """float64 [3, M] of [n, M], of what is not NaN; NaN where nothing else is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns that are all NaN
        # Differences may be infinite, and a quartile between two of them has no value.
        found: np.ndarray = np.nanpercentile(values, (25, 50, 75), axis=0, method="lower")
    return found


def branch_points(accuracies: Sequence[float], counted: TableOne) -> list[tuple[float, float]]:
    """(multiply-adds, accuracy) with all students at one exit, every exit on the way computed."""
    segments, exits = (np.cumsum(values) for values in counted.table_one)
    return list(zip((segments + exits).tolist(), accuracies))


def saved(row: PolicyRow, final: PolicyRow) -> tuple[float, float]:
    """Shares of `final`'s multiply-adds that a policy saves: as printed, and exits counted."""
    own, passed = row.multiply_adds.own, row.multiply_adds.passed
    return 1 - float(own / final.multiply_adds.own), 1 - float(passed / final.multiply_adds.passed)


def best_within(rows: Mapping[str, PolicyRow], points: float) -> Optional[str]:
    """The policy that saves most, exits counted, within `points` percent points of "final" on the
    test split; None if no other is."""
    final = rows["final"].accuracy
    allowed = [
        name
        for name, row in rows.items()
        if 100 * (final - row.accuracy) <= points and name not in ("final", ORACLE)
    ]
    return min(allowed, key=lambda name: rows[name].multiply_adds.passed, default=None)
