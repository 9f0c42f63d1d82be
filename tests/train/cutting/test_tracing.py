"""A module as a graph: what torch can look into, and what is said where it cannot."""

import re

import module_zoo
import pytest
import torch
import torch.nn.functional as F
from module_zoo import SHAPE, DropPath, Gate, row
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.cutting.tracing import trace
from edgesdk.train.models import MultiExit


def traced(module, whole=()):
    return trace(module, torch.zeros(2, *SHAPE), whole)


class Counting(nn.Module):
    """Loops over what it finds in a tensor."""

    def forward(self, x):
        for _ in range(int(x[0, 0, 0, 0])):
            x = x + 1
        return x


class Functional(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, self.training)


class Cached(nn.Module):
    """Makes a tensor of its own, every time another one."""

    def forward(self, x):
        return x + torch.ones(4, 1, 1)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Gate(), r"cannot be traced \(.*control flow"),
        (Counting(), r"cannot be traced \("),
        (Functional(), r"does other things in training \(dropout\) than in evaluation \(dropout"),
        (DropPath(), r"does other things in training \(getitem\) than in evaluation \("),
    ],
    ids=["values", "loop", "dropout", "drop path"],
)
def test_what_depends_on_values_or_on_the_mode_stays_in_one_piece(layer, reason):
    layer.inner = nn.ReLU()
    module = row(layer, nn.Sequential(nn.ReLU(), type(layer)()))
    found = traced(module)
    assert {"2", "3.1"} <= set(found.pieces) and re.search(reason, found.pieces["2"])
    assert found.pieces["0"] == ""
    assert MultiExit.from_module(module, ["2", "3"], SHAPE).exit_count == 3
    with pytest.raises(
        ConfigError, match=rf"found a part of '2', which stays in one piece, for of its .*{reason}"
    ):
        MultiExit.from_module(module, ["2.inner"], SHAPE)


@pytest.mark.parametrize("layer", [Gate(), Functional()])
def test_a_module_whose_own_forward_does_that_has_to_be_taken_apart(layer):
    class Whole(type(layer)):
        def __init__(self):
            super().__init__()
            self.layers = row()

        def forward(self, images):
            return self.layers(super().forward(images))

    with pytest.raises(ConfigError, match=r"^Whole: found that of its forward it .*of its own$"):
        traced(Whole())


def test_a_layer_derived_from_one_of_torch_is_one():
    class NormAndActivation(nn.BatchNorm2d):
        def forward(self, features):
            return F.relu(F.batch_norm(features, None, None, self.weight, self.bias, True))

    assert traced(row(NormAndActivation(4))).pieces["2"] == ""


def test_parts_of_a_layer_of_torch_are_no_places_for_exits():
    module, *_ = module_zoo.made("encoder")
    with pytest.raises(
        ConfigError, match=r"found a part of 'layers.0', which stays in one piece, exp"
    ):
        MultiExit.from_module(module, ["layers.0.norm1"], SHAPE)


def test_a_tensor_that_a_forward_makes_is_a_constant():
    module = row(Cached())
    names = set(module.state_dict())
    network = MultiExit.from_module(module.eval(), ["2"], SHAPE)
    images = torch.randn(2, *SHAPE)
    assert torch.equal(network(images)[-1], module(images))
    assert traced(module).pieces.keys() == {"0", "1", "3", "4", "5", "6", "7"}
    assert set(module.state_dict()) == names


def test_what_stays_whole_keeps_its_modes():
    module = row(DropPath())
    network = MultiExit.from_module(module, ["2"], SHAPE)
    images = torch.ones(64, *SHAPE)
    network.train()
    dropped = network.segments[0](images).flatten(1).abs().sum(1) == 0
    assert 0 < dropped.sum() < 64
    network.eval()
    assert torch.equal(network(images)[-1], module(images))


@pytest.mark.parametrize("whole", [["layer"], ["2", "3.1"]])
def test_whole_names_modules(whole):
    with pytest.raises(ConfigError, match=f"whole: found '{whole[-1]}', expected the name of a mo"):
        traced(row(Gate()), whole)


def test_a_result_that_is_no_single_tensor():
    class Several(nn.Module):
        def __init__(self, result):
            super().__init__()
            self.result = result

        def forward(self, images):
            return self.result(images)

    for result, found in (
        (lambda x: {"out": x, "aux": x + 1}, "a dict"),
        (lambda x: (x, x + 1), "a tuple"),
        (lambda x: x.shape[0], "no tensor"),
        (lambda x: 3, "a int"),
    ):
        with pytest.raises(ConfigError, match=f"Several: found that it returns {found}, expected"):
            traced(Several(result))


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = row()

    def forward(self, images, mask=None, scale=2.0, *others, **named):
        if mask is not None:
            images = images * mask
        return self.layers(images * scale)


def test_other_arguments_are_as_they_are_without_a_caller():
    network = MultiExit.from_module(Masked().eval(), ["layers.1"], SHAPE)
    assert network.exit_count == 2


def test_a_second_argument_that_is_needed():
    class Two(nn.Module):
        def forward(self, images, mask):
            return images * mask

    with pytest.raises(
        ConfigError, match=r"Two: .* \(it takes images, mask, and not the images alone\)"
    ):
        traced(Two())


def test_images_that_do_not_fit():
    module, *_ = module_zoo.made("resnet")
    with pytest.raises(ConfigError, match=r"does not take float32 \[2, 1, 16, 16\]: .*channels"):
        trace(module, torch.zeros(2, 1, 16, 16))


def test_a_failed_trace_leaves_the_modes_as_they_were():
    module = nn.Sequential(row(), nn.Flatten()).train()
    module[0].eval()
    with pytest.raises(ConfigError):
        trace(module, torch.zeros(2, 1, 4, 4))
    assert module.training and not module[0].training
