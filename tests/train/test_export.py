"""Every exported file computes what torch computes, in opset 13, or is refused."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_training import TINY, tiny_network
from torch import nn

from edgesdk.errors import BundleError, ConfigError
from edgesdk.kernels import reference
from edgesdk.manifest import UNCUT_FILE
from edgesdk.train.export import (
    INPUT_NAME,
    OPSET,
    OUTPUT_NAME,
    export_network,
    head_file,
    segment_file,
)
from edgesdk.train.heads import PooledHead
from edgesdk.train.models import MultiExit


@pytest.fixture(scope="module")
def images():
    return TINY.load("calibration").images


@pytest.fixture(scope="module")
def network(images):
    """With batch-norm statistics and parameters that are not those of a fresh network."""
    torch.manual_seed(0)
    result = tiny_network()
    for layer in result.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -1, 2)
            nn.init.normal_(layer.bias)
    result(images)
    return result.eval()


@pytest.fixture(scope="module")
def files(network, images):
    return export_network(network, images[:4])


def run(content, features):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT_NAME], {INPUT_NAME: features})[0]


def head(content):
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)


def test_there_is_one_file_per_segment_and_one_per_exit_and_the_uncut_network(files):
    assert sorted(files) == [
        "heads/exit_0.npz",
        "heads/exit_1.npz",
        "onnx/segment_0.onnx",
        "onnx/segment_1.onnx",
        "onnx/uncut.onnx",
    ]


@pytest.mark.parametrize("batch", [1, 3, 30])
def test_the_files_compute_what_the_network_computes(network, images, files, batch):
    features = images[:batch].numpy()
    with torch.no_grad():
        expected = network(images[:batch])
    for index, logits in enumerate(expected):
        features = run(files[segment_file(index)], features)
        found = reference.exit_head(features, **head(files[head_file(index)]), logits=True).logits
        assert np.abs(found - logits.numpy()).max() < 1e-5


def test_the_uncut_network_gives_the_logits_of_the_final_exit(network, images, files):
    with torch.no_grad():
        expected = network(images)[-1].numpy()
    assert np.abs(run(files[UNCUT_FILE], images.numpy()) - expected).max() < 1e-5


def test_exporting_leaves_the_network_in_evaluation_mode(network, images):
    export_network(network, images[:4])
    assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("index", [0, 1])
def test_segments_are_opset_13_with_a_free_batch_axis(files, index):
    model = onnx.load_from_string(files[segment_file(index)])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert model.ir_version <= 7  # what the runtimes of 2021 read
    (entered,), (left,) = model.graph.input, model.graph.output
    assert (entered.name, left.name) == (INPUT_NAME, OUTPUT_NAME)
    for value in (entered, left):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_equal_biases_are_initializers_too(images):
    """The exporter makes the second one an Identity of the first, which TensorRT does not read."""
    network = tiny_network()
    with torch.no_grad():
        for layer in (network.segments[1].conv2, network.segments[1].shortcut):
            layer.bias.fill_(0.25)
    for content in export_network(network, images[:4]).values():
        if content[:2] == b"PK":  # an .npz
            continue
        graph = onnx.load_from_string(content).graph
        weights = {tensor.name for tensor in graph.initializer}
        for node in graph.node:
            assert node.op_type != "Identity"
            assert node.op_type != "Conv" or set(node.input[1:]) <= weights


def test_batch_norms_behind_a_convolution_are_folded_into_it(files):
    """The block has two; only that of its input, which the shortcut reads, has to stay."""
    nodes = [node.op_type for node in onnx.load_from_string(files[segment_file(1)]).graph.node]
    assert nodes.count("BatchNormalization") == 1
    assert nodes.count("Conv") == 3


def test_heads_are_float32_arrays_of_the_kernel_and_need_no_pickle(files):
    arrays = head(files[head_file(1)])
    assert {name: (a.dtype, a.shape) for name, a in arrays.items()} == {
        "weight": (np.float32, (3, 8)),
        "bias": (np.float32, (3,)),
        "scale": (np.float32, (8,)),
        "shift": (np.float32, (8,)),
    }


def test_exporting_twice_gives_the_same_bytes(network, images, files):
    assert export_network(network, images[:4]) == files


def test_the_user_sees_no_warning(network, images, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_network(network, images[:4])
    assert capfd.readouterr() == ("", "")


def test_another_opset_is_refused(network, images, monkeypatch):
    export = torch.onnx.export

    def export_newer(*arguments, opset_version, **options):
        return export(*arguments, opset_version=opset_version + 1, **options)

    monkeypatch.setattr(torch.onnx, "export", export_newer)
    with pytest.raises(BundleError, match=r"\{'ai.onnx': 14\}, expected only ai.onnx 13"):
        export_network(network, images[:4])


def test_a_segment_that_computes_something_else_is_refused(network, images, monkeypatch):
    export = torch.onnx.export

    def export_changed(segment, *arguments, **options):
        export(nn.Sequential(segment, nn.Hardtanh(-1.0, 1.0)), *arguments, **options)

    monkeypatch.setattr(torch.onnx, "export", export_changed)
    with pytest.raises(BundleError, match=r"segment 0, batch of 4: differs from torch by"):
        export_network(network, images[:4])


def test_a_segment_of_fixed_batch_is_refused(images):
    """Tracing turns a batch size that Python reads into a constant."""

    class Fixed(nn.Conv2d):
        def forward(self, features):
            return super().forward(features).reshape(len(features), 4, 32, 32)

    broken = MultiExit([Fixed(1, 4, 3, padding=1)], [tiny_network().exits[0]])
    with pytest.raises(BundleError, match="segment 0, batch of 1: onnxruntime refuses it"):
        export_network(broken, images[:4])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["segments.0.weight", "exits.1.linear.bias", "exits.0.norm.running_var"]
)
def test_a_network_that_is_not_finite_is_refused_by_the_name_of_the_parameter(images, name, value):
    broken = tiny_network()
    broken.state_dict()[name].view(-1)[0] = value
    with pytest.raises(ConfigError, match=f"{name}: found values that are NaN or infinite"):
        export_network(broken, images[:4])


def test_activations_that_overflow_are_refused(images):
    broken = tiny_network()
    nn.init.constant_(broken.segments[1].conv1.weight, 1e38)
    with pytest.raises(BundleError, match="segment 1"):
        export_network(broken, images[:4])


def test_a_head_that_no_kernel_computes_becomes_a_graph(images):
    torch.manual_seed(0)
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 30 * 30, 3))
    network = MultiExit([nn.Conv2d(1, 4, 3)], [head])
    files = export_network(network, images[:4])
    assert sorted(files) == ["heads/exit_0.onnx", "onnx/segment_0.onnx", "onnx/uncut.onnx"]
    found = run(files["heads/exit_0.onnx"], run(files[segment_file(0)], images[:5].numpy()))
    with torch.no_grad():
        (expected,) = network(images[:5])
    assert np.abs(found - expected.numpy()).max() < 1e-4


def test_a_pooled_head_has_neither_scale_nor_shift(images):
    torch.manual_seed(0)
    network = MultiExit([nn.Conv2d(1, 4, 3)], [PooledHead(nn.Linear(4, 3, bias=False))])
    arrays = head(export_network(network, images[:4])[head_file(0)])
    assert sorted(arrays) == ["bias", "weight"]
    assert not arrays["bias"].any()


def test_attention_in_one_call_is_written_in_operators_of_opset_13(images):
    class Attending(nn.Module):
        def forward(self, features):
            tokens = features.flatten(2)
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    network = MultiExit([Attending()], [nn.Sequential(nn.Flatten(), nn.Linear(1024, 3))])
    assert "onnx/segment_0.onnx" in export_network(network, images[:4])
