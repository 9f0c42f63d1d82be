"""The experiment: from images and a recipe to `Results`."""

from pathlib import Path
from typing import NamedTuple, Optional

from ... import cli
from ...bench.ensemble import Measured
from ...bench.ensemble import measure as measure_live
from ...errors import ConfigError
from ..calibration import ensembles
from ..calibration.choice import Objective
from ..calibration.ensemble_plot import draw
from ..calibration.workflow import Request as Calibration
from ..data import DataSet
from ..distributed import Group
from ..ensemble_bundles import export_ensemble
from ..evaluation import report
from . import paper, scaling, tables
from .results import Results, TeacherFigures
from .trainings import Recipe, TrainedStudents, trained_students, trained_teacher

BUNDLE = "bundle"
FEATURES = "features.npz"
CALIBRATION_PICTURE = "calibration.png"
LOSS_POINTS = 1.0  # of the last exit's accuracy, that calibrated policies may lose
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
    depths = (scaling.exit_count(recipe),) * paper.STUDENTS
    students = trained_students(data, teacher.teacher, recipe, depths, directory, group)
    calibrated = _calibrated_bundle(data, students, directory)
    test = calibrated.features.select("test")
    shape = data.preprocessing.shape
    counts = [tables.table_one(student, shape) for student in students.run.ensemble.parts]
    policies = paper.paper_policies(max(depths))
    policies.update({row.name: row.policy for row in calibrated.policies if row.policy})
    live = _live(data, calibrated.bundle.path, list(policies), request.live_images)
    sized = scaling.compared(data, teacher.teacher, recipe, request, group)
    described = teacher.teacher.description
    return Results(
        name=students.run.name,
        data=data.name,
        versions=cli.versions(("torch",)),
        test_count=len(test.label),
        epochs_done=students.run.epochs_done,
        teacher=TeacherFigures(described["model"], described["epochs_done"], teacher.accuracy),
        students=report(test),
        table_one=counts[0],
        criteria=tables.criteria(test),
        rows=tables.policy_rows(test, policies, [count.table_one for count in counts]),
        history=students.history,
        calibration=(directory / CALIBRATION_PICTURE).read_bytes(),
        live=live,
        sized=sized,
    )


def _calibrated_bundle(
    data: DataSet, students: TrainedStudents, directory: Path
) -> ensembles.Result:
    """The bundle of `students`, with thresholds of our own."""
    path, features = directory / BUNDLE, directory / FEATURES
    export_ensemble(students.run, path, overwrite=True)
    features.unlink(missing_ok=True)  # what an earlier training said
    calibration = Calibration(
        Objective(LOSS_POINTS), ensembles.UNIT, "calibrated", None, 1, str(features)
    )
    found = ensembles.calibrate(str(path), data, calibration)
    ensembles.apply(found)
    draw(found, str(directory / CALIBRATION_PICTURE))
    return found


def _live(data: DataSet, bundle: str, names: list[str], image_count: int) -> Optional[Measured]:
    """Real processes, one paced worker per student; then one of them is killed."""
    if not image_count:
        return None
    wanted = [name for name in LIVE_POLICIES if name in names]
    raw = data.frames("test")
    return measure_live(
        bundle, raw.images, raw.labels, wanted, image_count=image_count, kill=KILLED
    )
