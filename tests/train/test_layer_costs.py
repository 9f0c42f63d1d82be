"""Costs of a module: products wherever they stand, and no layer that goes unseen."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgesdk.errors import ConfigError
from edgesdk.train.layer_costs import cost, plain_rule, table_one_rule

TOKENS = torch.randn(1, 7, 12)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(5, 12))

    def forward(self, x):
        return self.function(x, self.weight)


def attention(x):
    return F.scaled_dot_product_attention(x, x, x)


def by_hand(x):
    return torch.softmax(x @ x.transpose(1, 2), -1) @ x


PRODUCTS = {
    "linear layer": (nn.Linear(12, 5), 7 * 12 * 5),
    "linear function": (Function(F.linear), 7 * 12 * 5),
    "operator": (Function(lambda x, w: x @ w.T), 7 * 12 * 5),
    "einsum": (Function(lambda x, w: torch.einsum("btd,od->bto", x, w)), 7 * 12 * 5),
    "convolution of rows": (nn.Conv1d(7, 4, 3), 10 * 4 * 7 * 3),
    "attention, one call": (Function(lambda x, w: attention(x)), 2 * 7 * 7 * 12),
    "attention, by hand": (Function(lambda x, w: by_hand(x)), 2 * 7 * 7 * 12),
    "nothing": (nn.Sequential(nn.ReLU(), nn.Dropout(), nn.Identity()), 0),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_one_per_product(name):
    module, expected = PRODUCTS[name]
    assert cost(module.eval(), TOKENS, plain_rule, "it") == expected


def test_attention_layers_are_not_taken_as_one_step():
    width, count = 12, 7
    layer = nn.TransformerEncoderLayer(width, 3, 20, batch_first=True).eval()
    products = 4 * width * width * count + 2 * count * count * width + 2 * count * width * 20
    assert cost(layer, TOKENS, plain_rule, "it") == products + 2 * count * width
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("layer", "features", "values"),
    [
        (nn.LayerNorm(12), TOKENS, 84),
        (nn.BatchNorm1d(7), TOKENS, 84),
        (nn.GroupNorm(2, 4), torch.randn(1, 4, 3, 3), 36),
    ],
)
def test_one_per_value_of_a_norm_and_two_by_the_other_rule(layer, features, values):
    assert cost(layer.eval(), features, plain_rule, "it") == values
    assert cost(layer.eval(), features, table_one_rule, "it") == 2 * values


def test_a_bias_counts_by_the_other_rule_only():
    layer = nn.Linear(12, 5)
    assert cost(layer, TOKENS, table_one_rule, "it") == 7 * 12 * 5 + 7 * 5


def test_a_layer_whose_products_cannot_be_seen_is_named():
    module = nn.Sequential(nn.Linear(12, 12), nn.Sequential(nn.LSTM(12, 5)))
    with pytest.raises(ConfigError, match=r"^segment 2, 1.0: found a LSTM, whose multiply-adds"):
        cost(module.eval(), TOKENS, plain_rule, "segment 2")
    with pytest.raises(ConfigError, match=r"^head: found a GRU, whose"):
        cost(nn.GRU(12, 5).eval(), TOKENS, plain_rule, "head")


def test_a_module_keeps_no_hooks():
    module = nn.Sequential(nn.Linear(12, 5))
    cost(module, TOKENS, plain_rule, "it")
    with pytest.raises(RuntimeError):
        cost(module, torch.zeros(1, 3), plain_rule, "it")
    assert not any(layer._forward_hooks for layer in module.modules())
