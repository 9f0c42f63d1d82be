"""Checkpoints: one file per run, always whole, holding all that continuing a run needs."""

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError, EdgeError

FORMAT_VERSION = 1
FILE_NAME = "checkpoint.pt"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: a reader, or a killed writer, leaves the old file or the new.

    Raises EdgeError if the file system refuses (full, read-only); the old file is then untouched
    and no temporary file is left.
    """
    temporary = path.with_name(path.name + ".tmp")  # one name: what a kill left is written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise EdgeError(
            f"{path}: cannot be written ({error.strerror or error}); what was there before is "
            "untouched; free some space or choose another directory, then run again with --resume"
        ) from error


def save(directory: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) as the directory's checkpoint, atomically."""
    buffer = io.BytesIO()
    torch.save({"format_version": FORMAT_VERSION, **state}, buffer)
    write_atomically(directory / FILE_NAME, buffer.getvalue())


def load(directory: Path) -> dict[str, Any]:
    """The directory's checkpoint. Only tensors and plain values are read, never code.

    Raises ConfigError if there is none, if it is damaged, or if another version wrote it.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise ConfigError(
            f"{path}: not found; expected a run made by: python -m edgesdk.train fit --out "
            f"{directory}"
        )
    try:
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{path}: damaged, cannot be read as a checkpoint ({type(error).__name__}); "
            "restore it from a copy, or delete it and train again"
        ) from error
    found = state.get("format_version") if isinstance(state, dict) else None
    if found != FORMAT_VERSION:
        raise ConfigError(
            f"{path}: found format_version {found!r}, expected {FORMAT_VERSION}; "
            "use the edgesdk version that wrote it, or train again"
        )
    return state


def _check_archive(path: Path) -> None:
    """Raise BadZipFile if any byte of a tensor changed: torch.load does not verify checksums."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)
