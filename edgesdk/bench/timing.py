"""How things are timed: in turns on pinned cores, so that a busy machine slows all alike."""

import math
import os
import platform
import statistics
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ..telemetry.kernel_files import lines
from ..telemetry.speed import read_speed

SLICE_US = 300.0  # one turn of a callable: long beside the clock's own cost, short beside a burst
ROUNDS_MIN = 5
CERTAIN = 0.98  # of the median of n: this times the root of n is how many ranks it may be off
CERTAIN_DEVIATIONS = 1.96  # of a mean: so many standard errors it may be off


class Timing(NamedTuple):
    """Time of one call: of the fastest and of the median round."""

    min_us: float
    median_us: float


class Interval(NamedTuple):
    """What was found, and between which two it is, with 95 % certainty."""

    value: float
    low: float
    high: float


def median_of(values: Sequence[float]) -> Interval:
    """The median, and where it is by the order of `values` alone, however they are spread."""
    ordered = sorted(values)
    middle, ranks = len(ordered) // 2, math.ceil(CERTAIN * math.sqrt(len(ordered)))
    low, high = max(0, middle - ranks), min(len(ordered) - 1, middle + ranks)
    return Interval(statistics.median(ordered), ordered[low], ordered[high])


def ratio_of_means(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The mean of `ours` by the mean of `theirs`, which were measured in pairs.

    What disturbs both of a pair alike widens nothing: the error is that of the mean of
    `ours - ratio * theirs`. Not a number below two pairs.
    """
    below = statistics.mean(theirs)
    ratio = statistics.mean(ours) / below
    if len(ours) < 2:
        return Interval(ratio, math.nan, math.nan)
    rest = statistics.stdev([one - ratio * other for one, other in zip(ours, theirs)])
    error = CERTAIN_DEVIATIONS * rest / math.sqrt(len(ours)) / below
    return Interval(ratio, ratio - error, ratio + error)


def interleaved(calls: Sequence[Callable[[], object]], seconds: float) -> List[Timing]:
    """Time `calls` against each other for about `seconds` in all."""
    return [timing_of(times_us) for times_us in interleaved_rounds(calls, seconds)]


def timing_of(times_us: Sequence[float]) -> Timing:
    """Of the rounds of one call."""
    return Timing(min(times_us), statistics.median(times_us))


def interleaved_rounds(calls: Sequence[Callable[[], object]], seconds: float) -> List[List[float]]:
    """The times of `calls` in us, one list per call with a mean per round.

    Every round gives each of them a slice of SLICE_US in turn; at least ROUNDS_MIN rounds.
    """
    counts = [_calls_per_slice(call) for call in calls]
    rounds: List[List[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(rounds[0]) < ROUNDS_MIN or time.perf_counter() < end:
        for call, count, times_us in zip(calls, counts, rounds):
            times_us.append(_slice_us(call, count))
    return rounds


def _slice_us(call: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count * 1e6


def _calls_per_slice(call: Callable[[], object]) -> int:
    """After one call to warm up, as many as fill a slice."""
    call()
    return max(1, int(SLICE_US / max(_slice_us(call, 3), 0.01)))


def pin(thread_count: int) -> Optional[List[int]]:
    """Keep this process on its last `thread_count` cores; None where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))[-thread_count:]
    os.sched_setaffinity(0, cores)
    return cores


def conditions(thread_count: int) -> Dict[str, Any]:
    """CPU name, threads, and what the system tells of board, power mode and clocks: as they stand
    now, so ask after a measurement what the clocks were in it."""
    found = {
        "cpu": _cpu_name("/proc/cpuinfo") or platform.processor() or "unknown",
        "threads": thread_count,
    }
    found.update(read_speed())
    return found


def device_name(found: Dict[str, Any]) -> str:
    """What the machine with these conditions is called: boards with equal processors differ."""
    return str(found["board"] or found["cpu"])


def _cpu_name(path: str) -> Optional[str]:
    for line in lines(path):
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return None
