"""Sizes of the tensors in a graph, which become constants: all but that of the batch.

What a forward asks of a tensor (`x.view(x.size(0), -1)`) would be asked again of every batch, in a
chain of operators that not every runtime knows.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from ...arrays import Shape

RESHAPES = ("view", "reshape", "flatten", torch.reshape, torch.flatten)


def record(module: nn.Module, graph: fx.Graph, example: Tensor) -> dict[fx.Node, Shape]:
    """Shapes, without the batch axis, of all tensors of `graph` whose first axis is the batch of
    `example`. Raises what the module raises."""
    found: dict[fx.Node, Shape] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if isinstance(result, Tensor) and result.shape[:1] == example.shape[:1]:
                found[n] = tuple(result.shape[1:])
            return result

    recorder = Recorder(module, graph=graph)
    recorder.extra_traceback = False
    with torch.no_grad():
        recorder.run(example.clone())
    return found


def fix(graph: fx.Graph, shapes: dict[fx.Node, Shape]) -> None:
    """Let every change of shape that keeps the batch name its sizes."""
    for node in graph.nodes:
        if node.op in ("call_method", "call_function") and node.target in RESHAPES:
            source = node.args[0] if node.args else None
            if source in shapes and node in shapes:
                node.op, node.target, node.kwargs = "call_method", "reshape", {}
                node.args = (source, -1, *shapes[node])
