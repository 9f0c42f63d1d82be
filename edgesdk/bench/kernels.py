"""`python -m edgesdk.bench kernels`: every kernel checked, then timed beside numpy and PyTorch.

Time is of a call of the public Python function, results allocated by it; GB/s counts the bytes of
the largest input and of results of that size, each once. Ratios use the fastest rounds.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from .. import cli, kernels
from ..errors import KernelError
from ..kernels import reference
from . import torch_eager
from .timing import Timing, interleaved

SEED = 0
CLASSES = 10
FEATURE_SHAPES = ((16, 32, 32), (32, 16, 16), (64, 8, 8))
BATCHES = (1, 32)
EXIT_HEAD_RATIO = {1: 14.0, 32: 5.0}  # times torch eager, by batch
COSINE_RATIO = 4.0
NO_SLOWER = 1.0


class Case(NamedTuple):
    """One kernel at one size; `tolerance` is relative to the largest reference value."""

    operation: str
    size: str
    arguments: Tuple[Any, ...]
    traffic_bytes: int
    ratio_target: float = NO_SLOWER
    tolerance: float = 1e-5

    @property
    def name(self) -> str:
        """As figures call it: the operation and the size."""
        return "{} {}".format(self.operation, self.size)


class Measured(NamedTuple):
    """A case's largest error and its times; the last is None without torch."""

    case: Case
    error: float
    ours: Timing
    numpy: Timing
    torch: Any


def cases() -> List[Case]:
    """Every kernel at the sizes that exits of small networks have."""
    rng = np.random.default_rng(SEED)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return _exit_cases(normal) + _score_cases(normal) + _transport_cases(normal)


def _exit_cases(normal: Callable[..., np.ndarray]) -> List[Case]:
    result = []
    for batch in BATCHES:
        for shape in FEATURE_SHAPES:
            features, channels = normal(batch, *shape), shape[0]
            size = "x".join(str(axis) for axis in features.shape)
            affine = normal(channels), normal(channels)
            head = (features, normal(CLASSES, channels), normal(CLASSES)) + affine
            ratio = EXIT_HEAD_RATIO[batch]
            result.append(Case("exit_head", size, head, features.nbytes, ratio))
            feature = (features,) + affine + (normal(64, channels),)
            result.append(Case("exit_feature", size, feature, features.nbytes))
    return result


def _score_cases(normal: Callable[..., np.ndarray]) -> List[Case]:
    result = []
    for batch, classes in ((1, 10), (32, 10), (1, 1000), (32, 1000)):
        logits = normal(batch, classes)
        result.append(Case("exit_scores", "{}x{}".format(batch, classes), (logits,), logits.nbytes))
    for batch, length, ratio in ((1, 64, NO_SLOWER), (32, 64, NO_SLOWER), (1, 16384, COSINE_RATIO)):
        first = normal(batch, length)
        pair = (first + normal(batch, length), first)
        size = "{}x{}".format(batch, length)
        result.append(Case("cosine_difference", size, pair, 2 * first.nbytes, ratio))
    return result


def _transport_cases(normal: Callable[..., np.ndarray]) -> List[Case]:
    result = []
    for shape in FEATURE_SHAPES:
        values = normal(*shape)
        size = "x".join(str(axis) for axis in shape)
        rows, every_second = normal(32, *shape), np.arange(0, 32, 2, dtype=np.int64)
        result.append(
            Case("gather_rows", "16 of 32x" + size, (rows, every_second), rows.nbytes, tolerance=0)
        )
        quantized = reference.quantize_u8(values)
        traffic = values.nbytes + quantized[0].nbytes
        result.append(Case("quantize_u8", size, (values,), traffic, tolerance=0))
        result.append(Case("dequantize_u8", size, quantized, traffic, tolerance=0))
    return result


def check(case: Case) -> float:
    """The largest difference from the reference, relative to its largest value.

    Raises KernelError when it is beyond the case's tolerance: a wrong kernel is not timed.
    """
    found = _arrays(getattr(kernels, case.operation)(*case.arguments))
    expected = _arrays(getattr(reference, case.operation)(*case.arguments))
    error = 0.0
    for ours, theirs in zip(found, expected):
        largest = max(1.0, float(np.abs(theirs).max()))
        error = float(np.maximum(error, np.abs(ours - theirs).max() / largest))  # keeps NaN
    if not error <= case.tolerance:
        raise KernelError(
            "{}: found a relative error of {:.2g} against the reference, expected at most {:.2g}; "
            "rebuild the kernels, or use EDGESDK_KERNELS=reference".format(
                case.name, error, case.tolerance
            )
        )
    return error


def _arrays(result: Any) -> List[np.ndarray]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part, np.float64) for part in parts if part is not None]


def measure(case: Case, torch: Any, seconds: float) -> Measured:
    """Check one case, then time the kernel, the reference and the PyTorch sequence in turns."""
    error = check(case)
    ours, numpy = getattr(kernels, case.operation), getattr(reference, case.operation)
    calls = [lambda: ours(*case.arguments), lambda: numpy(*case.arguments)]
    if torch is not None:
        calls.append(torch_eager.sequence(torch, case.operation, case.arguments))
    times = interleaved(calls, seconds)
    return Measured(case, error, times[0], times[1], times[2] if torch is not None else None)


def figures(measured: Measured) -> List[Dict[str, Any]]:
    """The figures of one case; without torch its ratio is 0 and not ok, and the name says why."""
    case, name = measured.case, measured.case.name
    result = [
        cli.figure(name + ", largest error", measured.error, "relative", case.tolerance, True),
        cli.figure(name + ", time", measured.ours.min_us, "us"),
        cli.figure(name + ", throughput", _gigabytes_per_s(measured), "GB/s"),
        cli.figure(name + ", speed over numpy", _ratio(measured, measured.numpy), "x"),
    ]
    ratio = _ratio(measured, measured.torch)
    about = ", speed over torch eager" + ("" if measured.torch else " (torch is not installed)")
    result.append(
        cli.figure(name + about, ratio, "x", case.ratio_target, ratio >= case.ratio_target)
    )
    return result


HEADER = ("kernel", "error", "us", "median", "GB/s", "x numpy", "x torch", "target")


def row(measured: Measured) -> Tuple[str, ...]:
    """One line of the table a person reads."""
    ratio = _ratio(measured, measured.torch)
    target = measured.case.ratio_target
    return (
        measured.case.name,
        "{:.1e}".format(measured.error),
        "{:.2f}".format(measured.ours.min_us),
        "{:.2f}".format(measured.ours.median_us),
        "{:.1f}".format(_gigabytes_per_s(measured)),
        "{:.1f}".format(_ratio(measured, measured.numpy)),
        "{:.1f}".format(ratio) if measured.torch else "no torch",
        "{:g}{}".format(target, "" if ratio >= target else " MISSED"),
    )


def _ratio(measured: Measured, other: Any) -> float:
    return other.min_us / measured.ours.min_us if other else 0.0


def _gigabytes_per_s(measured: Measured) -> float:
    return measured.case.traffic_bytes / measured.ours.min_us / 1e3
