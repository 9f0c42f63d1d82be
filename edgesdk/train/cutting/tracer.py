"""torch.fx's tracer, which remembers the modules that values come from, and says which of them
cannot be traced."""

import inspect
from collections.abc import Collection
from typing import Any, Callable, Union

from torch import fx, nn

Whole = Collection[Union[str, type[nn.Module]]]  # modules by name or class, not to be looked into
TORCH = "torch.nn.modules"
# The classes of torch whose subclasses are no layers, but made of layers.
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Hindered(Exception):
    """The forward of the module `name` ("": the one that was to be traced) cannot become a graph,
    for `reason`."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason


class ModuleTracer(fx.Tracer):
    """One trace of one module, in the mode in which it is.

    Layers of torch stay in one piece, layers derived from them, and what is in `whole`. `outputs`:
    by name of a module, what it gave, once per call; `owners`: the module in whose forward a node
    stands.
    """

    def __init__(self, whole: Whole) -> None:
        super().__init__(param_shapes_constant=True)
        self._names = {each for each in whole if isinstance(each, str)}
        self._classes = tuple(each for each in whole if isinstance(each, type))
        self._within = [""]  # names of the modules whose forward runs, innermost last
        self.outputs: dict[str, list[fx.Node]] = {}
        self.owners: dict[fx.Node, str] = {}

    def trace_module(self, module: nn.Module) -> fx.Graph:
        """The graph of `module`, with its first argument as only input. Raises `Hindered`."""
        try:
            return self.trace(module, _defaults(module))
        except Exception as error:  # a forward may fail in any way on values that are not there yet
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Hindered(self._within[-1], f"it cannot be traced ({text})") from error

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module stays in one piece."""
        is_whole = module_qualified_name in self._names or isinstance(m, self._classes)
        return is_whole or any(
            base.__module__.startswith(TORCH) and base not in CONTAINERS for base in type(m).__mro__
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Called for every module instead of it."""
        name = self.path_of_module(m)
        self._within.append(name)
        given = super().call_module(m, forward, args, kwargs)
        self._within.pop()  # not after an exception: it then says where
        if isinstance(given, fx.Proxy):
            self.outputs.setdefault(name, []).append(given.node)
        return given

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Called for every operation."""
        node = super().create_node(*args, **kwargs)
        self.owners[node] = self._within[-1]
        return node


def compare(evaluation: ModuleTracer, training: ModuleTracer) -> None:
    """Raise `Hindered` unless both traces are the same: a graph knows one mode only."""
    for node, other in zip(evaluation.graph.nodes, training.graph.nodes):
        if _step(node) != _step(other):
            raise Hindered(
                _parting(((training, other), (evaluation, node))),
                f"it does other things in training ({other.name}) than in evaluation ({node.name})",
            )


def _defaults(module: nn.Module) -> dict[str, Any]:
    """The arguments of a forward behind the first one, as they are without a caller's."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p.name for p in plain[1:] if p.default is p.empty]
    if needed or not plain:
        names = ", ".join(p.name for p in plain) or "nothing"
        raise TypeError(f"it takes {names}, and not the images alone")
    return {p.name: p.default for p in plain[1:]}


def _step(node: fx.Node) -> str:
    return str((node.op, node.target, node.args, node.kwargs))


def _parting(found: tuple[tuple[ModuleTracer, fx.Node], ...]) -> str:
    """The module in whose forward two graphs part: a layer that is only called is not it."""
    for tracer, node in found:
        if node.op in ("call_function", "call_method", "get_attr"):
            return tracer.owners[node]
    tracer, node = found[0]
    return tracer.owners[node].rpartition(".")[0]
