"""The networks of the experiment: a teacher, and students under it, each in a folder of its own.

A training that was interrupted goes on where it was, one that is complete is taken as it is, and
one that was made with other settings is refused: `trainer.fit` with `resume`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from ...errors import ConfigError
from .. import checkpoint, trainer
from ..data import DataSet
from ..distributed import Group
from ..ensembles.distiller import ANSWERS, Distiller
from ..ensembles.evaluation import EnsembleRun, load_ensemble
from ..ensembles.students import build_ensemble
from ..ensembles.teacher import Teacher, load_teacher
from ..models import MultiExit, seeded_model
from ..recipe import Distillation, Settings

TEACHER = "teacher"


class Recipe(NamedTuple):
    """How networks are trained. `teacher` and `student`: settings of `fit` and `distill`;
    `views`: as `Distillation` has them; `teacher_run`, `ensemble_run`: the folders of a teacher and
    of the paper's two students that are there."""

    teacher: Settings
    student: Settings
    views: int = 0
    teacher_run: Optional[Path] = None
    ensemble_run: Optional[Path] = None


class TrainedTeacher(NamedTuple):
    """A teacher, where it is, and its accuracy on the test split, 0..1."""

    teacher: Teacher
    directory: Path
    accuracy: float


class TrainedStudents(NamedTuple):
    """An ensemble, where it is, and its epochs as `trainer` keeps them."""

    run: EnsembleRun
    directory: Path
    history: list[dict[str, Any]]


def last_exit_only(exit_count: int) -> tuple[float, ...]:
    """Weights of the loss of a teacher: its early exits teach nobody."""
    return (0.0,) * (exit_count - 1) + (1.0,)


def trained_teacher(data: DataSet, recipe: Recipe, directory: Path, group: Group) -> TrainedTeacher:
    """The teacher of `recipe`, trained in `directory` unless it has a run of its own.

    Raises what `trainer.fit` and `load_teacher` raise, and ConfigError for a run without an end.
    """
    where = recipe.teacher_run
    if where is None:
        where = directory / TEACHER
        settings = recipe.teacher
        network = _network(settings, data)
        weights = last_exit_only(network.exit_count)
        settings = settings._replace(exit_weights=settings.exit_weights or weights)
        trainer.fit(trainer.Trainer(network, data, settings, group), where, resume=True)
    teacher = load_teacher(where, data)
    found = teacher.description
    if found["epochs_done"] != found["epochs"]:
        raise ConfigError(
            f"{where}: found {found['epochs_done']} of {found['epochs']} epochs of a teacher, "
            "expected all; finish it with: python -m edgesdk.train fit ... --resume"
        )
    return TrainedTeacher(teacher, where, teacher_accuracy(teacher, data))


def teacher_accuracy(teacher: Teacher, data: DataSet) -> float:
    """Share of right answers on the test split, 0..1."""
    test = data.load("test")
    right = 0
    with torch.no_grad():
        for images, labels in zip(
            test.images.split(trainer.EVALUATION_BATCH), test.labels.split(trainer.EVALUATION_BATCH)
        ):
            right += int((teacher(images)[0].argmax(1) == labels).sum())
    return right / len(test.labels)


def trained_students(
    data: DataSet,
    teacher: Teacher,
    recipe: Recipe,
    depths: Sequence[int],
    directory: Path,
    group: Group,
) -> TrainedStudents:
    """Students with so many exits each, trained in a folder of `directory` named by them.

    Raises what `Distiller` and `trainer.fit` raise.
    """
    settings = recipe.student
    where = directory / ("students-" + "-".join(map(str, depths)))
    channels = data.preprocessing.shape[0]
    ensemble = build_ensemble(settings.model, len(data.labels), channels, depths, settings.seed)
    wanted = Distillation(tuple(depths), teacher.description, views=recipe.views)
    distiller = Distiller(ensemble, teacher, data, settings, wanted, group, where / ANSWERS)
    trainer.fit(distiller, where, resume=True)
    return TrainedStudents(load_ensemble(where, data), where, distiller.history)


def read_students(
    data: DataSet, teacher: Teacher, where: Path, depths: Sequence[int]
) -> TrainedStudents:
    """What a run of `distill` left in the folder `where`.

    Raises ConfigError for a run without an end, of another teacher or with other exits than
    `depths`, and what `load_ensemble` raises.
    """
    run = load_ensemble(where, data)
    found = (run.epochs_done, tuple(run.distillation.depths), run.distillation.teacher["weights"])
    expected = (run.settings.epochs, tuple(depths), teacher.description["weights"])
    names = ("epochs", "exits", "weights of the teacher")
    wrong = [
        f"{name}: found {ours}, expected {wanted}"
        for name, ours, wanted in zip(names, found, expected)
        if ours != wanted
    ]
    if wrong:
        raise ConfigError(
            f"{where}: {'; '.join(wrong)}; finish it, or train another with: "
            "python -m edgesdk.train distill"
        )
    return TrainedStudents(run, where, checkpoint.load(where)["history"])


def _network(settings: Settings, data: DataSet) -> MultiExit:
    return seeded_model(
        settings.model, len(data.labels), data.preprocessing.shape[0], settings.seed
    )
