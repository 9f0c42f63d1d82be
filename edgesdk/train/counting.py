"""What a network costs: multiply-adds of every segment and exit, by two rules.

`multiply_adds` is what manifests and calibration use: one per weight that a convolution or linear
layer applies, one per product of two features (attention), one per value of a batch or layer norm
(y = a x + b); biases, activations, sums and pooling are not counted. `table_one` is the rule that
reproduces Table I of DistrEE to the printed digit: it adds one per bias and counts two per value of
a norm and, in exits, one per value for ReLU and one for pooling. Always say which of the two a
figure uses.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from .layer_costs import Rule, cost, plain_rule, table_one_rule
from .models import MultiExit


class Costs(NamedTuple):
    """Of one image: whole numbers, one per segment and one per exit, in order."""

    segments: tuple[int, ...]
    exits: tuple[int, ...]


class Shapes(NamedTuple):
    """Per sample, without the batch axis: `inputs[i]` of segment i, `outputs[i]` behind it."""

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


def segment_shapes(network: MultiExit, input_shape: tuple[int, ...]) -> Shapes:
    """Shapes between the segments for one input of `input_shape`, e.g. (3, 32, 32)."""
    features = _features(copy.deepcopy(network).eval(), input_shape)
    shapes = [tuple(value.shape[1:]) for value in features]
    return Shapes(tuple(shapes[:-1]), tuple(shapes[1:]))


def multiply_adds(network: MultiExit, input_shape: tuple[int, ...]) -> Costs:
    """Plain multiply-adds, the figure of manifests and calibration.

    Raises ConfigError, with the segment or exit, for a layer that cannot be counted.
    """
    return _count(network, input_shape, plain_rule, per_exit_value=0)


def table_one(network: MultiExit, input_shape: tuple[int, ...]) -> Costs:
    """The counting rule of DistrEE, Table I ("MFLOPs" there)."""
    return _count(network, input_shape, table_one_rule, per_exit_value=2)


def _count(
    network: MultiExit, input_shape: tuple[int, ...], rule: Rule, per_exit_value: int
) -> Costs:
    network = copy.deepcopy(network).eval()  # the caller's network keeps its mode and has no hooks
    features = _features(network, input_shape)
    segments = [
        cost(segment, x, rule, f"segment {index}")
        for index, (segment, x) in enumerate(zip(network.segments, features))
    ]
    exits = [
        cost(head, x, rule, f"exit {index}") + per_exit_value * x.numel()
        for index, (head, x) in enumerate(zip(network.exits, features[1:]))
    ]
    return Costs(tuple(segments), tuple(exits))


def _features(network: MultiExit, input_shape: tuple[int, ...]) -> list[Tensor]:
    """The input of one zero sample followed by the output of every segment."""
    features = [torch.zeros(1, *input_shape)]
    with torch.no_grad():
        for segment in network.segments:
            features.append(segment(features[-1]))
    return features
