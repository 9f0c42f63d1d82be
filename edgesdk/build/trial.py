"""An engine is run on golden inputs, and its outputs compared with the golden ones."""

from typing import NamedTuple, Tuple

import numpy as np

from ..errors import EngineError
from .gpu import NO_MEMORY, Gpu

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
            return Golden(archive["features"], archive["features_out"])
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds
        raise EngineError("{}: no golden outputs ({}); build again".format(path, error)) from None


class Loaded:
    """An engine on the GPU, of one input and one output. `layer_count`: of what TensorRT made of
    the stage. Raises EngineError if TensorRT refuses it."""

    def __init__(self, gpu: Gpu, content: bytes) -> None:
        self._gpu = gpu
        self._runtime = gpu.new_runtime()
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise gpu.log.failure("the engine cannot be loaded again")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise gpu.log.failure("the engine cannot be run")
        self.layer_count = int(self._engine.num_layers)

    def run(self, features: np.ndarray) -> np.ndarray:
        """Of float32 [B, ...] the outputs, float32 [B, ...]. Raises EngineError."""
        cuda = self._gpu.cuda
        try:
            return self._run(np.ascontiguousarray(features))
        except cuda.MemoryError as error:
            raise EngineError("{}; {}".format(error, NO_MEMORY)) from None
        except cuda.Error as error:
            raise EngineError("the engine cannot be run: {}".format(error)) from None

    def _run(self, features: np.ndarray) -> np.ndarray:
        cuda = self._gpu.cuda
        stream = cuda.Stream()
        out = np.empty(self._shape_for(tuple(features.shape)), np.float32)
        source, target = cuda.mem_alloc(features.nbytes), cuda.mem_alloc(out.nbytes)
        cuda.memcpy_htod_async(source, features, stream)
        has_begun = self._start(int(source), int(target), stream.handle)
        cuda.memcpy_dtoh_async(out, target, stream)
        stream.synchronize()  # before the memory goes
        if not has_begun:
            raise self._gpu.log.failure("the engine does not run")
        return out

    def _shape_for(self, shape: Tuple[int, ...]) -> Tuple[int, ...]:
        """Tell the shape of the input, be told that of the output."""
        engine, context = self._engine, self._context
        if hasattr(engine, "num_io_tensors"):  # from 8.5 on, tensors have names
            is_taken = context.set_input_shape(engine.get_tensor_name(0), shape)
            dims = context.get_tensor_shape(engine.get_tensor_name(1))
        else:  # before, bindings have numbers
            is_taken = context.set_binding_shape(0, shape)
            dims = context.get_binding_shape(1)
        if not is_taken:
            raise self._gpu.log.failure("the engine does not take {}".format(list(shape)))
        return tuple(dims)

    def _start(self, source: int, target: int, stream: int) -> bool:
        engine, context = self._engine, self._context
        if not hasattr(engine, "num_io_tensors"):
            return bool(context.execute_async_v2([source, target], stream))
        return bool(
            context.set_tensor_address(engine.get_tensor_name(0), source)
            and context.set_tensor_address(engine.get_tensor_name(1), target)
            and context.execute_async_v3(stream)
        )

    def close(self) -> None:
        """Free what it holds on the GPU, in the one order that TensorRT allows."""
        self._context = None
        self._engine = None
        self._runtime = None


def check(what: str, loaded: Loaded, golden: Golden, max_batch: int, tolerance: float) -> float:
    """The largest error, by the largest golden value: of the first sample alone, and of as many as
    the engine takes. Raises EngineError if it is beyond `tolerance`."""
    scale = max(float(np.abs(golden.features_out).max()), 1e-6)
    largest = 0.0
    for count in sorted({1, min(len(golden.features), max_batch)}):
        found = loaded.run(golden.features[:count])
        expected = golden.features_out[:count]
        if found.shape != expected.shape:
            raise EngineError(
                "{}: found outputs {}, expected {}; build again with --force".format(
                    what, list(found.shape), list(expected.shape)
                )
            )
        error = float(np.abs(found - expected).max()) / scale
        if not error <= tolerance:  # NaN too
            raise EngineError(
                "{}: the engine computes something else than the CPU: found an error of {:.2g} of "
                "the largest output at batch {}, expected at most {:g}; build it with a higher "
                "precision (--precision fp32)".format(what, error, count, tolerance)
            )
        largest = max(largest, error)
    return largest
