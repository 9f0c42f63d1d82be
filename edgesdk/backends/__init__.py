"""Which backend runs a bundle: the best one present, or the one asked for."""

import importlib
import logging
from functools import lru_cache
from typing import List, Optional, Sequence, Tuple

from ..errors import BackendUnavailable, ConfigError, EngineError
from .base import Backend, Program, smallest_limit

# Best first: name, module, class.
BACKENDS: Tuple[Tuple[str, str, str], ...] = (
    ("tensorrt", "trt", "TensorRTBackend"),
    ("onnxruntime", "onnx_runtime", "OnnxRuntimeBackend"),
    ("torch", "pytorch", "TorchBackend"),
)


def open_backend(
    name: Optional[str] = None, threads: int = 1, files: Optional[Sequence[str]] = None
) -> Backend:
    """The backend called `name`, or the first of `BACKENDS` that can be imported and has what it
    needs for the ONNX `files` that it is to load.

    `threads` bounds the compute threads. A backend that would be better and lacks its engines is
    passed over with a warning; without `files` it is taken by name only. Raises ConfigError for an
    unknown name, BackendUnavailable (with what to install) if the backend, or every backend, is
    missing, EngineError if one that was named cannot use this machine.
    """
    names = [entry[0] for entry in BACKENDS]
    if name is not None and name not in names:
        raise ConfigError("backend: found {!r}, expected one of {}".format(name, ", ".join(names)))
    missing: List[str] = []
    for entry, module, kind in BACKENDS:
        if name not in (None, entry):
            continue
        try:
            found = getattr(importlib.import_module("." + module, __name__), kind)
            if name is None:
                found.check(files)
            backend: Backend = found(threads)
            return backend
        except BackendUnavailable as error:
            missing.append(str(error))
        except EngineError as error:
            if name is not None:
                raise
            missing.append(str(error))
            _say_once(entry, str(error))
    raise BackendUnavailable("; ".join(missing))


@lru_cache(maxsize=None)
def _say_once(name: str, why: str) -> None:
    logging.getLogger("edgesdk").warning("%s is here and not used: %s", name, why)


__all__ = ["BACKENDS", "Backend", "Program", "open_backend", "smallest_limit"]
