"""The curves of a run, as a picture that any viewer opens."""

import io

import numpy as np
import pytest
from PIL import Image

from edgesdk.train.plots import branch_curves, curves, filter_groups


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


def branch_history(epochs, mixture=1.0):
    return [
        {
            **record,
            "train_branch_loss": [2.0 / (record["epoch"] + branch + 1) for branch in range(3)],
            "train_mixture_loss": mixture / (record["epoch"] + 1),
            "train_accuracy": [0.9 * x for x in record["calibration_accuracy"]],
        }
        for record in history(epochs)
    ]


def pixels_of(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_branches_have_a_line_each_in_loss_and_accuracy(epochs):
    pixels = pixels_of(branch_curves(branch_history(epochs), "2 x wrn16_1 on digits"))
    colourful = pixels.max(2) - pixels.min(2) > 60
    left = pixels.shape[1] * 2 // 5
    assert colourful[:, :left].sum() > 30 * 3
    assert colourful[:, left:].sum() > 50 * 3


def test_mixtures_are_drawn_where_they_were_trained():
    with_, without = (branch_curves(branch_history(3, mixture), "a") for mixture in (1.0, 0.0))
    assert with_ != without


def test_filters_are_drawn_in_the_order_of_their_groups():
    """Strong edges inside two groups, whose filters alternate, become two bright blocks."""
    group_of = np.arange(8) % 2
    weights = np.where(group_of[:, None] == group_of, 1.0, 0.0)
    together = filter_groups(weights, [(0, 2, 4, 6), (1, 3, 5, 7)], "two groups")
    apart = filter_groups(weights, [(0, 1, 2, 3), (4, 5, 6, 7)], "two groups")
    assert pixels_of(together).shape == pixels_of(apart).shape
    bright = [
        (pixels_of(png)[:, :, 0] > 240) & (pixels_of(png)[:, :, 2] < 80)
        for png in (together, apart)
    ]

    def changes(mask):
        return int(np.abs(np.diff(mask.astype(int), axis=1)).sum())

    assert changes(bright[0]) < changes(bright[1])
