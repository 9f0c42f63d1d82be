"""A module as a graph: what torch can look into, and what is said where it cannot."""

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


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Gate(), r"^2 \(Gate\): .* cannot be traced \(.*control flow.*whole=\['2'\]$"),
        (Counting(), r"^2 \(Counting\): found that its forward cannot be traced .*whole=\['2'\]"),
        (nn.Sequential(nn.ReLU(), Gate()), r"^2.1 \(Gate\): .*whole=\['2.1'\]"),
        (Functional(), r"^2 \(Functional\): .* other things in training .*whole=\['2'\]"),
        (DropPath(), r"^2 \(DropPath\): .* other things in training .*whole=\['2'\]"),
    ],
    ids=["values", "loop", "nested", "dropout", "drop path"],
)
def test_what_depends_on_values_or_on_the_mode_is_named_and_may_stay_whole(layer, message):
    module = row(layer)
    with pytest.raises(ConfigError, match=message):
        traced(module)
    name = "2.1" if isinstance(layer, nn.Sequential) else "2"
    assert name in traced(module, [name]).outputs
    inner = layer[1] if isinstance(layer, nn.Sequential) else layer
    network = MultiExit.from_module(module, ["2"], SHAPE, whole=[type(inner)])
    assert network.exit_count == 2


def test_a_module_that_decides_itself_has_to_be_taken_apart():
    class Deciding(Gate):
        def __init__(self):
            super().__init__()
            self.layers = row()

    with pytest.raises(ConfigError, match=r"^Deciding: .*put that into a module of its own"):
        traced(Deciding())


def test_what_stays_whole_keeps_its_modes():
    module = row(DropPath())
    network = MultiExit.from_module(module, ["2"], SHAPE, whole=[DropPath])
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

    with pytest.raises(ConfigError, match=r"Two: .* takes \['images', 'mask'\], expected one"):
        traced(Two())


def test_images_that_do_not_fit():
    module, *_ = module_zoo.made("resnet")
    with pytest.raises(ConfigError, match=r"does not take float32 \[2, 1, 16, 16\]: .*channels"):
        trace(module, torch.zeros(2, 1, 16, 16))


def test_a_failed_trace_leaves_the_modes_as_they_were():
    module = row(Gate()).train()
    module[0].eval()
    with pytest.raises(ConfigError):
        traced(module)
    assert module.training and not module[0].training
