"""A student's exit in DistrEE, part of `bench kernels`: `exit_feature`, then `cosine_difference`.

Beside it torch eager does the same: batch norm, ReLU, average pool and a linear layer without bias,
then the inverse of the cosine similarity with the first exit's feature. One image, the exits of
WideResNet-16-1 on 3x32x32. The first exit, which compares nothing, is measured like the others.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from .. import cli, kernels
from ..errors import KernelError
from ..kernels import reference
from . import torch_eager
from .timing import Interval, Timing, interleaved_rounds, median_of, timing_of

SEED = 0
FEATURE_SIZE = 64
SHAPES = ((16, 32, 32),) * 3 + ((32, 16, 16),) * 2 + ((64, 8, 8),) * 2  # E1 to E7
RATIO_MIN = 8.0
TOLERANCE = 1e-5


class Case(NamedTuple):
    """One exit: features [1, C, H, W], scale [C], shift [C], projection [D, C], first [1, D]."""

    name: str
    arguments: Tuple[np.ndarray, ...]


class Measured(NamedTuple):
    """Times of one exit, and how often ours fits into torch's: the median of rounds."""

    case: Case
    error: float
    ours: Timing
    torch: Timing
    ratio: Interval


def cases() -> List[Case]:
    """The seven exits."""
    rng = np.random.default_rng(SEED)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    result = []
    for index, shape in enumerate(SHAPES):
        channels = shape[0]
        features, scale, shift = normal(1, *shape), normal(channels), normal(channels)
        projection = normal(FEATURE_SIZE, channels)
        own = reference.exit_feature(features, scale, shift, projection)
        first = own + 0.5 * own.std() * normal(1, FEATURE_SIZE)
        name = "E{} {}".format(index + 1, "x".join(str(axis) for axis in shape))
        result.append(Case(name, (features, scale, shift, projection, first)))
    return result


def difference(
    implementation: Any,
    features: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    projection: np.ndarray,
    first: np.ndarray,
) -> np.ndarray:
    """diff(F_j, F_1), float32 [1], by the kernels of a module."""
    feature = implementation.exit_feature(features, scale, shift, projection)
    found: np.ndarray = implementation.cosine_difference(feature, first)
    return found


def measure(case: Case, torch: Any, seconds: float) -> Measured:
    """Check both against the reference, then time them in turns.

    Raises KernelError for one that is wrong: it is not timed.
    """
    ours, theirs = (
        lambda: difference(kernels, *case.arguments),
        torch_eager.sequence(torch, "distree_exit", case.arguments),
    )
    expected = difference(reference, *case.arguments)
    errors = []
    for name, call in (("edgesdk", ours), ("torch", theirs)):
        errors.append(float(np.abs(np.asarray(call()) - expected).max() / np.abs(expected).max()))
        if not errors[-1] <= TOLERANCE:
            raise KernelError(
                "{}: found a relative error of {:.2g} of {} against the reference, expected at "
                "most {:.2g}; rebuild the kernels, or use EDGESDK_KERNELS=reference".format(
                    case.name, errors[-1], name, TOLERANCE
                )
            )
    ours_us, theirs_us = interleaved_rounds([ours, theirs], seconds)
    ratio = median_of([their / our for our, their in zip(ours_us, theirs_us)])
    return Measured(case, errors[0], timing_of(ours_us), timing_of(theirs_us), ratio)


HEADER = ("DistrEE's exit, 1 image", "error", "us", "torch us", "x torch", "target")


def row(measured: Measured) -> Tuple[str, ...]:
    """One line of the table a person reads; times are medians, as the ratio is."""
    return (
        measured.case.name,
        "{:.1e}".format(measured.error),
        "{:.2f}".format(measured.ours.median_us),
        "{:.2f}".format(measured.torch.median_us),
        "{:.1f} ({:.1f} to {:.1f})".format(*measured.ratio),
        "{:g}{}".format(RATIO_MIN, "" if measured.ratio.low >= RATIO_MIN else " MISSED"),
    )


def figures(measured: Measured) -> List[Dict[str, Any]]:
    """The same for programs: the target is met if all of the interval is beyond it."""
    name, ratio = "DistrEE's exit {}, ".format(measured.case.name), measured.ratio
    about = name + "speed over torch eager"
    return [
        cli.figure(name + "error", measured.error, "relative", TOLERANCE, True),
        cli.figure(name + "time", measured.ours.median_us, "us"),
        cli.figure(name + "time of torch eager", measured.torch.median_us, "us"),
        cli.figure(about, ratio.value, "x", RATIO_MIN, ratio.low >= RATIO_MIN),
        cli.figure(about + ", at least", ratio.low, "x"),
        cli.figure(about + ", at most", ratio.high, "x"),
    ]
