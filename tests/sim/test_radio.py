"""Radios in a square: who is linked, which links share a medium."""

import math
import re
from pathlib import Path

import pytest
from worlds import LOCAL, world

from edgesdk.document import parse_toml
from edgesdk.errors import ConfigError
from edgesdk.sim.radio import cells_of, draw_places, near_pairs, read_graph
from edgesdk.sim.scenario import parse_scenario

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "simulation.md"
FLEET = dict(LOCAL, topology="radio", node=[{"name": "a"}, {"name": "b", "count": 29}])


def fleet(**changes):
    return parse_scenario(world(FLEET, **changes), "")


def refusal(**changes):
    with pytest.raises(ConfigError) as caught:
        fleet(**changes)
    return str(caught.value)


def distance(places, pair):
    (x, y), (other_x, other_y) = (places[index] for index in pair)
    return math.hypot(x - other_x, y - other_y)


def reached(count, pairs):
    found = {0}
    for _ in range(count):
        for first, second in pairs:
            if found & {first, second}:
                found |= {first, second}
    return found


class TestWhoIsLinked:
    @pytest.mark.parametrize("seed", range(5))
    def test_everybody_can_be_reached(self, seed):
        pairs, _ = near_pairs(draw_places(30, seed), mean_degree=1)
        assert reached(30, pairs) == set(range(30))

    def test_all_who_are_nearer_than_the_range_and_nobody_else(self):
        places = draw_places(30, 0)
        pairs, reach = near_pairs(places, mean_degree=6)
        every = [(i, j) for i in range(30) for j in range(i + 1, 30)]
        assert {p for p in every if distance(places, p) <= reach + 1e-12} == set(pairs)
        assert max(distance(places, pair) for pair in pairs) == pytest.approx(reach)

    def test_so_many_neighbours_as_are_asked_for(self):
        places = draw_places(30, 0)
        assert [len(near_pairs(places, degree)[0]) for degree in (20, 29, 100)] == [300, 435, 435]

    def test_more_where_the_last_one_is_far_away(self):
        places = [(0.0, 0.0), (0.1, 0.0), (0.15, 0.0), (1.0, 0.0)]
        pairs, reach = near_pairs(places, mean_degree=0.5)
        assert pairs == ((1, 2), (0, 1), (0, 2), (2, 3))
        assert reach == pytest.approx(0.85)

    @pytest.mark.parametrize(("count", "expected"), [(1, ()), (2, ((0, 1),))])
    def test_one_is_alone_and_two_are_a_pair(self, count, expected):
        assert read_graph(None, count).pairs == expected

    def test_the_seed_is_of_the_places(self):
        assert draw_places(9, 1) == draw_places(9, 1) != draw_places(9, 2)
        assert all(0 <= value < 1 for place in draw_places(99, 1) for value in place)


class TestMediaByPlace:
    def test_neighbours_share_one_and_those_far_away_do_not(self):
        scenario = fleet(radio={"mean_degree": 3, "medium_mbit_s": 8, "cell_ranges": 1})
        media = {medium.name for medium in scenario.media}
        assert {link.medium for link in scenario.links} == media and len(media) > 3
        assert {medium.bytes_per_s for medium in scenario.media} == {1e6}
        assert {link.bytes_per_s for link in scenario.links} == {None}

    def test_a_link_is_where_its_middle_is(self):
        graph = read_graph(None, 2)._replace(places=((0.0, 0.9), (0.6, 0.9)))
        assert cells_of(graph, 0.25) == ["cell-1-3"]

    def test_in_one_wide_cell_all_share(self):
        scenario = fleet(radio={"medium_mbit_s": 8, "cell_ranges": 50})
        assert [medium.name for medium in scenario.media] == ["cell-0-0"]

    def test_an_entry_may_have_a_rate_of_its_own(self):
        own = {"between": ["a", "b1"], "rate_mbit_s": 80}
        links = fleet(radio={"medium_mbit_s": 8}, link=[own]).links
        (link,) = [each for each in links if (each.first, each.second) == ("a", "b1")]
        assert (link.bytes_per_s, link.medium) == (1e7, None)

    def test_without_media_there_are_none(self):
        scenario = fleet(link_defaults={"rate_mbit_s": 8})
        assert scenario.media == () and {link.bytes_per_s for link in scenario.links} == {1e6}


def test_places_are_kept_for_pictures():
    assert fleet(radio={"seed": 4}).places == draw_places(30, 4)
    assert parse_scenario(world(), "").places == ()


def test_the_tables_that_the_page_explains_read():
    (text,) = re.findall(r'```toml title="field.toml.*?\n(.*?)```', PAGE.read_text("utf-8"), re.S)
    nodes = [{"name": "a"}, {"name": "worker", "count": 29}]
    tables = parse_toml(text)
    scenario = fleet(node=nodes, duration_s=60, **tables)
    assert scenario.media and {fault.kind for fault in scenario.faults} == {"crash", "leave"}
    del tables["churn"]["nodes"]  # the others are as they would be anyway
    assert fleet(node=nodes, duration_s=60, radio={"medium_mbit_s": 80}).media == scenario.media
    assert fleet(node=nodes, duration_s=60, **tables).faults == scenario.faults


@pytest.mark.parametrize(
    ("changes", "begins", "says"),
    [
        ({"radio": {"degree": 3}}, "radio.degree: unknown key", "mean_degree"),
        ({"radio": {"mean_degree": 0}}, "radio.mean_degree: found 0", "above 0"),
        ({"radio": {"seed": -1}}, "radio.seed: found -1", "from 0"),
        ({"radio": {"medium_mbit_s": 0}}, "radio.medium_mbit_s: found 0", "above 0"),
        ({"radio": {"cell_ranges": 2}}, "radio.cell_ranges: found 2", "medium_mbit_s beside it"),
        ({"radio": {}, "topology": "mesh"}, "radio: found {}", 'topology = "radio" beside it'),
        (
            {"radio": {"medium_mbit_s": 8}, "link_defaults": {"rate_mbit_s": 8}},
            "link_defaults.rate_mbit_s: found 8",
            "none beside radio.medium_mbit_s",
        ),
    ],
)
def test_mistakes(changes, begins, says):
    message = refusal(**changes)
    assert message.startswith(begins) and says in message
