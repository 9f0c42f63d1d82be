"""What experiments leave: pages with pictures, and plain values for programs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically

PAGE = "README.md"


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Every file into `folder`, which is made.

    Raises EdgeError if one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)


def named(value: Any) -> Any:
    """A value with the names of every tuple that has them, as JSON knows it."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: named(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [named(each) for each in value] if isinstance(value, (list, tuple)) else value
