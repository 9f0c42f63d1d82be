"""Boards with radios in a square: who hears whom, and which links share a medium.

Places are drawn evenly. Pairs are linked in the order of their distance, until nodes have as many
neighbours as was asked for and everybody can be reached: a random geometric graph whose range is
the distance of the last pair. For media the square is divided into cells; a link belongs to the one
that its middle lies in, and one message at a time is sent in each. So places far apart send at the
same time, neighbours in turn; that a message also disturbs the cells beside its own is left out.
"""

from random import Random
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import ConfigError
from ..schema import Field
from .spec import Medium

KEYS = ("seed", "mean_degree", "medium_mbit_s", "cell_ranges")
MEAN_DEGREE = 8.0
CELL_RANGES = 2.0  # as wide as a radio reaches to both sides
Place = Tuple[float, float]
Pair = Tuple[int, int]


class Graph(NamedTuple):
    """Nodes in the unit square: their `places`, who is linked (`pairs`, by distance), the radio
    `reach` that this is, and with media by place, `cells`: the medium of each pair."""

    places: Tuple[Place, ...]
    pairs: Tuple[Pair, ...]
    reach: float
    cells: Tuple[str, ...] = ()
    media: Tuple[Medium, ...] = ()


def read_graph(field: Optional[Field], node_count: int) -> Graph:
    """The graph that the table [radio] describes; without one, that of its defaults.

    Raises ConfigError.
    """
    table = (field or Field({}, "radio", ConfigError)).only(KEYS)
    seed, degree = table.optional("seed"), table.optional("mean_degree")
    rate, width = table.optional("medium_mbit_s"), table.optional("cell_ranges")
    if width is not None and rate is None:
        raise width.fail("medium_mbit_s beside it, the rate in each cell")
    places = draw_places(node_count, 0 if seed is None else seed.whole())
    pairs, reach = near_pairs(places, MEAN_DEGREE if degree is None else degree.number(above=0))
    graph = Graph(places, pairs, reach)
    if rate is None:
        return graph
    ranges = CELL_RANGES if width is None else width.number(above=0)
    cells = tuple(cells_of(graph, ranges * reach))
    bytes_per_s = rate.number(above=0) * 1e6 / 8
    return graph._replace(
        cells=cells, media=tuple(Medium(name, bytes_per_s) for name in sorted(set(cells)))
    )


def draw_places(count: int, seed: int) -> Tuple[Place, ...]:
    """`count` places in the unit square."""
    rng = Random(seed)
    return tuple((rng.random(), rng.random()) for _ in range(count))


def near_pairs(places: Sequence[Place], mean_degree: float) -> Tuple[Tuple[Pair, ...], float]:
    """The nearest pairs of `places`, nearest first, so many that nodes have `mean_degree`
    neighbours on average and that all are connected; and the distance of the last of them."""
    firsts, seconds = np.triu_indices(len(places), k=1)
    points = np.array(places, np.float64).reshape(-1, 2)
    squared = ((points[firsts] - points[seconds]) ** 2).sum(axis=1)
    wanted_count = mean_degree * len(places) / 2
    group = list(range(len(places)))  # a forest: each points towards the root of its group
    group_count = len(places)
    pairs: List[Pair] = []
    reach = 0.0
    for index in np.argsort(squared, kind="stable"):
        if len(pairs) >= wanted_count and group_count == 1:
            break
        first, second = int(firsts[index]), int(seconds[index])
        pairs.append((first, second))
        reach = float(squared[index]) ** 0.5
        roots = _root(group, first), _root(group, second)
        group_count -= roots[0] != roots[1]
        group[roots[1]] = roots[0]
    return tuple(pairs), reach


def _root(group: List[int], node: int) -> int:
    while group[node] != node:
        group[node] = group[group[node]]  # half the way for whoever asks next
        node = group[node]
    return node


def cells_of(graph: Graph, width: float) -> List[str]:
    """ "cell-COLUMN-ROW" for each pair: where in a grid of cells `width` wide its middle lies."""
    names = []
    for first, second in graph.pairs:
        (x, y), (other_x, other_y) = graph.places[first], graph.places[second]
        column, row = (x + other_x) / 2 // width, (y + other_y) / 2 // width
        names.append("cell-{:.0f}-{:.0f}".format(column, row))
    return names
