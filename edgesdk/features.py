"""Features: what every exit of every student says of every image, kept in a file.

With them, and the classifier that reads them, policies of an ensemble can be tried without its
networks: where each student leaves, what the gathered classification is, and what it is when a
student's feature does not arrive. The ensemble's counterpart of `edgesdk.outcomes`, with which it
tries policies: a student by itself is a network with exits.

The file (.npz, no pickles) has the arrays of `Features`, and those of student i as `student_0`,
`student_1`, ... . One file for all, so that students, labels and classifier cannot disagree; numpy
unpacks only the arrays that are asked for.
"""

import io
from os import PathLike
from random import Random
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from . import kernels
from .bundle import Bundle, EnsembleClassifier
from .core.events import Scores
from .core.exits import ExitPolicy
from .errors import ConfigError
from .files import write_atomically
from .outcomes import SPLITS, Outcomes, Replay, fold, outcomes_from_logits

FORMAT = "edgesdk-features-1"
STUDENT = "student_{}"


class Features(NamedTuple):
    """n images, N students, student i with M_i exits, D values per feature, K classes.

    `ensemble` and `data` (text) say whose features of what these are. `split` text [n], one of
    `outcomes.SPLITS`; `label` int32 [n]; `weight` float32 [K, N D] and `bias` float32 [K] of the
    classifier; `mean_features` float32 [N, D], what stands in for a missing student; `students`:
    per student float16 or float32 [n, M_i, D].
    """

    ensemble: str
    data: str
    split: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    mean_features: np.ndarray
    students: Tuple[np.ndarray, ...]

    @property
    def classifier(self) -> EnsembleClassifier:
        """What reads the features of all students."""
        return EnsembleClassifier(self.weight, self.bias, self.mean_features)

    @property
    def depths(self) -> Tuple[int, ...]:
        """M_i of each student."""
        return tuple(values.shape[1] for values in self.students)

    def select(self, split: str) -> "Features":
        """The images of one split. Raises ConfigError if there are none."""
        chosen = self.split == split
        if not chosen.any():
            raise ConfigError(
                "features: found no images of the split {!r}; record them again".format(split)
            )
        return self.take(chosen)

    def take(self, images: Any) -> "Features":
        """The images that a numpy index chooses, in its order."""
        return self._replace(
            split=self.split[images],
            label=self.label[images],
            students=tuple(values[images] for values in self.students),
        )


def answer(features: Features, image: int, exits: Sequence[Optional[int]]) -> Scores:
    """What the ensemble says of one image when each student left at its entry of `exits`, or, where
    that is None, was missing."""
    rows = [
        mean if exit_index is None else values[image, exit_index]
        for values, mean, exit_index in zip(features.students, features.mean_features, exits)
    ]
    logits = features.weight @ np.concatenate(rows).astype(np.float32) + features.bias
    columns = kernels.exit_scores(logits[np.newaxis])[:4]
    return Scores(*[column.tolist()[0] for column in columns])


def gathered(
    features: Features, exits: np.ndarray, missing: Optional[np.ndarray] = None
) -> np.ndarray:
    """The classifier's logits, float32 [n, K], where student i left image b at `exits[b, i]`.

    `exits`: int64 [n, N], or [N] for all images alike; a student without so many exits gives its
    last. `missing`: bool of the same shape, whose feature did not arrive.
    """
    count = len(features.label)
    exits = np.broadcast_to(exits, (count, len(features.students)))
    columns = []
    for index, values in enumerate(features.students):
        chosen = np.minimum(exits[:, index], values.shape[1] - 1)
        feature = values[np.arange(count), chosen].astype(np.float32)
        if missing is not None:
            gone = np.broadcast_to(missing, exits.shape)[:, index, None]
            feature = np.where(gone, features.mean_features[index], feature)
        columns.append(feature)
    logits: np.ndarray = np.concatenate(columns, axis=1) @ features.weight.T + features.bias
    return logits


def outcomes_alone(features: Features) -> Tuple[Outcomes, ...]:
    """What each exit says to the policy of its student, one entry per student: as
    `runtime.stages.FeatureExit`, the answer if it were the only one, and eq. 6 of its features.
    Not what the ensemble answers."""
    return tuple(_alone(features, student) for student in range(len(features.students)))


def _alone(features: Features, student: int) -> Outcomes:
    values = features.students[student].astype(np.float32)
    weight, bias = features.classifier.alone(student)
    logits = values.transpose(1, 0, 2) @ weight.T + bias
    found = outcomes_from_logits(
        features.ensemble, features.data, features.split.tolist(), features.label, logits
    )
    return found._replace(difference=differences(values), similarity=similarities(values))


def replay_students(alone: Sequence[Outcomes], policy: ExitPolicy, seed: int = 0) -> List[Replay]:
    """Let every student leave where `policy` says, on the plan with all exits: one replay each.

    `alone`: as `outcomes_alone`. `seed`: for policies that draw. Raises ConfigError if the policy
    does not fit the deepest.
    """
    depth = max(own.exit_count for own in alone)
    policy.check(depth, range(depth))
    rng = Random(seed)
    return [fold(own, policy, range(own.exit_count), rng) for own in alone]


def exits_of(replays: Sequence[Replay]) -> np.ndarray:
    """int64 [n, N]: where each student leaves, as `gathered` takes it."""
    return np.stack([replayed.exit_index for replayed in replays], axis=1)


def accuracy(features: Features, exits: np.ndarray, missing: Optional[np.ndarray] = None) -> float:
    """Share of right answers, 0..1, of `gathered` with the same arguments."""
    answers = gathered(features, exits, missing).argmax(axis=1)
    return float((answers == features.label).mean())


