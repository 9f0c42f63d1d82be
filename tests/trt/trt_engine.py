"""What the double of TensorRT does with an engine file: runtime, engine, inspector.

A class here has the methods and properties of the class that it stands for, see `trt_double.py`.
Both generations of the API are here, over the same state: the table of a version says which of
them it has. Index i of profile p is binding p * number of tensors + i.
"""

import json

import trt_plan
from gpu_machine import Crash, Error
from trt_context import ContextDouble

_SCRATCH_BYTES = 256 << 10  # what a context needs besides its inputs and outputs


class RuntimeDouble:
    """Runtime."""

    def __init__(self, world, logger):
        self._world, self.logger = world, logger
        if not world.ready(logger, "Runtime"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.max_threads = 1
        self.DLA_core = -1
        self.num_DLA_cores = 0

    def deserialize_cuda_engine(self, serialized_engine):
        world = self._world
        if not world.ready(self.logger, "deserialize_cuda_engine"):
            return None
        try:
            header, onnx_bytes = trt_plan.unpack(serialized_engine)
            made_for = header["made_for"]
        except (ValueError, KeyError) as error:
            self._refuse("Error Code 1: Serialization (Serialization assertion failed. {})", error)
            return None
        if not self._suits(*made_for):
            return None
        try:
            if world.machine.is_broken("memory at deserialize"):
                raise Error("out of memory")
            weights = world.machine.allocate(len(onnx_bytes))
        except Error as error:
            self._refuse("Error Code 2: OutOfMemory ({})", error)
            return None
        engine = EngineDouble(world, self.logger, header, onnx_bytes, weights)
        return world.wrap("ICudaEngine", engine)

    def _suits(self, version, name, compute_capability):
        """Whether an engine may run here, as the real one decides; the log says why not."""
        machine = self._world.machine
        if version != self._world.version:
            self._refuse(
                "Error Code 1: Serialization (Serialization assertion stdVersionRead == "
                "serializationVersion failed.Version tag does not match. Note: Current Version: "
                "{}, Serialized Engine Version: {})",
                self._world.version,
                version,
            )
            return False
        if tuple(compute_capability) != machine.compute_capability:
            self._refuse(
                "Error Code 6: Internal Error (The engine plan file is generated on an "
                "incompatible device, expecting compute {} got compute {}, please rebuild.)",
                "{}.{}".format(*machine.compute_capability),
                "{}.{}".format(*compute_capability),
            )
            return False
        if name != machine.name:
            text = "Using an engine plan file across different models of devices is not recommended"
            self._world.log(self.logger, "WARNING", text)
        return True

    def _refuse(self, text, *values):
        self._world.log(self.logger, "ERROR", text.format(*values))


class EngineDouble:
    """ICudaEngine."""

    has_implicit_batch_dimension = False
    max_batch_size = 1
    refittable = False

    def __init__(self, world, logger, header, onnx_bytes, weights):
        self._world, self._logger, self._header = world, logger, header
        self._graph, self._weights = trt_plan.Graph(onnx_bytes), weights
        self._profiles = header["profiles"]
        self._tensors = self._graph.inputs + self._graph.outputs
        self._by_name = {tensor.name: tensor for tensor in self._tensors}
        self._profiles_in_use = set()
        self.name = "Unnamed Network 0"
        self.num_layers = len(self._graph.nodes)
        self.num_optimization_profiles = len(self._profiles)
        self.profiling_verbosity = world.member("ProfilingVerbosity", header["verbosity"])
        self.device_memory_size = _SCRATCH_BYTES + sum(
            self._tensor_bytes_max(profile) for profile in self._profiles
        )
        self.device_memory_size_v2 = self.device_memory_size

    def _tensor_bytes_max(self, profile):
        shapes = [profile.get(t.name, [None, None, t.shape])[2] for t in self._graph.inputs]
        all_shapes = shapes + self._graph.output_shapes(shapes)
        return sum(tensor.nbytes(shape) for tensor, shape in zip(self._tensors, all_shapes))

    def __del__(self):
        machine = self._world.machine
        if not machine.stack():
            machine.complaints.append("an engine was dropped where no context is current")
        machine.allocations.pop(self._weights, None)

    def _error(self, text, *values):
        self._world.log(self._logger, "ERROR", "Error Code 3: " + text.format(*values))

    # Bindings, up to 8.6.

    @property
    def num_bindings(self):
        return len(self._tensors) * len(self._profiles)

    def __len__(self):
        return self.num_bindings

    def __getitem__(self, arg0):
        if isinstance(arg0, str):
            return self.get_binding_index(arg0)
        if not -self.num_bindings <= arg0 < self.num_bindings:
            raise IndexError(arg0)
        return self.get_binding_name(arg0 % self.num_bindings)

    def get_binding_name(self, index):
        if not 0 <= index < self.num_bindings:
            self._error("API Usage Error (no binding {})", index)
            return None
        profile, place = divmod(index, len(self._tensors))
        suffix = " [profile {}]".format(profile) if profile else ""
        return self._tensors[place].name + suffix

    def get_binding_index(self, name):
        for index in range(self.num_bindings):
            if self.get_binding_name(index) == name:
                return index
        return -1

    def _binding(self, index, name):
        """The tensor of a binding, by index or by name; an index from nowhere is a crash."""
        found = self.get_binding_index(name) if index is None else index
        if not 0 <= found < self.num_bindings:
            raise Crash("binding {} of {}".format(found, self.num_bindings))
        return self._tensors[found % len(self._tensors)]

    def binding_is_input(self, index=None, name=None):
        return self._binding(index, name) in self._graph.inputs

    def get_binding_shape(self, index=None, name=None):
        return self._world.dims(self._binding(index, name).shape)

    def get_binding_dtype(self, index=None, name=None):
        return self._world.member("DataType", self._binding(index, name).dtype)

    def get_location(self, index=None, name=None):
        self._binding(index, name)
        return self._world.member("TensorLocation", "DEVICE")

    def is_shape_binding(self, binding):
        self._binding(binding, None)
        return False

    def is_execution_binding(self, binding):
        self._binding(binding, None)
        return True

    def get_profile_shape(self, profile_index, binding):
        name = binding if isinstance(binding, str) else self._binding(binding, None).name
        return self.get_tensor_profile_shape(name.split(" [profile")[0], profile_index)

    # Named tensors, from 8.5 on.

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    def get_tensor_name(self, index):
        if 0 <= index < len(self._tensors):
            return self._tensors[index].name
        self._error("API Usage Error (no tensor {})", index)
        return None

    def _tensor(self, name):
        if name not in self._by_name:
            self._error("API Usage Error (Given invalid tensor name: {})", name)
        return self._by_name.get(name)

    def get_tensor_mode(self, name):
        tensor = self._tensor(name)
        mode = "NONE" if tensor is None else "INPUT" if tensor in self._graph.inputs else "OUTPUT"
        return self._world.member("TensorIOMode", mode)

    def get_tensor_shape(self, name):
        tensor = self._tensor(name)
        return self._world.dims(tensor.shape if tensor else ())

    def get_tensor_dtype(self, name):
        tensor = self._tensor(name)
        return self._world.member("DataType", tensor.dtype if tensor else "FLOAT")

    def get_tensor_location(self, name):
        self._tensor(name)
        return self._world.member("TensorLocation", "DEVICE")

    def get_tensor_format(self, name, profile_index=0):
        self._tensor(name)
        return self._world.member("TensorFormat", "LINEAR")

    def get_tensor_profile_shape(self, name, profile_index):
        tensor = self._tensor(name)
        if tensor is None or not 0 <= profile_index < len(self._profiles):
            return [self._world.dims(()) for _ in range(3)]
        shapes = self._profiles[profile_index].get(name, [tensor.shape] * 3)
        return [self._world.dims(shape) for shape in shapes]

    # Both.

    def serialize(self):
        return self._world.host_memory(trt_plan.pack(self._header, self._graph.data))

    def create_execution_context(self, strategy=None):
        if strategy is not None and strategy.name != "STATIC":
            return self.create_execution_context_without_device_memory()
        machine = self._world.machine
        if not self._world.ready(self._logger, "create_execution_context"):
            return None
        try:
            if machine.is_broken("memory at context"):
                raise Error("out of memory")
            scratch = machine.allocate(self.device_memory_size)
        except Error as error:
            self._world.log(self._logger, "ERROR", "1: Cuda Runtime ({})".format(error))
            return None
        return self._context(scratch, True)

    def create_execution_context_without_device_memory(self):
        if not self._world.ready(self._logger, "create_execution_context"):
            return None
        if self._world.machine.is_broken("memory at context"):  # it takes memory of the host, too
            self._world.log(self._logger, "ERROR", "1: Cuda Runtime (out of memory)")
            return None
        return self._context(None, False)

    def _context(self, scratch, is_owner):
        context = ContextDouble(self._world, self, scratch, is_owner)
        return self._world.wrap("IExecutionContext", context)

    def create_engine_inspector(self):
        return self._world.wrap("EngineInspector", InspectorDouble(self._world, self))


class InspectorDouble:
    """EngineInspector: the nodes of the ONNX file, in detail if the engine was built so."""

    execution_context = None

    def __init__(self, world, engine):
        self._world, self._engine = world, engine

    def _layer(self, place):
        name, operator = self._engine._graph.nodes[place]
        verbosity = self._engine._header["verbosity"]
        if verbosity in ("DETAILED", "VERBOSE"):
            kind = "Half" if self._engine._header["half"] else "Float"
            return {"Name": name, "LayerType": operator, "Precision": kind}
        return name

    def get_layer_information(self, layer_index, format):
        if not 0 <= layer_index < self._engine.num_layers:
            self._engine._error("API Usage Error (no layer {})", layer_index)
            return ""
        layer = self._layer(layer_index)
        return json.dumps(layer) if format.name == "JSON" else str(layer)

    def get_engine_information(self, format):
        layers = [self._layer(place) for place in range(self._engine.num_layers)]
        if format.name != "JSON":
            return "\n".join(str(layer) for layer in layers)
        key = "Bindings" if self._world.numbers < (11,) else "I/O Tensors"
        names = [tensor.name for tensor in self._engine._tensors]
        return json.dumps({"Layers": layers, key: names})


BEHAVIOURS = {
    "Runtime": RuntimeDouble,
    "ICudaEngine": EngineDouble,
    "IExecutionContext": ContextDouble,
    "EngineInspector": InspectorDouble,
}
