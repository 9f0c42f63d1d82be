"""Which kernels are used: the native ones if they can be loaded, else the numpy reference."""

import importlib
import logging
import os
from functools import lru_cache
from types import ModuleType
from typing import Optional, Tuple

from ..errors import ConfigError, KernelError
from . import reference

VARIABLE = "EDGESDK_KERNELS"
BUILD_COMMAND = "EDGESDK_BUILD_NATIVE=yes pip install ."
BUILD_CUDA_COMMAND = "EDGESDK_BUILD_CUDA=yes pip install ."


def select() -> Tuple[ModuleType, Optional[str]]:
    """The module that the environment asks for, and why native could not be loaded if it was tried.

    Raises KernelError if native is demanded and cannot be had, ConfigError for another value.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "native", "reference"):
        raise ConfigError(
            '{}: found "{}", expected "native", "reference" or nothing'.format(VARIABLE, wanted)
        )
    if wanted == "reference":
        return reference, None
    try:
        return importlib.import_module("edgesdk.kernels._native"), None
    except Exception as error:  # not built, or built for another numpy or C library
        cause = "{}: {}".format(type(error).__name__, error)
        if wanted == "native":
            raise KernelError(
                '{}: found "native", but the native kernels cannot be loaded ({}); '
                "build them in the source tree with: {}".format(VARIABLE, cause, BUILD_COMMAND)
            ) from error
        return reference, cause


@lru_cache(maxsize=None)
def say_once_if_slow(native_failure: Optional[str]) -> None:
    """Warn that exit heads are computed in numpy, if that is not what was asked for."""
    if native_failure is not None:
        logging.getLogger("edgesdk").warning(
            "exit heads are computed in numpy: the native kernels cannot be loaded (%s); "
            "EDGESDK_KERNELS=reference accepts this silently",
            native_failure,
        )
