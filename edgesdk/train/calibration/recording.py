"""Runs a bundle, every stage and every head of it, over the splits that calibration looks at."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import numpy as np
from tqdm import tqdm

from ...backends import Backend, open_backend
from ...bundle import Bundle
from ...core.events import RunStage, StageDone
from ...core.spec import FULL_PLAN, Preprocessing
from ...errors import ConfigError
from ...features import Features, check_features
from ...outcomes import SPLITS, Outcomes, outcomes_from_logits, read_outcomes, write_outcomes
from ...runtime.executor import Executor
from ..data import DataSet

BATCH = 32


def read_or_record(
    bundle: Bundle, data: DataSet, file: Optional[str], backend: Optional[str], threads: int
) -> Outcomes:
    """The outcomes in `file`, if there is one; else recorded, and kept in the file that was named.

    Raises ConfigError if those in the file are of another network or of other data, and what
    `record` raises.
    """
    if file is not None and Path(file).exists():
        outcomes = read_outcomes(file, bundle.manifest.model_id)
        if outcomes.data != data.name:
            raise ConfigError(
                f"{file}: found the outcomes of the data {outcomes.data}, expected {data.name}; "
                "delete the file or name another"
            )
        return outcomes
    opened = open_backend(backend, threads)
    outcomes = record(bundle, data, opened)
    opened.close()
    if file is not None:
        write_outcomes(file, outcomes)
    return outcomes


def record(bundle: Bundle, data: DataSet, backend: Backend) -> Outcomes:
    """The outcomes of `bundle`, as `backend` and the kernels compute them.

    Raises ConfigError if the labels or the geometry of `data` are not those of the bundle.
    """
    executor = Executor(bundle, FULL_PLAN, backend, keep_logits=True)
    logits, labels, names = [], [], []
    for split, images, its_labels in _splits(bundle, data):
        logits.append(_logits(executor, images, bundle, split))
        labels.append(its_labels)
        names += [split] * len(images)
    return outcomes_from_logits(
        bundle.manifest.model_id,
        data.name,
        names,
        np.concatenate(labels),
        np.concatenate(logits, axis=1),
    )


def record_ensemble(bundle: Bundle, data: DataSet, backend: Backend) -> Features:
    """The same of an ensemble: what each exit of each student gives to the classifier.

    Raises what `record` raises.
    """
    executor = Executor(bundle, FULL_PLAN, backend)
    students, labels, names = [], [], []
    for split, images, its_labels in _splits(bundle, data):
        students.append(_features(executor, images, bundle, split))
        labels.append(its_labels)
        names += [split] * len(images)
    found = Features(
        bundle.manifest.name,
        data.name,
        np.array(names, dtype=str),
        np.concatenate(labels).astype(np.int32),
        *bundle.classifier(),
        tuple(np.concatenate(parts) for parts in zip(*students)),
    )
    check_features(found, bundle.path)
    return found


def _splits(bundle: Bundle, data: DataSet) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, images as the bundle takes them, and labels, of each split that is looked at."""
    check_labels(bundle, data)
    for split in SPLITS:
        loaded = data.load(split)
        images = renormalised(
            loaded.images.numpy(), data.preprocessing, bundle.manifest.preprocessing
        )
        yield split, images, loaded.labels.numpy()


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
    for done in _every_stage(executor, images, (exits,), f"outcomes, {split}"):
        for item in done.items:
            logits[done.stage, item] = executor.logits(item, done.stage)
    return logits


def _features(
    executor: Executor, images: np.ndarray, bundle: Bundle, split: str
) -> list[np.ndarray]:
    """Of each student float32 [n, M, D]."""
    depths = [len(part.exits) for part in bundle.manifest.parts]
    assert bundle.manifest.classifier is not None
    size = bundle.manifest.classifier.feature_size
    students = [np.empty((len(images), depth, size), np.float32) for depth in depths]
    for done in _every_stage(executor, images, depths, f"features, {split}"):
        assert done.features is not None  # an ensemble's exits give theirs
        rows = np.frombuffer(b"".join(done.features), np.float32)
        students[done.part][list(done.items), done.stage] = rows.reshape(-1, size)
    return students


def _every_stage(
    executor: Executor, images: np.ndarray, depths: Sequence[int], title: str
) -> Iterator[StageDone]:
    """Run all stages and heads of all parts on `images` [n,C,H,W]; item i is image i."""
    with tqdm(total=len(images), desc=title, unit=" images", disable=None) as bar:
        for begin in range(0, len(images), BATCH):
            batch = images[begin : begin + BATCH]
            items = tuple(range(begin, begin + len(batch)))
            buffer = executor.take_input(len(batch), batch.shape[1:])
            buffer.array[...] = batch
            executor.admit(items, buffer)
            for part, depth in enumerate(depths):
                for stage in range(depth):
                    yield executor.run(RunStage(part, stage, items, True))
            for item in items:
                executor.release(item)
            bar.update(len(batch))
