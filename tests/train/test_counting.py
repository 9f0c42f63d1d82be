"""Multiply-adds and Table I of DistrEE, to the printed digit."""

import pytest
import torch
from tiny_training import tiny_network
from torch import nn

from edgesdk.train.counting import multiply_adds, segment_shapes, table_one
from edgesdk.train.models import MultiExit, wide_resnet16

CIFAR = (3, 32, 32)


@pytest.fixture(scope="module")
def student():
    """The student of Table I: exits with 64 outputs."""
    return wide_resnet16(1, classes=64)


def test_the_backbone_matches_table_one_to_the_printed_digit(student):
    printed = [".459", "4.817", "4.817", "7.356", "4.768", "7.28", "4.74"]
    costs = table_one(student, CIFAR).segments
    digits = [len(text.split(".")[1]) for text in printed]
    assert [round(cost / 1e6, n) for cost, n in zip(costs, digits)] == [float(x) for x in printed]


def test_the_exits_match_table_one(student):
    printed = [0.067, 0.067, 0.067, 0.035, 0.035, 0.02, 0.02]
    found = [cost / 1e6 for cost in table_one(student, CIFAR).exits]
    assert found == pytest.approx(printed, abs=0.0006)


def test_the_sums_match_section_iv(student):
    """34.26 M is the backbone with its own exit, 34.55 M that with the six others."""
    costs = table_one(student, CIFAR)
    assert round((sum(costs.segments) + costs.exits[-1]) / 1e6, 2) == 34.26
    assert round((sum(costs.segments) + sum(costs.exits)) / 1e6, 2) == 34.55


def test_the_usual_stride_does_not_match_table_one():
    costs = table_one(wide_resnet16(1, classes=64, usual_stride=True), CIFAR)
    assert round(costs.segments[3] / 1e6, 2) == 3.74
    assert round(sum(costs.segments) / 1e6, 1) == 27.1


def test_plain_multiply_adds_count_weights_applied_and_batch_norm_values():
    segment = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    network = MultiExit([segment], [head])
    values = 4 * 3 * 3
    assert multiply_adds(network, (2, 6, 6)).segments == (values * 2 * 9 + values,)
    assert multiply_adds(network, (2, 6, 6)).exits == (4 * 5,)
    assert table_one(network, (2, 6, 6)).segments == (values * 2 * 9 + values + 2 * values,)
    assert table_one(network, (2, 6, 6)).exits == (4 * 5 + 5 + 2 * values,)


def test_grouped_and_biasless_convolutions_cost_what_they_do():
    network = MultiExit([nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)], [nn.Flatten()])
    assert multiply_adds(network, (4, 2, 2)).segments == (4 * 4 * 9,)
    assert table_one(network, (4, 2, 2)).segments == (4 * 4 * 9,)


def test_shapes_are_per_sample_and_chain():
    shapes = segment_shapes(tiny_network(), (1, 32, 32))
    assert shapes.inputs == ((1, 32, 32), (4, 16, 16))
    assert shapes.outputs == ((4, 16, 16), (8, 8, 8))


def test_counting_leaves_the_network_as_it_was():
    network = tiny_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    multiply_adds(network, (1, 32, 32))
    table_one(network, (1, 32, 32))
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())
