"""What DistrEE leaves open: more students than two, and students of unequal depth.

Every ensemble is trained alike and shorter than the paper's two, to be compared with each other.
Latency is simulated, with the code that runs on devices: a source, one worker per student, all on
one Wi-Fi; a worker computes at the pace of a small board.
"""

from collections.abc import Sequence
from typing import NamedTuple

CUT_SHARE = 4 / 7  # of the exits, that a weak device holds


class Sized(NamedTuple):
    """An ensemble of the comparison. Accuracies 0..1 on the test split: of every branch, of
    mixtures, and with one student missing at the last exit, the worst. `multiply_adds`: of each
    student to its last exit, all exits counted. `answer_bytes`: features that travel per image.
    `latency_ms`: simulated, by policy."""

    name: str
    depths: tuple[int, ...]
    epochs: int
    branches: tuple[float, ...]
    mixture: float
    worst_missing: float
    multiply_adds: tuple[int, ...]
    answer_bytes: int
    latency_ms: dict[str, float]


def depth_sets(counts: Sequence[int], exit_count: int) -> list[tuple[int, ...]]:
    """For each of `counts` students of full depth; and the even ones again, half of them cut."""
    cut = max(1, round(CUT_SHARE * exit_count))
    found = []
    for count in counts:
        found.append((exit_count,) * count)
        if count % 2 == 0 and cut < exit_count:
            found.append((exit_count,) * (count // 2) + (cut,) * (count // 2))
    return found


def name_of(depths: Sequence[int]) -> str:
    """Such as "4 x 7 exits", or "2 x 7, 2 x 4 exits"."""
    kinds = dict.fromkeys(depths)
    return ", ".join(f"{depths.count(depth)} x {depth}" for depth in kinds) + " exits"
