"""The end of a module as the final exit: which ends the kernels compute, and which stay graphs."""

import pytest
import torch
from module_zoo import CLASSES, SHAPE
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.heads import PooledHead
from edgesdk.train.models import MultiExit


class Ending(nn.Module):
    """A convolution and an activation, then `end`."""

    def __init__(self, end, activation):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)
        self.last = nn.Conv2d(6, 4, 3, 2, 1)  # maps [4, 4, 4]: sizes tell no axes apart
        self.activation = activation
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.25)
        self.fc = nn.Linear(4, CLASSES)
        self.end = end

    def forward(self, images):
        return self.end(self, self.activation(self.last(self.conv(images))))


def network_with(end, activation=torch.relu):
    torch.manual_seed(0)
    module = Ending(end, activation).eval()
    network = MultiExit.from_module(module, ["conv"], SHAPE)
    images = torch.randn(3, *SHAPE)
    assert torch.equal(network(images)[-1], module(images))
    return network


FUSED = {
    "flatten": lambda m, x: m.fc(torch.flatten(m.pool(x), 1)),
    "flatten as a method": lambda m, x: m.fc(m.pool(x).flatten(1)),
    "view": lambda m, x: m.fc(m.pool(x).view(x.shape[0], -1)),
    "reshape": lambda m, x: m.fc(m.pool(x).reshape(-1, 4)),
    "squeeze": lambda m, x: m.fc(m.pool(x).squeeze(-1).squeeze(-1)),
    "mean": lambda m, x: m.fc(x.mean([2, 3])),
    "mean of torch": lambda m, x: m.fc(torch.mean(x, (-2, -1))),
    "mean, axes kept": lambda m, x: m.fc(x.mean((2, 3), keepdim=True).flatten(1)),
    "adaptive pool as a function": lambda m, x: m.fc(
        nn.functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1)
    ),
    "dropout": lambda m, x: m.fc(m.dropout(m.pool(x).flatten(1))),
    "dropout before the flattening": lambda m, x: m.fc(m.dropout(m.pool(x)).flatten(1)),
}
GRAPHS = {
    "max pool": lambda m, x: m.fc(x.amax((2, 3))),
    "other axes": lambda m, x: m.fc(x.mean([1, 2])),
    "other axes as names": lambda m, x: m.fc(x.mean(dim=(1, 2))),
    "one axis": lambda m, x: m.fc(x.mean(3).mean(2)),
    "channels last": lambda m, x: m.fc(x.permute(0, 2, 3, 1).mean((1, 2))),
    "scaled": lambda m, x: m.fc(m.pool(x).flatten(1) * 2),
    "activated": lambda m, x: m.fc(torch.relu(m.pool(x).flatten(1) - 0.5)),
    "behind the classifier": lambda m, x: m.fc(m.pool(x).flatten(1)).softmax(1),
    "two ways": lambda m, x: m.fc(m.pool(x).flatten(1) + x.amax((2, 3))),
    "a part of the channels": lambda m, x: m.fc(torch.cat([m.pool(x)[:, :2]] * 2, 1).flatten(1)),
}


@pytest.mark.parametrize("name", FUSED)
def test_average_pool_and_linear_behind_a_relu_are_for_the_kernels(name):
    head = network_with(FUSED[name]).exits[-1]
    assert isinstance(head, PooledHead)
    assert head.dropout.p == (0.25 if "dropout" in name else 0)


@pytest.mark.parametrize("name", GRAPHS)
def test_any_other_end_is_a_graph(name):
    assert not isinstance(network_with(GRAPHS[name]).exits[-1], PooledHead)


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.ReLU6(), torch.relu, nn.functional.relu, lambda x: x.relu()]
)
def test_every_form_of_relu_counts(activation):
    assert isinstance(network_with(FUSED["flatten"], activation).exits[-1], PooledHead)


@pytest.mark.parametrize("activation", [nn.Hardswish(), nn.Identity(), torch.sigmoid, nn.GELU()])
def test_behind_another_activation_a_relu_would_change_the_answer(activation):
    assert not isinstance(network_with(FUSED["flatten"], activation).exits[-1], PooledHead)


def test_dropout_of_the_tail_is_at_work_in_training():
    network = network_with(FUSED["dropout"]).train()
    images = torch.randn(3, *SHAPE)
    assert not torch.equal(network(images)[-1], network(images)[-1])


def test_a_tail_alone_is_no_segment():
    module = Ending(FUSED["flatten"], nn.ReLU())
    with pytest.raises(ConfigError, match="exit 'activation': found that only the final exit is"):
        MultiExit.from_module(module, ["conv", "activation"], SHAPE)
    with pytest.raises(ConfigError, match="exit 'fc': found that only the final exit is"):
        MultiExit.from_module(module, ["fc"], SHAPE, "linear")


def test_an_exit_in_the_tail_leaves_the_rest_of_it_as_final_exit():
    module = Ending(FUSED["flatten"], nn.ReLU()).eval()
    network = MultiExit.from_module(module, ["activation", "pool"], SHAPE)
    images = torch.randn(3, *SHAPE)
    assert torch.equal(network(images)[-1], module(images)) and network.exit_count == 3
