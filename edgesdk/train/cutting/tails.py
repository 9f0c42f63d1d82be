"""The classifier at the end of a module, as the final exit: where it begins, and what form it has.

Average pool and linear layer behind a ReLU are a `PooledHead`, which the kernels compute. Anything
else stays a graph, from the last maps or tokens on.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import fx, nn

from ...errors import ConfigError
from ..heads import PooledHead
from .points import Graph

RELU_MODULES = (nn.ReLU, nn.ReLU6)
RELU_FUNCTIONS = (F.relu, F.relu6, torch.relu, torch.relu_, "relu", "relu_")
MEANS = (torch.mean, "mean")
IDLE_MODULES = (nn.Identity, nn.Dropout, nn.Flatten)


class Tail(NamedTuple):
    """`begins`: the node that the final exit reads. `head`: its form, None for a graph."""

    begins: fx.Node
    head: Optional[PooledHead]


def tail(graph: Graph, last_exit: Optional[fx.Node], name: str) -> Tail:
    """The tail of a module behind `last_exit`, whose name is `name`.

    Raises ConfigError unless something is left there for a segment and a final exit.
    """
    after = 0 if last_exit is None else graph.place[last_exit]
    found = _pooled(graph)
    if found is not None and graph.place[found.begins] > after:
        return found
    behind = [
        cut for cut, place in graph.cuts.items() if place > after and cut is not graph.traced.result
    ]
    # Maps and tokens rather than vectors: what is made of a vector is cheap.
    wide = [cut for cut in behind if len(graph.traced.shapes[cut]) > 1]
    if (found is not None and found.begins is last_exit) or not behind:
        raise ConfigError(
            f"exit {name!r}: found that only the final exit is left behind it, expected at least "
            "one more layer; leave this exit out"
        )
    return Tail((wide or behind)[-1], None)


def _pooled(graph: Graph) -> Optional[Tail]:
    """The tail as a `PooledHead`, if it computes what one computes."""
    shapes, traced = graph.traced.shapes, graph.traced
    steps = list(_chain(graph))
    if not steps or not isinstance(_module(graph, steps[0]), nn.Linear):
        return None
    linear = traced.module.get_submodule(str(steps[0].target))
    assert isinstance(linear, nn.Linear)
    dropout = 0.0
    for node in steps[1:]:
        layer = _module(graph, node)
        begins = node.all_input_nodes[0]
        if _is_pool(graph, node):
            is_head = _is_relu(graph, begins) and begins in graph.cuts
            return Tail(begins, PooledHead(linear, dropout)) if is_head else None
        if isinstance(layer, nn.Dropout):
            dropout = max(dropout, layer.p)
        is_reshaped = node.op != "call_module" and _size(shapes[node]) == _size(shapes[begins])
        if not (is_reshaped and _only_moves(node)) and not isinstance(layer, IDLE_MODULES):
            return None
    return None


def _chain(graph: Graph) -> Iterator[fx.Node]:
    """From the result backwards, as long as each node reads one tensor first of all."""
    node = graph.traced.result
    while node in graph.place and node is not graph.traced.images and node.all_input_nodes:
        yield node
        node = node.all_input_nodes[0]
        if node not in graph.traced.shapes:
            return


def _only_moves(node: fx.Node) -> bool:
    names = ("flatten", "view", "reshape", "squeeze")
    return getattr(node.target, "__name__", str(node.target)) in names


def _is_relu(graph: Graph, node: fx.Node) -> bool:
    layer = _module(graph, node)
    return isinstance(layer, RELU_MODULES) or (layer is None and node.target in RELU_FUNCTIONS)


def _is_pool(graph: Graph, node: fx.Node) -> bool:
    """Whether it takes the mean of each channel of a map [B, C, H, W]."""
    before, after = (graph.traced.shapes[each] for each in (node.all_input_nodes[0], node))
    layer = _module(graph, node)
    if isinstance(layer, nn.AdaptiveAvgPool2d) or node.target is F.adaptive_avg_pool2d:
        return after == (before[0], 1, 1)
    if layer is not None or node.target not in MEANS or len(before) != 3:
        return False
    axes = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    return isinstance(axes, Sequence) and {int(str(axis)) % 4 for axis in axes} == {2, 3}


def _module(graph: Graph, node: fx.Node) -> Optional[nn.Module]:
    if node.op != "call_module":
        return None
    return graph.traced.module.get_submodule(str(node.target))


def _size(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
