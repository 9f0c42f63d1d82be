"""Two students small enough to compute by hand, as a real bundle.

The input is a gray 6x6 image of mean brightness m (0..1). Both students make two channels, x and
1-x, and pass them on through two segments more. Student p's feature at exit k is the pooled
(m, 1-m), turned by TURN[p][k] radians: so the cosine difference of exit k to the first one is
1 / cos(TURN[p][k] - TURN[p][0]), whatever the image. The classifier adds up what the students say
of "bright" and "dark" along the way that they were turned at their last exit.
"""

import math
from typing import Any, Dict, Sequence

import numpy as np
from tiny import LABELS, SIZE, _npz, conv_model, tiny_manifest

from edgesdk.bundle import Bundle, write_bundle
from edgesdk.features import Features

PART_COUNT, EXIT_COUNT, FEATURE_SIZE = 2, 3, 2
TURN = ((0.0, 0.3, 0.6), (0.0, 0.8, 0.9))
SHARPNESS = 3.0
MISSING = (0.5, 0.5)  # the mean feature of a student that is not there: it says nothing
DIFFERENCES = [[1 / math.cos(turn - turns[0]) for turn in turns] for turns in TURN]


def rotation(radians: float) -> np.ndarray:
    """float32 [2,2]."""
    cos, sin = math.cos(radians), math.sin(radians)
    return np.array([[cos, -sin], [sin, cos]], np.float32)


def feature(brightness: float, part: int, exit_index: int) -> np.ndarray:
    """F_j of a student, by hand: float32 [2]."""
    mean = round(255 * brightness) / 255
    return rotation(TURN[part][exit_index]) @ np.array([mean, 1 - mean], np.float32)


def weight() -> np.ndarray:
    """float32 [2, 4] of the classifier."""
    bright = np.array([[1, -1], [-1, 1]], np.float32) * SHARPNESS
    return np.concatenate([bright @ rotation(-TURN[p][-1]) for p in range(PART_COUNT)], axis=1)


def logits(*features: np.ndarray) -> np.ndarray:
    """What the classifier says of the students' features, by hand: float32 [2]."""
    return weight() @ np.concatenate(features).astype(np.float32)


def ensemble_files() -> Dict[str, bytes]:
    """The files of the bundle."""
    split = np.array([[1.0], [-1.0]]).reshape(2, 1, 1, 1)
    keep = np.eye(2).reshape(2, 2, 1, 1)
    files = {}
    for part in range(PART_COUNT):
        for index in range(EXIT_COUNT):
            first = conv_model(split, np.array([0.0, 1.0]), (SIZE, SIZE))
            later = conv_model(keep, np.zeros(2), (SIZE, SIZE))
            files["onnx/{}_{}.onnx".format(part, index)] = later if index else first
            files["heads/{}_{}.npz".format(part, index)] = _npz(
                projection=rotation(TURN[part][index])
            )
    files["heads/classifier.npz"] = _npz(
        weight=weight(),
        bias=np.zeros(len(LABELS), np.float32),
        missing=np.array([MISSING] * PART_COUNT, np.float32),
    )
    return files


def ensemble_manifest() -> Dict[str, Any]:
    """The manifest of the bundle, without what `write_bundle` derives."""
    manifest = tiny_manifest()
    (plain,) = manifest["parts"]
    manifest["name"] = "tiny-ensemble"
    manifest["parts"] = [_part(part, plain) for part in range(PART_COUNT)]
    manifest["classifier"] = {
        "file": "heads/classifier.npz",
        "feature_size": FEATURE_SIZE,
        "multiply_adds": 8,
    }
    manifest["policies"] = {"difference": {"kind": "difference", "thresholds": [1.0, 1.2, 1.0]}}
    manifest["default_policy"] = "difference"
    return manifest


def _part(part: int, plain: Dict[str, Any]) -> Dict[str, Any]:
    stages = [
        {
            "first_segment": index,
            "last_segment": index,
            "exit": index,
            "file": "onnx/{}_{}.onnx".format(part, index),
        }
        for index in range(EXIT_COUNT)
    ]
    exits = [
        {
            "head": {"kind": "feature", "file": "heads/{}_{}.npz".format(part, index)},
            "multiply_adds": 4,
        }
        for index in range(EXIT_COUNT)
    ]
    segments = plain["segments"]
    return {
        "name": "student-{}".format(part),
        "segments": segments,
        "exits": exits,
        "plans": {"full": {"stages": stages}},
    }


def features_by_hand(
    brightnesses: Sequence[float], depths: Sequence[int] = (EXIT_COUNT,) * PART_COUNT
) -> Features:
    """What the students say of images of these brightnesses, all of the test split."""
    count = len(brightnesses)
    return Features(
        "tiny-ensemble",
        "by hand",
        np.array(["test"] * count),
        np.array([0 if b > 0.5 else 1 for b in brightnesses], np.int32),
        weight(),
        np.zeros(2, np.float32),
        np.array([MISSING] * PART_COUNT, np.float32),
        tuple(
            np.array([[feature(b, part, k) for k in range(depth)] for b in brightnesses])
            for part, depth in enumerate(depths)
        ),
    )


def write_tiny_ensemble(path: Any) -> Bundle:
    """Write the bundle and read it back."""
    return write_bundle(path, ensemble_manifest(), ensemble_files())
