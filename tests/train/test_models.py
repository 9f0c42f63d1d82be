"""The networks: geometry of the paper, exits, refusals."""

import pytest
import torch
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.models import (
    MODELS,
    ExitHead,
    MultiExit,
    PreActivationBlock,
    build_model,
    seeded_model,
    wide_resnet16,
)

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


@pytest.mark.parametrize("name", MODELS)
def test_every_listed_model_can_be_built(name):
    assert len(build_model(name, classes=4, in_channels=1).exits) == 7


def test_an_unknown_model_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match=r"'resnet', expected one of wrn16_1, wrn16_2"):
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
