"""What policies of an ensemble reach, and what they cost: the figures of tables and pictures.

Costs are multiply-adds of one student, as in DistrEE's Table II: segments as far as it went, every
head that it evaluated and, with each head, the view of the classes that its policy decides by.
The classifier's one look at all features is the same for every policy and not counted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...features import Features, exits_of, gathered
from ...manifest import Manifest
from ...outcomes import Replay
from .costs import Costs, image_costs, multiply_add_costs

RANDOM_DRAWS = 20  # of every image: one is noisy
ORACLE_GROUPS_MAX = 3  # students that an oracle places each for itself: M ** 3 mixtures


class EnsembleReport(NamedTuple):
    """What a policy does on a split; accuracy and shares are 0..1, shares by student.

    Multiply-adds are means over the images: of one student, and of the one that computed most, for
    which the answer waits.
    """

    image_count: int
    accuracy: float
    share_per_exit: tuple[tuple[float, ...], ...]
    mean_multiply_adds: float
    slowest_multiply_adds: float


def student_costs(manifest: Manifest) -> tuple[Costs, ...]:
    """Multiply-adds of each student of an ensemble, as its manifest counts them."""
    assert manifest.classifier is not None  # or it is no ensemble
    view = manifest.classifier.multiply_adds / len(manifest.parts)
    return tuple(
        multiply_add_costs(
            [segment.multiply_adds for segment in part.segments],
            [trained_exit.multiply_adds for trained_exit in part.exits],
            view,
        )
        for part in manifest.parts
    )


def report(features: Features, replays: Sequence[Replay], costs: Sequence[Costs]) -> EnsembleReport:
    """The figures of a replay of each student; `costs` as `student_costs`."""
    exits, count = exits_of(replays), len(features.label)
    spent = np.stack(
        [
            image_costs(replayed, range(depth), own)
            for replayed, depth, own in zip(replays, features.depths, costs)
        ],
        axis=1,
    )
    shares = [
        np.bincount(own, minlength=depth) / count for own, depth in zip(exits.T, features.depths)
    ]
    return EnsembleReport(
        count,
        float(is_right(features, exits).mean()),
        tuple(tuple(share.tolist()) for share in shares),
        float(spent.mean()),
        float(spent.max(axis=1).mean()),
    )


def is_right(features: Features, exits: np.ndarray) -> np.ndarray:
    """bool [n]: whether the answer is right where students leave at `exits`, as `gathered`."""
    right: np.ndarray = gathered(features, exits).argmax(axis=1) == features.label
    return right


def forced(features: Features, exits: np.ndarray) -> list[Replay]:
    """Students that leave at `exits`, [n, N] or [N], without a head on the way: a shallow one at
    its last. Of `exits_of` a replay, it leaves out the heads passed, as Table II does."""
    wanted = np.broadcast_to(exits, (len(features.label), len(features.depths)))
    replays = []
    for index, depth in enumerate(features.depths):
        left = np.minimum(wanted[:, index], depth - 1)
        replays.append(Replay(left, np.arange(depth) == left[:, None]))
    return replays


def random_report(features: Features, costs: Sequence[Costs], seed: int = 0) -> EnsembleReport:
    """The mean of `RANDOM_DRAWS` reports: each student leaves each image at any of its exits."""
    random, shape = np.random.default_rng(seed), (len(features.label), len(features.depths))
    drawn = [
        report(features, forced(features, random.integers(0, features.depths, shape)), costs)
        for _ in range(RANDOM_DRAWS)
    ]
    counts, accuracies, shares, means, slowest = zip(*drawn)
    return EnsembleReport(
        counts[0],
        float(np.mean(accuracies)),
        tuple(tuple(np.mean(each, axis=0).tolist()) for each in zip(*shares)),
        float(np.mean(means)),
        float(np.mean(slowest)),
    )


def oracle(features: Features, costs: Sequence[Costs]) -> np.ndarray:
    """int64 [n, N]: of each image the cheapest mixture of exits that is right, or else of all.

    Exact for up to `ORACLE_GROUPS_MAX` students. More are dealt into so many groups, each of which
    leaves together: without groups it would be right at least as often, and no dearer where this
    one is right.
    """
    students = range(len(features.depths))
    groups = np.array_split(students, min(len(students), ORACLE_GROUPS_MAX))
    depths = [max(features.depths[member] for member in group) for group in groups]
    said = [_said(features, group, depth) for group, depth in zip(groups, depths)]
    spent = [_spent(features, group, depth, costs) for group, depth in zip(groups, depths)]
    mixtures = sorted(
        np.ndindex(*depths), key=lambda chosen: sum(cost[j] for cost, j in zip(spent, chosen))
    )
    sizes = [len(group) for group in groups]
    exits = np.tile(np.repeat(mixtures[0], sizes), (len(features.label), 1))
    unsettled = np.arange(len(features.label))
    for chosen in mixtures:
        logits = sum(own[j][unsettled] for own, j in zip(said, chosen)) + features.bias
        right = logits.argmax(axis=1) == features.label[unsettled]
        exits[unsettled[right]] = np.repeat(chosen, sizes)
        unsettled = unsettled[~right]
    return np.minimum(exits, np.array(features.depths) - 1)


def _said(features: Features, group: np.ndarray, depth: int) -> list[np.ndarray]:
    """Per exit, float32 [n, K]: what a group of students adds to the logits."""
    size = features.mean_features.shape[1]
    total = []
    for exit_index in range(depth):
        terms = [
            features.students[i][:, min(exit_index, features.depths[i] - 1)].astype(np.float32)
            @ features.weight[:, i * size : (i + 1) * size].T
            for i in group
        ]
        total.append(np.sum(terms, axis=0))
    return total


def _spent(features: Features, group: np.ndarray, depth: int, costs: Sequence[Costs]) -> np.ndarray:
    """float64 [depth]: what a group of students costs together."""
    total = np.zeros(depth)
    for index in group:
        own = costs[index].stages_until(range(features.depths[index])) + costs[index].heads_each(
            False
        )
        total += own[np.minimum(np.arange(depth), len(own) - 1)]
    return total
