"""A module as a graph of operations, and which of its modules gave which value."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, fx, nn

from ...arrays import Shape
from ...errors import ConfigError
from . import sizes
from .tracer import Hindered, ModuleTracer, Whole, compare

CONSTANT_PREFIX = "_tensor_constant"  # of what a module made while torch.fx traced it


class Traced(NamedTuple):
    """`outputs`: by name of a module, what it gave, once per call. `owners`: the innermost module
    in whose forward a node stands, "" for the module itself. `shapes`: of the nodes that are
    tensors with the batch as first axis, without that. `result`: what the module returns.
    `pieces`: modules that nothing can be cut inside, and why."""

    module: nn.Module
    graph: fx.Graph
    outputs: dict[str, list[fx.Node]]
    owners: dict[fx.Node, str]
    shapes: dict[fx.Node, Shape]
    images: fx.Node
    result: fx.Node
    pieces: dict[str, str]


def trace(module: nn.Module, example: Tensor, whole: Whole = ()) -> Traced:
    """The operations of `module` on `example`, images [B, C, H, W]; modules in `whole` stay in one
    piece, and those that torch cannot look into, with all others of their class. The module is left
    as it was.

    Raises ConfigError if it takes no such images, or does not return one tensor, or if its own
    forward decides by values, or does other things in training than in evaluation.
    """
    _check_whole(module, whole)
    tracer, hindered = _tracer(module, whole)
    shapes = _shapes(module, tracer.graph, example)
    sizes.fix(tracer.graph, shapes)
    images = next(node for node in tracer.graph.nodes if node.op == "placeholder")
    (result,) = tracer.graph.output_node().args
    if not isinstance(result, fx.Node) or result not in shapes:
        raise ConfigError(
            f"{type(module).__name__}: found that it returns {_described(result)}, expected one "
            "tensor; wrap it in a module that returns only that"
        )
    pieces = {
        str(node.target): hindered.get(type(module.get_submodule(str(node.target))), "")
        for node in tracer.graph.nodes
        if node.op == "call_module"
    }
    return Traced(
        module, tracer.graph, tracer.outputs, tracer.owners, shapes, images, result, pieces
    )


@contextlib.contextmanager
def mode(module: nn.Module, training: bool) -> Iterator[None]:
    """`module` in training or in evaluation; behind it every part is as it was."""
    before = {part: part.training for part in module.modules()}
    module.train(training)
    try:
        yield
    finally:
        for part, was_training in before.items():
            part.training = was_training


def _tracer(module: nn.Module, whole: Whole) -> tuple[ModuleTracer, dict[type[nn.Module], str]]:
    """A trace of `module` that is the same in both modes; the classes that had to stay in one
    piece for it, and why."""
    hindered: dict[type[nn.Module], str] = {}
    while True:
        try:
            return _traced_alike(module, [*whole, *hindered]), hindered
        except Hindered as found:
            kind = type(module.get_submodule(found.name))
            if found.name == "" or kind in hindered:
                raise ConfigError(
                    f"{kind.__name__}: found that of its forward {found.reason}; expected one "
                    "argument, no decisions by values or shapes of tensors, and modules instead of "
                    "functions such as F.dropout; put what does otherwise into a module of its own"
                ) from found
            hindered[kind] = found.reason


def _traced_alike(module: nn.Module, whole: Whole) -> ModuleTracer:
    training, evaluation = (_traced(module, whole, training) for training in (True, False))
    compare(evaluation, training)
    return evaluation


def _traced(module: nn.Module, whole: Whole, training: bool) -> ModuleTracer:
    for name in [name for name in vars(module) if name.startswith(CONSTANT_PREFIX)]:
        delattr(module, name)  # of a trace before this one, whose names would differ
    tracer = ModuleTracer(whole)
    with mode(module, training):
        tracer.trace_module(module)
    return tracer


def _check_whole(module: nn.Module, whole: Whole) -> None:
    names = dict(module.named_modules())
    unknown = [each for each in whole if isinstance(each, str) and each not in names]
    if unknown:
        raise ConfigError(
            f"whole: found {unknown[0]!r}, expected the name of a module, such as "
            f"{', '.join(list(names)[1:4])}, or a class"
        )


def _shapes(module: nn.Module, graph: fx.Graph, example: Tensor) -> dict[fx.Node, Shape]:
    try:
        with mode(module, training=False):
            return sizes.record(module, graph, example)
    except Exception as error:  # whatever torch makes of images that do not fit
        raise ConfigError(
            f"{type(module).__name__}: found that it does not take float32 {list(example.shape)}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _described(result: object) -> str:
    """Torch keeps containers in a graph as kinds of its own that cannot be changed."""
    if isinstance(result, fx.Node):
        return "no tensor"
    return "a {}".format(type(result).__name__.replace("immutable_", ""))
