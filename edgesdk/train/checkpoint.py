"""Checkpoints: one file per run, always whole, holding all that continuing a run needs."""

import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from ..files import write_atomically

FORMAT_VERSION = 1
FILE_NAME = "checkpoint.pt"


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


def digest(network: nn.Module) -> str:
    """sha256 over names and values of the weights of a network on the CPU."""
    result = hashlib.sha256()
    for name, value in network.state_dict().items():
        result.update(name.encode())
        result.update(value.numpy().tobytes())
    return result.hexdigest()


def _check_archive(path: Path) -> None:
    """Raise BadZipFile if any byte of a tensor changed: torch.load does not verify checksums."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)
