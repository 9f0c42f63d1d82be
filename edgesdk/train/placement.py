"""Where exits go: choices among the points at which a network can be cut.

    points = cut_points(module, (3, 32, 32)).named("features.")
    network = MultiExit.from_module(module, equal_tasks(points, 5), (3, 32, 32))

Pure functions of costs; each returns names of points, for `MultiExit.from_module`. Which choice is
best depends on the images, and no study found one that always is (early-exit survey, 4.3.2): train
with more exits than you need, and let `python -m edgesdk.train calibrate` keep those that earn
their cost.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Optional

from ..errors import ConfigError
from .cutting.segments import Points

GOLDEN_RATIO = (1 + 5**0.5) / 2
PATTERNS = ("linear", "quadratic", "pareto", "golden", "fine")


class Candidate(NamedTuple):
    """An exit that could be, as measured with all of them in place. `multiply_adds` of one image up
    to its segment's end, `head_multiply_adds` of the exit itself. `leaves`: the share of images,
    0..1, that it is sure about, whether an earlier exit was or not; `accuracy`: of its answers to
    those, 0..1."""

    name: str
    multiply_adds: int
    head_multiply_adds: int
    leaves: float
    accuracy: float = 1.0


def by_share(points: Points, shares: Sequence[float]) -> tuple[str, ...]:
    """The points whose cost is nearest to these shares of the whole network's, as SDN places exits:
    (0.15, 0.3, 0.45, 0.6, 0.75, 0.9). Of two that are as near, the earlier one.

    Raises ConfigError for shares that do not rise between 0 and 1, and if two of them would get the
    same point.
    """
    rising = all(a < b for a, b in zip((0.0, *shares), (*shares, 1.0)))
    if not shares or not rising:
        raise ConfigError(f"shares: found {list(shares)}, expected rising numbers between 0 and 1")
    _check_count(points, len(shares))
    chosen: list[str] = []
    for share in shares:
        wanted = share * points.multiply_adds
        nearest = min(points.points, key=lambda point: abs(point.multiply_adds - wanted))
        if chosen and nearest.name == chosen[-1]:
            raise ConfigError(
                f"shares: found that {list(shares)} put two exits behind {nearest.name!r}, "
                f"expected one; of the {len(points.points)} points none lies between them; name "
                "fewer shares"
            )
        chosen.append(nearest.name)
    return tuple(chosen)


def pattern(name: str, count: int) -> tuple[float, ...]:
    """Shares for `by_share` of `count` early exits, in the patterns of EENets. Up to exit k = 1, 2,
    ..., count:

    "linear"     k / (count + 1): tasks of equal cost
    "quadratic"  its square: tasks whose cost grows linearly
    "golden"     phi^(k - 1 - count): each task is 0.618 times what came before it
    "pareto"     1 - 0.8^k: each exit has a fifth of what is left before it
    "fine"       1 - 0.95^k: the same with a twentieth, many exits near the image

    Raises ConfigError for another name, and a count below 1.
    """
    if name not in PATTERNS or count < 1:
        raise ConfigError(
            f"pattern: found {name!r} with {count} exits, expected one of {', '.join(PATTERNS)}, "
            "and at least one"
        )
    shares = {
        "linear": lambda k: k / (count + 1),
        "quadratic": lambda k: (k / (count + 1)) ** 2,
        "golden": lambda k: GOLDEN_RATIO ** (k - 1 - count),
        "pareto": lambda k: 1 - 0.8**k,
        "fine": lambda k: 1 - 0.95**k,
    }[name]
    return tuple(shares(k) for k in range(1, count + 1))


def equal_tasks(points: Points, tasks: int) -> tuple[str, ...]:
    """The `tasks` - 1 points that make tasks of about equal cost, as MDI-Exit wants them: those
    whose costs have the least sum of squares.

    Raises ConfigError unless there are so many points.
    """
    _check_count(points, tasks - 1)
    ends = [0, *(point.multiply_adds for point in points.points), points.multiply_adds]
    # best[j]: least sum of squares, and the points chosen, of the network up to ends[j]
    best: list[tuple[float, tuple[int, ...]]] = [(float(end) ** 2, ()) for end in ends]
    for _ in range(tasks - 1):
        best = [
            min(
                (
                    (best[i][0] + float(ends[j] - ends[i]) ** 2, (*best[i][1], i - 1))
                    for i in range(1, j)
                ),
                default=(math.inf, ()),
            )
            for j in range(len(ends))
        ]
    return tuple(points.points[index].name for index in best[-1][1])


def by_benefit(
    candidates: Sequence[Candidate],
    final: Candidate,
    most: Optional[int] = None,
    price_per_point: float = 0.0,
) -> tuple[str, ...]:
    """The candidates that make an image cheapest on average: what exits save against what they cost
    those that go on, as FlexDNN weighs it, by dynamic programming over all choices.

    `final`: the whole network, with its exit; `most`: early exits, at most. `price_per_point`:
    multiply-adds per image that one percent point of accuracy is worth; 0 if the thresholds behind
    `leaves` keep the accuracy anyway. An image that one exit is sure about counts as one that all
    later ones are sure about. Raises ConfigError for candidates out of order, and shares that fall
    from one to the next or are outside 0..1.
    """
    steps = [*candidates, final._replace(leaves=1.0)]
    _check_candidates(steps)
    limit = len(candidates) if most is None else most
    # best[n][j]: least cost of all that leaves up to step j, with n exits before it, and which
    best: list[list[tuple[float, tuple[int, ...]]]] = [
        [(_step_cost(None, step, price_per_point), ()) for step in steps]
    ]
    for _ in range(min(limit, len(candidates))):
        best.append(
            [
                min(
                    (
                        (
                            best[-1][i][0] + _step_cost(steps[i], steps[j], price_per_point),
                            (*best[-1][i][1], i),
                        )
                        for i in range(j)
                    ),
                    default=(math.inf, ()),
                )
                for j in range(len(steps))
            ]
        )
    _, chosen = min(row[-1] for row in best)
    return tuple(candidates[index].name for index in chosen)


def _step_cost(before: Optional[Candidate], step: Candidate, price_per_point: float) -> float:
    """From exit `before` to exit `step`: what those that are left compute, and what the wrong
    answers of those that leave cost."""
    left, passed = (0.0, 0) if before is None else (before.leaves, before.multiply_adds)
    computed = (1 - left) * (step.multiply_adds - passed + step.head_multiply_adds)
    wrong_points = 100 * (step.leaves - left) * (1 - step.accuracy)
    return computed + price_per_point * wrong_points


def _check_candidates(steps: Sequence[Candidate]) -> None:
    for before, step in zip(steps, steps[1:]):
        if not (
            before.multiply_adds < step.multiply_adds and 0 <= before.leaves <= step.leaves <= 1
        ):
            raise ConfigError(
                f"candidates: found {step.name!r} ({step.multiply_adds} multiply-adds, "
                f"{step.leaves:.3g} leave) after {before.name!r} ({before.multiply_adds}, "
                f"{before.leaves:.3g}); expected that both rise, and shares from 0 to 1"
            )


def _check_count(points: Points, count: int) -> None:
    if not 0 <= count <= len(points.points):
        raise ConfigError(
            f"found {count} exits to place, expected 0 to {len(points.points)}, the points where "
            "the network can be cut"
        )
