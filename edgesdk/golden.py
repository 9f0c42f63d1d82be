"""Golden outputs: what a stage must answer to inputs that are kept beside its engine.

An .npz with two float32 arrays: `features` [N, ...] and the `features_out` [N, ...] of the CPU.
"""

import io
from typing import NamedTuple

import numpy as np

from .errors import EngineError
from .files import write_atomically

LARGEST_MIN = 1e-6  # outputs that are smaller are as good as zero


class Golden(NamedTuple):
    """float32 `features` [N, ...] and the `features_out` [N, ...] that belong to them."""

    features: np.ndarray
    features_out: np.ndarray


def read_golden(path: str) -> Golden:
    """From an .npz. Raises EngineError if it is none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return Golden(
                *(np.ascontiguousarray(archive[name], np.float32) for name in Golden._fields)
            )
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds
        raise EngineError(
            "{}: found {}: {}; needed golden outputs".format(path, type(error).__name__, error)
        ) from None


def write_golden(path: str, golden: Golden) -> None:
    """Into an .npz. Raises EdgeError if that fails."""
    content = io.BytesIO()
    np.savez(content, **golden._asdict())
    write_atomically(path, content.getvalue())


def largest_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Of the largest value of `expected`, how much `found` differs at most; NaN or infinite where
    values are not finite, which is larger than any limit that is asked for as `not error <= limit`.
    """
    with np.errstate(all="ignore"):
        largest = max(float(np.abs(expected).max()), LARGEST_MIN)
        return float(np.abs(found - expected).max()) / largest
