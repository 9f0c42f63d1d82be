"""Data sets as tensors, read through the same `Preprocessor` that a deployed pipeline uses."""

import math
from typing import Callable, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .. import digits
from ..core.spec import Preprocessing
from ..errors import ConfigError
from ..preprocess import Preprocessor

DIGITS_PREPROCESSING = Preprocessing(
    color="gray",
    height=32,
    width=32,
    resize="bilinear",
    crop="none",
    mean=(0.305,),  # of the pixels of the training scans
    std=(0.376,),
)
ROTATION_DEGREES = 12.0  # augmentation of digits: each drawn uniformly from -limit..limit
SHEAR = 0.15
SCALE = 0.12
SHIFT = 0.15  # of half the image: about 2.4 of 32 pixels


class Split(NamedTuple):
    """`images`: float32 [n, C, H, W], preprocessed. `labels`: int64 [n]."""

    images: Tensor
    labels: Tensor


class DataSet(NamedTuple):
    """A named data set: its label texts, how images become inputs, and where the images are.

    `load(split)` gives "train", "calibration" or "test"; `augment(images, generator)` gives
    changed copies of a training batch.
    """

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    load: Callable[[str], Split]
    augment: Callable[[Tensor, Generator], Tensor]


def data_set(name: str) -> DataSet:
    """The data set of that name. Raises ConfigError for a name not in `DATA_SETS`."""
    if name not in DATA_SETS:
        raise ConfigError(f"data: found {name!r}, expected one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def preprocessed(images: np.ndarray, labels: np.ndarray, spec: Preprocessing) -> Split:
    """uint8 images [n, H, W] or [n, H, W, 3] and integer labels [n] as tensors."""
    inputs = Preprocessor(spec)(images)
    return Split(torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64)))


def distorted(images: Tensor, background: float, generator: Generator) -> Tensor:
    """Each image rotated, sheared, scaled and shifted a little, by draws of its own.

    float32 [B, C, H, W] in and out; what comes into view from outside is `background`.
    """
    draws = torch.rand(6, len(images), generator=generator) * 2 - 1
    angle = draws[0] * math.radians(ROTATION_DEGREES)
    shear = draws[1] * SHEAR
    scale_x, scale_y = 1 + draws[2] * SCALE, 1 + draws[3] * SCALE
    cos, sin = angle.cos(), angle.sin()
    maps = torch.stack(
        [
            torch.stack([cos * scale_x, -sin * scale_y + shear, draws[4] * SHIFT], 1),
            torch.stack([sin * scale_x, cos * scale_y, draws[5] * SHIFT], 1),
        ],
        1,
    )
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    moved = F.grid_sample(images - background, grid, padding_mode="zeros", align_corners=False)
    return moved + background


def _load_digits(split: str) -> Split:
    scans = digits.load_digits_split(split)
    return preprocessed(scans.images, scans.labels, DIGITS_PREPROCESSING)


def _augment_digits(images: Tensor, generator: Generator) -> Tensor:
    paper = -DIGITS_PREPROCESSING.mean[0] / DIGITS_PREPROCESSING.std[0]  # pixel value 0
    return distorted(images, paper, generator)


DATA_SETS = {
    "digits": DataSet("digits", digits.LABELS, DIGITS_PREPROCESSING, _load_digits, _augment_digits),
}
