"""The results as files: a page with its pictures, and plain values for programs."""

from pathlib import Path
from typing import Any

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
    contents = {
        "training.png": plots.branch_curves(found.history, f"{found.name} (Fig. 4)"),
        "criteria.png": figures.criteria(found.criteria),
        "policies.png": figures.policies(found.rows, tables.branch_points(found)),
        "calibration.png": found.calibration,
        PAGE: page(found, command).encode(),
    }
    if found.sized:
        contents["scaling.png"] = figures.scaling(found.sized)
    for name, content in contents.items():
        write_atomically(folder / name, content)


def document(found: Results) -> dict[str, Any]:
    """The results as plain values."""
    return {
        **found._replace(calibration=b"", history=[])._asdict(),
    }
