"""The training strategies of the early-exit survey (Rahmath et al., 2024, section 5) as phases.

A phase trains some parts of the network, or of its first segments alone, for a share of the epochs;
the next goes on with its weights. Shares add up to 1, but where models are independent.
"""

from collections.abc import Sequence
from typing import Callable, NamedTuple

from ..recipe import ALL, BACKBONE, EXITS, LAST

DISTILLATION = 0.5  # 1 - alpha of eq. 6


class Phase(NamedTuple):
    """`share`: of the epochs. `depth`: so many exits of the network take part. `learns`, `loss`,
    `distillation`: as `Settings` has them."""

    name: str
    share: float
    depth: int
    learns: str = ALL
    loss: str = "sum"
    distillation: float = 0.0


class Strategy(NamedTuple):
    """`says`: what it does, in a line, for people. `phases`: of a network with so many exits.
    `is_separate`: each phase trains a model of its own, which answers at its last exit only."""

    says: str
    phases: Callable[[int], Sequence[Phase]]
    is_separate: bool = False


def _branch_wise(count: int) -> list[Phase]:
    return [Phase(f"branch-{depth}", 1 / count, depth, LAST) for depth in range(1, count + 1)]


def _separate(count: int) -> list[Phase]:
    return [Phase(f"model-{depth}", 1.0, depth, BACKBONE) for depth in range(1, count + 1)]


def _two_stage(count: int, distillation: float = 0.0) -> list[Phase]:
    return [
        Phase("backbone", 0.5, count, BACKBONE),
        Phase("exits", 0.5, count, EXITS, distillation=distillation),
    ]


STRATEGIES = {
    "joint": Strategy(
        "all exits at once, the sum of their losses (eq. 4)",
        lambda count: [Phase("all", 1.0, count)],
    ),
    "combined": Strategy(
        "all exits at once, the loss of their mean answer",
        lambda count: [Phase("all", 1.0, count, loss="combined")],
    ),
    "branch-wise": Strategy(
        "one exit after the other with the segment in front of it (Algorithm 2)", _branch_wise
    ),
    "separate": Strategy(
        "a model of its own up to each exit (Algorithm 3)", _separate, is_separate=True
    ),
    "two-stage": Strategy(
        "the backbone with the final exit, then the early exits alone (Algorithm 4)", _two_stage
    ),
    "distillation": Strategy(
        "the same, the early exits learning from the final one too (Algorithm 5, eq. 6)",
        lambda count: _two_stage(count, DISTILLATION),
    ),
    "hybrid": Strategy(
        "all exits at once, then the early exits alone, learning from the final one too",
        lambda count: [
            Phase("all", 0.5, count),
            Phase("exits", 0.5, count, EXITS, distillation=DISTILLATION),
        ],
    ),
}


def epochs_of(phases: Sequence[Phase], epochs: int) -> list[int]:
    """Of each phase, at least 1. Where shares add up to 1, so do these to `epochs`."""
    ends, done, share = [], 0, 0.0
    for phase in phases:
        share += phase.share
        end = max(done + 1, round(share * epochs))
        ends.append(end - done)
        done = end
    return ends
