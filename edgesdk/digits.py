"""Real images for demonstrations and tests: scikit-learn's 1,797 scans of handwritten digits.

The scans are the test set of the UCI "Optical Recognition of Handwritten Digits" data, 8x8 pixels
with values 0..16, and ship inside scikit-learn, so nothing is downloaded. They are given as uint8
images, as a camera would, and always in the same three disjoint splits.
"""

from typing import Dict, NamedTuple

import numpy as np

from .errors import BackendUnavailable, ConfigError

LABELS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
SPLITS = ("train", "calibration", "test")  # 60 %, 20 %, 20 % of each class
HELD_OUT_SHARE = 0.2  # of each class, for calibration and again for test
SPLIT_SEED = 2024  # part of the data set's definition: another seed means other test scans
LARGEST_VALUE = 16  # of a pixel as scikit-learn gives it


class Scans(NamedTuple):
    """`images`: uint8 [n, 8, 8], 0 = paper, 255 = ink. `labels`: int64 [n], 0..9."""

    images: np.ndarray
    labels: np.ndarray


def load_digits_split(split: str) -> Scans:
    """The scans of one of `SPLITS`: the same ones, in the same order, on every machine.

    Raises ConfigError for another name and BackendUnavailable without scikit-learn.
    """
    if split not in SPLITS:
        raise ConfigError("split: found {!r}, expected one of {}".format(split, ", ".join(SPLITS)))
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise BackendUnavailable(
            "the digits scans come with scikit-learn, which cannot be imported ({}); "
            'install it with: pip install "edgesdk[demo]"'.format(error)
        ) from None
    values, labels = load_digits(return_X_y=True)
    chosen = _split_indices(labels)[split]
    images = np.round(values[chosen] * (255.0 / LARGEST_VALUE)).astype(np.uint8)
    return Scans(images.reshape(-1, 8, 8), labels[chosen].astype(np.int64))


def _split_indices(labels: np.ndarray) -> Dict[str, np.ndarray]:
    """Ascending indices of each split, every class shuffled and cut in the same proportions."""
    random = np.random.RandomState(SPLIT_SEED)  # its stream is frozen across numpy versions
    chosen = {split: [] for split in SPLITS}  # type: Dict[str, list]
    for label in range(len(LABELS)):
        members = random.permutation(np.flatnonzero(labels == label))
        held_out = int(len(members) * HELD_OUT_SHARE)
        chosen["test"].append(members[:held_out])
        chosen["calibration"].append(members[held_out : 2 * held_out])
        chosen["train"].append(members[2 * held_out :])
    return {split: np.sort(np.concatenate(parts)) for split, parts in chosen.items()}
