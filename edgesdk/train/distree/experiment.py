"""The experiment: from images and a recipe to `Results`."""

from pathlib import Path
from typing import NamedTuple, Optional

from ... import cli
from ...bench.ensemble import Measured
from ...bench.ensemble import measure as measure_live
from ...bench.images import read_test_images
from ...bundle import Bundle
from ...errors import ConfigError
from ..calibration import ensembles
from ..calibration.choice import Objective
from ..calibration.ensemble_plot import draw
from ..calibration.workflow import Request as Calibration
from ..data import DataSet
from ..distributed import Group
from ..ensembles.ensemble_bundles import export_ensemble
from ..ensembles.evaluation import report
from ..ensembles.paper_policies import paper_policies
from ..ensembles.students import depths_of
from ..ensembles.teacher import Teacher
from ..recipe import epochs_before
from . import paper, scaling, tables
from .results import Epochs, Results, TeacherFigures
from .trainings import (
    Recipe,
    TrainedStudents,
    TrainedTeacher,
    read_students,
    trained_students,
    trained_teacher,
)

BUNDLE = "bundle"
FEATURES = "features.npz"
SCALING = "scaling"
CALIBRATION_PICTURE = "calibration.png"

LIVE_POLICIES = ("final", "difference", "random", "similarity", "calibrated")
KILLED = 1  # the student that is killed


class Request(NamedTuple):
    """What is wanted: all files in `directory`; `student_counts` to compare, each trained for
    `scaling_epochs`, 0 for no comparison; `live_images` for real processes to answer, 0 for
    none."""

    directory: Path
    recipe: Recipe
    student_counts: tuple[int, ...]
    scaling_epochs: int
    live_images: int


def reproduce(data: DataSet, request: Request, group: Group) -> Results:
    """Train what is missing, then measure everything.

    Raises ConfigError if several processes share the training, and what the steps raise.
    """
    if group.size > 1:
        raise ConfigError(
            f"found {group.size} processes, expected 1: train with distill over several, into the "
            "folders that this command then takes as they are"
        )
    directory, recipe = request.directory, request.recipe
    teacher = trained_teacher(data, recipe, directory, group)
    depths = depths_of(recipe.student.model, paper.STUDENTS)
    students = (
        read_students(data, teacher.teacher, recipe.ensemble_run, depths)
        if recipe.ensemble_run
        else trained_students(data, teacher.teacher, recipe, depths, directory, group)
    )
    calibrated, bundle = _calibrated_bundle(data, students, directory)
    test = calibrated.features.select("test")
    shape = data.preprocessing.shape
    counts = [tables.table_one(student, shape) for student in students.run.ensemble.parts]
    policies = paper_policies(max(depths))
    policies.update({row.name: row.policy for row in calibrated.policies if row.policy})
    live = _live(bundle, recipe.student.data, request.live_images)
    sized = _compared(data, teacher.teacher, request, max(depths), group)
    return Results(
        name=students.run.name,
        data=data.name,
        versions=cli.versions(("torch",)),
        test_count=len(test.label),
        epochs=Epochs(students.run.epochs_done, epochs_before(students.run.settings.start)),
        teacher=_figures(teacher),
        students=report(test),
        table_one=counts[0],
        criteria=tables.criteria(test),
        rows=tables.policy_rows(test, policies, [count.table_one for count in counts]),
        history=students.history,
        calibration=(directory / CALIBRATION_PICTURE).read_bytes(),
        live=live,
        sized=sized,
    )


def _figures(teacher: TrainedTeacher) -> TeacherFigures:
    found = teacher.teacher.description
    epochs = Epochs(found["epochs_done"], found["epochs_before"])
    return TeacherFigures(found["model"], epochs, teacher.accuracy)


def _calibrated_bundle(
    data: DataSet, students: TrainedStudents, directory: Path
) -> tuple[ensembles.Result, Bundle]:
    """The bundle of `students`, with thresholds of our own, and how they were found."""
    path, features = directory / BUNDLE, directory / FEATURES
    export_ensemble(students.run, path, overwrite=True)
    features.unlink(missing_ok=True)  # what an earlier training said
    calibration = Calibration(
        Objective(scaling.LOSS_POINTS), ensembles.UNIT, "calibrated", None, 1, str(features)
    )
    found = ensembles.calibrate(str(path), data, calibration)
    draw(found, str(directory / CALIBRATION_PICTURE))
    return found, ensembles.apply(found)


def _compared(
    data: DataSet, teacher: Teacher, request: Request, exit_count: int, group: Group
) -> list[scaling.Sized]:
    """More students than the paper's, and shallower ones, trained alike."""
    if not request.scaling_epochs:
        return []
    student = request.recipe.student._replace(epochs=request.scaling_epochs)
    recipe, where = request.recipe._replace(student=student), request.directory / SCALING
    return [
        scaling.sized(trained_students(data, teacher, recipe, depths, where, group).run)
        for depths in scaling.depth_sets(request.student_counts, exit_count)
    ]


def _live(bundle: Bundle, data: str, image_count: int) -> Optional[Measured]:
    """Real processes, one paced worker per student; then one of them is killed."""
    if not image_count:
        return None
    manifest = bundle.manifest
    names = [name for name in LIVE_POLICIES if name in manifest.policies]
    test = read_test_images(data, manifest.labels)
    return measure_live(
        bundle.path, test.images, test.labels.tolist(), names, image_count=image_count, kill=KILLED
    )
