"""Rounded stages on the torch backend: the pairs of ONNX mean what onnxruntime says."""

import graphs
import numpy as np
import pytest

from edgesdk.backends import open_backend
from edgesdk.errors import EngineError

pytorch = pytest.importorskip("edgesdk.backends.pytorch")
compiled = pytest.importorskip("edgesdk.backends.pytorch_compiled")

MAPS = (12, 6, 5)
ZERO = np.array(0, np.int8)
ZEROS = np.zeros(12, np.int8)
SCALE = np.array(0.03, np.float32)
SCALES = np.linspace(0.01, 0.1, 12).astype(np.float32)


def rounded(inputs, output, weights=None, **attributes):
    """The two nodes around `inputs[0]`."""
    middle = output + "_rounded"
    return [
        graphs.node("QuantizeLinear", inputs, middle, **attributes),
        graphs.node("DequantizeLinear", [middle] + inputs[1:], output, **attributes),
    ]


def run(name, path, features, output_shape):
    out = np.full((len(features),) + output_shape, np.nan, np.float32)
    open_backend(name).load(path, features.shape[1:], output_shape).run(features, out)
    return out


def both(path, features, output_shape=MAPS):
    return [run(name, path, features, output_shape) for name in ("onnxruntime", "torch")]


@pytest.mark.parametrize(
    "scale, zero, attributes",
    [
        (SCALE, ZERO, {}),
        (SCALE.reshape(1), ZERO.reshape(1), {}),
        (SCALES, ZEROS, {}),  # the axis is 1
        (SCALES, ZEROS, {"axis": 1}),
        (SCALES, ZEROS, {"axis": -3}),
        (SCALES[:6], ZEROS[:6], {"axis": 2}),
        (SCALES[:5], ZEROS[:5], {"axis": -1}),
    ],
)
def test_a_pair_rounds_to_8_bits_per_tensor_or_axis(tmp_path, scale, zero, attributes):
    nodes = rounded(["features", "scale", "zero"], "output", **attributes)
    weights = {"scale": scale, "zero": zero}
    path = graphs.save_nodes(tmp_path / "pair.onnx", nodes, MAPS, MAPS, weights)
    features = 3 * graphs.normal(1, 4, *MAPS)  # the largest are beyond 127 steps
    expected, found = both(path, features)
    np.testing.assert_array_equal(found, expected)
    assert (found != features).any() and (np.abs(features) > 127 * scale.min()).any()


def test_ties_go_to_the_even_step_and_the_ends_are_those_of_int8(tmp_path):
    nodes = rounded(["features", "scale", "zero"], "output")
    weights = {"scale": np.array(1, np.float32), "zero": ZERO}
    path = graphs.save_nodes(tmp_path / "ties.onnx", nodes, (7,), (7,), weights)
    features = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, 1000, -1000]], np.float32)
    expected, found = both(path, features, (7,))
    assert expected.tolist() == found.tolist() == [[0, 2, 2, 0, -2, 127, -128]]


def convolution(path, bias=True):
    """A Conv with both inputs rounded, then Relu: weights per channel, axis 0."""
    weights = {"w": graphs.normal(2, 16, 12, 3, 3) / 9, "b": graphs.normal(3, 16)}
    weights.update(x_scale=SCALE, x_zero=ZERO, w_zero=np.zeros(16, np.int8))
    weights["w_scale"] = np.abs(weights["w"]).max(axis=(1, 2, 3)) / np.float32(127)
    nodes = rounded(["features", "x_scale", "x_zero"], "x")
    nodes += rounded(["w", "w_scale", "w_zero"], "v", axis=0)
    nodes += [graphs.node("Conv", ["x", "v", "b"], "y", pads=[1, 1, 1, 1])]
    nodes += [graphs.node("Relu", ["y"])]
    return graphs.save_nodes(path, nodes, MAPS, (16, 6, 5), weights)


@pytest.mark.parametrize("packing", [True, False])
def test_a_convolution_of_rounded_inputs(tmp_path, monkeypatch, packing):
    if not packing:
        monkeypatch.setattr(compiled, "packing_works", lambda: False)
    path = convolution(tmp_path / "conv.onnx")
    for batch in (1, 3):
        expected, found = both(path, graphs.normal(batch, batch, *MAPS), (16, 6, 5))
        assert np.abs(expected).max() > 1
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_what_depends_on_weights_alone_is_computed_once(tmp_path):
    path = convolution(tmp_path / "conv.onnx")
    module = compiled.arranged(pytorch.onnx.load(path).graph)
    left = [step.operator for step in module._steps if "quantize" in step.operator.lower()]
    assert left == ["QuantizeLinear", "DequantizeLinear"]
    if compiled.packing_works():
        assert "PackedConv" in [step.operator for step in module._steps]


def test_int8_weights_in_the_file_are_read_too(tmp_path):
    weights = {"w": np.arange(-6, 6, dtype=np.int8).reshape(12, 1, 1), "scale": SCALES}
    weights["zeros"] = ZEROS
    nodes = [
        graphs.node("DequantizeLinear", ["w", "scale", "zeros"], "v", axis=0),
        graphs.node("Mul", ["features", "v"]),
    ]
    path = graphs.save_nodes(tmp_path / "w.onnx", nodes, MAPS, MAPS, weights)
    expected, found = both(path, graphs.normal(1, 2, *MAPS))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("zero", [np.array(3, np.int8), np.array(0, np.uint8), None])
def test_what_is_not_symmetric_int8_is_refused(tmp_path, zero):
    inputs, weights = ["features", "scale"], {"scale": SCALE}
    if zero is not None:
        inputs, weights = inputs + ["zero"], {"scale": SCALE, "zero": zero}
    path = graphs.save_nodes(tmp_path / "odd.onnx", rounded(inputs, "output"), MAPS, MAPS, weights)
    with pytest.raises(EngineError, match="not symmetric int8: zero points other than int8 0"):
        run("torch", path, graphs.normal(1, 2, *MAPS), MAPS)
    run("onnxruntime", path, graphs.normal(1, 2, *MAPS), MAPS)
