"""What an image costs that leaves at an exit, in any unit that adds up."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from ...outcomes import Outcomes, Replay

Span = tuple[int, int]  # first and last segment of a stage


class Costs(NamedTuple):
    """`spans[first, last]`: running those segments as one stage; `heads[exit]`: its classifier.

    What the runtime adds: `item` per image, `stage` per stage, `head` per head, and `comparison`
    per head for policies that compare outputs. `unit` is "multiply-adds" or "us".
    """

    unit: str
    spans: dict[Span, float]
    heads: tuple[float, ...]
    item: float = 0.0
    stage: float = 0.0
    head: float = 0.0
    comparison: float = 0.0

    def stages_until(self, exit_indices: Sequence[int]) -> np.ndarray:
        """float64 [len(exit_indices)]: what running the stages up to each exit costs.

        Each stage ends with an exit: segments between two of `exit_indices` are merged.
        """
        first, stages = 0, []
        for exit_index in exit_indices:
            stages.append(self.spans[first, exit_index] + self.stage)
            first = exit_index + 1
        return self.item + np.cumsum(stages)

    def heads_each(self, compares: bool) -> np.ndarray:
        """float64 [exits]: what evaluating each head costs."""
        extra = self.head + (self.comparison if compares else 0.0)
        return np.asarray(self.heads) + extra


class Report(NamedTuple):
    """What a policy does on a split; accuracy and shares are 0..1. `mean_us` is None where
    nothing was measured."""

    image_count: int
    accuracy: float
    share_per_exit: tuple[float, ...]
    mean_multiply_adds: float
    mean_us: Optional[float]

    def document(self) -> dict[str, Any]:
        """The report as a manifest has it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def multiply_add_costs(
    segments: Sequence[float], exits: Sequence[float], view: float = 0.0
) -> Costs:
    """Costs in multiply-adds: those of each segment and of each head; `view` is what every head of
    an ensemble's student costs besides, for its view of the classes."""
    return Costs(
        "multiply-adds",
        {(i, j): float(sum(segments[i : j + 1])) for i, j in spans(len(segments))},
        tuple(float(cost + view) for cost in exits),
    )


def spans(segment_count: int) -> list[Span]:
    """Every stage that a plan could have."""
    return [(i, j) for i in range(segment_count) for j in range(i, segment_count)]


def mean_cost(
    replayed: Replay, exit_indices: Sequence[int], costs: Costs, compares: bool = False
) -> float:
    """Mean cost of the images of a replay on a plan with `exit_indices`."""
    return float(image_costs(replayed, exit_indices, costs, compares).mean())


def image_costs(
    replayed: Replay, exit_indices: Sequence[int], costs: Costs, compares: bool = False
) -> np.ndarray:
    """The same of each image: float64 [n]."""
    position = np.searchsorted(exit_indices, replayed.exit_index)
    stages = costs.stages_until(exit_indices)[position]
    total: np.ndarray = stages + replayed.evaluated @ costs.heads_each(compares)
    return total


def report(
    outcomes: Outcomes,
    replayed: Replay,
    exit_indices: Sequence[int],
    multiply_adds: Costs,
    times: Optional[Costs],
    compares: bool = False,
) -> Report:
    """The figures of a replay of `outcomes` on a plan with `exit_indices`."""
    count = outcomes.image_count
    share = np.bincount(replayed.exit_index, minlength=outcomes.exit_count) / count
    return Report(
        count,
        float(outcomes.correct[np.arange(count), replayed.exit_index].mean()),
        tuple(share.tolist()),
        mean_cost(replayed, exit_indices, multiply_adds),
        None if times is None else mean_cost(replayed, exit_indices, times, compares),
    )
