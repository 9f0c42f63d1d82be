"""The engine files of the double, and what it knows of ONNX.

An engine file: the magic, the length of the header, the CRC of what follows; a JSON header, the
ONNX bytes.
"""

import json
import struct
import zlib

import numpy as np

MAGIC = b"ENGINE-OF-A-DOUBLE"
_LENGTH_AND_CRC = struct.Struct("<QI")

# By ONNX's number of the type: TensorRT's and numpy's names.
TYPES = {
    1: ("FLOAT", "float32"),
    2: ("UINT8", "uint8"),
    3: ("INT8", "int8"),
    6: ("INT32", "int32"),
    7: ("INT64", "int64"),
    9: ("BOOL", "bool"),
    10: ("HALF", "float16"),
}


class Tensor:
    """An input or output: name, type names, shape with -1 for what is free."""

    def __init__(self, value):
        self.name = value.name
        kind = value.type.tensor_type
        self.dtype, self.numpy_dtype = TYPES.get(kind.elem_type, ("other", "other"))
        self.shape = tuple(
            dim.dim_value if dim.WhichOneof("value") == "dim_value" else -1
            for dim in kind.shape.dim
        )

    def nbytes(self, shape):
        return int(np.prod(shape, dtype=np.int64)) * np.dtype(self.numpy_dtype).itemsize


class Graph:
    """What an ONNX file says. Raises ValueError if it is none."""

    def __init__(self, data):
        import onnx  # here and not above: a process that only asks for the GPU needs it not
        from onnx import numpy_helper

        try:
            model = onnx.load_model_from_string(bytes(data))
            onnx.checker.check_model(model)
        except Exception as error:  # protobuf's and onnx's classes differ between versions
            raise ValueError(str(error)) from None
        self.data = bytes(data)
        graph = model.graph
        self.opset = max(
            entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")
        )
        # Initializers may be listed as inputs; they are none.
        weights = {tensor.name for tensor in graph.initializer}
        self.inputs = [Tensor(value) for value in graph.input if value.name not in weights]
        self.outputs = [Tensor(value) for value in graph.output]
        self.nodes = [
            (node.name or "node_{}".format(place), node.op_type)
            for place, node in enumerate(graph.node)
        ]
        # Pairs whose zero point is none of INT8 zeros: quantisation that is not symmetric.
        zeros = {
            tensor.name
            for tensor in graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8 and not numpy_helper.to_array(tensor).any()
        }
        self.asymmetric = [
            place
            for place, node in enumerate(graph.node)
            if node.op_type in ("QuantizeLinear", "DequantizeLinear")
            and (len(node.input) < 3 or node.input[2] not in zeros)
        ]
        self.computed_biases = [
            place
            for place, node in enumerate(graph.node)
            if node.op_type == "Conv" and len(node.input) > 2 and node.input[2] not in weights
        ]
        self._session = None
        self._output_shapes = {}

    def run(self, arrays):
        """The outputs for the inputs, in the file's order."""
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 4
            self._session = onnxruntime.InferenceSession(
                self.data, options, providers=["CPUExecutionProvider"]
            )
        names = [tensor.name for tensor in self.inputs]
        return self._session.run(None, dict(zip(names, arrays)))

    def output_shapes(self, shapes):
        """The shapes of the outputs for shapes of the inputs."""
        key = tuple(tuple(shape) for shape in shapes)
        if key not in self._output_shapes:
            zeros = [np.zeros(shape, t.numpy_dtype) for shape, t in zip(key, self.inputs)]
            self._output_shapes[key] = [array.shape for array in self.run(zeros)]
        return self._output_shapes[key]


def pack(header, onnx_bytes):
    """An engine file: `header` is a dict of plain JSON values."""
    text = json.dumps(header, sort_keys=True).encode("ascii")
    crc = zlib.crc32(text + onnx_bytes)
    return MAGIC + _LENGTH_AND_CRC.pack(len(text), crc) + text + onnx_bytes


def unpack(data):
    """(header, ONNX bytes); raises ValueError for other files, and what is cut short or damaged."""
    data = bytes(data)
    start = len(MAGIC) + _LENGTH_AND_CRC.size
    if data[: len(MAGIC)] != MAGIC or len(data) < start:
        raise ValueError("magic tag does not match")
    text_length, crc = _LENGTH_AND_CRC.unpack(data[len(MAGIC) : start])
    rest = data[start:]
    if zlib.crc32(rest) != crc:
        raise ValueError("checksum does not match")
    return json.loads(rest[:text_length].decode("ascii")), rest[text_length:]
