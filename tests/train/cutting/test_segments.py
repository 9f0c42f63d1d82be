"""A module that is cut computes what it did, exactly, and becomes the files of a bundle."""

import copy

import module_zoo
import numpy as np
import onnx
import pytest
import torch
from module_zoo import CLASSES, SHAPE
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.counting import multiply_adds
from edgesdk.train.cutting.segments import cut_points
from edgesdk.train.export import export_network
from edgesdk.train.layer_costs import cost, plain_rule
from edgesdk.train.models import MultiExit


def images(count=3):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def network_of(name):
    module, exits, head, _ = module_zoo.made(name)
    return module, MultiExit.from_module(module, exits, SHAPE, head)


@pytest.mark.parametrize("name", module_zoo.MODULES)
def test_the_segments_give_bit_for_bit_what_the_module_gives(name):
    module, network = network_of(name)
    with torch.no_grad():
        expected, found = module(images()), network(images())
    assert torch.equal(found[-1], expected)
    exits, final = module_zoo.made(name)[1], module_zoo.made(name)[3]
    assert [values.shape for values in found] == [(3, CLASSES)] * (len(exits) + 1)
    assert type(network.exits[-1]).__name__ == final


@pytest.mark.parametrize("name", module_zoo.MODULES)
def test_an_exit_reads_what_the_module_named_gives(name):
    module, exits, *_ = module_zoo.made(name)
    network = MultiExit.from_module(module, exits, SHAPE, lambda *_: nn.Flatten())
    expected = []
    for exit_name in exits:
        hook = module.get_submodule(exit_name).register_forward_hook(
            lambda layer, inputs, output: expected.append(output.clone())
        )
        module(images())
        hook.remove()
    for found, values in zip(network(images()), expected):
        assert torch.equal(found, values.flatten(1))


@pytest.mark.parametrize("name", module_zoo.MODULES)
def test_nothing_is_computed_twice_and_nothing_is_left_out(name):
    module, network = network_of(name)
    segments = multiply_adds(network, SHAPE).segments
    final = multiply_adds(network, SHAPE).exits[-1]
    assert min(segments) >= 0
    assert sum(segments) + final == cost(module, torch.zeros(1, *SHAPE), plain_rule, "module")


@pytest.mark.parametrize("name", module_zoo.MODULES)
def test_it_becomes_onnx_of_opset_13(name):
    _, network = network_of(name)
    files = export_network(network, images(4))
    assert sum(file.startswith("onnx/segment") for file in files) == len(network.segments)


@pytest.mark.parametrize("name", ["resnet", "vgg", "densenet", "mobilenet v3"])
def test_sizes_that_a_forward_asks_for_are_constants_in_its_files(name):
    _, network = network_of(name)
    for file, content in export_network(network, images(4)).items():
        if file.endswith(".onnx"):
            assert "Shape" not in {n.op_type for n in onnx.load_from_string(content).graph.node}


@pytest.mark.parametrize("name", module_zoo.MODULES)
def test_all_of_it_learns(name):
    module, network = network_of(name)
    network.train()
    sum(values.square().sum() for values in network(images())).backward()
    without = {n for n, p in network.named_parameters() if p.grad is None}
    assert without == set()
    used = {id(parameter) for parameter in network.parameters()}
    unused = {n for n, p in module.named_parameters() if id(p) not in used}
    assert unused <= {"unused.weight", "unused.bias"}


def test_the_network_uses_the_layers_of_the_module_and_leaves_them_as_they_were():
    module, exits, *_ = module_zoo.made("resnet")
    module.layer1.eval()
    module.layer2.train()
    before = copy.deepcopy(module.state_dict())
    modes = [part.training for part in module.modules()]
    cut_points(module, SHAPE)
    assert [part.training for part in module.modules()] == modes
    network = MultiExit.from_module(module.train(), exits, SHAPE)
    assert network.training and network.segments[0].training and network.exits[0].training
    assert all(torch.equal(before[name], now) for name, now in module.state_dict().items())
    assert not any(layer._forward_hooks for layer in module.modules())
    with torch.no_grad():
        module.conv1.weight.zero_()
    assert not network.segments[0].conv1.weight.any()


def test_a_copy_is_a_network_of_its_own():
    _, network = network_of("resnet")
    other = copy.deepcopy(network)
    with torch.no_grad():
        expected = network(images())
        for parameter in network.parameters():
            parameter.zero_()
        assert all(torch.equal(a, b) for a, b in zip(other(images()), expected))


