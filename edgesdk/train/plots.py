"""The course of a training as a picture: loss, and the accuracy of every exit."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

FILE_NAME = "curves.png"


def curves(
    history: Sequence[dict[str, Any]],
    title: str,
    loss_name: str = "training loss (weighted sum over exits)",
) -> bytes:
    """A PNG of the records of `Trainer.run_epoch`: the training loss to the left, accuracies on
    the calibration split to the right, one line per exit."""
    figure, (loss, accuracy) = _panels(title)
    epochs = [record["epoch"] + 1 for record in history]
    loss.plot(epochs, [record["train_loss"] for record in history], color="black")
    loss.set(xlabel="epoch", ylabel=loss_name)
    _accuracies(accuracy, history, "exit")
    figure.legend(loc="outside right center", fontsize="small")
    return png(figure)


def branch_curves(history: Sequence[dict[str, Any]], title: str) -> bytes:
    """The same of an ensemble, as DistrEE's Fig. 4: the loss of every branch (eq. 4, and dotted
    that of mixtures) to the left, accuracies to the right, in training (augmented images) thin."""
    figure, (loss, accuracy) = _panels(title)
    epochs = [record["epoch"] + 1 for record in history]
    for values in _columns(history, "train_branch_loss"):
        loss.plot(epochs, values, marker=_marker(epochs))
    mixture = [record["train_mixture_loss"] for record in history]
    if any(mixture):
        loss.plot(epochs, mixture, color="black", linestyle=":", marker=_marker(epochs))
    loss.set(xlabel="epoch", ylabel="training loss of each branch")
    for index, values in enumerate(_columns(history, "train_accuracy")):
        percent = [100 * value for value in values]
        accuracy.plot(epochs, percent, color=f"C{index}", linewidth=0.6, alpha=0.7)
    _accuracies(accuracy, history, "branch")
    figure.legend(loc="outside right center", fontsize="small")
    return png(figure)


def filter_groups(weights: np.ndarray, groups: Sequence[Sequence[int]], title: str) -> bytes:
    """A PNG of the graph `weights` [C, C] (`partition.filter_graph`), its filters in the order of
    `groups`, with lines between them: dark blocks are filters of little weight."""
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    axes = figure.subplots()
    order = [index for group in groups for index in group]
    shown = np.sqrt(weights[np.ix_(order, order)])  # a few filters fire far more than the others
    figure.colorbar(axes.imshow(shown, interpolation="nearest"), label="square root of the weight")
    for end in np.cumsum([len(group) for group in groups])[:-1]:
        axes.axhline(end - 0.5, color="white", linewidth=1)
        axes.axvline(end - 0.5, color="white", linewidth=1)
    axes.set(title=title, xlabel="filter, by group", ylabel="filter, by group")
    return png(figure)


def _panels(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, 2)
    for axes in panels:
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure, panels


def _accuracies(axes: Any, history: Sequence[dict[str, Any]], word: str) -> None:
    epochs = [record["epoch"] + 1 for record in history]
    per_exit = _columns(history, "calibration_accuracy")
    for index, values in enumerate(per_exit):
        name = f"{word} {index}" + (" (final)" if index == len(per_exit) - 1 else "")
        percent = [100 * value for value in values]
        label = f"{name}: {percent[-1]:.1f} %"
        axes.plot(epochs, percent, color=f"C{index}", label=label, marker=_marker(epochs))
    axes.set(xlabel="epoch", ylabel="accuracy on the calibration split (%)")


def _columns(history: Sequence[dict[str, Any]], name: str) -> list[tuple[float, ...]]:
    """Per exit its values over the epochs."""
    return list(zip(*(record[name] for record in history)))


def _marker(epochs: Sequence[int]) -> str:
    return "o" if len(epochs) == 1 else ""  # a line of one point is invisible


def png(figure: Figure) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
