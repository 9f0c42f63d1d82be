"""What `bench link` found: tables for a person, and figures with their targets.

A ratio is the median over rounds of the ratio within a round, so that what slows the machine for a
while slows both sides of it.
"""

import statistics
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .. import cli
from ..core.metrics import percentile
from .link_contender import ANSWER, ECHO, ONE_WAY, Contender, Size

RAW, OURS, GRPC, TORCH = "raw", "edgesdk", "grpc unary", "torch rpc"
RAW_CURVE, OURS_CURVE = "raw curve", "edgesdk curve"
SHARES = {"p10": 0.10, "median": 0.50, "p99": 0.99}  # p10: what a machine without others shows
CANNOT = "; cannot take part: "

# What the project promises, by size: edgesdk's round trip over that of pyzmq with the payload sent
# back, and its throughput over that of pyzmq sending one way.
TRIP_MAX = {"64B": 2.0, "16KB": 1.8, "128KB": 1.5, "3.2MB": 1.15}
CURVE_TRIP_MAX = {"64B": 1.6, "16KB": 1.5, "3.2MB": 1.1}
STREAM_MIN = {"16KB": 0.6, "128KB": 0.6, "3.2MB": 0.85}
TORCH_MIN = {"64B": 3.0, "16KB": 3.0, "128KB": 3.0}  # times edgesdk's round trip
GRPC_MIN = {"64B": 2.0, "16KB": 2.0, "128KB": 2.0, "3.2MB": 2.0}

Way = Tuple[str, str]  # name of a contender, form of the replies


class Found(NamedTuple):
    """Measurements at one size. `trips_us`: the round trips of every round; `streams_mb_s`:
    megabytes (10^6 bytes) per second of every round."""

    size: Size
    trips_us: Dict[Way, List[List[float]]]
    streams_mb_s: Dict[Way, List[float]]

    def trip_us(self, way: Way, share: float) -> float:
        """A percentile of all round trips."""
        times_us = sorted(time_us for one in self.trips_us[way] for time_us in one)
        return percentile(times_us, share)

    def trip_ratio(self, way: Way, other: Way) -> Optional[float]:
        """How many times the round trip of `other` the one of `way` takes; None if not measured."""
        medians = [
            [statistics.median(one) for one in self.trips_us.get(each, [])] for each in (way, other)
        ]
        return _ratio(medians[0], medians[1])

    def stream_ratio(self, way: Way, other: Way) -> Optional[float]:
        """How many times the throughput of `other` the one of `way` is; None if not measured."""
        return _ratio(self.streams_mb_s.get(way, []), self.streams_mb_s.get(other, []))


def header(size: Size, curve: bool) -> Tuple[str, ...]:
    """Of the table for one size."""
    first = "{}{}".format(size.name, ", CURVE" if curve else "")
    raw = RAW_CURVE if curve else RAW
    return (
        first,
        "replies with",
        "p10 us",
        "median us",
        "p99 us",
        "x {}, echo".format(raw),
        "x {}, answer".format(raw),
        "MB/s",
        "x {}, one way".format(raw),
    )


def rows(found: Found, contenders: Sequence[Contender], curve: bool) -> List[Tuple[str, ...]]:
    """The table for one size: everyone with or without CURVE, once per form of reply."""
    raw = RAW_CURVE if curve else RAW
    result = []
    for contender in contenders:
        for form in (ECHO, ANSWER, ONE_WAY):
            way = (contender.name, form)
            measured = way in found.trips_us or way in found.streams_mb_s
            if contender.curve == curve and measured:
                result.append((contender.name, REPLIES[form]) + _cells(found, way, raw))
    return result


REPLIES = {ECHO: "payload", ANSWER: "answer", ONE_WAY: "nothing"}


def _cells(found: Found, way: Way, raw: str) -> Tuple[str, ...]:
    trip: Tuple[str, ...] = ("",) * len(SHARES)
    stream = ""
    if way in found.trips_us:
        trip = tuple("{:.0f}".format(found.trip_us(way, share)) for share in SHARES.values())
    if way in found.streams_mb_s:
        rate = statistics.median(found.streams_mb_s[way])
        stream = "{:.{}f}".format(rate, 2 if rate < 10 else 0)
    return trip + (
        _times(found.trip_ratio(way, (raw, ECHO))),
        _times(found.trip_ratio(way, (raw, ANSWER))),
        stream,
        _times(found.stream_ratio(way, (raw, ONE_WAY))),
    )


