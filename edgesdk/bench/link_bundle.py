"""The bundle of `bench link`: a network that looks at one value of its input and at nothing else,
so that a whole payload travels and next to nothing is computed."""

import io
from typing import Any, Dict, Tuple

import numpy as np

from ..bundle import Bundle, write_bundle
from ..errors import BackendUnavailable

SEGMENT_FILE, HEAD_FILE = "onnx/segment_0.onnx", "heads/exit_0.npz"
LABELS = ("above", "below")  # of the first value: above 0, or not; ties go to the first
OPSET = 13


def write_echo_bundle(path: str, shape: Tuple[int, int, int]) -> Bundle:
    """Write the bundle for float32 inputs of `shape` (1, H, W) to the new folder `path`.

    Raises BackendUnavailable without the package onnx, BundleError if it cannot be written.
    """
    head = io.BytesIO()
    weight = np.array([[1.0], [-1.0]], np.float32)
    np.savez(head, weight=weight, bias=np.zeros(2, np.float32))
    files = {SEGMENT_FILE: _first_value(shape), HEAD_FILE: head.getvalue()}
    return write_bundle(path, _manifest(shape), files)


def load_onnx() -> Any:
    """The package. Raises BackendUnavailable without it."""
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise BackendUnavailable(
            "the bundle to measure with cannot be made without onnx ({}); pip install onnx".format(
                error
            )
        ) from None
    return onnx


def _first_value(shape: Tuple[int, int, int]) -> bytes:
    """An ONNX file: float32 [batch,C,H,W] -> [batch,1,1,1]."""
    onnx = load_onnx()
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    bounds = (("starts", [0, 0, 0]), ("ends", [1, 1, 1]), ("axes", [1, 2, 3]))
    graph = helper.make_graph(
        [helper.make_node("Slice", ["features", "starts", "ends", "axes"], ["features_out"])],
        "first_value",
        [helper.make_tensor_value_info("features", float32, ("batch",) + shape)],
        [helper.make_tensor_value_info("features_out", float32, ("batch", 1, 1, 1))],
        [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in bounds],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 7  # the onnxruntime of Python 3.6 reads it
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _manifest(shape: Tuple[int, int, int]) -> Dict[str, Any]:
    stage = {"first_segment": 0, "last_segment": 0, "exit": 0, "file": SEGMENT_FILE}
    segment = {"input_shape": list(shape), "output_shape": [1, 1, 1], "multiply_adds": 1}
    trained_exit = {"head": {"kind": "fused", "file": HEAD_FILE}, "multiply_adds": 2}
    return {
        "name": "link-echo",
        "labels": list(LABELS),
        "preprocessing": {
            "color": "gray",
            "height": shape[1],
            "width": shape[2],
            "resize": "refuse",
            "crop": "none",
            "mean": [0.0],
            "std": [1.0],
        },
        "parts": [
            {
                "name": "main",
                "segments": [segment],
                "exits": [trained_exit],
                "plans": {"full": {"stages": [stage]}},
            }
        ],
        "policies": {"final": {"kind": "final"}},
        "default_policy": "final",
    }
