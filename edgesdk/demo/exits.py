"""Real scans leave a real network at different exits: one process, beside what it saves."""

import argparse
import os
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from .. import cli, digits
from ..bench.plain import PlainOnnxruntime
from ..core.metrics import percentile
from ..pipeline import Pipeline
from ..results import Result
from ..runtime.clock import now_us
from . import pictures

ROUNDS = 3  # each scan is timed so often; its fastest time counts, for other programs only add
ACCURACY_LOSS_POINTS_MAX = 0.5


class Run(NamedTuple):
    """One way to answer every scan: classes [n], exits [n], multiply-adds and us of each."""

    name: str
    class_indices: np.ndarray
    exit_indices: np.ndarray
    multiply_adds: np.ndarray
    latency_us: np.ndarray


def main(arguments: argparse.Namespace, path: str) -> int:
    """Classify the test scans, print the table, draw the picture, check what was printed."""
    scans = digits.load_digits_split("test")
    pictures.pyplot()  # what is missing is said before the work, not after
    with Pipeline.open(path, backend=arguments.backend) as calibrated, Pipeline.open(
        path, policy="final", backend=arguments.backend
    ) as full:
        plain = PlainOnnxruntime(calibrated.bundle)
        cli.banner(("onnxruntime", "sklearn"), as_json=arguments.json)
        cli.say(
            "{} scans of handwritten digits, {} exits, policy {}, backend {}, 1 thread\n".format(
                len(scans.labels),
                len(calibrated.plan.exit_indices),
                calibrated.policy,
                calibrated.backend.name,
            ),
            arguments.json,
        )
        early_run, full_run, plain_run = _classify(scans.images, calibrated, full, plain)
    for line in _exit_table(early_run, scans.labels) + [""]:
        cli.say(line, arguments.json)
    for line in _comparison_table((early_run, full_run, plain_run), scans.labels) + [""]:
        cli.say(line, arguments.json)
    picture = _draw(scans, early_run, os.path.join(arguments.out, "exits.png"))
    cli.say("picture of scans that left early and late: " + picture, arguments.json)
    checks = _check(early_run, full_run, plain_run, scans.labels)
    for name, ok in checks.items():
        cli.say("{}  {}".format("ok    " if ok else "FAILED", name), arguments.json)
    if arguments.json:
        cli.print_json(_report((early_run, full_run, plain_run), scans.labels, checks))
    return 0 if all(checks.values()) else cli.EXIT_FAILED


def _classify(
    images: np.ndarray, calibrated: Pipeline, full: Pipeline, plain: PlainOnnxruntime
) -> Tuple[Run, Run, Run]:
    """Every way answers every scan, one after the other, so that all meet the same machine."""
    count, last = len(images), len(full.bundle.manifest.parts[0].exits) - 1
    early_results: List[Any] = [None] * count
    full_results: List[Any] = [None] * count
    plain_classes = np.zeros(count, np.int64)
    latency_us = np.full((3, count), np.inf)

    def timed(way: int, scan: int, answer: Callable[[np.ndarray], Any]) -> Any:
        begin_us = now_us()
        found = answer(images[scan])
        latency_us[way, scan] = min(latency_us[way, scan], now_us() - begin_us)
        return found

    for _ in range(ROUNDS):
        for scan in range(count):
            early_results[scan] = timed(0, scan, calibrated.infer)
            full_results[scan] = timed(1, scan, full.infer)
            plain_classes[scan] = timed(2, scan, plain.infer)[0]
    full_cost = _multiply_adds(full, full_results)
    return (
        _run("early exit", calibrated, early_results, latency_us[0]),
        _run("full network, cut", full, full_results, latency_us[1]),
        Run("plain onnxruntime", plain_classes, np.full(count, last), full_cost, latency_us[2]),
    )


def _run(name: str, pipe: Pipeline, results: Sequence[Result], latency_us: np.ndarray) -> Run:
    return Run(
        name,
        np.array([result.class_index for result in results]),
        np.array([result.exit_index for result in results]),
        _multiply_adds(pipe, results),
        latency_us,
    )


def _multiply_adds(pipe: Pipeline, results: Sequence[Result]) -> np.ndarray:
    """Multiply-adds of each result, the heads that its policy evaluated on the way included."""
    part = pipe.bundle.manifest.parts[0]
    final = len(part.exits) - 1
    evaluated = tuple(i for i in range(final + 1) if i == final or pipe.policy.evaluates(i, None))
    return np.array([part.multiply_adds_until(r.exit_index, evaluated) for r in results])


