"""The curves of a run, as a picture that any viewer opens."""

import io

import numpy as np
import pytest
from PIL import Image

from edgesdk.train.plots import curves


def history(epochs):
    return [
        {
            "epoch": epoch,
            "train_loss": 2.0 / (epoch + 1),
            "calibration_accuracy": [1 - 0.5 / (epoch + exit_index + 1) for exit_index in range(3)],
        }
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_it_is_a_png_with_something_drawn_on_both_halves(epochs):
    with Image.open(io.BytesIO(curves(history(epochs), "wrn16_1 on digits"))) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    left = pixels.shape[1] * 2 // 5
    colourful = pixels.max(2) - pixels.min(2) > 60
    assert not colourful[:, :left].any()  # the loss is black
    assert (pixels[:, :left].max(2) < 60).sum() > 50
    assert colourful[:, left:].sum() > 50 * 3  # one coloured line per exit


def test_every_epoch_changes_the_picture():
    assert curves(history(3), "a") != curves(history(4), "a") != curves(history(4), "b")
