"""All that the experiment found, as plain values: what the page shows."""

from typing import Any, NamedTuple, Optional

from ...bench.ensemble import Measured
from ..ensembles.evaluation import Report
from .scaling import Sized
from .tables import Criterion, PolicyRow, TableOne


class Epochs(NamedTuple):
    """Of a run, and of those whose weights it began with."""

    done: int
    before: int


class TeacherFigures(NamedTuple):
    """The teacher's network, its epochs, and its accuracy on the test split, 0..1."""

    model: str
    epochs: Epochs
    accuracy: float


class Results(NamedTuple):
    """`name`, `data`: of the two students and of the images; `versions` of what computed.
    `epochs` of the students, `history` as `trainer` keeps them. `students`: accuracies on the
    `test_count` images of the test split. `rows`: Table II by the name of the policy.
    `calibration`: the picture of that, a PNG. `live`: with real processes, None if they were not
    asked for."""

    name: str
    data: str
    versions: dict[str, str]
    test_count: int
    epochs: Epochs
    teacher: TeacherFigures
    students: Report
    table_one: TableOne
    criteria: list[Criterion]
    rows: dict[str, PolicyRow]
    history: list[dict[str, Any]]
    calibration: bytes
    live: Optional[Measured]
    sized: list[Sized]
