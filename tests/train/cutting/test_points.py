"""Where a module can be cut, and what is said where it cannot."""

import module_zoo
import pytest
import torch
from module_zoo import SHAPE
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.cutting.points import Graph
from edgesdk.train.cutting.tracing import trace
from edgesdk.train.models import MultiExit


def graph_of(name):
    module, *_ = module_zoo.made(name)
    return Graph(trace(module, torch.zeros(2, *SHAPE)))


def ways_around(graph, node):
    """Whether the result can be reached from the images without going through `node`."""
    waiting, seen = [graph.traced.images], {node}
    while waiting:
        for user in waiting.pop().users:
            if user in graph.place and user not in seen:
                seen.add(user)
                waiting.append(user)
    return graph.traced.result in seen - {node}


@pytest.mark.parametrize("name", module_zoo.MODULES)
def test_a_cut_is_exactly_what_no_way_leads_around(name):
    graph = graph_of(name)
    assert len(graph.cuts) > 2
    for node in graph.nodes[1:]:
        if node in graph.traced.shapes and node is not graph.traced.result:
            assert (node in graph.cuts) is not ways_around(graph, node), node


@pytest.mark.parametrize(
    ("name", "exit_name", "message"),
    [
        (
            "resnet",
            "layer1.0.bn2",
            r"besides its output the output of 'relu' is read behind it, expected that nothing "
            r"else crosses a cut; cut at 'relu' or 'layer1.0'$",
        ),
        ("resnet", "layer2.0.downsample", r"the output of 'layer1' is read .* 'layer1' or 'layer2"),
        ("resnet", "layer1.0.relu", r"called 2 times, .*; cut at 'relu' or 'layer1.0'$"),
        ("resnet", "unused", r"a module that is never called, expected one of conv1, bn1, relu, "),
        ("resnet", "layer9", r"no module of that name, expected one of conv1, .* layer2, avgpool$"),
        ("densenet", "first", r"besides its output 'relu' is read .* 'stem' or 'transition.0'$"),
        ("densenet", "second", r"output 'relu', 'relu_1' is read behind it"),
        ("vit", "blocks.1.attn", r"the output of 'blocks.0' is read .* 'blocks.0' or 'blocks.1'$"),
        ("vit", "blocks.1.attn.qkv", r"the output of 'blocks.0' is read"),
        (
            "mobilenet v3",
            "squeeze",
            r"the output of 'depthwise' is read .* 'depthwise' or 'last.0'$",
        ),
        ("perceptron", "layer", r"expected one of layers.0, layers.1, layers.2, layers.3, layers"),
    ],
)
def test_where_more_than_one_tensor_crosses_the_others_are_named(name, exit_name, message):
    with pytest.raises(ConfigError, match=r"^exit 0: found .*" + message):
        graph_of(name).cut_at(exit_name, "exit 0")


def test_what_is_computed_for_nothing_is_no_place_for_an_exit():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.early, self.late = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, images):
            self.early(images)
            return self.late(images)

    graph = Graph(trace(Auxiliary(), torch.zeros(2, *SHAPE)))
    with pytest.raises(ConfigError, match="its output has no part in the result; cut at 'late'"):
        graph.cut_at("early", "exit 0")


def test_the_images_themselves_may_cross():
    class Again(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, images):
            return self.conv(images) + images

    graph = Graph(trace(Again(), torch.zeros(2, *SHAPE)))
    with pytest.raises(ConfigError, match=r"the images is read behind it.*it has no place to be"):
        graph.cut_at("conv", "exit 0")


def test_parameters_may_be_read_on_both_sides():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.randn(3, 1, 1))
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, images):
            shift = self.shift * 2
            return self.second(self.first(images + shift) + shift)

    graph = Graph(trace(Positions(), torch.zeros(2, *SHAPE)))
    assert graph.cut_at("first", "exit 0").name == "first"


def test_exits_come_in_the_order_of_the_module():
    module, *_ = module_zoo.made("resnet")
    for exits in (["layer2.0", "layer1"], ["layer1", "layer1.1"]):
        with pytest.raises(ConfigError, match="expected each exit once, in the order"):
            MultiExit.from_module(module, exits, SHAPE)


def test_the_batch_is_the_first_axis():
    class SequenceFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.out = nn.LayerNorm(3), nn.Linear(3, 2)

        def forward(self, images):
            return self.out(self.norm(images.flatten(2).permute(2, 0, 1))).mean(0)

    graph = Graph(trace(SequenceFirst(), torch.zeros(2, *SHAPE)))
    with pytest.raises(ConfigError, match="found no tensor whose first axis is the batch"):
        graph.cut_at("norm", "exit 0")
