"""Calls that are timed on the same images, in turns of a few, so that other programs slow all
alike."""

import time
from typing import Any, Callable, List, NamedTuple, Sequence

import numpy as np

from ..core.metrics import percentile
from .timing import Interval, median_of

ROUNDS_MIN = 5
TURN_IMAGES = 32  # of one call in one turn


class Times(NamedTuple):
    """`us`: float64 [rounds, groups], the time of every group of images in every round."""

    us: np.ndarray
    group_images: int

    def fastest_us(self, share: float) -> float:
        """A percentile over groups of the fastest time of each: other programs only add."""
        return percentile(sorted(self.us.min(axis=0).tolist()), share)

    @property
    def mean_us(self) -> float:
        """Mean over images of the fastest times."""
        return float(self.us.min(axis=0).mean()) / self.group_images

    def faster_than(self, other: "Times") -> Interval:
        """How many times: the median over rounds, each of all images."""
        return median_of((other.us.sum(axis=1) / self.us.sum(axis=1)).tolist())


def clock(
    calls: Sequence[Callable[[Any], Any]],
    groups: Sequence[Any],
    group_images: int,
    seconds: float,
    progress: Callable[[str], None],
) -> List[Times]:
    """Time every call on every group of images, for `seconds` in all or ROUNDS_MIN rounds."""
    per_turn = max(1, TURN_IMAGES // group_images)
    rounds: List[List[List[float]]] = [[] for _ in calls]
    begin_s = time.perf_counter()
    while len(rounds[0]) < ROUNDS_MIN or time.perf_counter() - begin_s < seconds:
        progress("batches of {}, round {}".format(group_images, len(rounds[0]) + 1))
        for found in rounds:
            found.append([])
        for begin in range(0, len(groups), per_turn):
            for call, found in zip(calls, rounds):
                found[-1] += _turn_us(call, groups[begin : begin + per_turn])
    progress("")
    return [Times(np.array(found), group_images) for found in rounds]


def _turn_us(call: Callable[[Any], Any], groups: Sequence[Any]) -> List[float]:
    call(groups[0])  # whoever came before has emptied the caches
    times_us = []
    for group in groups:
        begin_s = time.perf_counter()
        call(group)
        times_us.append((time.perf_counter() - begin_s) * 1e6)
    return times_us
