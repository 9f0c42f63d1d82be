"""A module as a graph of operations, and which of its modules gave which value."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

from torch import Tensor, fx, nn

from ...errors import ConfigError
from . import sizes

Whole = Sequence[Union[str, type[nn.Module]]]  # modules by name or class, not to be looked into
Shape = tuple[int, ...]


class Traced(NamedTuple):
    """`outputs`: by name of a module, what it gave, once per call. `owners`: the innermost module
    in whose forward a node stands, "" for the module itself. `shapes`: of the nodes that are
    tensors with the batch as first axis, without that. `result`: what the module returns."""

    module: nn.Module
    graph: fx.Graph
    outputs: dict[str, list[fx.Node]]
    owners: dict[fx.Node, str]
    shapes: dict[fx.Node, Shape]
    images: fx.Node
    result: fx.Node


def trace(module: nn.Module, example: Tensor, whole: Whole = ()) -> Traced:
    """The operations of `module` on `example`, images [B, C, H, W]. The module is left as it was.

    Raises ConfigError where it takes no such images, does not return one tensor, decides by values,
    or does other things in training than in evaluation, each with what to do; modules in `whole`
    may do that.
    """
    _check_whole(module, whole)
    with mode(module, training=True):
        training = _trace(module, whole)
    with mode(module, training=False):
        tracer = _trace(module, whole)
        _check_same(module, tracer, training)
        shapes = _shapes(module, tracer.graph, example)
    sizes.fix(tracer.graph, shapes)
    images = next(node for node in tracer.graph.nodes if node.op == "placeholder")
    (result,) = tracer.graph.output_node().args
    if not isinstance(result, fx.Node) or result not in shapes:
        raise ConfigError(
            f"{_named(module, '')}: found that it returns {_described(result)}, expected one "
            "tensor; wrap it in a module that returns only that"
        )
    return Traced(module, tracer.graph, tracer.outputs, tracer.owners, shapes, images, result)


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


class _Tracer(fx.Tracer):
    def __init__(self, whole: Whole) -> None:
        super().__init__(param_shapes_constant=True)
        self._names = {each for each in whole if isinstance(each, str)}
        self._classes = tuple(each for each in whole if isinstance(each, type))
        self.within = [""]  # names of the modules whose forward runs, innermost last
        self.outputs: dict[str, list[fx.Node]] = {}
        self.owners: dict[fx.Node, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_whole = module_qualified_name in self._names or isinstance(m, self._classes)
        return is_whole or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        name = self.path_of_module(m)
        self.within.append(name)
        given = super().call_module(m, forward, args, kwargs)
        self.within.pop()  # not after an exception: it then says where
        if isinstance(given, fx.Proxy):
            self.outputs.setdefault(name, []).append(given.node)
        return given

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self.owners[node] = self.within[-1]
        return node


def _trace(module: nn.Module, whole: Whole) -> _Tracer:
    tracer = _Tracer(whole)
    try:
        tracer.trace(module, _defaults(module))
    except ConfigError:
        raise
    except Exception as error:  # a forward may fail in any way on values that are not there yet
        name = tracer.within[-1]
        remedy = (
            f"keep it in one piece: whole=[{name!r}]"
            if name
            else "put that into a module of its own, and keep that in one piece: whole=[its name]"
        )
        raise ConfigError(
            f"{_named(module, name)}: found that its forward cannot be traced "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); expected "
            f"that it never decides by values or shapes of tensors; {remedy}"
        ) from error
    return tracer


def _defaults(module: nn.Module) -> dict[str, Any]:
    """The arguments of a forward behind the first one, as they are without a caller's."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p.name for p in plain[1:] if p.default is p.empty]
    if needed or not plain:
        raise ConfigError(
            f"{_named(module, '')}: found a forward that takes {[p.name for p in plain]}, expected "
            "one argument, the images; wrap it in a module that gives the others"
        )
    return {p.name: p.default for p in plain[1:]}


def _check_whole(module: nn.Module, whole: Whole) -> None:
    names = dict(module.named_modules())
    unknown = [each for each in whole if isinstance(each, str) and each not in names]
    if unknown:
        raise ConfigError(
            f"whole: found {unknown[0]!r}, expected the name of a module, such as "
            f"{', '.join(list(names)[1:4])}, or a class"
        )


def _check_same(module: nn.Module, evaluation: _Tracer, training: _Tracer) -> None:
    """Torch cuts what was traced, which knows one mode only."""
    for node, other in zip(evaluation.graph.nodes, training.graph.nodes):
        if _step(node) != _step(other):
            name = _culprit(((training, other), (evaluation, node)))
            raise ConfigError(
                f"{_named(module, name)}: found that its forward does other things in training "
                f"({other.name}) than in evaluation ({node.name}); use modules instead of functions, "
                "such as nn.Dropout for F.dropout, or keep it in one piece: "
                f"whole=[{name or 'its name'!r}]"
            )


def _step(node: fx.Node) -> str:
    return str((node.op, node.target, node.args, node.kwargs))


def _culprit(found: Sequence[tuple[_Tracer, fx.Node]]) -> str:
    """The module in whose forward two graphs part: a layer that is only called is not it."""
    for tracer, node in found:
        if node.op in ("call_function", "call_method", "get_attr"):
            return tracer.owners[node]
    tracer, node = found[0]
    return tracer.owners[node].rpartition(".")[0]


def _shapes(module: nn.Module, graph: fx.Graph, example: Tensor) -> dict[fx.Node, Shape]:
    try:
        return sizes.record(module, graph, example)
    except Exception as error:  # whatever torch makes of images that do not fit
        raise ConfigError(
            f"{_named(module, '')}: found that it does not take float32 {list(example.shape)}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _named(module: nn.Module, name: str) -> str:
    """ "layer1.0 (Block)", or the class alone of the module itself."""
    part: Optional[nn.Module] = dict(module.named_modules()).get(name)
    kind = type(part).__name__
    return f"{name} ({kind})" if name else kind


def _described(result: object) -> str:
    """Torch keeps containers in a graph as kinds of its own that cannot be changed."""
    if isinstance(result, fx.Node):
        return "no tensor"
    return "a {}".format(type(result).__name__.replace("immutable_", ""))
