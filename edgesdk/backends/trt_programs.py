"""Stages on TensorRT: one class for each generation of its API.

Below 8.5 inputs and outputs are numbered bindings; from 8.5 on they have names, from 10 on nothing
else. Whatever TensorRT refuses it says in its log and by None or False; nothing raises.

CUDA graphs, which would launch all kernels of a stage at once, are out of reach: pycuda has no call
for them (read in the sources of 2022.1 and 2026.1).
"""

from typing import Any, Callable, List, NamedTuple, Tuple, Union

import numpy as np

from ..arrays import Array, Shape
from ..errors import EngineError
from .base import Program
from .trt_gpu import Gpu
from .trt_memory import Scratch, Staging

FREE = -1  # a size that is chosen when it runs


class Tensor(NamedTuple):
    """An input or output of an engine: its number or name, and the smallest and largest shape of an
    input, which begin with the batch."""

    key: Union[int, str]
    is_input: bool
    is_float32: bool
    shape: Shape
    range: Tuple[Shape, Shape] = ((), ())


class EngineProgram(Program):
    """An engine with one input and one output, ready to run; the subclasses know the API.

    `load` gives it, or None. Nothing but this object may refer to it, not even a variable of a
    failed call: it must be gone before the context is. `why` gives what TensorRT's log said last.
    Raises EngineError where an engine cannot be loaded, or run.
    """

    def __init__(
        self,
        trt: Any,
        gpu: Gpu,
        load: Callable[[], Any],
        scratch: Scratch,
        why: Callable[[], str],
    ) -> None:
        self.trt = trt
        self._gpu = gpu
        self._scratch = scratch
        self._why = why
        self._inputs, self._outputs = Staging(gpu, gpu.compute), Staging(gpu, gpu.compute)
        self._batch = 0  # of the shapes that are set
        self._engine: Any = None
        self._context: Any = None
        gpu.finally_call(self.free)
        self._engine = load()
        if self._engine is not None:
            self._context = self._make_context()
        if self._context is None:
            said = why()
            raise EngineError("found {}; {}".format(said, gpu.no_memory("this stage")))

    @property
    def layer_count(self) -> int:
        """What TensorRT made of the stage."""
        return int(self._engine.num_layers)

    def tensors(self) -> List[Tensor]:
        """What goes in and comes out."""
        raise NotImplementedError

    def take_signature(self, input_shape: Shape, output_shape: Shape) -> None:
        """Remember the one input and the one output that there are, as `check_signature` found
        them good, and the largest batch."""
        tensors = self.tensors()
        (self._input,) = [tensor for tensor in tensors if tensor.is_input]
        (self._output,) = [tensor for tensor in tensors if not tensor.is_input]
        self._input_shape, self._output_shape = tuple(input_shape), tuple(output_shape)
        self.max_batch = int(self._input.range[1][0])

    def run(self, features: Array, out: Array) -> None:
        """See `Program.run`."""
        batch = len(features)
        with self._gpu.computing():
            on_host = isinstance(features, np.ndarray)
            source = self._inputs.put(features) if on_host else features.address
            to_host = isinstance(out, np.ndarray)
            target = self._outputs.reserve(out.nbytes) if to_host else out.address
            if batch != self._batch:
                self._take_batch(batch)
            if not self._enqueue(source, target):
                raise self._failure("a stage computed")
            if to_host:
                out.reshape(-1).view(np.uint8)[...] = self._outputs.take(out.nbytes)

    def _take_batch(self, batch: int) -> None:
        """Raises EngineError if the engine does not take it, or would write something else than
        there is room for."""
        self._batch = 0
        if not self._set_shape((batch,) + self._input_shape):
            raise self._failure("a batch of {}".format(batch))
        found, needed = self._shape_of_output(), (batch,) + self._output_shape
        if found != needed:
            raise EngineError("TensorRT: found outputs {}, needed {}".format(found, needed))
        self._batch = batch

    def _failure(self, needed: str) -> EngineError:
        return EngineError(
            "TensorRT: found {}; needed {}, of at most {}; if others fail as well: python -m "
            "edgesdk.doctor --for tensorrt".format(self._why(), needed, self.max_batch)
        )

    def _make_context(self) -> Any:
        raise NotImplementedError

    def _set_shape(self, shape: Shape) -> bool:
        """Of the input, for what is enqueued from now on."""
        raise NotImplementedError

    def _shape_of_output(self) -> Shape:
        """For the input's shape that is set."""
        raise NotImplementedError

    def _enqueue(self, source: int, target: int) -> bool:
        raise NotImplementedError

    def free(self) -> None:
        """Give the engine back, in the order in which TensorRT wants it; a second time is nothing.
        A backend frees all its programs at its end."""
        self._context = None
        self._engine = None


