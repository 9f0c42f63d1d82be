"""The course of a training as a picture: loss, and the accuracy of every exit."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

FILE_NAME = "curves.png"


def curves(history: Sequence[dict[str, Any]], title: str) -> bytes:
    """A PNG of the records of `Trainer.run_epoch`: the training loss to the left, accuracies on
    the calibration split to the right, one line per exit."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle(title)
    epochs = [record["epoch"] + 1 for record in history]
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [record["train_loss"] for record in history], color="black")
    loss.set(xlabel="epoch", ylabel="training loss (weighted sum over exits)")
    per_exit = list(zip(*(record["calibration_accuracy"] for record in history)))
    for index, values in enumerate(per_exit):
        name = f"exit {index}" + (" (final)" if index == len(per_exit) - 1 else "")
        percent = [100 * value for value in values]
        (line,) = accuracy.plot(epochs, percent, label=f"{name}: {percent[-1]:.1f} %")
        if len(epochs) == 1:  # a line of one point is invisible
            line.set_marker("o")
    accuracy.set(xlabel="epoch", ylabel="accuracy on the calibration split (%)")
    figure.legend(loc="outside right center", fontsize="small")
    for axes in (loss, accuracy):
        axes.xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
