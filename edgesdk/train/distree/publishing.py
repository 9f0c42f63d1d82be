"""The results as files: a page with its pictures, and named values for programs."""

from pathlib import Path
from typing import Any

from .. import plots
from ..publishing import PAGE, named, write_files
from . import figures, tables
from .page import page
from .results import Results


def write(found: Results, folder: Path, command: str) -> None:
    """The page and its pictures into `folder`, which is made; `command` is said to have made it.

    Raises EdgeError if a file cannot be written.
    """
    branches = tables.branch_points(found.students.branches, found.table_one)
    contents = {
        "training.png": plots.branch_curves(found.history, f"{found.name} (Fig. 4)"),
        "criteria.png": figures.criteria(found.criteria),
        "policies.png": figures.policies(found.rows, branches),
        "calibration.png": found.calibration,
        PAGE: page(found, command).encode(),
    }
    if found.sized:
        contents["scaling.png"] = figures.scaling(found.sized)
    write_files(folder, contents)


def document(found: Results) -> dict[str, Any]:
    """The results as named values, without the picture."""
    values: dict[str, Any] = named({**found._asdict(), "calibration": None})
    return values
