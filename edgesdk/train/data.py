"""Data sets as tensors, read through the same `Preprocessor` that a deployed pipeline uses."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from .. import digits
from ..core.spec import Preprocessing
from ..errors import ConfigError
from ..preprocess import Images, Preprocessor
from .augment import cropped_and_flipped, distorted
from .cifar_batches import is_batches, read_batches
from .image_files import ImageSet, Labelled, read_image_files
from .recipe import DIGITS, PHOTOS, Settings

DIGITS_PREPROCESSING = Preprocessing(
    color="gray",
    height=32,
    width=32,
    resize="bilinear",
    crop="none",
    mean=(0.305,),  # of the pixels of the training scans
    std=(0.376,),
)
PHOTO_SIZE = 32  # height and width in pixels that the networks of `models` take
HELD_OUT_DIVISOR = 10  # the last tenth of each class of train/ is the calibration split


class Split(NamedTuple):
    """`images`: float32 [n, C, H, W], preprocessed. `labels`: int64 [n]."""

    images: Tensor
    labels: Tensor


class DataSet(NamedTuple):
    """A named data set: its label texts, how images become inputs, and where the images are.

    `load(split)` gives "train", "calibration" or "test"; `augment(images, generator)` gives
    changed copies of a training batch. `recipe`: the settings of a training of it, unless others
    are asked for. `digest` changes with any image or label; "" says that the name determines them.
    """

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    load: Callable[[str], Split]
    augment: Callable[[Tensor, Generator], Tensor]
    recipe: Settings = DIGITS
    digest: str = ""


def data_set(name: str, size: int = PHOTO_SIZE) -> DataSet:
    """The data set of that name, or the images at that path: a folder, or a tar of one.

    Images at a path are brought to `size` by `size` pixels. Raises ConfigError if it is neither,
    and what `read_image_files`, `read_batches` and `photos`
    raise.
    """
    if name in DATA_SETS:
        return DATA_SETS[name]
    path = Path(name)
    if not path.exists():
        raise ConfigError(
            f"data: found {name!r}, expected one of {', '.join(DATA_SETS)}, or the path of an "
            "image folder (train/CLASS/*.jpg, test/CLASS/*.jpg), of cifar-10-batches-py, or of a "
            "tar of either"
        )
    found = read_batches(path) if is_batches(path) else read_image_files(path)
    return photos(found, _stem(path), size)


def photos(found: ImageSet, name: str, size: int = PHOTO_SIZE) -> DataSet:
    """`found` as a data set of images of `size` by `size` pixels.

    The last tenth of each class of `train` is the calibration split. Mean and deviation are those
    of the images that are trained on. Raises ConfigError if a colour channel never changes.
    """
    held_out = _held_out(found.train.labels)
    parts = {
        "train": _chosen(found.train, ~held_out),
        "calibration": _chosen(found.train, held_out),
        "test": found.test,
    }
    mean, std = _statistics(parts["train"].images)
    if min(std) == 0:
        raise ConfigError(
            f"{name}: found training images whose colour channels deviate by {std}, expected more "
            "than 0; are the images black, or all the same?"
        )
    spec = Preprocessing("rgb", size, size, "area", "center", mean, std)

    def load(split: str) -> Split:
        return preprocessed(parts[split].images, parts[split].labels, spec)

    return DataSet(name, found.class_names, spec, load, cropped_and_flipped, PHOTOS, _digest(found))


def _stem(path: Path) -> str:
    """`cifar10.tar.xz` and `cifar10/` are both called cifar10."""
    return path.resolve().name.split(".")[0]


def _held_out(labels: np.ndarray) -> np.ndarray:
    """bool [n]: the last tenth of each class, in the order given (that of the file names)."""
    result = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        result[members[len(members) - max(1, len(members) // HELD_OUT_DIVISOR) :]] = True
    return result


def _chosen(part: Labelled, mask: np.ndarray) -> Labelled:
    images = [image for image, wanted in zip(part.images, mask) if wanted]
    return Labelled(images, part.labels[mask])


def _digest(found: ImageSet) -> str:
    """sha256 over class names, labels, sizes and pixels."""
    result = hashlib.sha256(repr(found.class_names).encode())
    for part in (found.train, found.test):
        for image, label in zip(part.images, part.labels):
            result.update(f"{label} {image.shape}".encode())
            result.update(image.tobytes())
    return result.hexdigest()


def _statistics(images: Sequence[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 images, in units of 255."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for image in images:
        pixels = image.reshape(-1, 3) / 255
        count += len(pixels)
        total += pixels.sum(0)
        squares += np.square(pixels).sum(0)
    mean = total / count
    std = np.sqrt(squares / count - mean**2)
    return tuple(mean.round(4).tolist()), tuple(std.round(4).tolist())


def preprocessed(images: Images, labels: np.ndarray, spec: Preprocessing) -> Split:
    """uint8 images [n, H, W] or [n, H, W, 3] and integer labels [n] as tensors."""
    inputs = Preprocessor(spec)(images)
    return Split(torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64)))


def _load_digits(split: str) -> Split:
    scans = digits.load_digits_split(split)
    return preprocessed(scans.images, scans.labels, DIGITS_PREPROCESSING)


def _augment_digits(images: Tensor, generator: Generator) -> Tensor:
    paper = -DIGITS_PREPROCESSING.mean[0] / DIGITS_PREPROCESSING.std[0]  # pixel value 0
    return distorted(images, paper, generator)


DATA_SETS = {
    "digits": DataSet("digits", digits.LABELS, DIGITS_PREPROCESSING, _load_digits, _augment_digits),
}
