"""Which backend runs a bundle: the best one present, or the one asked for."""

import importlib
from typing import List, Optional, Tuple

from ..errors import BackendUnavailable, ConfigError
from .base import Backend, Program

# Best first: name, module, class.
BACKENDS: Tuple[Tuple[str, str, str], ...] = (
    ("onnxruntime", "onnx_runtime", "OnnxRuntimeBackend"),
    ("torch", "pytorch", "TorchBackend"),
)


def open_backend(name: Optional[str] = None, threads: int = 1) -> Backend:
    """The backend called `name`, or the first of `BACKENDS` that can be imported.

    `threads` bounds the compute threads. Raises ConfigError for an unknown name,
    BackendUnavailable (with what to install) if the backend, or every backend, is missing.
    """
    names = [entry[0] for entry in BACKENDS]
    if name is not None and name not in names:
        raise ConfigError("backend: found {!r}, expected one of {}".format(name, ", ".join(names)))
    missing: List[str] = []
    for entry, module, kind in BACKENDS:
        if name not in (None, entry):
            continue
        try:
            found: Backend = getattr(importlib.import_module("." + module, __name__), kind)(threads)
            return found
        except BackendUnavailable as error:
            missing.append(str(error))
    raise BackendUnavailable("; ".join(missing))


__all__ = ["BACKENDS", "Backend", "Program", "open_backend"]
