"""The networks: geometry of the paper, exits, refusals."""

import pytest
import torch
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.counting import multiply_adds
from edgesdk.train.cutting.segments import cut_points
from edgesdk.train.models import (
    MOBILENET_EXITS,
    MODELS,
    RESNET50_EXITS,
    VIT_EXITS,
    ExitHead,
    MultiExit,
    PreActivationBlock,
    build_model,
    check_size,
    input_size,
    seeded_model,
    wide_resnet16,
)
from edgesdk.train.placement import equal_tasks
from edgesdk.train.zoo.mobilenet_v2 import MobileNetV2
from edgesdk.train.zoo.resnet50 import ResNet50
from edgesdk.train.zoo.vision_transformer import VisionTransformer

# Of one 32x32 image behind the stem and each of the six blocks (DistrEE, Table I: 32, 16, 8).
SHAPES = [(16, 32, 32)] * 3 + [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2


def convolutions(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("usual_stride", [False, True])
@pytest.mark.parametrize("width", [1, 2])
def test_there_is_an_exit_behind_the_stem_and_behind_each_of_six_blocks(width, usual_stride):
    network = wide_resnet16(width, classes=10, in_channels=3, usual_stride=usual_stride)
    features = torch.zeros(2, 3, 32, 32)
    found = []
    for segment in network.segments:
        features = segment(features)
        found.append(tuple(features.shape[1:]))
    assert found[0] == SHAPES[0]
    assert found[1:] == [(c * width, h, w) for c, h, w in SHAPES[1:]]
    assert [tuple(logits.shape) for logits in network(torch.zeros(2, 3, 32, 32))] == [(2, 10)] * 7


def test_depth_16_means_sixteen_layers_with_a_shortcut_slot_per_group():
    """1 stem + 12 in blocks + 3 slots, of which a network of width 1 fills two."""
    assert len(convolutions(wide_resnet16(1, 10))) == 1 + 12 + 2
    assert len(convolutions(wide_resnet16(2, 10))) == 1 + 12 + 3


def test_every_convolution_has_a_bias():
    assert all(layer.bias is not None for layer in convolutions(wide_resnet16(1, 10)))


@pytest.mark.parametrize(
    ("usual_stride", "expected"), [(False, [(1, 1), (2, 2)]), (True, [(2, 2), (1, 1)])]
)
def test_the_stride_sits_on_the_second_convolution_unless_the_usual_form_is_asked_for(
    usual_stride, expected
):
    block = wide_resnet16(1, 10, usual_stride=usual_stride).segments[3]
    assert [block.conv1.stride, block.conv2.stride] == expected
    assert block.shortcut.stride == (2, 2)
    assert block.shortcut.kernel_size == (1, 1)


def test_a_shortcut_convolution_stands_only_where_the_shape_changes():
    blocks = list(wide_resnet16(1, 10).segments)[1:]
    assert [block.shortcut is not None for block in blocks] == [
        False, False, True, False, True, False,
    ]  # fmt: skip


def test_a_block_whose_convolutions_are_zero_is_its_shortcut():
    block = PreActivationBlock(4, 4, 1, usual_stride=False).eval()
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    features = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(features), features)


def test_an_exit_is_batch_norm_relu_average_pool_and_linear():
    head = ExitHead(3, 2).eval()
    with torch.no_grad():
        head.norm.running_mean.copy_(torch.tensor([0.5, 0.0, -1.0]))
        head.norm.weight.copy_(torch.tensor([2.0, -1.0, 1.0]))
    features = torch.randn(2, 3, 4, 4)
    normed = (features - head.norm.running_mean[:, None, None]) / (1 + head.norm.eps) ** 0.5
    pooled = (normed * head.norm.weight[:, None, None]).clamp(min=0).mean((2, 3))
    expected = pooled @ head.linear.weight.T + head.linear.bias
    assert torch.allclose(head(features), expected, atol=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    first, again, other = (seeded_model("wrn16_1", 10, 1, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["segments.0.weight"], other["segments.0.weight"])


EXIT_COUNTS = {"wrn16": 7, "mobilenetv2": 5, "resnet50": 3, "vit": 4}


@pytest.mark.parametrize("name", MODELS)
def test_every_listed_model_can_be_built(name):
    network = build_model(name, classes=4, in_channels=1)
    size = input_size(name)
    logits = network.eval()(torch.zeros(2, 1, size, size))
    assert [tuple(values.shape) for values in logits] == [(2, 4)] * EXIT_COUNTS[name.split("_")[0]]


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("wrn")])
def test_exits_of_the_others_are_where_tasks_cost_about_the_same(name):
    size = input_size(name)
    network = build_model(name, classes=10, in_channels=3)
    segments = multiply_adds(network, (3, size, size)).segments
    assert max(segments) < 1.3 * sum(segments) / len(segments)


@pytest.mark.parametrize(
    ("size", "network", "prefix", "depth", "exits"),
    [
        (32, MobileNetV2(10, small=True), "features.", 2, MOBILENET_EXITS),
        (224, MobileNetV2(10), "features.", 2, MOBILENET_EXITS),
        (32, ResNet50(10, small=True), "group", None, RESNET50_EXITS),
        (224, ResNet50(10), "group", None, RESNET50_EXITS),
        (32, VisionTransformer(10, 3, 32, 4), "blocks.", 2, VIT_EXITS),
    ],
)
def test_the_exits_are_those_that_the_placement_chooses(size, network, prefix, depth, exits):
    points = cut_points(network, (3, size, size)).named(prefix, depth)
    assert equal_tasks(points, len(exits) + 1) == exits


def test_images_of_another_size_are_refused_with_the_networks_that_take_them():
    with pytest.raises(
        ConfigError, match=r"found resnet50_224, for .*224 .* expected one of wrn16"
    ):
        check_size("resnet50_224", 32, 32)
    with pytest.raises(ConfigError, match=r"expected one of mobilenetv2_224, resnet50_224$"):
        check_size("wrn16_1", 224, 224)
    with pytest.raises(ConfigError, match="expected one of your own, see"):
        check_size("wrn16_1", 48, 32)
    check_size("vit_tiny", 32, 32)


def test_an_unknown_model_is_refused_with_the_choices():
    with pytest.raises(
        ConfigError, match=r"'resnet', expected one of wrn16_1, wrn16_2, .*vit_tiny"
    ):
        build_model("resnet", 10, 3)


@pytest.mark.parametrize("sizes", [(0, 10, 3), (1, 0, 3), (1, 10, 0)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(ConfigError, match="expected each to be at least 1"):
        wide_resnet16(*sizes)


def test_a_cascade_needs_one_exit_behind_each_segment():
    with pytest.raises(ConfigError, match="found 2 segments and 1 exits"):
        MultiExit([nn.Identity(), nn.Identity()], [ExitHead(3, 2)])
    with pytest.raises(ConfigError, match="found 0 segments"):
        MultiExit([], [])
