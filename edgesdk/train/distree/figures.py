"""The pictures of the experiment, as PNG files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..plots import png
from . import paper
from .scaling import Sized
from .tables import Criterion, PolicyRow

GREY = "0.45"
MARKS = {"final": ("D", "black"), "oracle": ("P", "black")}  # what the others are compared with


def criteria(found: Sequence[Criterion]) -> bytes:
    """Fig. 3: similarity of neighbouring exits, and difference to the first; the median over the
    images of the test split, and between which values the middle half of them lies."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    similarity, difference = figure.subplots(1, 2)
    for index, student in enumerate(found):
        exits = np.arange(1, student.similarity.shape[1] + 1)
        for axes, (low, middle, high) in (
            (similarity, student.similarity),
            (difference, _drawable(student.difference)),
        ):
            axes.plot(exits, middle, "o-", color=f"C{index}", label=f"student {index}")
            axes.fill_between(exits, low, high, color=f"C{index}", alpha=0.15)
    for axes, text in (
        (similarity, "cosine similarity to the exit before"),
        (difference, "cosine difference to exit E1 (eq. 6)"),
    ):
        axes.set(xlabel="exit", ylabel=text)
        axes.set_xticks(exits, [f"E{index}" for index in exits])
        axes.grid(alpha=0.25)
    similarity.legend()
    return png(figure)


def _drawable(values: np.ndarray) -> np.ndarray:
    """Without what is infinite: the difference of features at a right angle or more."""
    return np.where(np.isfinite(values), values, np.nan)


def policies(rows: Mapping[str, PolicyRow], branches: Sequence[tuple[float, float]]) -> bytes:
    """Table II as a picture. `branches`: (multiply-adds, accuracy 0..1) with all students at one
    exit. Crosses: the paper's figures, of its own network and 100 images."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    axes = figure.subplots()
    xs, ys = zip(*branches)
    axes.plot(
        [x / 1e6 for x in xs], [100 * y for y in ys], "s-", color=GREY, label="all at one exit"
    )
    for index, (name, row) in enumerate(rows.items()):
        marker, color = MARKS.get(name, ("o", f"C{index}"))
        style: dict[str, Any] = {"color": color, "markersize": 9, "linestyle": ""}
        x = row.multiply_adds.passed / 1e6
        axes.plot(x, 100 * row.accuracy, marker=marker, label=name, **style)
        printed = paper.TABLE_TWO.get(name)
        if printed is not None:
            axes.plot(printed.multiply_adds_m, 100 * printed.accuracy, marker="x", **style)
    axes.plot([], [], "x", color=GREY, label="as printed")
    axes.axhline(100 * rows["final"].accuracy, color="black", linewidth=0.6, alpha=0.4)
    axes.set(
        xlabel="multiply-adds per image of one student, millions (Table I's rule)",
        ylabel="accuracy on the test split, %",
    )
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize="small")
    return png(figure)


def scaling(found: Sequence[Sized]) -> bytes:
    """What more students, and shallower ones, bring: accuracy of each branch, and simulated
    latency of the last exit and of the calibrated policy."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    accuracy, latency = figure.subplots(1, 2)
    for index, one in enumerate(found):
        style: dict[str, Any] = {"color": f"C{index}", "label": one.name}
        exits = range(1, len(one.branches) + 1)
        accuracy.plot(exits, [100 * value for value in one.branches], "o-", **style)
    accuracy.set(xlabel="exit of all students", ylabel="accuracy on the test split, %")
    accuracy.grid(alpha=0.25)
    accuracy.legend(fontsize="small")
    places = np.arange(len(found))
    for offset, name, color in ((-0.2, "final", GREY), (0.2, "calibrated", "C0")):
        values = [one.latency_ms[name] for one in found]
        bars = latency.bar(places + offset, values, 0.38, color=color, label=name)
        latency.bar_label(bars, fmt="%.0f", fontsize="small")
    latency.set_xticks(places, [one.name for one in found], rotation=20, ha="right")
    latency.set_ylabel("mean latency, ms (simulated)")
    latency.margins(y=0.15)
    latency.legend(loc="upper left", ncols=2, fontsize="small")
    return png(figure)
