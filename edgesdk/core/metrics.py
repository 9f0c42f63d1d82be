"""Counters and histograms, kept by the core and read by `Pipeline.stats()`."""

import math
from typing import Any, Dict, List, Sequence

from .events import Outcome

# Four percent between neighbouring buckets: finer than any latency repeats.
_BUCKETS_PER_E = 25.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` (0..1) of the sorted, non-empty `ordered` does not exceed
    (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Histogram:
    """A distribution of positive durations in constant memory, within 4 percent."""

    __slots__ = ("_counts", "count", "largest", "total")

    def __init__(self) -> None:
        self._counts: Dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.largest = 0

    def add(self, value_us: int) -> None:
        """Count one duration."""
        bucket = int(math.log(value_us) * _BUCKETS_PER_E) if value_us > 0 else 0
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.total += value_us
        self.largest = max(self.largest, value_us)

    def percentile(self, share: float) -> float:
        """The upper end of the bucket that holds the percentile, in us; NaN if empty."""
        remaining = math.ceil(share * self.count)
        for bucket in sorted(self._counts):
            remaining -= self._counts[bucket]
            if remaining <= 0:
                return min(math.exp((bucket + 1) / _BUCKETS_PER_E), float(self.largest))
        return math.nan

    def summary(self) -> Dict[str, float]:
        """count, mean_us, p50_us, p95_us, max_us."""
        return {
            "count": self.count,
            "mean_us": self.total / self.count if self.count else math.nan,
            "p50_us": self.percentile(0.50),
            "p95_us": self.percentile(0.95),
            "max_us": float(self.largest),
        }


class Metrics:
    """What has happened since the pipeline was opened."""

    def __init__(self, exit_count: int) -> None:
        self.admitted_count = 0
        self.ended: Dict[str, int] = {}  # by status and reason
        self.exit_counts: List[int] = [0] * exit_count
        self.latency = Histogram()
        self.dropped_answers = 0  # a stage ended for an item that had its outcome already
        self.counters: Dict[str, int] = {}  # what happened between workers, by name

    def add(self, name: str, count: int = 1) -> None:
        """Count something that happened between workers."""
        self.counters[name] = self.counters.get(name, 0) + count

    def on_outcome(self, outcome: Outcome) -> None:
        """Count the one end of an item."""
        name = outcome.status + "." + outcome.reason
        self.ended[name] = self.ended.get(name, 0) + 1
        if outcome.answer is not None:
            self.exit_counts[outcome.answer.exit_index] += 1
            self.latency.add(outcome.latency_us)

    def snapshot(self) -> Dict[str, Any]:
        """Plain numbers: admitted_count, in_flight_count, ended, exit_counts, latency_us, ..."""
        ended = dict(self.ended)
        return {
            "admitted_count": self.admitted_count,
            "in_flight_count": self.admitted_count - sum(ended.values()),
            "ended": ended,
            "exit_counts": list(self.exit_counts),
            "latency": self.latency.summary(),
            "dropped_answer_count": self.dropped_answers,
            "counters": dict(self.counters),
        }
