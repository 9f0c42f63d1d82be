"""An engine is run on golden inputs, and its outputs compared with the golden ones."""

import numpy as np

from ..backends.trt_programs import EngineProgram
from ..errors import EngineError
from ..golden import Golden, largest_error
from .engine import Recipe

# Of the largest golden output, so much may an output differ. TensorRT sums in another order than
# the CPU, and may use Winograd's transforms, which lose about three of float32's 24 bits more.
# With fp16 each product and often each sum is rounded to 11 bits; a thousand terms that err by
# 2^-12 each at random make 2^-7. With int8 CPU and GPU round alike, but where a value lies between
# two steps of 1/127 fp16 in front of it decides; a stage has several such layers.
# What is built wrongly (a transposed weight, a lost ReLU) errs by 0.3 and more.
TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1e-1}


def check(recipe: Recipe, program: EngineProgram, golden: Golden, tolerance: float) -> float:
    """The largest error, by the largest golden value: of the first sample alone, and of as many as
    the engine takes. Raises EngineError if it is beyond `tolerance`."""
    _check_shapes(recipe, golden)
    largest = 0.0
    for count in sorted({1, min(len(golden.features), recipe.max_batch)}):
        expected = golden.features_out[:count]
        found = np.empty_like(expected)
        program.run(golden.features[:count], found)
        error = largest_error(found, expected)
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
