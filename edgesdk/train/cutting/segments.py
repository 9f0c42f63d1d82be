"""A module cut at named places: segments that compute, one after the other, exactly what it does.

The segments use the module's own layers: to train one is to train the other.
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional, Union

import torch
from torch import Tensor, fx, nn

from ...arrays import Shape
from ...errors import ConfigError
from ..heads import HeadKind, build_head
from ..layer_costs import cost, plain_rule
from .points import Graph, check_order
from .tails import tail
from .tracer import Whole
from .tracing import mode, trace

CHECK_COUNT = 2  # images that a cut network is compared on: a fixed batch size shows


class Cut(NamedTuple):
    """`heads[i]` stands behind `segments[i]`; the last one is the final exit."""

    segments: list[nn.Module]
    heads: list[nn.Module]


class Point(NamedTuple):
    """Where a module can be cut: behind the module `name`. `multiply_adds` of one image up to
    here, `shape` of what crosses, without the batch axis."""

    name: str
    multiply_adds: int
    shape: Shape


class Points(NamedTuple):
    """The points of a module in the order in which it computes; `multiply_adds` of all of it up to
    its own classifier."""

    points: tuple[Point, ...]
    multiply_adds: int

    def named(self, prefix: str, depth: Optional[int] = None) -> "Points":
        """Those whose names begin with `prefix`, of so many words if `depth` is given:
        `named("features.", 2)` has "features.3" and not "features.3.conv"."""
        chosen = [
            point
            for point in self.points
            if point.name.startswith(prefix) and depth in (None, point.name.count(".") + 1)
        ]
        return Points(tuple(chosen), self.multiply_adds)


def cut(
    module: nn.Module,
    exits: Sequence[str],
    input_shape: Shape,
    head: Union[HeadKind, Sequence[HeadKind]] = "fused",
    classes: Optional[int] = None,
    whole: Whole = (),
) -> Cut:
    """`module` with an exit behind each module named in `exits`; see `MultiExit.from_module`."""
    example = _example(module, input_shape)
    graph = Graph(trace(module, example, whole))
    nodes = [graph.cut_at(name, f"exit {name!r}") for name in exits]
    check_order(exits, nodes, graph)
    if classes is None:
        class_count, (end, final) = _class_count(graph), _own_tail(graph, exits, nodes)
    else:
        class_count, (end, final) = classes, (graph.traced.result, None)
        check_order([*exits, "the end"], [*nodes, end], graph)
    segments = _segments(graph, [*nodes, end])
    _prepare(module, segments + ([] if final is None else [final]), example)
    places = [*zip(exits, nodes)] + ([("the end", end)] if final is None else [])
    heads = [
        build_head(kind, graph.traced.shapes[node], class_count, f"exit {name!r}")
        for (name, node), kind in zip(places, _kinds(head, len(places)))
    ]
    return Cut(segments, heads + ([] if final is None else [final]))


def cut_points(module: nn.Module, input_shape: Shape, whole: Whole = ()) -> Points:
    """Where `module` can be cut, and what it costs up to there, for images of `input_shape`.

    A point has the name of the outermost module that ends there. Raises what
    `MultiExit.from_module` raises.
    """
    example = _example(module, input_shape)[:1]
    graph = Graph(trace(module, example, whole))
    is_classifier = len(graph.traced.shapes[graph.traced.result]) == 1
    end = tail(graph, None, "").begins if is_classifier else graph.traced.result
    last = graph.place[end]
    nodes = [node for node, place in graph.cuts.items() if node in graph.names and place < last]
    points, total, features = [], 0, example
    with mode(module, training=False):
        for node, segment in zip([*nodes, end], _segments(graph, [*nodes, end])):
            total += cost(segment.eval(), features, plain_rule, graph.describe(node))
            shape = graph.traced.shapes[node]
            features = torch.zeros(1, *shape, device=example.device)
            if node is not end:
                points.append(Point(graph.names[node], total, shape))
    return Points(tuple(points), total)


def _example(module: nn.Module, input_shape: Shape) -> Tensor:
    """Noise instead of images: no two values of it are equal by chance."""
    parameter = next(module.parameters(), torch.zeros(0))
    noise = torch.randn(CHECK_COUNT, *input_shape, generator=torch.Generator().manual_seed(0))
    return noise.to(parameter.device)


def _kinds(head: Union[HeadKind, Sequence[HeadKind]], count: int) -> list[HeadKind]:
    """One kind for each of so many new heads."""
    if isinstance(head, str) or callable(head):
        return [head] * count
    if len(head) != count:
        raise ConfigError(f"head: found {len(head)} kinds, expected one, or {count}")
    return list(head)


def _class_count(graph: Graph) -> int:
    shape = graph.traced.shapes[graph.traced.result]
    if len(shape) != 1:
        raise ConfigError(
            f"found a module that gives {list(shape)} per image, expected logits [classes]; with "
            "classes= its output is taken as features, and a new exit put behind it"
        )
    return shape[0]


def _own_tail(
    graph: Graph, exits: Sequence[str], nodes: Sequence[fx.Node]
) -> tuple[fx.Node, nn.Module]:
    """What the final exit reads, and the final exit."""
    begins, head = tail(graph, nodes[-1] if nodes else None, exits[-1] if exits else "")
    return begins, head or _between(graph, begins, graph.traced.result, "Tail")


def _segments(graph: Graph, ends: Sequence[fx.Node]) -> list[nn.Module]:
    begins = [graph.traced.images, *ends]
    return [
        _between(graph, begin, end, f"Segment{index}")
        for index, (begin, end) in enumerate(zip(begins, ends))
    ]


def _between(graph: Graph, begin: fx.Node, end: fx.Node, name: str) -> fx.GraphModule:
    """What leads from one cut to the next, as a module."""
    piece = fx.Graph()
    copies = {begin: piece.placeholder("features")}

    def copied(node: fx.Node) -> fx.Node:
        if node not in copies:  # depends on no image: both sides of a cut may have it
            copies[node] = piece.node_copy(node, copied)
        return copies[node]

    for node in graph.nodes[graph.place[begin] + 1 : graph.place[end] + 1]:
        copies[node] = piece.node_copy(node, copied)
    piece.output(copies[end])
    return fx.GraphModule(graph.traced.module, piece, name)


def _prepare(module: nn.Module, chain: Sequence[nn.Module], example: Tensor) -> None:
    """Let no segment overwrite what it reads, for an exit reads it too; then raise ConfigError
    unless the chain gives exactly what the module gives."""
    together = nn.ModuleList(chain)
    with mode(module, training=False), mode(together, training=False), torch.no_grad():
        expected = module(example.clone())
        features = example.clone()
        for piece in chain:
            features = _sparing(piece, features)
    if not torch.allclose(features, expected, rtol=0, atol=0, equal_nan=True):
        raise ConfigError(
            f"found that {type(module).__name__} gives other values in segments than in one piece, "
            "expected the same; does it draw random numbers, or overwrite a tensor and read it "
            "later (relu_() as a statement)? Keep the module that does in one piece: whole=[its "
            "name]"
        )


def _sparing(piece: nn.Module, features: Tensor) -> Tensor:
    """What `piece` gives, which copies `features` first from now on if it overwrote them."""
    before, version = features.clone(), features._version
    given = piece(features)
    if features._version == version or not isinstance(piece, fx.GraphModule):
        return given
    entered = next(iter(piece.graph.nodes))
    with piece.graph.inserting_after(entered):
        spared = piece.graph.call_method("clone", (entered,))
    entered.replace_all_uses_with(spared, delete_user_cb=lambda user: user is not spared)
    piece.recompile()
    return piece(before)
