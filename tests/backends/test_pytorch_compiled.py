"""How the torch backend arranges a stage: packed and fallback answers agree, NaN stays NaN."""

import graphs
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgesdk.backends import open_backend

compiled = pytest.importorskip("edgesdk.backends.pytorch_compiled")
torch = compiled.torch

CHANNELS = 12  # more than FEW_CHANNELS, and no multiple of a vector
MAPS = (CHANNELS, 6, 5)
EPSILON = np.finfo(np.float32).eps
needs_packing = pytest.mark.skipif(
    not compiled.packing_works(), reason="this torch has no packed convolutions"
)


def weights_of_a_block():
    """Names to arrays: two batch norms, two convolutions, and the one of the shortcut."""
    found = {"w1": graphs.normal(1, 16, CHANNELS, 3, 3) / 9, "b1": graphs.normal(2, 16)}
    found.update(w2=graphs.normal(3, 16, 16, 3, 3) / 9, b2=graphs.normal(4, 16))
    found.update(w3=graphs.normal(5, 16, CHANNELS, 1, 1))
    for name, array in graphs.scale_and_shift(CHANNELS).items():
        found["n." + name] = array
    return found


def save_block(path):
    """A residual block of stride 2 as exported: a batch norm, two convolutions, a shortcut."""
    norm = ["features"] + ["n." + name for name in graphs.scale_and_shift(CHANNELS)]
    nodes = [
        graphs.node("BatchNormalization", norm, "normed"),
        graphs.node("Relu", ["normed"], "inner"),
        graphs.node("Conv", ["inner", "w1", "b1"], "wide", pads=[1, 1, 1, 1]),
        graphs.node("Relu", ["wide"], "active"),
        graphs.node("Conv", ["active", "w2", "b2"], "deep", pads=[1, 1, 1, 1], strides=[2, 2]),
        graphs.node("Conv", ["inner", "w3"], "short", strides=[2, 2]),
        graphs.node("Add", ["deep", "short"]),
    ]
    return graphs.save_nodes(path, nodes, MAPS, (16, 3, 3), weights_of_a_block())


def run(path, features, output_shape):
    out = np.zeros((len(features), *output_shape), np.float32)
    open_backend("torch").load(str(path), features.shape[1:], output_shape).run(features, out)
    return out


def operators(path):
    """The operators of the arranged steps of a file."""
    return [step.operator for step in compiled.arranged(onnx.load(str(path)).graph)._steps]


@pytest.fixture
def without_packing(monkeypatch):
    monkeypatch.setattr(compiled, "packing_works", lambda: False)


class TestThePackedWay:
    @needs_packing
    def test_is_taken(self, tmp_path):
        found = operators(save_block(tmp_path / "block.onnx"))
        assert found == [
            "ChannelsLast",
            "BatchNormalization",
            "ReluInPlace",
            "PackedConv",
            "ReluInPlace",
            "PackedConv",
            "Conv",  # of kernel size 1
            "ChannelsLast",
            "Add",
            "Contiguous",
        ]

    @pytest.mark.parametrize("batch", [1, 2, 7])
    def test_equals_the_fallback(self, tmp_path, monkeypatch, batch):
        path = save_block(tmp_path / "block.onnx")
        features = graphs.normal(batch, batch, *MAPS)
        packed = run(path, features, (16, 3, 3))
        monkeypatch.setattr(compiled, "packing_works", lambda: False)
        plain = run(path, features, (16, 3, 3))
        assert np.abs(plain).max() > 1
        np.testing.assert_allclose(packed, plain, rtol=0, atol=16 * 9 * 4 * EPSILON)

    def test_one_program_takes_any_batch(self, tmp_path):
        path = save_block(tmp_path / "block.onnx")
        program = open_backend("torch").load(path, MAPS, (16, 3, 3))
        for batch in (3, 1, 8, 1):
            features = graphs.normal(batch, batch, *MAPS)
            out = np.zeros((batch, 16, 3, 3), np.float32)
            program.run(features, out)
            expected = np.zeros_like(out)
            open_backend("onnxruntime").load(path, MAPS, (16, 3, 3)).run(features, expected)
            np.testing.assert_allclose(out, expected, rtol=0, atol=16 * 9 * 4 * EPSILON)

    def test_leaves_the_input_as_it_is(self, tmp_path):
        for shape in (MAPS, (CHANNELS, 1, 1)):  # maps of one pixel have both layouts: no copy
            norm = ["features"] + list(graphs.scale_and_shift(CHANNELS))
            nodes = [graphs.node("BatchNormalization", norm, "y"), graphs.node("Relu", ["y"])]
            weights = graphs.scale_and_shift(CHANNELS)
            path = graphs.save_nodes(tmp_path / "n.onnx", nodes, shape, shape, weights)
            for batch in (1, 2):
                features = graphs.normal(1, batch, *shape)
                before = features.copy()
                run(path, features, shape)
                np.testing.assert_array_equal(features, before)

    def test_a_tensor_that_two_read_is_not_overwritten(self, tmp_path):
        norm = ["features"] + list(graphs.scale_and_shift(CHANNELS))
        nodes = [
            graphs.node("BatchNormalization", norm, "normed"),
            graphs.node("Relu", ["normed"], "active"),
            graphs.node("Add", ["active", "normed"]),
        ]
        weights = graphs.scale_and_shift(CHANNELS)
        path = graphs.save_nodes(tmp_path / "two.onnx", nodes, MAPS, MAPS, weights)
        assert "ReluInPlace" not in operators(path)

    @needs_packing
    def test_images_stay_plain(self, tmp_path):
        weights = {"w": graphs.normal(1, 16, 3, 3, 3), "v": graphs.normal(2, 8, 16, 3, 3)}
        first = graphs.node("Conv", ["features", "w"], "wide")
        path = graphs.save_nodes(
            tmp_path / "first.onnx",
            [first, graphs.node("Conv", ["wide", "v"])],
            (3, 9, 8),
            (8, 5, 4),
            weights,
        )
        expected = ["ChannelsLast", "Conv", "ChannelsLast", "PackedConv", "Contiguous"]
        assert operators(path) == expected


