"""INT8 stages are what TensorRT reads, and compute nearly what they computed before."""

import logging
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgesdk.backends import open_backend
from edgesdk.bundle import read_bundle
from edgesdk.errors import BackendUnavailable, BundleError, ConfigError
from edgesdk.kernels import exit_head
from edgesdk.train import int8
from edgesdk.train.data import data_set
from edgesdk.train.export import OPSET, export_layers
from edgesdk.train.int8 import METHODS, PAIR, chosen_images, quantized, quantized_stages

MIN_MAX, PERCENTILE = METHODS
EVERY_STAGE = pytest.mark.parametrize("index", range(7))


@pytest.fixture(scope="module")
def digits():
    """The shipped network."""
    return read_bundle("engines/wrn16_1-digits/1")


@pytest.fixture(scope="module")
def floats(digits):
    """Its stages; the exporter of the shipped files wrote equal biases as aliases."""
    stages = digits.manifest.parts[0].plans["full"].stages
    return [without_aliases(digits.file(stage.file)) for stage in stages]


def without_aliases(path):
    from edgesdk.train.export import _without_aliases

    with open(path, "rb") as file:
        return _without_aliases(file.read())


@pytest.fixture(scope="module")
def stages(floats):
    images = data_set("digits").load("calibration").images.numpy()
    return list(quantized_stages(floats, chosen_images(images[:128]), MIN_MAX))


def graph_of(content):
    return onnx.load_from_string(content).graph


def constants(graph):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def nodes(graph, *operators):
    return [node for node in graph.node if node.op_type in operators]


def makers(graph):
    return {node.output[0]: node for node in graph.node}


@EVERY_STAGE
def test_both_inputs_of_every_convolution_are_rounded_and_its_result_is_not(stages, index):
    graph = graph_of(stages[index])
    made = makers(graph)
    convolutions = nodes(graph, "Conv")
    assert len(convolutions) == (1 if index == 0 else 3 if index in (3, 5) else 2)
    for node in convolutions:
        for name in node.input[:2]:
            assert made[name].op_type == PAIR[1]
            assert made[made[name].input[0]].op_type == PAIR[0]
        readers = {r.op_type for r in graph.node if node.output[0] in r.input}
        assert readers <= {"Relu", "Add"}


@EVERY_STAGE
def test_zero_points_are_int8_zeros(stages, index):
    graph = graph_of(stages[index])
    known = constants(graph)
    points = [known[node.input[2]] for node in nodes(graph, *PAIR)]
    assert len(points) >= 4
    assert {point.dtype for point in points} == {np.dtype(np.int8)}
    assert not any(point.any() for point in points)


@EVERY_STAGE
def test_weights_are_float32_with_a_scale_for_each_output_channel_and_biases_are_left(
    stages, floats, index
):
    graph = graph_of(stages[index])
    known, made, before = constants(graph), makers(graph), constants(graph_of(floats[index]))
    for node in nodes(graph, "Conv"):
        back = made[node.input[1]]
        rounds = made[back.input[0]]
        weight, scale = known[rounds.input[0]], known[rounds.input[1]]
        assert np.array_equal(weight, before[rounds.input[0]])
        assert scale.shape == (len(weight),)
        assert np.array_equal(scale, known[back.input[1]])
        np.testing.assert_allclose(scale, np.abs(weight).max(axis=(1, 2, 3)) / 127, rtol=1e-3)
        assert [a.i for one in (rounds, back) for a in one.attribute if a.name == "axis"] == [0, 0]
        assert known[node.input[2]].dtype == np.float32


@EVERY_STAGE
def test_the_file_is_opset_13_from_float32_to_float32_with_a_free_batch(stages, index):
    model = onnx.load_from_string(stages[index])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert model.ir_version <= 7
    assert not model.metadata_props
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def exits_on(backend, digits, stages, images, tmp_path):
    """int [exits, n]: the classes at every exit."""
    opened, part = open_backend(backend), digits.manifest.parts[0]
    features, found = images, []
    for index, content in enumerate(stages):
        path = tmp_path / f"{index}.onnx"
        path.write_bytes(content)
        segment = part.segments[index]
        out = np.empty((len(images), *segment.output_shape), np.float32)
        opened.load(str(path), segment.input_shape, segment.output_shape).run(features, out)
        features = out
        logits = exit_head(features, *digits.head(0, index), logits=True).logits
        found.append(logits.argmax(axis=1))
    return np.stack(found)


def test_every_backend_gives_the_classes_of_the_network(digits, floats, stages, tmp_path):
    images = data_set("digits").load("test").images.numpy()[:100]
    expected = exits_on("onnxruntime", digits, floats, images, tmp_path)
    for backend in ("onnxruntime", "torch"):
        found = exits_on(backend, digits, stages, images, tmp_path)
        assert (found[-1] == expected[-1]).all()
        assert ((found == expected).mean(axis=1) >= 0.9).all()


def test_quantising_twice_gives_the_same_bytes(floats, stages):
    images = data_set("digits").load("calibration").images.numpy()
    again = quantized_stages(floats, chosen_images(images[:128]), MIN_MAX)
    assert next(again) == stages[0]
    assert next(again) == stages[1]


