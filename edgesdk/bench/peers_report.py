"""The tables and figures of `bench peers`."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .. import cli
from .contenders import PLAIN
from .peers_contenders import EARLYON, NOBODY, OURS, OURS_TORCH
from .pipeline import EARLY_MIN, KEPT_EXITS_MAX, LOSS_POINTS_MAX
from .timing import Interval
from .turns import Times

COMPACTION_MIN = 1.5  # times earlyon's samples per second, batches with mixed exits


class Measured(NamedTuple):
    """One who took part; `accuracy` 0..1; `times` by batch size."""

    name: str
    accuracy: float
    times: Times


def find(measured: Sequence[Measured], name: str) -> Optional[Measured]:
    """The one of that name; None where it was left out."""
    return next((each for each in measured if each.name == name), None)


def say(
    measured: Sequence[Measured], policy: str, batch: int, as_json: bool
) -> List[Dict[str, Any]]:
    """Print the table of one batch size, return its figures."""
    if batch == 1:
        lines = cli.table(SINGLE_HEADER, single_rows(measured))
        figures = single_figures(measured, policy)
    else:
        lines = cli.table(batch_header(batch), batch_rows(measured, policy))
        figures = batch_figures(measured, policy, batch)
    cli.say("\n".join(lines) + "\n", as_json)
    return figures


# --- one image at a time --------------------------------------------------------------------------

SINGLE_HEADER = ("one image at a time", "accuracy", "p50 us", "p95 us", "mean us", "x plain")


def single_rows(measured: Sequence[Measured]) -> List[Tuple[str, ...]]:
    """Latencies, and how many times faster than plain onnxruntime."""
    plain = find(measured, PLAIN)
    assert plain is not None  # without it nothing is measured
    return [
        (
            each.name,
            percent(each.accuracy),
            "{:.0f}".format(each.times.fastest_us(0.50)),
            "{:.0f}".format(each.times.fastest_us(0.95)),
            "{:.0f}".format(each.times.mean_us),
            in_brackets(each.times.faster_than(plain.times)),
        )
        for each in measured
    ]


def single_figures(measured: Sequence[Measured], policy: str) -> List[Dict[str, Any]]:
    """Every latency, then the ratios that have a target."""
    result = []
    for each in measured:
        times = each.times
        result += [
            cli.figure(each.name + ": accuracy", 100 * each.accuracy, "%"),
            cli.figure(each.name + ": p50 latency", times.fastest_us(0.50), "us"),
            cli.figure(each.name + ": p95 latency", times.fastest_us(0.95), "us"),
            cli.figure(each.name + ": mean latency", times.mean_us, "us"),
        ]
    plain = find(measured, PLAIN)
    nobody = find(measured, "{}, {}".format(OURS, NOBODY))
    early = find(measured, "{}, {}".format(OURS, policy))
    assert plain is not None
    if nobody is not None:
        result.append(at_most(nobody.name + ": times plain", plain, nobody, KEPT_EXITS_MAX))
    if early is not None:
        lost = 100 * (plain.accuracy - early.accuracy)
        name = early.name + ": accuracy lost"
        result.append(cli.figure(name, lost, "points", LOSS_POINTS_MAX, lost <= LOSS_POINTS_MAX))
        about = early.name + ": mean latency, times better than plain"
        result += ratio(about, early.times.faster_than(plain.times), EARLY_MIN)
    return result


def at_most(name: str, plain: Measured, ours: Measured, most: float) -> Dict[str, Any]:
    """How many times as long as `plain` it takes, and whether that is no more than `most`."""
    times = plain.times.faster_than(ours.times).value
    return cli.figure(name, times, "x", most, times <= most)


# --- batches --------------------------------------------------------------------------------------


def batch_header(batch: int) -> Tuple[str, ...]:
    """Of the table of batches."""
    return ("batches of {}".format(batch), "accuracy", "images/s", "x plain", "x earlyon")


def batch_rows(measured: Sequence[Measured], policy: str) -> List[Tuple[str, ...]]:
    """Images per second, and how many times those of plain onnxruntime and of earlyon."""
    plain, earlyon = find(measured, PLAIN), find(measured, "{}, {}".format(EARLYON, policy))
    assert plain is not None
    rows: List[Tuple[str, ...]] = []
    for each in measured:
        beside = "" if earlyon is None else in_brackets(each.times.faster_than(earlyon.times))
        rows.append(
            (
                each.name,
                percent(each.accuracy),
                "{:.0f}".format(1e6 / each.times.mean_us),
                in_brackets(each.times.faster_than(plain.times)),
                beside,
            )
        )
    return rows


def batch_figures(measured: Sequence[Measured], policy: str, batch: int) -> List[Dict[str, Any]]:
    """Every throughput, then what letting samples leave a batch gains."""
    at = "batches of {}".format(batch)
    result = [
        cli.figure("{}: {}".format(each.name, at), 1e6 / each.times.mean_us, "images/s")
        for each in measured
    ]
    early = find(measured, "{}, {}".format(OURS, policy))
    nobody = find(measured, "{}, {}".format(OURS, NOBODY))
    plain, earlyon = find(measured, PLAIN), find(measured, "{}, {}".format(EARLYON, policy))
    assert plain is not None
    if early is not None and nobody is not None:
        about = "{}: {}, times better than if it waited".format(early.name, at)
        result += ratio(about, early.times.faster_than(nobody.times))
    if early is not None:
        about = "{}: {}, times better than plain".format(early.name, at)
        result += ratio(about, early.times.faster_than(plain.times), EARLY_MIN)
    for name, target in ((OURS, COMPACTION_MIN), (OURS_TORCH, None)):
        ours = find(measured, "{}, {}".format(name, policy))
        if ours is not None and earlyon is not None:
            about = "{}: {}, times better than earlyon".format(ours.name, at)
            result += ratio(about, ours.times.faster_than(earlyon.times), target)
    return result


# --- cells ----------------------------------------------------------------------------------------


def ratio(name: str, found: Interval, target: Optional[float] = None) -> List[Dict[str, Any]]:
    """A ratio and where it is with 95 % certainty; all of that must reach the target."""
    ok = None if target is None else found.low >= target
    return [
        cli.figure(name, found.value, "x", target, ok),
        cli.figure(name + ", at least", found.low, "x"),
        cli.figure(name + ", at most", found.high, "x"),
    ]


def percent(share: float) -> str:
    """0..1 as a cell."""
    return "{:.2f} %".format(100 * share)


def in_brackets(found: Interval) -> str:
    """An interval as a cell."""
    return "{:.2f} ({:.2f} to {:.2f})".format(found.value, found.low, found.high)