def differences(values: np.ndarray) -> np.ndarray:
    """eq. 6 of each exit relative to the first, float32 [n, M], of one student's [n, M, D].

    The first column is 1 by definition.
    """
    rows = np.ascontiguousarray(values.transpose(1, 0, 2), np.float32)
    later = [kernels.cosine_difference(exit_rows, rows[0]) for exit_rows in rows[1:]]
    return np.stack([np.ones(len(values), np.float32), *later], axis=1)


def similarities(values: np.ndarray) -> np.ndarray:
    """Cosine similarity of each exit to the one before, float32 [n, M]; the first column is NaN."""
    rows = np.ascontiguousarray(values.transpose(1, 0, 2), np.float32)
    nothing = np.full(len(values), np.nan, np.float32)
    later = [
        np.float32(1) / kernels.cosine_difference(after, before)
        for before, after in zip(rows, rows[1:])
    ]
    return np.stack([nothing, *later], axis=1)


def write_features(path: Union[str, "PathLike[str]"], features: Features) -> None:
    """Write the file `path`: whole, or not at all. Raises EdgeError if it cannot be written."""
    check_features(features, "features")
    arrays = features._asdict()
    for index, values in enumerate(arrays.pop("students")):
        arrays[STUDENT.format(index)] = values
    content = io.BytesIO()
    np.savez_compressed(content, format=np.array(FORMAT), **arrays)
    write_atomically(path, content.getvalue())


def read_features(path: Union[str, "PathLike[str]"]) -> Features:
    """The features in file `path`. Raises ConfigError that names the file and what is wrong."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds
        raise ConfigError(
            "{}: cannot be read as features ({}); record them again".format(path, error)
        ) from None
    names = ("format", *Features._fields[:-1], STUDENT.format(0))
    missing = [name for name in names if name not in found]
    if missing or str(found["format"]) != FORMAT:
        raise ConfigError(
            "{}: found {}, expected features in the format {}, written by: python -m "
            "edgesdk.train evaluate, or calibrate".format(
                path, "no " + ", ".join(missing) if missing else found["format"], FORMAT
            )
        )
    count = sum(name.startswith("student_") for name in found)
    students = tuple(found.get(STUDENT.format(index), np.empty(0)) for index in range(count))
    arrays = {name: found[name] for name in Features._fields[2:-1]}
    ensemble, data = (str(found[name]) for name in Features._fields[:2])
    result = Features(ensemble, data, **arrays, students=students)
    check_features(result, str(path))
    return result


def check_features(features: Features, where: str) -> None:
    """Raise ConfigError, beginning with `where`, unless dtypes, shapes and values are what
    `Features` says."""
    count, students = len(features.label), len(features.students)
    classes, width = len(features.bias), features.mean_features.shape[-1]
    floats, either = ("float32",), ("float16", "float32")
    expected: List[Tuple[str, np.ndarray, Sequence[str], Tuple[int, ...]]] = [
        ("label", features.label, ("int32",), (count,)),
        ("weight", features.weight, floats, (classes, students * width)),
        ("bias", features.bias, floats, (classes,)),
        ("mean_features", features.mean_features, floats, (students, width)),
    ]
    for index, values in enumerate(features.students):
        depth = values.shape[1] if values.ndim == 3 else 1
        expected.append((STUDENT.format(index), values, either, (count, depth, width)))
    for name, values, dtypes, shape in expected:
        if values.dtype.name not in dtypes or values.shape != shape or not values.size:
            raise ConfigError(
                "{}: {} is {} {}, expected {} {}, not empty; record the features again".format(
                    where, name, values.dtype, list(values.shape), " or ".join(dtypes), list(shape)
                )
            )
        if not np.isfinite(values).all():
            raise ConfigError(
                "{}: {} has values that are not finite; train again".format(where, name)
            )
    _check_texts(features, where, classes)


def check_belongs(features: Features, bundle: Bundle, where: str) -> None:
    """Raise ConfigError, beginning with `where`, unless the features are those of the bundle."""
    manifest, classifier = bundle.manifest, bundle.classifier()
    depths = [len(part.exits) for part in manifest.parts]
    for what, found, expected in (
        ("students", len(features.students), len(manifest.parts)),
        ("classes", len(features.bias), len(manifest.labels)),
        ("values per feature", features.mean_features.shape[1], classifier.missing.shape[1]),
        ("exits of the students", list(features.depths), depths),
    ):
        if found != expected:
            raise ConfigError(
                "{}: {}: found {}, expected {}, for that is what the bundle {} has; record its "
                "features".format(where, what, found, expected, bundle.path)
            )
    if not all(map(np.array_equal, features.classifier, classifier)):
        raise ConfigError(
            "{}: found features for another classifier than that of the bundle {}; record its "
            "features".format(where, bundle.path)
        )


def _check_texts(features: Features, where: str, classes: int) -> None:
    found: Any = sorted(set(features.split.tolist())) if features.split.dtype.kind == "U" else None
    if found is None or features.split.shape != features.label.shape or set(found) - set(SPLITS):
        raise ConfigError(
            "{}: split has {} values, {}, expected one of {} for each of {} images".format(
                where, features.split.shape, found, ", ".join(SPLITS), len(features.label)
            )
        )
    if features.label.min() < 0 or features.label.max() >= classes:
        raise ConfigError(
            "{}: label holds {}..{}, expected 0..{}".format(
                where, features.label.min(), features.label.max(), classes - 1
            )
        )
