"""Runs a bundle, every stage and every head of it, over the splits that calibration looks at."""

import numpy as np
from tqdm import tqdm

from ...backends import Backend
from ...bundle import Bundle
from ...core.events import RunStage
from ...core.spec import FULL_PLAN, Preprocessing
from ...errors import ConfigError
from ...outcomes import SPLITS, Outcomes, outcomes_from_logits
from ...runtime.executor import Executor
from ..data import DataSet

BATCH = 32


def record(bundle: Bundle, data: DataSet, backend: Backend) -> Outcomes:
    """The outcomes of `bundle`, as `backend` and the kernels compute them.

    Raises ConfigError if the labels or the geometry of `data` are not those of the bundle.
    """
    check_labels(bundle, data)
    executor = Executor(bundle, FULL_PLAN, backend, keep_logits=True)
    logits, labels, names = [], [], []
    for split in SPLITS:
        loaded = data.load(split)
        images = renormalised(
            loaded.images.numpy(), data.preprocessing, bundle.manifest.preprocessing
        )
        logits.append(_logits(executor, images, bundle, split))
        labels.append(loaded.labels.numpy())
        names += [split] * len(images)
    return outcomes_from_logits(
        bundle.manifest.model_id,
        data.name,
        names,
        np.concatenate(labels),
        np.concatenate(logits, axis=1),
    )


def renormalised(images: np.ndarray, source: Preprocessing, target: Preprocessing) -> np.ndarray:
    """float32 [n,C,H,W] with the mean and deviation of `source` -> those of `target`.

    Raises ConfigError if they differ in anything else.
    """
    if source == target:
        return images
    if source._replace(mean=(), std=()) != target._replace(mean=(), std=()):
        raise ConfigError(
            f"data: its images are prepared as {source}, expected {target}, as the bundle takes "
            "them; name the data set that the bundle was trained on"
        )
    mean, std, new_mean, new_std = (
        np.array(values, np.float64)[:, None, None]
        for values in (source.mean, source.std, target.mean, target.std)
    )
    changed: np.ndarray = (images * (std / new_std) + (mean - new_mean) / new_std).astype(
        np.float32
    )
    return changed


def check_labels(bundle: Bundle, data: DataSet) -> None:
    """Raise ConfigError unless the classes of `data` are those of the bundle."""
    if tuple(data.labels) != bundle.manifest.labels:
        raise ConfigError(
            f"data: found the classes {', '.join(data.labels)}, expected "
            f"{', '.join(bundle.manifest.labels)}, those of the bundle; name the data set that the "
            "bundle was trained on"
        )


def _logits(executor: Executor, images: np.ndarray, bundle: Bundle, split: str) -> np.ndarray:
    exits, classes = len(bundle.manifest.parts[0].exits), len(bundle.manifest.labels)
    logits = np.empty((exits, len(images), classes), np.float32)
    bar = tqdm(total=len(images), desc=f"outcomes, {split}", unit=" images", disable=None)
    with bar:
        for begin in range(0, len(images), BATCH):
            batch = images[begin : begin + BATCH]
            items = tuple(range(begin, begin + len(batch)))
            buffer = executor.take_input(len(batch), batch.shape[1:])
            buffer.array[...] = batch
            executor.admit(items, buffer)
            for exit_index in range(exits):
                executor.run(RunStage(0, exit_index, items, True))
                for item in items:
                    logits[exit_index, item] = executor.logits(item, exit_index)
            for item in items:
                executor.release(item)
            bar.update(len(batch))
    return logits
