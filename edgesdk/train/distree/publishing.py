"""The results as files: a page with its pictures, and plain values for programs."""

from pathlib import Path
from typing import Any

import numpy as np

from ...files import write_atomically
from .. import plots
from . import figures, tables
from .page import page
from .results import Results

PAGE = "README.md"


def write(found: Results, folder: Path, command: str) -> None:
    """The page and its pictures into `folder`, which is made; `command` is said to have made it.

    Raises EdgeError if a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
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
    for name, content in contents.items():
        write_atomically(folder / name, content)


def document(found: Results) -> dict[str, Any]:
    """The results as plain values, without the picture."""
    values: dict[str, Any] = _named({**found._asdict(), "calibration": None})
    return values


def _named(value: Any) -> Any:
    """With the names of every tuple that has them."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _named(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_named(each) for each in value] if isinstance(value, (list, tuple)) else value