def test_nothing_is_printed_and_logging_stays_as_it_is(floats, capfd, caplog):
    handlers, filters = logging.root.handlers[:], logging.root.filters[:]
    for method in METHODS:
        quantized(floats[0], np.ones((2, 1, 32, 32), np.float32), method, "here")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert (logging.root.handlers, logging.root.filters) == (handlers, filters)


def input_range(content):
    graph = graph_of(content)
    (first,) = (node for node in nodes(graph, PAIR[0]) if node.input[0] == graph.input[0].name)
    return 127 * float(constants(graph)[first.input[1]])


def test_min_max_covers_all_values_and_a_percentile_leaves_out_the_rarest(floats):
    features = np.random.default_rng(0).uniform(-1, 1, (64, 1, 32, 32)).astype(np.float32)
    features[5, 0, 3, 3] = -50
    assert input_range(quantized(floats[0], features, MIN_MAX, "here")) == pytest.approx(50, 0.01)
    assert input_range(quantized(floats[0], features, PERCENTILE, "here")) < 1.1


@pytest.mark.parametrize(("count", "chosen"), [(1, 1), (30, 30), (64, 64), (100, 64), (5000, 512)])
def test_images_are_taken_from_all_over_the_split_in_batches_that_fill(count, chosen):
    found = chosen_images(np.arange(count))
    assert len(found) == chosen
    assert (found[0], found[-1]) == (0, count - 1)
    assert np.ptp(np.diff(found)) <= 1 if count > 1 else True


class Block(nn.Module):
    """Two convolutions and the input itself, then Relu: as in a ResNet of 2015."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, features):
        return torch.relu(features + self.second(torch.relu(self.first(features))))


def test_a_shortcut_that_a_convolution_reads_too_is_rounded_for_both():
    torch.manual_seed(0)
    inputs = torch.randn(4, 4, 8, 8)
    content = export_layers(nn.Sequential(Block(), Block()), inputs, "two blocks")
    graph = graph_of(quantized(content, inputs.numpy(), MIN_MAX, "two blocks"))
    made = makers(graph)
    for total in nodes(graph, "Add"):
        assert [made[name].op_type for name in total.input] == [PAIR[1], "Conv"]
        assert {r.op_type for r in graph.node if total.input[0] in r.input} == {"Conv", "Add"}


@EVERY_STAGE
def test_what_enters_and_leaves_a_block_of_ours_is_not_rounded(stages, index):
    graph = graph_of(stages[index])
    rounded = {node.input[0] for node in nodes(graph, PAIR[0])}
    assert graph.output[0].name not in rounded
    assert (graph.input[0].name in rounded) == (index == 0)


def test_a_linear_layer_is_rounded_per_output(floats):
    torch.manual_seed(0)
    inputs = torch.randn(4, 6)
    content = export_layers(nn.Linear(6, 5), inputs, "linear")
    graph = graph_of(quantized(content, inputs.numpy(), MIN_MAX, "linear"))
    (gemm,) = nodes(graph, "Gemm")
    back = makers(graph)[gemm.input[1]]
    assert constants(graph)[back.input[1]].shape == (5,)


def test_a_file_without_weights_stays_as_it_is():
    content = export_layers(nn.ReLU(), torch.ones(2, 3), "relu")
    assert quantized(content, np.ones((2, 3), np.float32), MIN_MAX, "relu") == content


@pytest.mark.parametrize(
    "changed",
    [{"ActivationSymmetric": False}, {"AddQDQPairToWeight": False}, {"QuantizeBias": True}],
)
def test_what_onnxruntime_does_otherwise_is_refused(floats, changed, monkeypatch):
    monkeypatch.setattr(int8, "OPTIONS", {**int8.OPTIONS, **changed})
    features = np.random.default_rng(0).uniform(0, 1, (2, 1, 32, 32)).astype(np.float32)
    with pytest.raises(BundleError, match=r"segment 0: onnxruntime .* left '.*' otherwise than"):
        quantized(floats[0], features, MIN_MAX, "segment 0")


def test_weights_with_one_scale_are_refused(floats, monkeypatch):
    genuine = int8.quantization.quantize_static

    def one_scale(*arguments, per_channel, **options):
        genuine(*arguments, per_channel=not per_channel, **options)

    monkeypatch.setattr(int8.quantization, "quantize_static", one_scale)
    with pytest.raises(BundleError, match="weights per channel"):
        quantized(floats[0], np.ones((2, 1, 32, 32), np.float32), MIN_MAX, "segment 0")


def test_what_onnxruntime_cannot_do_is_one_error(floats):
    with pytest.raises(ConfigError, match=r"segment 0: onnxruntime cannot quantise it: .*--int8"):
        quantized(floats[0], np.ones((2, 3, 5, 5), np.float32), MIN_MAX, "segment 0")


def test_without_the_tools_of_onnxruntime_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    monkeypatch.delattr("onnxruntime.quantization", raising=False)
    monkeypatch.delitem(sys.modules, "edgesdk.train.int8")
    with pytest.raises(BackendUnavailable, match="pip install --upgrade onnxruntime"):
        __import__("edgesdk.train.int8")
