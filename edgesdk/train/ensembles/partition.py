"""Which filters of the teacher each student learns from: the filter partition of NoNN.

The filters of the teacher's last convolution are the vertices of a graph (DistrEE, eq. 1, as
corrected: the printed a_m is a_i). An edge is light where two filters fire alike, so that
community detection puts those that fire together into different groups, and every student learns
a share of everything.

Communities come in any number and size, students do not: `partition` brings them to exactly N
groups whose sizes differ by at most one, and says what that cost.
"""

from typing import Any, NamedTuple

import networkx
import numpy as np

from ...errors import ConfigError

GAIN_MIN = 1e-12  # of modularity, which is below 1: less is rounding, and could go in circles


class Partition(NamedTuple):
    """`groups`: per student the filters it learns from, ascending; the first group has filter 0.

    Sizes differ by at most one. `modularity` is that of the groups, `communities` and
    `free_modularity` are what community detection found before anything was balanced.
    """

    groups: tuple[tuple[int, ...], ...]
    modularity: float
    communities: int
    free_modularity: float
    seed: int

    def provenance(self) -> dict[str, Any]:
        """As plain values, for a checkpoint or a manifest."""
        sizes = [len(group) for group in self.groups]
        return {**self._asdict(), "groups": [list(group) for group in self.groups], "sizes": sizes}


def filter_graph(activations: np.ndarray) -> np.ndarray:
    """eq. 1 of DistrEE: float64 [C, C], symmetric, zero on the diagonal.

    `activations` [n, C]: the mean activation a_i of each of C filters for each of n images, none
    negative. w(i, j) = the sum over images of a_i a_j |a_i - a_j|. Raises ConfigError for values
    that are negative or not finite.
    """
    values = np.asarray(activations, np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all() or values.min() < 0:
        raise ConfigError(
            f"activations: found {_described(values)}, expected finite values >= 0 of shape "
            "[images, filters], as they are behind a ReLU"
        )
    columns = np.ascontiguousarray(values.T)
    result = np.zeros((len(columns), len(columns)))
    for i, own in enumerate(columns):
        others = columns[i + 1 :]
        result[i, i + 1 :] = result[i + 1 :, i] = (own * others * np.abs(own - others)).sum(axis=1)
    return result


def partition(weights: np.ndarray, group_count: int, seed: int = 0) -> Partition:
    """`group_count` groups of equal size (to within one) of the vertices of the graph `weights`.

    Louvain's communities are the beginning. Then, always choosing what keeps the modularity
    highest: pairs of communities are merged while there are too many; filters move, one by one,
    from groups that are too large to groups that are too small (or still empty, where there were
    too few); filters of two groups change places while that gains. Vertices are looked at in the
    order of their strength, so how they are numbered does not matter unless strengths are equal.

    `weights`: float64 [C, C], symmetric, none negative. Raises ConfigError if `group_count` is not
    in 1..C.
    """
    count = len(weights)
    if not 1 <= group_count <= count:
        raise ConfigError(
            f"students: found {group_count}, expected 1 to {count}, the number of filters that the "
            "teacher's last convolution has"
        )
    strength = [float(np.sum(np.sort(row))) for row in weights]
    order = np.array(sorted(range(count), key=lambda i: (-strength[i], i)))
    benefit = _modularity_matrix(weights[np.ix_(order, order)])
    found = _communities(weights[np.ix_(order, order)], seed)
    group_of = _merged(found, benefit, group_count)
    group_of = _swapped(_balanced(group_of, benefit, group_count), benefit)
    members = [sorted(order[group_of == group].tolist()) for group in range(group_count)]
    return Partition(
        tuple(tuple(group) for group in sorted(members)),
        _modularity(group_of, benefit),
        int(found.max()) + 1,
        _modularity(found, benefit),
        seed,
    )


def _described(values: np.ndarray) -> str:
    finite = values.size and np.isfinite(values).all()
    return f"the shape {list(values.shape)}, " + (
        f"values from {values.min():.3g}" if finite else "values that are not all finite"
    )


def _communities(weights: np.ndarray, seed: int) -> np.ndarray:
    """The community of each vertex, int64 [C], numbered from 0."""
    graph = networkx.from_numpy_array(weights)
    result = np.zeros(len(weights), np.int64)
    for number, members in enumerate(networkx.community.louvain_communities(graph, seed=seed)):
        result[list(members)] = number
    return result


def _modularity_matrix(weights: np.ndarray) -> np.ndarray:
    """float64 [C, C]: modularity is its sum over all ordered pairs that share a group (Newman)."""
    strength = weights.sum(axis=1)
    total = strength.sum()
    if total == 0:  # no filter ever fires differently from another: every partition is as good
        return np.zeros_like(weights)
    return weights / total - np.outer(strength, strength) / total**2


def _modularity(group_of: np.ndarray, benefit: np.ndarray) -> float:
    return float(benefit[group_of[:, None] == group_of].sum())


def _merged(group_of: np.ndarray, benefit: np.ndarray, group_count: int) -> np.ndarray:
    """At most `group_count` communities, numbered from 0."""
    group_of = group_of.copy()
    while group_of.max() + 1 > group_count:
        member = np.eye(group_of.max() + 1)[group_of]
        gain = member.T @ benefit @ member
        np.fill_diagonal(gain, -np.inf)
        first, second = sorted(np.unravel_index(gain.argmax(), gain.shape))
        group_of[group_of == second] = first
        group_of[group_of > second] -= 1
    return group_of


def _balanced(group_of: np.ndarray, benefit: np.ndarray, group_count: int) -> np.ndarray:
    """Every move makes one group less too large, or one less too small, or both."""
    group_of = group_of.copy()
    least, rest = divmod(len(group_of), group_count)
    most = least + (rest > 0)
    while True:
        sizes = np.bincount(group_of, minlength=group_count)
        if sizes.max() - sizes.min() <= 1:
            return group_of
        gives = sizes > (most if sizes.max() > most else least)
        takes = sizes < (least if sizes.min() < least else most)
        gain = _move_gains(group_of, benefit, group_count)
        gain[~gives[group_of]] = -np.inf
        gain[:, ~takes] = -np.inf
        vertex, group = np.unravel_index(gain.argmax(), gain.shape)
        group_of[vertex] = group


def _swapped(group_of: np.ndarray, benefit: np.ndarray) -> np.ndarray:
    """Sizes stay. Ends, because every exchange gains at least `GAIN_MIN`."""
    group_of = group_of.copy()
    while True:
        moves = _move_gains(group_of, benefit, int(group_of.max()) + 1)
        there = moves[:, group_of]  # of vertex i into the group of vertex j
        gain = there + there.T - 2 * benefit  # neither finds the other where it comes to
        gain[group_of[:, None] == group_of] = -np.inf
        first, second = np.unravel_index(gain.argmax(), gain.shape)
        if 2 * gain[first, second] < GAIN_MIN:
            return group_of
        group_of[[first, second]] = group_of[[second, first]]


def _move_gains(group_of: np.ndarray, benefit: np.ndarray, group_count: int) -> np.ndarray:
    """float64 [C, groups]: half of what modularity gains if a vertex moves into that group."""
    shared = benefit @ np.eye(group_count)[group_of]
    own = shared[np.arange(len(group_of)), group_of] - benefit.diagonal()
    gains: np.ndarray = shared - own[:, None]
    gains[np.arange(len(group_of)), group_of] = 0
    return gains
