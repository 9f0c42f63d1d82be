"""`python -m edgesdk.bench pipeline`: edgesdk beside what one would use instead, in one run.

Every contender gets the same uint8 images and prepares them itself. Its answers are checked, then
it is timed. Contenders take turns, a few images each, so that other programs slow all alike; the
fastest time of each image counts, for other programs only add. Percentiles and means are over
images.
"""

import argparse
import os
import time
from random import Random
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from .. import cli
from ..bundle import read_plain_bundle
from ..core.events import Scores
from ..core.metrics import Metrics, percentile
from ..core.source import Source
from ..core.spec import FULL_PLAN
from ..core.worker import Worker
from ..pipeline import Pipeline
from .contenders import (
    EAGER,
    PLAIN,
    TORCH_UNCUT,
    Answers,
    Contender,
    answers,
    check,
    none_taken,
    open_contenders,
)
from .core import carry
from .engine import Rig
from .images import LabelledImages, read_test_images
from .plain import PlainOnnxruntime
from .timing import interleaved

BUNDLE = os.path.join("engines", "wrn16_1-digits", "1")
BATCHES = (1, 8, 32)
TIMED_IMAGES_MAX = 512  # evenly over the test images; all of them are answered and checked
TURN_IMAGES = 32  # of one contender in one turn
ROUNDS_MIN = 3

# What the project promises for WideResNet-16-1, batch 1, one thread.
ALL_EXITS_MAX = 1.45  # times plain onnxruntime, all exits evaluated and none taken
KEPT_EXITS_MAX = 1.15  # the same with the exits that calibration keeps
EARLY_MIN = 1.25  # times faster than plain onnxruntime: mean latency, samples per second
LOSS_POINTS_MAX = 1.0
TORCH_MIN = 1.3  # times faster than torch eager


class Entry(NamedTuple):
    """A contender with what was found: accuracy 0..1, and `times_us[batch]` float64 [batches], the
    fastest time of every batch of images."""

    contender: Contender
    answers: Answers
    accuracy: float
    times_us: Dict[int, np.ndarray]

    def mean_us(self, batch: int) -> float:
        """Mean time of one image, in batches of that size."""
        return float(self.times_us[batch].mean()) / batch


