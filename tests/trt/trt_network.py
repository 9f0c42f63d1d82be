"""What the double of TensorRT knows of networks, and the parser that fills them from ONNX."""

import trt_plan

# The newest opset that the parser of a version takes; beyond 8.6 it is what its documents name.
_OPSET_MAX = [((8, 2), 13), ((8, 6), 17), ((99,), 20)]
_OPERATORS = """
Add AveragePool BatchNormalization Cast Clip Concat Constant Conv DequantizeLinear Div Elu Erf Exp
Flatten Gather Gemm GlobalAveragePool HardSigmoid Identity LeakyRelu Log MatMul Max MaxPool Min Mul
Neg Pad Pow QuantizeLinear ReduceMax ReduceMean ReduceSum Relu Reshape Shape Sigmoid Slice Softmax
Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze
"""
_SINCE_10 = "HardSwish LayerNormalization Gelu"


class TensorDouble:
    """ITensor of a network."""

    def __init__(self, world, tensor, is_input):
        self.name, self.dtype = tensor.name, world.member("DataType", tensor.dtype)
        self.shape = world.dims(tensor.shape)
        self.is_network_input, self.is_network_output = is_input, not is_input
        self.is_shape_tensor = False


class LayerDouble:
    """ILayer of a network: its name, and the types that it is asked to keep (up to 10)."""

    def __init__(self, world, name):
        self._world, self.name, self._precision, self._output_types = world, name, None, {}

    @property
    def precision(self):
        return self._precision or self._world.member("DataType", "FLOAT")

    @precision.setter
    def precision(self, dtype):
        self._precision = dtype

    @property
    def precision_is_set(self):
        return self._precision is not None

    def set_output_type(self, index, dtype):
        self._output_types[index] = dtype

    def output_type_is_set(self, index):
        return index in self._output_types


class NetworkDouble:
    """INetworkDefinition: empty until a parser fills it."""

    has_implicit_batch_dimension = False

    def __init__(self, world, is_explicit):
        self._world, self.name, self._graph = world, "Unnamed Network 0", None
        self._is_explicit = is_explicit
        self._inputs, self._outputs, self._layers = [], [], []

    def _fill(self, graph):
        world = self._world
        self._graph = graph
        self._inputs, self._outputs = (
            [world.wrap("ITensor", TensorDouble(world, t, is_input)) for t in tensors]
            for is_input, tensors in ((True, graph.inputs), (False, graph.outputs))
        )
        self._layers = [world.wrap("ILayer", LayerDouble(world, name)) for name, _ in graph.nodes]

    num_inputs = property(lambda self: len(self._inputs))
    num_outputs = property(lambda self: len(self._outputs))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index):
        return self._inputs[index] if 0 <= index < len(self._inputs) else None

    def get_output(self, index):
        return self._outputs[index] if 0 <= index < len(self._outputs) else None

    def get_layer(self, index):
        return self._layers[index] if 0 <= index < len(self._layers) else None


class ParserErrorDouble:
    """ParserError."""

    def __init__(self, world, code, desc, node=-1, name="", operator=""):
        self._code, self._desc = world.member("ErrorCode", code), desc
        self._node, self._name, self._operator = node, name, operator

    def code(self):
        return self._code

    def desc(self):
        return self._desc

    def node(self):
        return self._node

    def node_name(self):
        return self._name

    def node_operator(self):
        return self._operator

    def file(self):
        return "ModelImporter.cpp"

    def line(self):
        return 1

    def func(self):
        return "parse"


class ParserDouble:
    """OnnxParser."""

    def __init__(self, world, network, logger):
        self._world, self._network, self._logger = world, network._double, logger
        self._errors = []

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index):
        return self._errors[index] if 0 <= index < len(self._errors) else None

    def clear_errors(self):
        self._errors = []

    def supports_operator(self, op_name):
        later = _SINCE_10 if self._world.numbers >= (10,) else ""
        return op_name in (_OPERATORS + later).split()

    def parse_from_file(self, model):
        try:
            with open(model, "rb") as file:
                data = file.read()
        except OSError:
            self._fail("MODEL_DESERIALIZE_FAILED", "Failed to open file: " + model)
            return False
        return self.parse(data)

    def parse(self, model, path=None):
        try:
            graph = trt_plan.Graph(bytes(model))
        except ValueError:
            self._fail("MODEL_DESERIALIZE_FAILED", "Failed to parse ONNX model")
            return False
        if not self._network._is_explicit:
            self._fail("INVALID_VALUE", "the network must have an explicit batch dimension")
            return False
        self._check(graph)
        if self._errors:
            return False
        self._network._fill(graph)
        return True

    def _check(self, graph):
        numbers = self._world.numbers
        opset = next(opset for version, opset in _OPSET_MAX if numbers[: len(version)] <= version)
        if graph.opset > opset:
            text = "opset {}, at most {} in this version".format(graph.opset, opset)
            self._fail("UNSUPPORTED_GRAPH", text)
        for place, (name, operator) in enumerate(graph.nodes):
            if not self.supports_operator(operator):
                text = "No importer registered for op: {}".format(operator)
                self._fail("UNSUPPORTED_NODE", text, place, name, operator)
        for place in graph.asymmetric:
            name, operator = graph.nodes[place]
            text = "Non-zero zero point is not supported."
            self._fail("UNSUPPORTED_NODE", text, place, name, operator)
        for place in graph.computed_biases:
            name, operator = graph.nodes[place]
            text = "The bias is required to be an initializer."
            self._fail("UNSUPPORTED_NODE", text, place, name, operator)
        for tensor in graph.inputs + graph.outputs:
            if tensor.dtype not in self._world.types["DataType"].__members__:
                self._fail("UNSUPPORTED_GRAPH", "type of {} is not supported".format(tensor.name))

    def _fail(self, code, desc, node=-1, name="", operator=""):
        error = ParserErrorDouble(self._world, code, desc, node, name, operator)
        self._errors.append(self._world.wrap("ParserError", error))
        text = "In node {} ({}): {}: {}".format(node, name or "parse", code, desc)
        self._world.log(self._logger, "ERROR", text)


BEHAVIOURS = {
    "ITensor": TensorDouble,
    "ILayer": LayerDouble,
    "INetworkDefinition": NetworkDouble,
    "ParserError": ParserErrorDouble,
    "OnnxParser": ParserDouble,
}
