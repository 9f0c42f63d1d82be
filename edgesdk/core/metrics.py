"""Counters and histograms, kept by the core and read by `Pipeline.stats()`."""

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

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

    def buckets(self) -> List[Tuple[float, int]]:
        """(upper end in us, durations in it), ascending; buckets without any are left out."""
        counts = dict(self._counts)  # at once: another thread may count
        return [(math.exp((each + 1) / _BUCKETS_PER_E), counts[each]) for each in sorted(counts)]

    def summary(self) -> Dict[str, float]:
        """count, mean_us, p50_us, p95_us, max_us."""
        return {
            "count": self.count,
            "mean_us": self.total / self.count if self.count else math.nan,
            "p50_us": self.percentile(0.50),
            "p95_us": self.percentile(0.95),
            "max_us": float(self.largest),
        }


class Incident(NamedTuple):
    """Something between workers, or the failure of an item, that a person may ask about: the name
    that it is counted under, the neighbour and the item that it concerns, and a sentence."""

    name: str
    peer: Optional[int] = None
    item: Optional[int] = None
    detail: str = ""


class Metrics:
    """What has happened since the pipeline was opened. `on_incident` is told, if it is set."""

    def __init__(self, exit_count: int) -> None:
        self.admitted_count = 0
        self.ended: Dict[str, int] = {}  # by status and reason
        self.exit_counts: List[int] = [0] * exit_count
        self.latency = Histogram()
        self.dropped_answers = 0  # a stage ended for an item that had its outcome already
        self.counters: Dict[str, int] = {}  # what happened between workers, by name
        self.on_incident: Optional[Callable[[Incident], None]] = None

    def add(self, name: str, count: int = 1) -> None:
        """Count something that happened between workers."""
        self.counters[name] = self.counters.get(name, 0) + count

    def incident(
        self, name: str, peer: Optional[int] = None, item: Optional[int] = None, detail: str = ""
    ) -> None:
        """Count it as `add` does, and tell who listens."""
        self.add(name)
        if self.on_incident is not None:
            self.on_incident(Incident(name, peer, item, detail))

    def on_outcome(self, outcome: Outcome) -> None:
        """Count the one end of an item."""
        name = outcome.status + "." + outcome.reason
        self.ended[name] = self.ended.get(name, 0) + 1
        if outcome.status != "result" and self.on_incident is not None:
            self.on_incident(Incident(name, None, outcome.item, outcome.detail))
        if outcome.answer is not None:
            self.exit_counts[outcome.answer.exit_index] += 1
            self.latency.add(outcome.latency_us)

    def snapshot(self, buckets: bool = False) -> Dict[str, Any]:
        """Plain numbers: admitted_count, in_flight_count, ended, exit_counts, latency, ...; with
        `buckets` also the distribution of latencies."""
        ended = dict(self.ended)
        latency: Dict[str, Any] = dict(self.latency.summary())
        if buckets:
            latency["total_us"] = self.latency.total
            latency["buckets"] = self.latency.buckets()
        return {
            "admitted_count": self.admitted_count,
            "in_flight_count": self.admitted_count - sum(ended.values()),
            "ended": ended,
            "exit_counts": list(self.exit_counts),
            "latency": latency,
            "dropped_answer_count": self.dropped_answers,
            "counters": dict(self.counters),
        }