class TestNan:
    """Infinities and NaN come out where plain operators have them."""

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_passes_a_block_as_in_the_fallback(self, tmp_path, monkeypatch, value):
        path = save_block(tmp_path / "block.onnx")
        features = graphs.normal(1, 2, *MAPS)
        features[0, 5, 2, 2] = value
        packed = run(path, features, (16, 3, 3))
        monkeypatch.setattr(compiled, "packing_works", lambda: False)
        plain = run(path, features, (16, 3, 3))
        np.testing.assert_array_equal(np.isfinite(packed), np.isfinite(plain))
        np.testing.assert_array_equal(np.isnan(packed), np.isnan(plain))
        if np.isnan(value):
            assert np.isnan(packed[0]).any()
        assert np.isfinite(packed[1]).all()

    def test_passes_a_convolution_and_its_relu(self, tmp_path):
        weights = {"w": graphs.normal(1, 16, CHANNELS, 3, 3)}
        nodes = [graphs.node("Conv", ["features", "w"], "y"), graphs.node("Relu", ["y"])]
        path = graphs.save_nodes(tmp_path / "relu.onnx", nodes, MAPS, (16, 4, 3), weights)
        found = run(path, np.full((2, *MAPS), np.nan, np.float32), (16, 4, 3))
        assert np.isnan(found).all()


class TestLayouts:
    @pytest.mark.parametrize("shape", [(1, 8, 3, 5), (3, 17, 6, 4), (2, 8, 1, 9), (2, 9, 4, 1)])
    def test_there_and_back(self, shape):
        array = torch.arange(float(np.prod(shape))).reshape(shape)
        last = compiled._channels_last({}, array)
        assert last.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(last, array)
        back = compiled._contiguous({}, last)
        assert back.is_contiguous()
        assert torch.equal(back, array)

    def test_any_other_strides_become_contiguous(self):
        array = torch.arange(2.0 * 8 * 3 * 5).reshape(2, 3, 8, 5).transpose(1, 2)
        for convert in (compiled._channels_last, compiled._contiguous):
            assert torch.equal(convert({}, array), array)
        assert compiled._contiguous({}, array).is_contiguous()

    def test_few_channels_and_features_stay(self):
        for shape in ((2, 3, 4, 5), (2, 8)):
            array = torch.zeros(shape)
            assert compiled._channels_last({}, array) is array


class TestWhereOperatorsAreMissing:
    @pytest.fixture
    def probe(self):
        """`packing_works`, asked anew; what it answered before is forgotten afterwards."""
        compiled.packing_works.cache_clear()
        yield compiled.packing_works
        compiled.packing_works.cache_clear()

    def test_an_operator_that_raises(self, probe, monkeypatch):
        def missing(*arguments):
            raise AttributeError("no such operator")

        monkeypatch.setattr(compiled, "_packed", missing)
        assert not probe()

    def test_a_torch_without_onednn(self, probe, monkeypatch):
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        assert not probe()

    def test_an_operator_that_computes_something_else(self, probe, monkeypatch):
        monkeypatch.setitem(
            compiled.PACKED_OPERATORS, "PackedConv", lambda attributes, x, bias=None: x
        )
        assert not probe()

    def test_batch_norms_are_still_folded(self, tmp_path, without_packing):
        path = save_block(tmp_path / "block.onnx")
        module = compiled.arranged(onnx.load(path).graph)
        assert module._operators is compiled.FOLDED_OPERATORS
        assert "PackedConv" not in operators(path)


@needs_packing
def test_a_weight_that_is_computed_from_weights_is_packed_like_them(tmp_path):
    weight = numpy_helper.from_array(graphs.normal(1, 8, CHANNELS, 3, 3), "w")
    nodes = [graphs.node("Identity", ["w"], "same"), graphs.node("Conv", ["features", "same"])]
    graph = helper.make_graph(
        nodes,
        "segment",
        [graphs.value("features", ("batch", *MAPS))],
        [graphs.value("output", ("batch", 8, 4, 3))],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = graphs.IR_VERSION
    (tmp_path / "same.onnx").write_bytes(model.SerializeToString())
    assert operators(tmp_path / "same.onnx") == ["ChannelsLast", "PackedConv", "Contiguous"]
    features = graphs.normal(2, 2, *MAPS)
    expected = np.zeros((2, 8, 4, 3), np.float32)
    path = str(tmp_path / "same.onnx")
    open_backend("onnxruntime").load(path, MAPS, (8, 4, 3)).run(features, expected)
    found = run(path, features, (8, 4, 3))
    np.testing.assert_allclose(found, expected, rtol=0, atol=CHANNELS * 9 * 20 * EPSILON)
