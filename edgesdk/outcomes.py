"""Outcomes: what every exit of a network says of every image of a data set, kept in a file.

Calibration reads them to choose thresholds, plots and simulations to try policies. A policy is
tried by `replay`: the objects of `core.exits` fold over recorded scores exactly as they do in a
worker, so nothing that is tried here behaves differently when it is deployed.
"""

import io
from random import Random
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from . import kernels
from .core.events import Scores
from .core.exits import ExitPolicy
from .errors import ConfigError
from .files import write_atomically

FORMAT = "edgesdk-outcomes-1"
SPLITS = ("calibration", "test")
FLOAT16_MAX = 65504.0


class Outcomes(NamedTuple):
    """n images, E exits, N classes; row i of every array belongs to image i.

    `model_id` and `data` (text) say whose answers to what these are. `split` text [n], one of
    `SPLITS`; `label` int32 [n]; `prediction` int32 [n,E]; the scores of `core.events.Scores` as
    float32 [n,E]; `logits` float16 [n,E,N].
    """

    model_id: str
    data: str
    split: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    max_probability: np.ndarray
    margin: np.ndarray
    entropy: np.ndarray
    difference: np.ndarray
    similarity: np.ndarray
    logits: np.ndarray

    @property
    def image_count(self) -> int:
        """n."""
        return len(self.label)

    @property
    def exit_count(self) -> int:
        """E."""
        return int(self.prediction.shape[1])

    @property
    def correct(self) -> np.ndarray:
        """bool [n,E]: whether each exit is right."""
        right: np.ndarray = self.prediction == self.label[:, None]
        return right

    def select(self, split: str) -> "Outcomes":
        """The images of one split. Raises ConfigError if there are none."""
        chosen = self.split == split
        if not chosen.any():
            raise ConfigError(
                "outcomes: found no images of the split {!r}, only {}; run the calibration "
                "again".format(split, ", ".join(sorted(set(self.split.tolist()))) or "none")
            )
        return self._replace(**{name: getattr(self, name)[chosen] for name in _KINDS})


# Array -> (kind of its dtype, dtype, its axes).
_KINDS: Dict[str, Tuple[str, Any, str]] = {
    "split": ("U", None, "n"),
    "label": ("i", np.int32, "n"),
    "prediction": ("i", np.int32, "nE"),
    "max_probability": ("f", np.float32, "nE"),
    "margin": ("f", np.float32, "nE"),
    "entropy": ("f", np.float32, "nE"),
    "difference": ("f", np.float32, "nE"),
    "similarity": ("f", np.float32, "nE"),
    "logits": ("f", np.float16, "nEN"),
}


class Replay(NamedTuple):
    """Where a policy lets images leave: `exit_index` int64 [n], the trained exit; `evaluated`
    bool [n,E], the heads computed on the way."""

    exit_index: np.ndarray
    evaluated: np.ndarray


def outcomes_from_logits(
    model_id: str, data: str, split: Sequence[str], labels: np.ndarray, logits: np.ndarray
) -> Outcomes:
    """From float32 logits [E,n,N], integer labels [n] and each image's split.

    The scores are those of the kernels, as in a deployed pipeline. Raises ConfigError for no
    images, or logits that are not finite.
    """
    count = logits.shape[1]
    if not count or not np.isfinite(logits).all():
        raise ConfigError(
            "logits: found {} images and values that are {}; expected at least one image and "
            "finite values; train the network again".format(
                count, "finite" if np.isfinite(logits).all() else "not finite"
            )
        )
    rows = [np.ascontiguousarray(rows, np.float32) for rows in logits]
    scores = [kernels.exit_scores(exit_rows) for exit_rows in rows]
    nothing = np.full(count, np.nan, np.float32)
    ones = np.ones(count, np.float32)
    difference = [ones] + [kernels.cosine_difference(later, rows[0]) for later in rows[1:]]
    similarity = [nothing] + [
        np.float32(1) / kernels.cosine_difference(later, before)
        for before, later in zip(rows, rows[1:])
    ]
    found = Outcomes(
        model_id,
        data,
        np.array(split, dtype=str),
        np.asarray(labels, np.int32),
        _columns([score[0] for score in scores], np.int32),
        _columns([score[1] for score in scores]),
        _columns([score[2] for score in scores]),
        _columns([score[3] for score in scores]),
        _columns(difference),
        _columns(similarity),
        logits.transpose(1, 0, 2).clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16),
    )
    _check(found, "outcomes")
    return found


