"""The filter partition of NoNN: graphs computed by hand, and what holds of all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgesdk.errors import ConfigError
from edgesdk.train.ensembles.partition import (
    _balanced,
    _merged,
    _modularity_matrix,
    _swapped,
    filter_graph,
    partition,
)


def blocks(*sizes, inside=1.0, between=0.1):
    """A graph of communities: strong edges inside each, weak ones between them."""
    group_of = np.repeat(np.arange(len(sizes)), sizes)
    weights = np.where(group_of[:, None] == group_of, inside, between)
    np.fill_diagonal(weights, 0)
    return weights


def modularity(weights, groups):
    """Newman's definition, term by term."""
    strength, total, result = weights.sum(1), weights.sum(), 0.0
    for group in groups:
        for i in group:
            for j in group:
                result += weights[i, j] / total - strength[i] * strength[j] / total**2
    return result


def sets(found):
    return {frozenset(group) for group in found.groups}


def test_an_edge_is_the_sum_over_images_of_eq_1_as_corrected():
    graph = filter_graph(np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 2.0]]))
    first = 1 * 2 * 1 + 3 * 1 * 2  # a_0 a_1 |a_0 - a_1| of both images
    assert graph.tolist() == [[0, first, 6], [first, 0, 2], [6, 2, 0]]


def test_filters_that_fire_alike_have_a_light_edge_and_learn_from_different_students():
    """0 and 1 are the same filter, 2 and 3 another: each student shall get one of both."""
    own = np.array([[4.0, 4.0, 1.0, 1.0], [1.0, 1.0, 5.0, 5.0]])
    graph = filter_graph(own)
    assert graph[0, 1] == graph[2, 3] == 0 < graph[0, 2]
    found = partition(graph, 2)
    assert all(len({0, 1} & set(group)) == 1 for group in found.groups)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1.0, -0.5]]), r"the shape \[1, 2\], values from -0.5, expected finite"),
        (np.array([[1.0, np.nan]]), "values that are not all finite"),
        (np.ones(3), r"found the shape \[3\]"),
        (np.ones((0, 3)), r"found the shape \[0, 3\]"),
    ],
)
def test_activations_are_what_a_relu_gives(values, message):
    with pytest.raises(ConfigError, match=message):
        filter_graph(values)


def test_communities_of_the_right_number_and_size_stay_as_they_are():
    found = partition(blocks(4, 4, 4), 3)
    assert found.groups == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))
    assert (found.communities, found.seed) == (3, 0)
    assert found.modularity == found.free_modularity
    assert found.modularity == pytest.approx(modularity(blocks(4, 4, 4), found.groups))


# Each of the three steps alone: where one errs, the next often makes up for it.


def test_communities_are_merged_where_that_loses_least():
    """Four pairs; 0 and 2 hang together more than others, so do 1 and 3."""
    weights = blocks(2, 2, 2, 2, inside=9.0)
    for a, b in ((0, 4), (1, 5), (2, 6), (3, 7)):
        weights[a, b] = weights[b, a] = 1.0
    assert partition(weights, 4).communities == 4
    assert sets(partition(weights, 2)) == {frozenset({0, 1, 4, 5}), frozenset({2, 3, 6, 7})}
    pairs = np.repeat(np.arange(4), 2)
    assert _merged(pairs, _modularity_matrix(weights), 2).tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


def test_the_filter_that_is_missed_least_moves():
    """Of a community of five, the one filter with edges to the other community."""
    weights = blocks(5, 3)
    weights[2, [0, 1, 3, 4]] = weights[[0, 1, 3, 4], 2] = 0.7
    weights[2, 5:] = weights[5:, 2] = 0.2
    assert sets(partition(weights, 2)) == {frozenset({0, 1, 3, 4}), frozenset({2, 5, 6, 7})}
    found = _balanced(np.repeat([0, 1], [5, 3]), _modularity_matrix(weights), 2)
    assert found.tolist() == [0, 0, 1, 0, 0, 1, 1, 1]


def test_where_communities_are_too_few_filters_open_a_new_one():
    found = _balanced(np.zeros(7, np.int64), _modularity_matrix(blocks(4, 3)), 2)
    assert np.bincount(found).tolist() == [4, 3]
    assert len(set(found[:4])) == len(set(found[4:])) == 1


def test_filters_change_places_until_no_exchange_gains():
    weights = blocks(3, 3, 3)
    scattered = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    found = _swapped(scattered, _modularity_matrix(weights))
    assert sorted(map(tuple, found.reshape(3, 3).tolist())) == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]


@pytest.mark.parametrize("seed", range(4))
def test_of_the_result_no_two_filters_should_change_places(seed):
    weights = np.triu(np.random.default_rng(seed).random((12, 12)), 1)
    weights += weights.T
    found = partition(weights, 3)
    for i in range(12):
        for j in range(12):
            swapped = [[j if k == i else i if k == j else k for k in g] for g in found.groups]
            assert modularity(weights, swapped) < found.modularity + 1e-9


def test_filters_that_never_fire_have_a_place_too():
    weights = np.pad(blocks(3, 3), (0, 4))
    found = partition(weights, 5)
    assert sorted(index for group in found.groups for index in group) == list(range(10))
    dead = partition(np.zeros((5, 5)), 2)
    assert (sorted(map(len, dead.groups)), dead.modularity) == ([2, 3], 0.0)


@settings(max_examples=60)
@given(st.data())
def test_every_filter_is_in_one_group_and_sizes_differ_by_at_most_one(data):
    count = data.draw(st.integers(1, 9))
    shape = (data.draw(st.integers(1, 4)), count)
    values = arrays.arrays(np.float64, shape, elements=st.floats(0, 8, width=16))
    graph = filter_graph(data.draw(values))
    students, seed = data.draw(st.integers(1, count)), data.draw(st.integers(0, 3))
    found = partition(graph, students, seed)
    assert len(found.groups) == students
    assert sorted(index for group in found.groups for index in group) == list(range(count))
    assert max(map(len, found.groups)) - min(map(len, found.groups)) <= 1
    assert found == partition(graph, students, seed)
    if graph.any():
        assert found.modularity == pytest.approx(modularity(graph, found.groups), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_renumbered_filters_give_renumbered_groups(seed):
    random = np.random.default_rng(seed)
    activations = random.gamma(1.0, size=(20, 24)) * random.gamma(1.0, size=24)
    order = random.permutation(24)
    found = partition(filter_graph(activations), 5)
    renumbered = partition(filter_graph(activations[:, order]), 5)
    assert {frozenset(order[list(group)].tolist()) for group in renumbered.groups} == sets(found)


@pytest.mark.parametrize("students", [0, 5])
def test_more_students_than_filters_are_refused(students):
    with pytest.raises(ConfigError, match=f"students: found {students}, expected 1 to 4"):
        partition(blocks(2, 2), students)


def test_provenance_is_plain_values():
    found = partition(blocks(2, 3), 2, seed=7).provenance()
    assert found["groups"] == [[0, 1], [2, 3, 4]]
    assert (found["sizes"], found["seed"], found["communities"]) == ([2, 3], 7, 2)