class BindingsProgram(EngineProgram):
    """Up to TensorRT 8.4. Its contexts cannot share memory: an address cannot be given to them from
    Python."""

    def tensors(self) -> List[Tensor]:
        """See `EngineProgram.tensors`."""
        engine = self._engine
        return [
            Tensor(
                index,
                engine.binding_is_input(index),
                engine.get_binding_dtype(index) == self.trt.DataType.FLOAT,
                tuple(engine.get_binding_shape(index)),
                _range(engine.get_profile_shape(0, index))
                if engine.binding_is_input(index)
                else ((), ()),
            )
            for index in range(engine.num_bindings)
        ]

    def _make_context(self) -> Any:
        return self._engine.create_execution_context()

    def _set_shape(self, shape: Shape) -> bool:
        return bool(self._context.set_binding_shape(self._input.key, shape))

    def _shape_of_output(self) -> Shape:
        return tuple(self._context.get_binding_shape(self._output.key))

    def _enqueue(self, source: int, target: int) -> bool:
        bindings = [source, target] if self._input.key == 0 else [target, source]
        return bool(self._context.execute_async_v2(bindings, self._gpu.compute.handle))


class TensorsProgram(EngineProgram):
    """From TensorRT 8.5 on. All stages share one block of memory for their layers."""

    def __init__(self, *given: Any) -> None:
        self._addresses = (0, 0)
        self._scratch_address = 0
        super().__init__(*given)

    def tensors(self) -> List[Tensor]:
        """See `EngineProgram.tensors`."""
        engine, mode = self._engine, self.trt.TensorIOMode.INPUT
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [
            Tensor(
                name,
                engine.get_tensor_mode(name) == mode,
                engine.get_tensor_dtype(name) == self.trt.DataType.FLOAT,
                tuple(engine.get_tensor_shape(name)),
                _range(engine.get_tensor_profile_shape(name, 0))
                if engine.get_tensor_mode(name) == mode
                else ((), ()),
            )
            for name in names
        ]

    def _make_context(self) -> Any:
        if hasattr(self._engine, "device_memory_size_v2"):
            needed_bytes = int(self._engine.device_memory_size_v2)
        else:
            needed_bytes = int(self._engine.device_memory_size)
        self._scratch.grow(max(1, needed_bytes))
        if hasattr(self.trt, "ExecutionContextAllocationStrategy"):
            strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            return self._engine.create_execution_context(strategy)
        return self._engine.create_execution_context_without_device_memory()

    def _set_shape(self, shape: Shape) -> bool:
        return bool(self._context.set_input_shape(self._input.key, shape))

    def _shape_of_output(self) -> Shape:
        return tuple(self._context.get_tensor_shape(self._output.key))

    def _enqueue(self, source: int, target: int) -> bool:
        context = self._context
        if self._scratch_address != self._scratch.address:
            self._lend(self._scratch.address, self._scratch.size_bytes)
        if self._addresses != (source, target):
            self._addresses = (0, 0)
            if not context.set_tensor_address(self._input.key, source):
                return False
            if not context.set_tensor_address(self._output.key, target):
                return False
            self._addresses = (source, target)
        return bool(context.execute_async_v3(self._gpu.compute.handle))

    def _lend(self, address: int, size_bytes: int) -> None:
        if hasattr(self._context, "set_device_memory"):
            self._context.set_device_memory(address, size_bytes)
        else:
            self._context.device_memory = address
        self._scratch_address = address


def make_program(
    trt: Any, gpu: Gpu, load: Callable[[], Any], scratch: Scratch, why: Callable[[], str]
) -> EngineProgram:
    """The engine that `load` gives, by the API that this TensorRT has. Raises EngineError."""
    by_name = hasattr(trt.ICudaEngine, "num_io_tensors")
    kind = TensorsProgram if by_name else BindingsProgram
    return kind(trt, gpu, load, scratch, why)


def check_signature(program: EngineProgram, input_shape: Shape, output_shape: Shape) -> str:
    """Why an engine is not what the manifest says, "" if it is: one input and one output of
    float32, of these shapes per sample, and batches from 1 on."""
    found = program.tensors()
    expected = [
        (True, True, (FREE,) + tuple(input_shape)),
        (False, True, (FREE,) + tuple(output_shape)),
    ]
    signature = sorted((each[1:4] for each in found), reverse=True)
    if len(found) != 2 or not all(map(_fits, signature, expected)):
        words = ", ".join(
            "{} {} {}".format(
                "input" if each.is_input else "output",
                "float32" if each.is_float32 else "of another type",
                list(each.shape),
            )
            for each in found
        )
        return "found {}, needed input {} and output {} of float32".format(
            words or "nothing", [FREE] + list(input_shape), [FREE] + list(output_shape)
        )
    lowest = next(each.range[0] for each in found if each.is_input)
    return "" if lowest[0] == 1 else "found batches from {} on, needed 1".format(lowest[0])


def _fits(found: Tuple[bool, bool, Shape], expected: Tuple[bool, bool, Shape]) -> bool:
    """Behind some layers TensorRT knows no size until the shape of the input is set: `run` asks."""
    if found[:2] != expected[:2] or len(found[2]) != len(expected[2]):
        return False
    return found[2][0] == FREE and all(a in (FREE, b) for a, b in zip(found[2], expected[2]))


def _range(shapes: Any) -> Tuple[Shape, Shape]:
    """Of a profile's least, usual and largest shape."""
    lowest, _, highest = [tuple(shape) for shape in shapes]
    return lowest, highest