def test_weights_are_found_by_the_same_names_again():
    _, network = network_of("vit")
    _, again = network_of("vit")
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    again.load_state_dict(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again(images()), network(images())))


def test_a_layer_in_place_behind_an_exit_does_not_change_what_the_exit_reads():
    module, *_ = module_zoo.made("resnet")
    network = MultiExit.from_module(module, ["bn1"], SHAPE)
    features = network.segments[0](images())
    before = features.clone()
    network.segments[1](features)
    assert torch.equal(features, before) and (before < 0).any()
    given = images()
    stem = MultiExit.from_module(nn.Sequential(nn.ReLU(True), *module_zoo.row()), ["0"], SHAPE)
    stem(given)
    assert torch.equal(given, images())


def test_an_activation_in_place_whose_result_nobody_reads_is_refused():
    class Statement(nn.Module):
        def forward(self, features):
            features = features * 2
            features.clamp_(max=0.1)
            return features

    with pytest.raises(ConfigError, match="other values in segments than in one piece"):
        MultiExit.from_module(module_zoo.row(Statement()), ["1"], SHAPE)
    network = MultiExit.from_module(module_zoo.row(Statement()), ["1"], SHAPE, whole=[Statement])
    assert len(network.segments) == 2


def test_a_head_for_each_exit():
    module, exits, *_ = module_zoo.made("resnet")
    network = MultiExit.from_module(module, exits, SHAPE, ["linear", "mlp", "fused"])
    assert [type(head).__name__ for head in network.exits] == [
        "Sequential", "Sequential", "ExitHead", "PooledHead",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="head: found 2 kinds, expected one, or 3"):
        MultiExit.from_module(module, exits, SHAPE, ["linear", "mlp"])


def test_a_module_without_a_classifier_gets_one():
    module, *_ = module_zoo.made("resnet")
    backbone = nn.Sequential(module.conv1, module.bn1, module.relu, module.layer1, module.layer2)
    network = MultiExit.from_module(backbone, ["3"], SHAPE, classes=7).eval()
    assert [values.shape for values in network(images())] == [(3, 7)] * 2
    features = network.segments[1](network.segments[0](images()))
    assert torch.equal(features, backbone.eval()(images()))
    with pytest.raises(ConfigError, match=r"gives \[12, 8, 8\] per image, expected logits"):
        MultiExit.from_module(backbone, ["3"], SHAPE)
    with pytest.raises(ConfigError, match="found 'the end' after '4'"):
        MultiExit.from_module(backbone, ["4"], SHAPE, classes=7)


def test_no_exit_at_all_is_the_module_and_its_classifier():
    module, *_ = module_zoo.made("resnet")
    network = MultiExit.from_module(module, [], SHAPE)
    assert torch.equal(network(images())[0], module(images())) and network.exit_count == 1


class TestPoints:
    def test_every_point_can_be_cut_at_and_costs_what_is_before_it(self):
        module, *_ = module_zoo.made("resnet")
        points, total = cut_points(module, SHAPE)
        assert [point.name for point in points] == [
            "conv1", "bn1", "relu", "layer1.0", "layer1", "layer2.0",
        ]  # fmt: skip
        network = MultiExit.from_module(module, [point.name for point in points], SHAPE)
        segments = multiply_adds(network, SHAPE).segments
        assert [point.multiply_adds for point in points] == list(np.cumsum(segments)[:-1])
        assert total == sum(segments)
        assert [point.shape for point in points][-2:] == [(8, 16, 16), (12, 8, 8)]

    def test_points_of_one_level(self):
        module, *_ = module_zoo.made("mobilenet v3")
        points = cut_points(module, SHAPE)
        assert [point.name for point in points.named("stem")[0]] == ["stem.0", "stem.1", "stem"]
        assert [point.name for point in points.named("", 1)[0]] == ["stem", "depthwise", "last"]
        assert points.named("stem", 1).multiply_adds == points.multiply_adds

    def test_those_of_a_backbone_end_where_it_does(self):
        module, *_ = module_zoo.made("resnet")
        backbone = nn.Sequential(module.conv1, module.layer1, module.layer2)
        points, total = cut_points(backbone, SHAPE)
        assert points[-1].name == "2.0"
        assert total == cost(backbone.eval(), images(1), plain_rule, "backbone")
