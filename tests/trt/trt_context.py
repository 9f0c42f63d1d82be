"""What the double of TensorRT does in an execution context: shapes, addresses, running.

Both generations of the API are here, over the same state; see `trt_engine.py`.
"""

import numpy as np
from gpu_machine import Crash


class ContextDouble:
    """IExecutionContext."""

    def __init__(self, world, engine, scratch, is_owner):
        self._world, self._engine, self._graph = world, engine, engine._graph
        self._scratch, self._owns_scratch = scratch, is_owner
        self._addresses = {}
        self._shapes = {}
        self.name = ""
        self.profiler = None
        # Before 10, contexts share no profile, and only the first begins with one.
        self._shares = world.numbers >= (10,)
        is_free = self._shares or 0 not in engine._profiles_in_use
        self._profile = None
        if is_free:
            self._take(0)

    def __del__(self):
        self._engine._profiles_in_use.discard(self._profile)
        if self._owns_scratch:
            if not self._world.machine.stack():
                text = "an execution context was dropped where no context is current"
                self._world.machine.complaints.append(text)
            self._world.machine.allocations.pop(self._scratch, None)

    def _take(self, profile):
        engine = self._engine
        engine._profiles_in_use.discard(self._profile)
        engine._profiles_in_use.add(profile)
        self._profile = profile
        self._shapes = {
            tensor.name: None if -1 in tensor.shape else tensor.shape
            for tensor in self._graph.inputs
        }

    def _fail(self, text, *values):
        self._engine._error(text, *values)
        return False

    @property
    def engine(self):
        return self._world.wrap("ICudaEngine", self._engine)

    # Memory that the caller lends; a capsule before 8.5, so out of Python's reach there.

    def _lend(self, address):
        if self._owns_scratch:
            self._fail("API Usage Error (the context has device memory of its own)")
        else:
            self._scratch = address

    device_memory = property(None, _lend)

    def set_device_memory(self, memory, size):
        if size < self._engine.device_memory_size:
            self._fail("API Usage Error (device memory: {} bytes)", size)
        else:
            self._lend(memory)

    # Profiles.

    @property
    def active_optimization_profile(self):
        return -1 if self._profile is None else self._profile

    def set_optimization_profile_async(self, profile_index, stream_handle):
        self._stream(stream_handle)
        in_use = self._engine._profiles_in_use - {self._profile}
        is_known = 0 <= profile_index < len(self._engine._profiles)
        if not is_known or (profile_index in in_use and not self._shares):
            self._fail("API Usage Error (The profile {} cannot be chosen)", profile_index)
            raise RuntimeError("Error in set optimization profile async.")
        self._take(profile_index)
        return True

    # Shapes.

    def _set_shape(self, name, shape):
        shape = tuple(shape)
        tensor = self._engine._by_name.get(name)
        if tensor is None or tensor not in self._graph.inputs:
            return self._fail("API Usage Error (Given invalid tensor name: {})", name)
        if self._profile is None:
            return self._fail("API Usage Error (no optimization profile is set)")
        lowest, _, highest = self._engine._profiles[self._profile].get(name, [tensor.shape] * 3)
        if len(shape) != len(lowest):
            return self._fail("{} has {} dimensions, expected {}", name, len(shape), len(lowest))
        for a, b, c in zip(lowest, shape, highest):
            if not a <= b <= c:
                return self._fail(
                    "Static dimension mismatch or out of profile: {} is {}, expected {} to {}",
                    name, list(shape), list(lowest), list(highest),
                )  # fmt: skip
        self._shapes[name] = shape
        return True

    def _shape(self, tensor):
        if tensor in self._graph.inputs:
            return self._shapes[tensor.name] or tensor.shape
        if None in self._shapes.values():
            return tensor.shape
        shapes = [self._shapes[t.name] for t in self._graph.inputs]
        return self._graph.output_shapes(shapes)[self._graph.outputs.index(tensor)]

    def set_binding_shape(self, binding, shape):
        tensor = self._engine._binding(binding, None)
        if binding // len(self._engine._tensors) != self.active_optimization_profile:
            return self._fail("API Usage Error (binding {} is of another profile)", binding)
        return self._set_shape(tensor.name, shape)

    def get_binding_shape(self, binding):
        return self._world.dims(self._shape(self._engine._binding(binding, None)))

    def set_input_shape(self, name, shape):
        return self._set_shape(name, shape)

    def get_tensor_shape(self, name):
        tensor = self._engine._tensor(name)
        return self._world.dims(self._shape(tensor) if tensor else ())

    @property
    def all_binding_shapes_specified(self):
        return self._profile is not None and None not in self._shapes.values()

    all_shape_inputs_specified = True

    def infer_shapes(self):
        return [name for name, shape in self._shapes.items() if shape is None]

    # Addresses and running.

    def set_tensor_address(self, name, memory):
        if self._engine._tensor(name) is None:
            return False
        self._addresses[name] = memory
        return True

    def get_tensor_address(self, name):
        return self._addresses.get(name, 0)

    def execute_v2(self, bindings):
        return self._enqueue(self._of_bindings(bindings), None)

    def execute_async_v2(self, bindings, stream_handle, input_consumed=None):
        return self._enqueue(self._of_bindings(bindings), self._stream(stream_handle))

    def execute_async_v3(self, stream_handle):
        missing = [t.name for t in self._engine._tensors if not self._addresses.get(t.name)]
        if missing:
            return self._fail("API Usage Error (Address is not set for {})", missing)
        return self._enqueue(dict(self._addresses), self._stream(stream_handle))

    def _of_bindings(self, bindings):
        """Addresses by name. C++ is given no length: it reads the entries of the profile."""
        engine = self._engine
        if len(bindings) != engine.num_bindings:
            raise Crash("{} bindings, expected {}".format(len(bindings), engine.num_bindings))
        start = self.active_optimization_profile * len(engine._tensors)
        return {t.name: bindings[start + place] for place, t in enumerate(engine._tensors)}

    def _stream(self, handle):
        stream = self._world.machine.streams.get(handle)
        if stream is None and handle != 0:
            raise Crash("stream {:#x} does not exist".format(handle))
        if stream is None:
            text = "Using default stream in enqueueV3() may lead to performance issues"
            self._world.log(self._engine._logger, "WARNING", text)
        return stream

    def _enqueue(self, addresses, stream):
        world, engine = self._world, self._engine
        if not world.ready(engine._logger, "enqueue"):
            return False
        if not self.all_binding_shapes_specified:
            return self._fail("API Usage Error (not all input dimensions are specified)")
        if self._scratch is None:
            return self._fail("API Usage Error (the context has no device memory)")
        if world.machine.is_broken("execute"):
            return self._fail("Cuda Runtime (an illegal instruction was encountered)")
        work = self._work(addresses, dict(self._shapes))
        if stream is not None:
            stream.waiting.append(work)
        else:
            for other in list(world.machine.streams.values()):
                other.run()
            work()
        return True

    def _work(self, addresses, shapes):
        """What the GPU does when its turn comes, with the shapes and addresses of now."""
        graph, machine, scratch = self._graph, self._world.machine, self._scratch
        is_half, needed_bytes = self._engine._header["half"], self._engine.device_memory_size

        def run():
            machine.memory(scratch, needed_bytes)
            arrays = []
            for tensor in graph.inputs:
                data = machine.memory(addresses[tensor.name], tensor.nbytes(shapes[tensor.name]))
                arrays.append(data.view(tensor.numpy_dtype).reshape(shapes[tensor.name]))
            for tensor, array in zip(graph.outputs, graph.run(arrays)):
                if is_half and array.dtype == np.float32:
                    array = array.astype(np.float16).astype(np.float32)
                target = machine.memory(addresses[tensor.name], array.nbytes)
                target[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

        return run