def replay(
    outcomes: Outcomes, policy: ExitPolicy, exit_indices: Sequence[int], seed: int = 0
) -> Replay:
    """Let every image of `outcomes` leave where `policy` says, on a plan with `exit_indices`.

    One image at a time, as a worker handles it (`core.worker.Worker`). `seed`: for policies that
    draw. Raises ConfigError if the policy does not fit the plan.
    """
    policy.check(outcomes.exit_count, tuple(exit_indices))
    return fold(outcomes, policy, exit_indices, Random(seed))


def fold(
    outcomes: Outcomes, policy: ExitPolicy, exit_indices: Sequence[int], rng: Random
) -> Replay:
    """`replay` of a policy that is known to fit, drawing from `rng`."""
    exit_indices = tuple(exit_indices)
    columns = [getattr(outcomes, "prediction" if f == "class_index" else f) for f in Scores._fields]
    left = np.full(outcomes.image_count, exit_indices[-1], np.int64)
    evaluated = np.zeros((outcomes.image_count, outcomes.exit_count), bool)
    evaluated[:, exit_indices[-1]] = True
    for image, rows in enumerate(zip(*[column.tolist() for column in columns])):
        state = policy.start(exit_indices, rng)
        for exit_index in exit_indices[:-1]:
            if not policy.evaluates(exit_index, state):
                continue
            evaluated[image, exit_index] = True
            scores = Scores(*[row[exit_index] for row in rows])
            leaves, state = policy.step(exit_index, scores, state)
            if leaves:
                left[image] = exit_index
                evaluated[image, exit_indices[-1]] = False
                break
    return Replay(left, evaluated)


def write_outcomes(path: str, outcomes: Outcomes) -> None:
    """Write the file `path` (.npz, no pickles): whole, or not at all.

    Raises EdgeError if it cannot be written; what was there before is then untouched.
    """
    content = io.BytesIO()
    np.savez_compressed(content, format=np.array(FORMAT), **outcomes._asdict())
    write_atomically(path, content.getvalue())


def read_outcomes(path: str, model_id: str) -> Outcomes:
    """The outcomes in file `path`, which must be those of the network `model_id`.

    Raises ConfigError that names the file and what is wrong with it.
    """
    names = ("format",) + Outcomes._fields
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive.files]
            arrays = {name: archive[name] for name in names if name in archive.files}
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds
        raise ConfigError(
            "{}: cannot be read as outcomes ({}); delete it, and the calibration writes it "
            "again".format(path, error)
        ) from None
    if missing:
        raise ConfigError(
            "{}: holds no {}; expected outcomes written by: python -m edgesdk.train "
            "calibrate".format(path, ", ".join(missing))
        )
    texts = {name: str(arrays.pop(name)) for name in ("format", "model_id", "data")}
    if texts.pop("format") != FORMAT:
        raise ConfigError("{}: another format; expected {}".format(path, FORMAT))
    if texts["model_id"] != model_id:
        raise ConfigError(
            "{}: found the outcomes of model {}, expected model {}; delete the file or name "
            "another".format(path, texts["model_id"], model_id)
        )
    outcomes = Outcomes(texts["model_id"], texts["data"], **arrays)
    _check(outcomes, path)
    return outcomes


def _check(outcomes: Outcomes, where: str) -> None:
    """Raise ConfigError unless dtypes, shapes and values are what `Outcomes` says."""
    sizes: Dict[str, int] = {}
    for name, (kind, dtype, axes) in _KINDS.items():
        array = getattr(outcomes, name)
        if array.dtype.kind != kind or (dtype is not None and array.dtype != dtype):
            raise ConfigError(
                "{}: {} is {}, expected {}".format(
                    where, name, array.dtype, "text" if dtype is None else np.dtype(dtype).name
                )
            )
        expected = [sizes.setdefault(axis, size) for axis, size in zip(axes, array.shape)]
        if array.ndim != len(axes) or list(array.shape) != expected or not array.size:
            raise ConfigError(
                "{}: {} has the shape {}, expected {}".format(
                    where, name, list(array.shape), expected or "at least one image"
                )
            )
    unknown = sorted(set(outcomes.split.tolist()) - set(SPLITS))
    if unknown:
        raise ConfigError(
            "{}: found the splits {}, expected {}".format(
                where, ", ".join(unknown), ", ".join(SPLITS)
            )
        )
    for name in ("label", "prediction"):
        values = getattr(outcomes, name)
        if values.min() < 0 or values.max() >= sizes["N"]:
            raise ConfigError(
                "{}: {} holds {}..{}, expected 0..{}".format(
                    where, name, values.min(), values.max(), sizes["N"] - 1
                )
            )


def _columns(rows: List[np.ndarray], dtype: Any = np.float32) -> np.ndarray:
    return np.stack(rows, axis=1).astype(dtype)
