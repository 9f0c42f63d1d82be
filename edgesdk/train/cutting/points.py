"""Where a graph can be cut: behind an operation whose result is all that what follows reads."""

from collections.abc import Sequence
from typing import NoReturn

from torch import fx

from ...errors import ConfigError
from .tracing import Traced


class Graph:
    """The operations that lead from the images to the result, in order, and the cuts among them.

    What depends on no image (parameters, positions) costs nothing to have on both sides, and does
    not count.
    """

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        needed = _needed(traced)
        depends: set[fx.Node] = set()
        self.nodes: list[fx.Node] = []
        for node in traced.graph.nodes:
            if node is traced.images or depends.intersection(node.all_input_nodes):
                depends.add(node)
                if node in needed:
                    self.nodes.append(node)
        self.place = {node: index for index, node in enumerate(self.nodes)}
        self.cuts = self._cuts()
        self.names = self._names()

    def cut_at(self, name: str, where: str) -> fx.Node:
        """What the module of that name gives, if that is a cut.

        Raises ConfigError, beginning with `where`: what else crosses there, and the nearest cuts.
        """
        given = self.traced.outputs.get(name)
        if given is None:
            self._refuse_name(name, where)
        if len(given) > 1:
            raise ConfigError(
                f"{where}: found a module that is called {len(given)} times, expected one that is "
                f"called once; {self._near(given[0])}"
            )
        (node,) = given
        if node not in self.place:
            raise ConfigError(
                f"{where}: found that its output has no part in the result; {self._near(None)}"
            )
        if node not in self.traced.shapes:
            raise ConfigError(
                f"{where}: found no tensor whose first axis is the batch, expected one; "
                f"{self._near(node)}"
            )
        if node not in self.cuts:
            crossing = ", ".join(self.describe(other) for other in self._crossing(node))
            raise ConfigError(
                f"{where}: found that besides its output {crossing} is read behind it, expected "
                f"that nothing else crosses a cut; {self._near(node)}"
            )
        return node

    def describe(self, node: fx.Node) -> str:
        """Words for a value: the module that gives it, or the operation and where it stands."""
        if node is self.traced.images:
            return "the images"
        name = self.names.get(node)
        if name is not None:
            return f"the output of {name!r}"
        owner = self.traced.owners.get(node)
        return f"{node.name!r} in {owner!r}" if owner else f"{node.name!r}"

    def _cuts(self) -> dict[fx.Node, int]:
        """Place of every node behind which it alone is still read. The images are none.

        In an order in which each operation comes behind what it reads, these are exactly the nodes
        that every way from the images to the result goes through.
        """
        last_read = [0] * len(self.nodes)
        for index, node in enumerate(self.nodes):
            for other in node.all_input_nodes:
                if other in self.place:
                    last_read[self.place[other]] = index
        cuts, furthest = {}, 0  # furthest: the last reader of anything before this node
        for index, node in enumerate(self.nodes):
            if index > 0 and furthest <= index and node in self.traced.shapes:
                cuts[node] = index
            furthest = max(furthest, last_read[index])
        return cuts

    def _names(self) -> dict[fx.Node, str]:
        """The outermost module that gives a value, by value."""
        names: dict[fx.Node, str] = {}
        for name, given in self.traced.outputs.items():
            if len(given) == 1:
                known = names.get(given[0])
                if known is None or name.count(".") < known.count("."):
                    names[given[0]] = name
        return names

    def _crossing(self, node: fx.Node) -> list[fx.Node]:
        """What is made up to `node`, besides it, and read by what does not lead to it."""
        before, waiting = {node}, [node]
        while waiting:
            for other in waiting.pop().all_input_nodes:
                if other in self.place and other not in before:
                    before.add(other)
                    waiting.append(other)
        return [
            other
            for other in self.nodes
            if other in before - {node}
            and any(user in self.place and user not in before for user in other.users)
        ]

    def _near(self, node: "fx.Node | None") -> str:
        """The named cuts next to `node`, as advice."""
        named = self._advised()
        if node is None or node not in self.place:
            near = [self.names[cut] for cut in named]
        else:
            place = self.place[node]
            before = [self.names[cut] for cut in named if self.cuts[cut] < place]
            behind = [self.names[cut] for cut in named if self.cuts[cut] > place]
            near = before[-1:] + behind[:1]
        return f"cut at {' or '.join(map(repr, near))}" if near else "it has no place to be cut"

    def _advised(self) -> list[fx.Node]:
        """Cuts that have names: maps and tokens, if there are any, and not the classifier's."""
        named = [cut for cut in self.cuts if cut in self.names]
        return [cut for cut in named if len(self.traced.shapes[cut]) > 1] or named

    def _refuse_name(self, name: str, where: str) -> NoReturn:
        modules = dict(self.traced.module.named_modules())
        found = "a module that is never called" if name in modules else "no module of that name"
        for piece, reason in self.traced.pieces.items():
            if name.startswith(piece + "."):
                because = f", for of its forward {reason}" if reason else ""
                found = f"a part of {piece!r}, which stays in one piece{because}"
        places = [self.names[cut] for cut in self._advised()]
        raise ConfigError(f"{where}: found {found}, expected one of {', '.join(places)}")


def check_order(names: Sequence[str], nodes: Sequence[fx.Node], graph: Graph) -> None:
    """Raise ConfigError unless each exit is behind the one before it."""
    for index in range(1, len(nodes)):
        if graph.place[nodes[index]] <= graph.place[nodes[index - 1]]:
            raise ConfigError(
                f"exits: found {names[index]!r} after {names[index - 1]!r}, expected each exit "
                "once, in the order in which the module computes"
            )


def _needed(traced: Traced) -> set[fx.Node]:
    """What leads to the result."""
    needed, waiting = {traced.result}, [traced.result]
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if node not in needed:
                needed.add(node)
                waiting.append(node)
    return needed