def measure(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Open, check and time everyone, print the tables, return the figures."""
    bundle = read_plain_bundle(arguments.bundle)
    data = read_test_images(arguments.data, bundle.manifest.labels)
    contenders, missing = open_contenders(bundle, arguments.threads)
    cli.banner(("onnxruntime", "torch"), as_json=arguments.json)
    for text in missing:
        cli.say(text, arguments.json)
    cli.say("{} test images of {}\n".format(len(data.images), data.name), arguments.json)
    logits = PlainOnnxruntime(bundle, arguments.threads).logits
    entries = checked(contenders, data, logits)
    for batch in BATCHES:
        clock(entries, data.images, batch, arguments.seconds)
    cli.say("\n".join(cli.table(HEADER, rows(entries))) + "\n", arguments.json)
    shares = _where_time_goes(entries, data.images[0], arguments.seconds)
    cli.say("\n".join(cli.table(SHARES_HEADER, _share_rows(shares))), arguments.json)
    return figures(entries) + _share_figures(shares)


def checked(
    contenders: Sequence[Contender], data: LabelledImages, logits: Callable[[Any], np.ndarray]
) -> List[Entry]:
    """Everyone's answers to every image. Raises EdgeError at the first that is wrong."""
    chunks = [data.images[i : i + 32] for i in range(0, len(data.images), 32)]
    expected = np.concatenate([logits(chunk) for chunk in chunks])
    entries = []
    for contender in contenders:
        found = answers(contender, data.images)
        check(contender, found, data.images, expected)
        accuracy = float((found.class_index == data.labels).mean())
        entries.append(Entry(contender, found, accuracy, {}))
    return entries


def clock(entries: Sequence[Entry], images: Sequence[Any], batch: int, seconds: float) -> None:
    """Fill `times_us[batch]` of every entry, in about `seconds` or ROUNDS_MIN rounds."""
    groups = _groups(images, batch)
    per_turn = max(1, TURN_IMAGES // batch)
    for entry in entries:
        entry.times_us[batch] = np.full(len(groups), np.inf)
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < ROUNDS_MIN or time.perf_counter() < end:
        for begin in range(0, len(groups), per_turn):
            turn = range(begin, min(begin + per_turn, len(groups)))
            for entry in entries:
                _take_turn(entry.contender.infer, groups, turn, entry.times_us[batch])
        rounds += 1


def _take_turn(
    infer: Callable[[Any], Any], groups: Sequence[Any], turn: Sequence[int], times_us: np.ndarray
) -> None:
    infer(groups[turn[0]])  # whoever came before has emptied the caches
    for index in turn:
        begin = time.perf_counter()
        infer(groups[index])
        times_us[index] = min(times_us[index], (time.perf_counter() - begin) * 1e6)


def _groups(images: Sequence[Any], batch: int) -> List[Any]:
    """Single images, or whole batches, spread evenly over the test images."""
    count = min(len(images), TIMED_IMAGES_MAX)
    chosen = [images[index * len(images) // count] for index in range(count)]
    if batch == 1:
        return chosen
    return [
        [chosen[(begin + row) % count] for row in range(batch)] for begin in range(0, count, batch)
    ]


HEADER = ("", "accuracy", "p50 us", "p95 us", "mean us", "x plain") + tuple(
    "images/s at {}".format(batch) for batch in BATCHES[1:]
)


def rows(entries: Sequence[Entry]) -> List[Tuple[str, ...]]:
    """The table a person reads: latencies of one image, and throughput of batches."""
    plain = entries[0]
    result = []
    for entry in entries:
        ordered = sorted(entry.times_us[1].tolist())
        cells = [
            entry.contender.name,
            "{:.2f} %".format(100 * entry.accuracy),
            "{:.0f}".format(percentile(ordered, 0.50)),
            "{:.0f}".format(percentile(ordered, 0.95)),
            "{:.0f}".format(entry.mean_us(1)),
            "{:.2f}".format(plain.mean_us(1) / entry.mean_us(1)),
        ]
        for batch in BATCHES[1:]:
            ratio = plain.mean_us(batch) / entry.mean_us(batch)
            cells.append("{:.0f} ({:.2f}x)".format(1e6 / entry.mean_us(batch), ratio))
        result.append(tuple(cells))
    return result


def figures(entries: Sequence[Entry]) -> List[Dict[str, Any]]:
    """Every measurement, then the ratios with their targets."""
    result = []
    for entry in entries:
        name = entry.contender.name
        ordered = sorted(entry.times_us[1].tolist())
        result += [
            cli.figure(name + ": accuracy", 100 * entry.accuracy, "%"),
            cli.figure(name + ": p50 latency", percentile(ordered, 0.50), "us"),
            cli.figure(name + ": p95 latency", percentile(ordered, 0.95), "us"),
            cli.figure(name + ": mean latency", entry.mean_us(1), "us"),
        ]
        for batch in BATCHES[1:]:
            throughput = 1e6 / entry.mean_us(batch)
            result.append(
                cli.figure("{}: batches of {}".format(name, batch), throughput, "images/s")
            )
    return result + _ratios(entries)


def _ratios(entries: Sequence[Entry]) -> List[Dict[str, Any]]:
    plain = next(entry for entry in entries if entry.contender.name == PLAIN)
    eager = [entry for entry in entries if entry.contender.name == EAGER]
    result = []
    for entry in entries:
        pipe, name = entry.contender.pipe, entry.contender.name
        if name == TORCH_UNCUT:
            result.append(_over_eager(entry, eager))
        if pipe is None:
            continue
        if pipe.backend.name == "torch":
            result.append(_over_eager(entry, eager))
        elif entry.contender.kind == "early":
            result += _early(entry, plain)
        elif name.endswith(none_taken(pipe.plan.name)):
            most = ALL_EXITS_MAX if pipe.plan.name == FULL_PLAN else KEPT_EXITS_MAX
            ratio = entry.mean_us(1) / plain.mean_us(1)
            result.append(cli.figure(name + ": times plain", ratio, "x", most, ratio <= most))
    return result


def _over_eager(entry: Entry, eager: Sequence[Entry]) -> Dict[str, Any]:
    name = entry.contender.name + ": speed over torch eager"
    if not eager:
        return cli.figure(name + " (torch is not installed)", 0.0, "x", TORCH_MIN, False)
    ratio = eager[0].mean_us(1) / entry.mean_us(1)
    return cli.figure(name, ratio, "x", TORCH_MIN, ratio >= TORCH_MIN)


def _early(entry: Entry, plain: Entry) -> List[Dict[str, Any]]:
    """What leaving early gains, and what it costs."""
    name, lost = entry.contender.name, 100 * (plain.accuracy - entry.accuracy)
    result = [
        cli.figure(
            name + ": accuracy lost", lost, "points", LOSS_POINTS_MAX, lost <= LOSS_POINTS_MAX
        )
    ]
    for batch, about in ((1, "mean latency"), (BATCHES[-1], "images/s at 32")):
        ratio = plain.mean_us(batch) / entry.mean_us(batch)
        about = "{}: {}, times better than plain".format(name, about)
        result.append(cli.figure(about, ratio, "x", EARLY_MIN, ratio >= EARLY_MIN))
    return result


Shares = List[Tuple[str, float]]  # what, us
SHARES_HEADER = ("one image, every exit evaluated", "us", "share")


def _where_time_goes(entries: Sequence[Entry], image: np.ndarray, seconds: float) -> Shares:
    """The time of one image that passes every exit, and of its parts, each repeated alone."""
    pipe = next(
        entry.contender.pipe
        for entry in entries
        if entry.contender.pipe is not None and entry.contender.name.endswith(none_taken(FULL_PLAN))
    )
    rig = Rig(pipe.bundle, pipe.plan.name, pipe.backend, 1)
    preprocess = PlainOnnxruntime(pipe.bundle).preprocess
    calls: List[Callable[[], Any]] = [
        lambda: pipe.infer(image),
        lambda: preprocess(image),
        rig.run_stages,
        rig.run_heads,
        _core_alone(pipe),
    ]
    times_us = [timing.min_us for timing in interleaved(calls, seconds)]
    names = ("in all", "preprocess", "stages", "heads", "core")
    rest = times_us[0] - sum(times_us[1:])
    return list(zip(names, times_us)) + [("buffers, loop, results", rest)]


def _core_alone(pipe: Pipeline) -> Callable[[], None]:
    """A call that takes one item through a core like that of `pipe`, and computes nothing."""
    metrics = Metrics(len(pipe.bundle.manifest.parts[0].exits))
    worker = Worker([pipe.plan], pipe.policy, Source(pipe.policy, 1, metrics, Random(0)))
    return lambda: carry(worker, 0, [Scores(1, 0.5, 0.2, 0.3)])


def _share_rows(shares: Shares) -> List[Tuple[str, ...]]:
    whole = shares[0][1]
    return [(name, "{:.0f}".format(us), "{:.0f} %".format(100 * us / whole)) for name, us in shares]


def _share_figures(shares: Shares) -> List[Dict[str, Any]]:
    return [cli.figure("{}, every exit evaluated".format(name), us, "us") for name, us in shares]
