"""An engine is run on golden inputs, and its outputs compared with the golden ones."""

from typing import NamedTuple

import numpy as np

from ..backends.trt_programs import EngineProgram
from ..errors import EngineError
from .engine import Recipe

# Of the largest golden output, so much may an output differ. TensorRT sums in another order than
# the CPU, and may use Winograd's transforms, which lose about three of float32's 24 bits more.
# With fp16 each product and often each sum is rounded to 11 bits; a thousand terms that err by
# 2^-12 each at random make 2^-7. With int8 CPU and GPU round alike, but where a value lies between
# two steps of 1/127 fp16 in front of it decides; a stage has several such layers.
# What is built wrongly (a transposed weight, a lost ReLU) errs by 0.3 and more.
TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1e-1}


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
        raise EngineError("{}: no golden outputs ({}); build again".format(path, error)) from None


def check(recipe: Recipe, program: EngineProgram, golden: Golden, tolerance: float) -> float:
    """The largest error, by the largest golden value: of the first sample alone, and of as many as
    the engine takes. Raises EngineError if it is beyond `tolerance`."""
    _check_shapes(recipe, golden)
    scale = max(float(np.abs(golden.features_out).max()), 1e-6)
    largest = 0.0
    for count in sorted({1, min(len(golden.features), recipe.max_batch)}):
        expected = golden.features_out[:count]
        found = np.empty_like(expected)
        program.run(golden.features[:count], found)
        error = float(np.abs(found - expected).max()) / scale
        if not error <= tolerance:  # NaN too
            raise EngineError(
                "{}: the engine computes something else than the CPU: found an error of {:.2g} of "
                "the largest output at batch {}, expected at most {:g}; build it with a higher "
                "precision (--precision fp32)".format(recipe.onnx, error, count, tolerance)
            )
        largest = max(largest, error)
    return largest


def _check_shapes(recipe: Recipe, golden: Golden) -> None:
    found = [each.shape[1:] for each in golden]
    needed = [tuple(recipe.input_shape), tuple(recipe.output_shape)]
    if found != needed:
        raise EngineError(
            "{}: found golden features and outputs of {}, needed {}; build again with "
            "--force".format(recipe.onnx, found, needed)
        )
