"""Small ONNX graphs for the tests of the backends."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 7


def value(name, sizes, kind=TensorProto.FLOAT):
    """An input or output; a size may be a text (free) or a number."""
    return helper.make_tensor_value_info(name, kind, list(sizes))


def node(operator, inputs, output="output", **attributes):
    return helper.make_node(operator, list(inputs), [output], **attributes)


def save(path, nodes, inputs, outputs, weights=None, opset=13, check=True):
    """Write a model to `path` and return it as text. `weights`: name -> array."""
    initializers = [
        numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()
    ]
    graph = helper.make_graph(nodes, "segment", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = IR_VERSION
    if check:
        onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return str(path)


def save_nodes(path, nodes, input_shape, output_shape, weights=None, **options):
    """Write a model from "features" to "output", both with a free batch axis; shapes per sample."""
    return save(
        path,
        nodes,
        [value("features", ("batch", *input_shape))],
        [value("output", ("batch", *output_shape))],
        weights,
        **options,
    )


def normal(seed, *shape):
    """float32 standard normal values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def scale_and_shift(channels, seed=0):
    """The weights of a BatchNormalization, by name."""
    rng = np.random.default_rng(seed)
    return {
        "scale": rng.uniform(0.5, 2, channels).astype(np.float32),
        "shift": rng.normal(size=channels).astype(np.float32),
        "mean": rng.normal(size=channels).astype(np.float32),
        "variance": rng.uniform(0.5, 2, channels).astype(np.float32),
    }
