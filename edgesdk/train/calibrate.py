"""Max-probability thresholds for every exit, chosen on the calibration split.

The chosen thresholds make the mean multiply-adds as small as a limit on lost accuracy allows. A
small split flatters whatever is fitted to it, so four things hold the test accuracy to the limit:

- An exit *loses* an image where it is wrong and the final exit is right. Images that an exit gets
  right and the final exit wrong do not make up for that, although they often do.
- The losses of all exits are added up, each over the whole split, as if no image had left before.
- One standard deviation of the number of losses (its square root) is kept in reserve. For a few
  hundred images and half a point this leaves no loss at all.
- An image that would be lost counts as if the odds of its answer were `MARGIN_ODDS` times higher.

The thresholds are part of the policy `max_probability` (MDI-Exit, Algorithm 1: leave when the
largest softmax probability is above the threshold).
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import ConfigError
from .counting import Costs

OFF = 1.0  # a threshold no probability exceeds: the exit's head is not even computed
LEAVES_ALWAYS = 0.0  # the final exit
LOWEST = 0.5  # below it two classes may be equally probable
# On the digits' calibration split, thresholds chosen on one half lose 1.3 points on the other half
# with odds 1, 0.5 with 2, 0.34 with 3, 0.12 with 4, and no less beyond (100 random halvings).
MARGIN_ODDS = 4.0
STEP = 1e-6  # thresholds are rounded up to a multiple, so that a manifest shows them exactly
EARLY_EXITS_MAX = 12  # every choice of exits is tried: 2 ** 12 of them


class Outcomes(NamedTuple):
    """What each exit says of each image: float64 `max_probability` [n, exits] and bool `correct`
    [n, exits]."""

    max_probability: np.ndarray
    correct: np.ndarray


class Report(NamedTuple):
    """What a policy does on a split; accuracy and shares are 0..1."""

    image_count: int
    accuracy: float
    share_per_exit: tuple[float, ...]
    mean_multiply_adds: float


def outcomes(logits: np.ndarray, labels: np.ndarray) -> Outcomes:
    """From logits float [exits, n, N] and labels int [n].

    Raises ConfigError for logits that are not finite or an empty split.
    """
    if not len(labels) or not np.isfinite(logits).all():
        raise ConfigError(
            f"logits: found {len(labels)} images and values that are "
            f"{'finite' if np.isfinite(logits).all() else 'not finite'}; expected at least one "
            "image and finite values; train the network again"
        )
    shifted = logits.astype(np.float64) - logits.max(axis=2, keepdims=True)
    max_probability = 1 / np.exp(shifted).sum(axis=2)
    return Outcomes(max_probability.T, (logits.argmax(axis=2) == labels).T)


def evaluate(split: Outcomes, thresholds: Sequence[float], costs: Costs) -> Report:
    """Let every image of `split` leave at the first exit whose threshold it exceeds."""
    leaves = split.max_probability > np.asarray(thresholds)
    leaves[:, -1] = True
    exit_index = leaves.argmax(axis=1)
    count, exits = leaves.shape
    share = np.bincount(exit_index, minlength=exits) / count
    return Report(
        count,
        float(split.correct[np.arange(count), exit_index].mean()),
        tuple(float(value) for value in share),
        float(share @ multiply_adds_until(thresholds, costs)),
    )


def multiply_adds_until(thresholds: Sequence[float], costs: Costs) -> np.ndarray:
    """int64 [exits]: the segments up to each exit and the heads that are evaluated on the way."""
    evaluated = np.asarray(thresholds) < OFF
    evaluated[-1] = True
    return np.cumsum(np.asarray(costs.segments) + np.asarray(costs.exits) * evaluated)


def choose_thresholds(split: Outcomes, costs: Costs, max_loss_points: float) -> tuple[float, ...]:
    """The thresholds of least mean multiply-adds; see the module for what they guarantee.

    `max_loss_points` is in percent points. Raises ConfigError if it is not in 0..100, or for more
    than `EARLY_EXITS_MAX` early exits.
    """
    if not 0 <= max_loss_points <= 100:
        raise ConfigError(f"max_loss_points: found {max_loss_points}, expected 0 to 100")
    count, exits = split.correct.shape
    if exits - 1 > EARLY_EXITS_MAX:
        raise ConfigError(f"found {exits - 1} early exits, expected at most {EARLY_EXITS_MAX}")
    ladders = [_ladder(split, index) for index in range(exits - 1)]
    allowed = allowed_losses(count, max_loss_points)
    candidates = (
        _spend(
            split, costs, [ladder if on else [OFF] for on, ladder in zip(chosen, ladders)], allowed
        )
        for chosen in itertools.product((False, True), repeat=exits - 1)
    )
    return min(candidates, key=lambda found: evaluate(split, found, costs).mean_multiply_adds)


def allowed_losses(count: int, max_loss_points: float) -> int:
    """How many of `count` images may be lost, one standard deviation (Poisson) held back."""
    expected = count * max_loss_points / 100
    return max(0, math.floor(expected - math.sqrt(expected)))


def _ladder(split: Outcomes, exit_index: int) -> list[float]:
    """Thresholds of one exit, falling: the k-th loses at most k images of the split."""
    lost = split.correct[:, -1] & ~split.correct[:, exit_index]
    probability = split.max_probability[lost, exit_index]
    inflated = MARGIN_ODDS * probability / (1 - probability + MARGIN_ODDS * probability)
    raised = [math.ceil(value / STEP) * STEP for value in sorted(inflated, reverse=True)]
    return [min(OFF, max(LOWEST, round(value, 6))) for value in [*raised, LOWEST]]


def _spend(
    split: Outcomes, costs: Costs, ladders: Sequence[Sequence[float]], allowed: int
) -> tuple[float, ...]:
    """Go down the ladders, `allowed` rungs in all, each time where it saves most."""

    def thresholds(rungs: Sequence[int]) -> tuple[float, ...]:
        return (*(ladder[rung] for ladder, rung in zip(ladders, rungs)), LEAVES_ALWAYS)

    def cost(rungs: Sequence[int]) -> float:
        return evaluate(split, thresholds(rungs), costs).mean_multiply_adds

    rungs = [0] * len(ladders)
    for _ in range(allowed):
        one_lower = [
            [rung + (other == index) for other, rung in enumerate(rungs)]
            for index, ladder in enumerate(ladders)
            if rungs[index] + 1 < len(ladder)
        ]
        rungs = min([*one_lower, rungs], key=cost)
    return thresholds(rungs)
