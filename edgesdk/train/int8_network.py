"""A network in INT8: its stages, what every exit then says, and what that costs in accuracy."""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from tqdm import tqdm

from .. import kernels
from ..bundle import Head
from ..errors import ConfigError
from ..manifest import UNCUT_FILE
from ..outcomes import SPLITS
from .calibration.merging import merge
from .data import Split
from .export import export_layers, head_file, opened, segment_file
from .int8 import METHODS, Method, batches, chosen_images, quantized_stages, run
from .models import MultiExit

Classifier = Callable[[np.ndarray], np.ndarray]  # features [B,C,S...] -> logits [B,N]


class Int8(NamedTuple):
    """`files`: those of the bundle that change. `logits`: of each split, float32 [E,n,N].
    `provenance`: where ranges came from, and the accuracy of every exit before and after."""

    files: dict[str, bytes]
    logits: dict[str, np.ndarray]
    provenance: dict[str, Any]


def quantized_network(
    network: MultiExit,
    files: Mapping[str, bytes],
    splits: Mapping[str, Split],
    logits: Mapping[str, np.ndarray],
    max_loss_points: float,
) -> Int8:
    """`network`, whose `export_network` gave `files` and whose `logits` of the `SPLITS` are float32
    [E,n,N], in INT8.

    Every method of `METHODS` is tried; the best mean accuracy of all exits on the calibration split
    is kept. Raises ConfigError if the final exit loses more than `max_loss_points` percent points
    there, and what `quantized` and `merge` raise.
    """
    check_points(max_loss_points)
    stages = [files[segment_file(index)] for index in range(network.exit_count)]
    heads = [_head(files, index) for index in range(network.exit_count)]
    calibration = splits["calibration"]
    images = chosen_images(calibration.images.numpy())
    tried = []
    with tqdm(total=len(METHODS) * len(stages), desc="INT8", leave=False, disable=None) as bar:
        for method in METHODS:
            found = []
            for stage in quantized_stages(stages, images, method):
                found.append(stage)
                bar.update()
            answers = logits_of(found, heads, calibration.images.numpy())
            tried.append((accuracy(answers, calibration), method, found, answers))
    after, method, found, answers = max(tried, key=lambda one: sum(one[0]))
    before = accuracy(logits["calibration"], calibration)
    _check_loss(before, after, max_loss_points)
    both = {
        "calibration": answers,
        "test": logits_of(found, heads, splits["test"].images.numpy()),
    }
    changed = {segment_file(index): stage for index, stage in enumerate(found)}
    changed[UNCUT_FILE] = _uncut(network, found, images)
    provenance = _provenance(method, len(images), {one.name: a for a, one, _, _ in tried})
    provenance["accuracy_per_exit"] = {
        split: {
            "float32": accuracy(logits[split], splits[split]),
            "int8": accuracy(both[split], splits[split]),
        }
        for split in SPLITS
    }
    return Int8(changed, both, provenance)


def logits_of(
    stages: Sequence[bytes], heads: Sequence[Classifier], images: np.ndarray
) -> np.ndarray:
    """float32 [E,n,N]: what every exit says of float32 `images` [n,C,H,W], by onnxruntime and the
    kernels."""
    sessions = [opened(stage, f"segment {index}") for index, stage in enumerate(stages)]
    rows: list[list[np.ndarray]] = [[] for _ in stages]
    for features in batches(images):
        for session, head, row in zip(sessions, heads, rows):
            features = run(session, features)
            row.append(head(features))
    return np.stack([np.concatenate(row) for row in rows])


def accuracy(logits: np.ndarray, split: Split) -> list[float]:
    """Of every exit, 0..1."""
    right = logits.argmax(axis=2) == split.labels.numpy()
    return [float(share) for share in right.mean(axis=1)]


def check_points(max_loss_points: float) -> None:
    """Raise ConfigError unless a loss in percent points is possible."""
    if not 0 <= max_loss_points <= 100:
        raise ConfigError(f"int8_loss_points: found {max_loss_points}, expected 0 to 100")


def _check_loss(before: Sequence[float], after: Sequence[float], max_loss_points: float) -> None:
    lost = 100 * (before[-1] - after[-1])
    if not lost <= max_loss_points:
        figures = ", ".join(
            f"exit {index} {100 * one:.2f} % -> {100 * two:.2f} %"
            for index, (one, two) in enumerate(zip(before, after))
        )
        raise ConfigError(
            f"INT8: the final exit loses {lost:.2f} percent points on the calibration split, "
            f"expected at most {max_loss_points} ({figures}); nothing was written; export without "
            "--int8, or allow more with --int8-loss-points"
        )


def _uncut(network: MultiExit, stages: Sequence[bytes], images: np.ndarray) -> bytes:
    """All INT8 stages and the final head in one file."""
    features = images[:2]
    for stage in stages:
        features = run(opened(stage, "uncut"), features)
    head = export_layers(network.exits[-1], torch.from_numpy(features), "the final exit")
    return merge([*stages, head], "the uncut network")


def _provenance(
    method: Method, image_count: int, tried: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    return {
        "type": "int8",
        "split": "calibration",
        "image_count": image_count,
        "method": method.name,
        "tried": {name: sum(shares) / len(shares) for name, shares in tried.items()},
        "onnxruntime": onnxruntime.__version__,
    }


def _head(files: Mapping[str, bytes], index: int) -> Classifier:
    graph = files.get(head_file(index, kind="graph"))
    if graph is not None:  # it stays float32 too
        return functools.partial(run, opened(graph, f"exit {index}"))
    arrays = _arrays(files[head_file(index)])
    affine = arrays.get("scale"), arrays.get("shift")
    return fused_classifier(Head(arrays["weight"], arrays["bias"], *affine))


def fused_classifier(head: Head) -> Classifier:
    """A head that the kernels compute."""
    return lambda features: np.asarray(kernels.exit_head(features, *head, logits=True).logits)


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)
