"""What a network costs: multiply-adds of every segment and exit, by two rules.

`multiply_adds` is what manifests and calibration use: one per weight that a convolution or linear
layer applies, one per value of a batch norm (y = a x + b); biases, activations, sums and pooling
are not counted. `table_one` is the rule that reproduces Table I of DistrEE to the printed digit:
it adds one per bias and counts two per batch-norm value and, in exits, one per value for ReLU and
one for pooling. Always say which of the two a figure uses.
"""

import copy
from math import prod
from typing import Callable, NamedTuple

import torch
from torch import Tensor, nn

from .models import MultiExit


class Costs(NamedTuple):
    """Of one image: whole numbers, one per segment and one per exit, in order."""

    segments: tuple[int, ...]
    exits: tuple[int, ...]


class Shapes(NamedTuple):
    """Per sample, without the batch axis: `inputs[i]` of segment i, `outputs[i]` behind it."""

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


LayerRule = Callable[[nn.Module, Tensor], int]  # (layer, its output for one sample) -> its cost


def segment_shapes(network: MultiExit, input_shape: tuple[int, ...]) -> Shapes:
    """Shapes between the segments for one input of `input_shape`, e.g. (3, 32, 32)."""
    features = _features(copy.deepcopy(network).eval(), input_shape)
    shapes = [tuple(value.shape[1:]) for value in features]
    return Shapes(tuple(shapes[:-1]), tuple(shapes[1:]))


def multiply_adds(network: MultiExit, input_shape: tuple[int, ...]) -> Costs:
    """Plain multiply-adds, the figure of manifests and calibration."""
    return _count(network, input_shape, _layer_multiply_adds, per_exit_value=0)


def table_one(network: MultiExit, input_shape: tuple[int, ...]) -> Costs:
    """The counting rule of DistrEE, Table I ("MFLOPs" there)."""
    return _count(network, input_shape, _layer_table_one, per_exit_value=2)


def _count(
    network: MultiExit, input_shape: tuple[int, ...], rule: LayerRule, per_exit_value: int
) -> Costs:
    network = copy.deepcopy(network).eval()  # the caller's network keeps its mode and has no hooks
    features = _features(network, input_shape)
    segments = [_cost(s, x, rule) for s, x in zip(network.segments, features)]
    exits = [
        _cost(head, x, rule) + per_exit_value * x.numel()
        for head, x in zip(network.exits, features[1:])
    ]
    return Costs(tuple(segments), tuple(exits))


def _layer_multiply_adds(layer: nn.Module, output: Tensor) -> int:
    if isinstance(layer, nn.Conv2d):
        per_value = layer.in_channels // layer.groups * prod(layer.kernel_size)
        return output.numel() * per_value
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    return output.numel() if isinstance(layer, nn.BatchNorm2d) else 0


def _layer_table_one(layer: nn.Module, output: Tensor) -> int:
    has_extra = isinstance(layer, nn.BatchNorm2d) or getattr(layer, "bias", None) is not None
    return _layer_multiply_adds(layer, output) + (output.numel() if has_extra else 0)


def _features(network: MultiExit, input_shape: tuple[int, ...]) -> list[Tensor]:
    """The input of one zero sample followed by the output of every segment."""
    features = [torch.zeros(1, *input_shape)]
    with torch.no_grad():
        for segment in network.segments:
            features.append(segment(features[-1]))
    return features


def _cost(module: nn.Module, features: Tensor, rule: LayerRule) -> int:
    """Sum of `rule` over the layers that `module` runs on one sample."""
    costs: list[int] = []

    def add(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        costs.append(rule(layer, output))

    for layer in module.modules():
        layer.register_forward_hook(add)
    with torch.no_grad():
        module(features)
    return sum(costs)
