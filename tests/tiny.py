"""A network small enough to compute by hand, as a real bundle.

The input is a gray 6x6 image of mean brightness m (0..1). Segment 0 makes two channels, x and 1-x;
segments 1 and 2 pass them on. The head at exit k has logits (+-) SHARPNESS[k] * (2m - 1) for the
classes "bright" and "dark", so the deeper the exit, the surer it is of the same class:

    max probability at exit k = 1 / (1 + exp(-2 * SHARPNESS[k] * |2m - 1|))
"""

import io
import math
from typing import Any, Dict, List, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgesdk.bundle import Bundle, write_bundle
from edgesdk.core.exits import make_policy
from edgesdk.manifest import policy_id

LABELS = ("bright", "dark")
SHARPNESS = (0.5, 1.0, 4.0)
SIZE = 6
EXIT_COUNT = len(SHARPNESS)


def image(brightness: float) -> np.ndarray:
    """uint8 [6,6] of one brightness (0..1)."""
    return np.full((SIZE, SIZE), round(255 * brightness), np.uint8)


def max_probability(brightness: float, exit_index: int) -> float:
    """What the network answers for `image(brightness)`, computed by hand."""
    mean = round(255 * brightness) / 255
    return 1 / (1 + math.exp(-2 * SHARPNESS[exit_index] * abs(2 * mean - 1)))


def conv_model(weight: np.ndarray, bias: np.ndarray, shape: Tuple[int, int]) -> bytes:
    """An ONNX file (opset 13) with one convolution, dynamic batch."""
    node = helper.make_node("Conv", ["features", "weight", "bias"], ["output"])
    graph = helper.make_graph(
        [node],
        "segment",
        [_value("features", (weight.shape[1],) + shape)],
        [_value("output", (weight.shape[0],) + shape)],
        [
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    return serialize(graph)


def serialize(graph: Any) -> bytes:
    """A checked model of opset 13 around `graph`."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 7
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tiny_files() -> Dict[str, bytes]:
    """The files of the bundle."""
    split = np.array([[1.0], [-1.0]]).reshape(2, 1, 1, 1)
    keep = np.eye(2).reshape(2, 2, 1, 1)
    files = {
        "onnx/segment_0.onnx": conv_model(split, np.array([0.0, 1.0]), (SIZE, SIZE)),
        "onnx/segment_1.onnx": conv_model(keep, np.zeros(2), (SIZE, SIZE)),
        "onnx/segment_2.onnx": conv_model(keep, np.zeros(2), (SIZE, SIZE)),
    }
    for index, sharpness in enumerate(SHARPNESS):
        weight = sharpness * np.array([[1, -1], [-1, 1]], np.float32)
        files["heads/exit_{}.npz".format(index)] = _npz(
            weight=weight,
            bias=np.zeros(2, np.float32),
            scale=np.ones(2, np.float32),
            shift=np.zeros(2, np.float32),
        )
    return files


def tiny_manifest() -> Dict[str, Any]:
    """The manifest of the bundle, without what `write_bundle` derives."""
    shapes: List[List[int]] = [[1, SIZE, SIZE]] + [[2, SIZE, SIZE]] * EXIT_COUNT
    return {
        "name": "tiny",
        "labels": list(LABELS),
        "preprocessing": {
            "color": "gray",
            "height": SIZE,
            "width": SIZE,
            "resize": "refuse",
            "crop": "none",
            "mean": [0.0],
            "std": [1.0],
        },
        "parts": [
            {
                "name": "main",
                "segments": [
                    {
                        "input_shape": shapes[index],
                        "output_shape": shapes[index + 1],
                        "multiply_adds": 100,
                    }
                    for index in range(EXIT_COUNT)
                ],
                "exits": [
                    {
                        "head": {"kind": "fused", "file": "heads/exit_{}.npz".format(index)},
                        "multiply_adds": 10,
                    }
                    for index in range(EXIT_COUNT)
                ],
                "plans": {
                    "full": {
                        "stages": [
                            {
                                "first_segment": index,
                                "last_segment": index,
                                "exit": index,
                                "file": "onnx/segment_{}.onnx".format(index),
                            }
                            for index in range(EXIT_COUNT)
                        ]
                    }
                },
            }
        ],
        "policies": {"calibrated": {"kind": "max_probability", "thresholds": [0.7, 0.8, 0.0]}},
        "default_policy": "calibrated",
    }


def write_tiny_bundle(path: Any) -> Bundle:
    """Write the bundle to the new folder `path`."""
    return write_bundle(path, tiny_manifest(), tiny_files())


def write_with_bottleneck(path: Any, border: int = 2, swaps: bool = False) -> Bundle:
    """The same with a bottleneck before segment `border` (1 or 2); see `add_bottleneck`."""
    manifest, files = tiny_manifest(), tiny_files()
    add_bottleneck(manifest, files, 0, border, swaps)
    return write_bundle(path, manifest, files)


def add_bottleneck(
    manifest: Dict[str, Any], files: Dict[str, bytes], part: int, border: int, swaps: bool = False
) -> None:
    """One that calibration allows: the code is the channel x, of which the decoder makes x and 1-x;
    if it `swaps`, 1-x and x: whatever has travelled is then taken for the other class. 50 and 100
    multiply-adds."""
    split, bias = np.array([[1.0], [-1.0]]), np.array([0.0, 1.0])
    if swaps:
        split, bias = split[::-1], bias[::-1]
    first = np.array([[1.0, 0.0]]).reshape(1, 2, 1, 1)
    files["onnx/encoder.onnx"] = conv_model(first, np.zeros(1), (SIZE, SIZE))
    files["onnx/decoder.onnx"] = conv_model(split.reshape(2, 1, 1, 1), bias, (SIZE, SIZE))
    manifest["parts"][part]["bottlenecks"] = [
        {
            "border": border,
            "encoder": "onnx/encoder.onnx",
            "decoder": "onnx/decoder.onnx",
            "code_shape": [1, SIZE, SIZE],
            "encoder_multiply_adds": 50,
            "decoder_multiply_adds": 100,
        }
    ]
    policy = make_policy(manifest["policies"][manifest["default_policy"]])
    manifest["codecs"] = {
        "learned": {
            "pessimistic_lost_points": 0.0,
            "provenance": {"policy_id": policy_id(policy)},
        }
    }


def write_with_graph_head(path: Any) -> Bundle:
    """The same with exit 1's head as an ONNX file, of the logits of its fused parameters."""
    manifest, files = tiny_manifest(), tiny_files()
    manifest["parts"][0]["exits"][1]["head"] = {"kind": "graph", "file": "onnx/head_1.onnx"}
    nodes = [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
    ]
    weights = {
        "weight": SHARPNESS[1] * np.array([[1, -1], [-1, 1]], np.float32),
        "bias": np.zeros(2, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "head",
        [_value("features", (2, SIZE, SIZE))],
        [_value("logits", (2,))],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    files["onnx/head_1.onnx"] = serialize(graph)
    return write_bundle(path, manifest, files)


def _npz(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _value(name: str, shape: Tuple[int, ...]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch",) + shape)
