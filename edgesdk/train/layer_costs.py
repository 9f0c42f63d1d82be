"""What one module costs on one sample: multiply-adds, by the two rules of `counting`.

Products are counted where torch computes them, so a layer, a function and an operator cost the
same: convolutions, linear layers, attention. Normalisations are counted as layers.
"""

from typing import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.flop_counter import FlopCounterMode

from ..errors import ConfigError
from .attention import written_out

Rule = Callable[[nn.Module, Tensor], int]  # (layer, its output) -> its cost besides products

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
PRODUCTS = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.MultiheadAttention)
WITHOUT_COST = (nn.Embedding, nn.PReLU)


def plain_rule(layer: nn.Module, output: Tensor) -> int:
    """One per value of a normalisation (y = a x + b)."""
    return output.numel() if isinstance(layer, NORMS) else 0


def table_one_rule(layer: nn.Module, output: Tensor) -> int:
    """Two per value of a normalisation, and one per bias that a layer adds (DistrEE, Table I)."""
    if isinstance(layer, NORMS):
        return 2 * output.numel()
    has_bias = isinstance(layer, PRODUCTS) and getattr(layer, "bias", None) is not None
    return output.numel() if has_bias else 0


def cost(module: nn.Module, features: Tensor, rule: Rule, where: str) -> int:
    """Of `module` on `features`, one sample with a batch axis: its products and what `rule` says of
    its layers. `module` is in evaluation mode.

    Raises ConfigError, beginning with `where`, for a layer of torch whose products cannot be seen.
    """
    others: list[int] = []

    def add(layer: nn.Module, _inputs: tuple[Tensor, ...], output: object) -> None:
        if isinstance(output, Tensor):
            others.append(rule(layer, output))

    for name, layer in module.named_modules():
        _check_known(layer, f"{where}, {name}" if name else where)
    hooks = [layer.register_forward_hook(add) for layer in module.modules()]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), written_out(), counter:
            module(features)
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops() // 2 + sum(others)  # an operation is half a multiply-add


def _check_known(layer: nn.Module, where: str) -> None:
    has_weights = any(True for _ in layer.parameters(recurse=False))
    is_of_torch = type(layer).__module__.startswith("torch.nn") and type(layer) is not nn.Module
    if has_weights and is_of_torch and not isinstance(layer, NORMS + PRODUCTS + WITHOUT_COST):
        raise ConfigError(
            f"{where}: found a {type(layer).__name__}, whose multiply-adds are not counted; "
            "expected convolutions, linear layers, attention and normalisations; write it with "
            "these"
        )