def figures(found: Found, asked: Sequence[str], missing: Dict[str, str]) -> List[Dict[str, Any]]:
    """Every measurement, then the ratios with their targets.

    `asked` are the names of contenders that were to take part; of those, `missing` could not, and
    why: what is promised about them is not ok.
    """
    result = []
    for way in found.trips_us:
        name = "{}, {} ({}): round trip".format(found.size.name, way[0], way[1])
        result += [
            cli.figure("{}, {}".format(name, about), found.trip_us(way, share), "us")
            for about, share in SHARES.items()
        ]
    for way, rounds in found.streams_mb_s.items():
        name = "{}, {} ({}): throughput".format(found.size.name, way[0], way[1])
        result.append(cli.figure(name, statistics.median(rounds), "MB/s"))
    return result + _promises(found, asked, missing)


class Promise(NamedTuple):
    """A ratio of `way` over `other`, `kind` "trip" or "stream", with what it has to be at most or
    at least, by size; sizes without are told, but not judged."""

    kind: str
    way: Way
    other: Way
    target: Dict[str, float]
    is_maximum: bool


PROMISES = (
    Promise("trip", (OURS, ANSWER), (RAW, ECHO), TRIP_MAX, True),
    Promise("trip", (OURS, ANSWER), (RAW, ANSWER), {}, True),
    Promise("trip", (OURS_CURVE, ANSWER), (RAW_CURVE, ECHO), CURVE_TRIP_MAX, True),
    Promise("trip", (OURS_CURVE, ANSWER), (RAW_CURVE, ANSWER), {}, True),
    Promise("stream", (OURS, ANSWER), (RAW, ONE_WAY), STREAM_MIN, False),
    Promise("stream", (OURS, ANSWER), (RAW, ANSWER), {}, False),
    Promise("stream", (OURS_CURVE, ANSWER), (RAW_CURVE, ONE_WAY), {}, False),
    Promise("trip", (TORCH, ECHO), (OURS, ANSWER), TORCH_MIN, False),
    Promise("trip", (TORCH, ANSWER), (OURS, ANSWER), {}, False),
    Promise("trip", (GRPC, ECHO), (OURS, ANSWER), GRPC_MIN, False),
    Promise("trip", (GRPC, ANSWER), (OURS, ANSWER), {}, False),
)


def _promises(found: Found, asked: Sequence[str], missing: Dict[str, str]) -> List[Dict[str, Any]]:
    result = []
    for promise in PROMISES:
        names = (promise.way[0], promise.other[0])
        if all(name in asked for name in names):
            reasons = [missing[name] for name in names if name in missing]
            result += _judged(found, promise, reasons)
    return result


def _judged(found: Found, promise: Promise, reasons: Sequence[str]) -> List[Dict[str, Any]]:
    target = promise.target.get(found.size.name)
    name = "{}: {} of {} ({}) over {} ({})".format(
        found.size.name,
        {"trip": "round trip", "stream": "throughput"}[promise.kind],
        *(promise.way + promise.other),
    )
    if reasons:
        if target is None:
            return []
        return [cli.figure(name + CANNOT + reasons[0], 0.0, "x", target, False)]
    measure = found.trip_ratio if promise.kind == "trip" else found.stream_ratio
    ratio = measure(promise.way, promise.other)
    assert ratio is not None, name  # both took part, so both were measured
    if target is None:
        return [cli.figure(name, ratio, "x")]
    ok = ratio <= target if promise.is_maximum else ratio >= target
    return [cli.figure(name, ratio, "x", target, ok)]


def judgements(figures_found: Sequence[Dict[str, Any]]) -> List[Tuple[str, ...]]:
    """Rows of the last table: every figure with a target."""
    result: List[Tuple[str, ...]] = []
    for figure in figures_found:
        if figure["target"] is not None:
            name, missing, _ = figure["name"].partition(CANNOT)
            value = "missing" if missing else "{:.2f}".format(figure["value"])
            verdict = "" if figure["ok"] else " MISSED"
            result.append((name, value, "{:g}{}".format(figure["target"], verdict)))
    return result


def _ratio(values: Sequence[float], others: Sequence[float]) -> Optional[float]:
    pairs = list(zip(values, others))
    return statistics.median(value / other for value, other in pairs) if pairs else None


def _times(ratio: Optional[float]) -> str:
    return "" if ratio is None else "{:.2f}".format(ratio)