def _exit_table(run: Run, labels: np.ndarray) -> List[str]:
    rows = []
    for exit_index in sorted(set(run.exit_indices.tolist())):
        left = run.exit_indices == exit_index
        latency_us = sorted(run.latency_us[left].tolist())
        rows.append(
            (
                exit_index,
                "{:.1f} %".format(100 * left.mean()),
                "{:.1f} %".format(100 * (run.class_indices == labels)[left].mean()),
                "{:.0f}".format(percentile(latency_us, 0.50)),
                "{:.0f}".format(percentile(latency_us, 0.95)),
            )
        )
    return cli.table(("left at exit", "share", "accuracy", "p50 us", "p95 us"), rows)


def _comparison_table(runs: Sequence[Run], labels: np.ndarray) -> List[str]:
    reference = runs[-1].latency_us.mean()
    rows = []
    for run in runs:
        latency_us = sorted(run.latency_us.tolist())
        rows.append(
            (
                run.name,
                "{:.2f} %".format(_accuracy(run, labels)),
                "{:.2f}".format(run.multiply_adds.mean() / 1e6),
                "{:.0f}".format(run.latency_us.mean()),
                "{:.0f}".format(percentile(latency_us, 0.50)),
                "{:.0f}".format(percentile(latency_us, 0.95)),
                "{:.2f}".format(reference / run.latency_us.mean()),
            )
        )
    return cli.table(
        ("", "accuracy", "M multiply-adds", "mean us", "p50 us", "p95 us", "x plain"), rows
    )


def _draw(scans: digits.Scans, run: Run, path: str) -> str:
    """A row of scans for each exit that was used, wrong answers first; the path of the picture."""
    pyplot = pictures.pyplot()
    exits = sorted(set(run.exit_indices.tolist()))
    columns = 10
    figure, axes = pyplot.subplots(
        len(exits), columns, figsize=(columns, 1.35 * len(exits)), squeeze=False
    )
    for row, exit_index in zip(axes, exits):
        left = np.flatnonzero(run.exit_indices == exit_index)
        wrong = run.class_indices != scans.labels
        chosen = left[np.argsort(~wrong[left], kind="stable")][:columns]
        for axis in row:
            axis.axis("off")
        for axis, scan in zip(row, chosen):
            axis.imshow(scans.images[scan], cmap="gray_r", vmin=0, vmax=255)
            color = "red" if wrong[scan] else "black"
            axis.set_title(digits.LABELS[run.class_indices[scan]], fontsize=9, color=color)
        share = 100 * (run.exit_indices == exit_index).mean()
        row[0].text(
            -0.35,
            0.5,
            "exit {}\n{:.1f} %".format(exit_index, share),
            transform=row[0].transAxes,
            ha="right",
            va="center",
        )
    figure.suptitle("Where scans left the network, with its answers (red: wrong)", y=0.94)
    return pictures.save(figure, path)


def _check(early: Run, full: Run, plain: Run, labels: np.ndarray) -> Dict[str, bool]:
    lost = _accuracy(full, labels) - _accuracy(early, labels)
    saved = 1 - float(early.multiply_adds.mean() / full.multiply_adds.mean())
    return {
        "every scan got an answer, at more than one exit": len(set(early.exit_indices)) > 1
        and len(early.class_indices) == len(labels),
        "the cut network answers as the uncut one on every scan": bool(
            (full.class_indices == plain.class_indices).all()
        ),
        "early exits lose at most {} points (lost {:.2f})".format(
            ACCURACY_LOSS_POINTS_MAX, lost
        ): lost <= ACCURACY_LOSS_POINTS_MAX,
        "early exits save multiply-adds ({:.1f} %)".format(100 * saved): saved > 0,
    }


def _report(runs: Sequence[Run], labels: np.ndarray, checks: Dict[str, bool]) -> Dict[str, Any]:
    figures = []
    for run in runs:
        figures += [
            cli.figure(run.name + ": accuracy", _accuracy(run, labels), "%"),
            cli.figure(run.name + ": multiply-adds", float(run.multiply_adds.mean()), "count"),
            cli.figure(run.name + ": mean latency", float(run.latency_us.mean()), "us"),
        ]
    return {"versions": cli.versions(("onnxruntime",)), "figures": figures, "checks": checks}


def _accuracy(run: Run, labels: np.ndarray) -> float:
    return float(100 * (run.class_indices == labels).mean())
