"""The tiny bundle with what benches need besides: the uncut network, and a second plan."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def whole_bundle(tmp_path_factory):
    """The tiny network with its uncut form, and a plan "merged" without the exits 0 and 1."""
    import tiny

    from edgesdk.bundle import write_bundle

    path = tmp_path_factory.mktemp("engines") / "whole" / "1"
    manifest = tiny.tiny_manifest()
    plans = manifest["parts"][0]["plans"]
    plans["merged"] = {
        "stages": [{"first_segment": 0, "last_segment": 2, "exit": 2, "file": "onnx/merged.onnx"}]
    }
    split = np.array([[1.0], [-1.0]]).reshape(2, 1, 1, 1)
    merged = tiny.conv_model(split, np.array([0.0, 1.0]), (tiny.SIZE, tiny.SIZE))
    files = dict(tiny.tiny_files(), **{"onnx/merged.onnx": merged, "onnx/uncut.onnx": _uncut()})
    return write_bundle(path, manifest, files)


@pytest.fixture
def brightnesses():
    """40 images, labels as the network means them: bright is 0, dark 1."""
    import tiny

    from edgesdk.bench.images import LabelledImages

    values = [value for value in np.linspace(0.02, 0.98, 40) if abs(value - 0.5) > 0.01]
    images = [tiny.image(value) for value in values]
    labels = np.array([int(value < 0.5) for value in values], np.int64)
    return LabelledImages(images, labels, "brightnesses")


def _uncut():
    """Mean brightness m, then the logits (+-) SHARPNESS[-1] * (2m - 1)."""
    import tiny
    from onnx import TensorProto, helper, numpy_helper

    sharpness = tiny.SHARPNESS[-1]
    weight = 2 * sharpness * np.array([[1], [-1]], np.float32)
    bias = sharpness * np.array([-1, 1], np.float32)
    shape = ("batch", 1, tiny.SIZE, tiny.SIZE)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["mean"]),
            helper.make_node("Gemm", ["mean", "weight", "bias"], ["logits"], transB=1),
        ],
        "uncut",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 2))],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    return tiny.serialize(graph)
