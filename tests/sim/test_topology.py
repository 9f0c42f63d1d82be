"""Links: the shorthands, the entries of their own, and what must be reachable."""

import pytest
from ensemble_worlds import fleet
from worlds import world

from edgesdk.errors import ConfigError
from edgesdk.sim.scenario import parse_scenario
from edgesdk.sim.spec import Link, Medium
from edgesdk.sim.topology import pairs


def refusal(**changes):
    with pytest.raises(ConfigError) as caught:
        parse_scenario(world(**changes), "")
    return str(caught.value)


def links(**changes):
    return parse_scenario(world(**changes), "").links


def nodes(names):
    return [{"name": name} for name in names]


class TestShorthands:
    @pytest.mark.parametrize(
        ("topology", "expected"),
        [
            ("mesh", ["ab", "ac", "ad", "bc", "bd", "cd"]),
            ("chain", ["ab", "bc", "cd"]),
            ("ring", ["ab", "bc", "cd", "da"]),
            ("star", ["ab", "ac", "ad"]),
        ],
    )
    def test_who_is_linked_with_whom(self, topology, expected):
        assert ["".join(pair) for pair in pairs(topology, "abcd")] == expected

    @pytest.mark.parametrize("topology", ["mesh", "chain", "ring", "star"])
    def test_two_are_one_link_and_one_is_none(self, topology):
        assert pairs(topology, "ab") == [("a", "b")]
        assert pairs(topology, "a") == []

    def test_tasks_go_one_way_round_a_ring(self):
        found = links(topology="ring", link=None, node=nodes("abc"))
        assert [link.offload for link in found] == [("a",), ("b",), ("c",)]

    def test_and_both_ways_between_two(self):
        (link,) = links(topology="ring", link=None)
        assert link.offload == ("a", "b")

    def test_defaults_are_those_of_every_link(self):
        found = links(
            topology="star",
            link=None,
            node=nodes("abc"),
            link_defaults={"delay_ms": 2.5, "rate_mbit_s": 8, "offload": "forward"},
        )
        assert found == (
            Link("a", "b", ("a",), delay_us=2500, bytes_per_s=1e6),
            Link("a", "c", ("a",), delay_us=2500, bytes_per_s=1e6),
        )

    def test_an_entry_replaces_the_link_of_its_pair_and_keeps_the_defaults(self):
        found = links(
            topology="mesh",
            node=nodes("abc"),
            link_defaults={"delay_ms": 2},
            link=[{"between": ["c", "a"], "loss": 0.5, "offload": "forward"}],
        )
        assert found == (
            Link("a", "b", ("a", "b"), delay_us=2000),
            Link("c", "a", ("c",), delay_us=2000, loss=0.5),
            Link("b", "c", ("b", "c"), delay_us=2000),
        )

    def test_a_medium_has_the_rate(self):
        document = world(
            medium=[{"name": "wifi", "rate_mbit_s": 80}], link_defaults={"medium": "wifi"}
        )
        scenario = parse_scenario(document, "")
        assert scenario.media == (Medium("wifi", 1e7),)
        assert scenario.links[0].medium == "wifi" and scenario.links[0].bytes_per_s is None


class TestMistakes:
    @pytest.mark.parametrize(
        ("entry", "begins", "says"),
        [
            ({"between": ["a", "z"]}, "link[0].between[1]: found 'z'", "one of a, b"),
            ({"between": ["a", "a"]}, "link[0].between: found", "two different nodes"),
            ({"between": ["a"]}, "link[0].between: found", "two different nodes"),
            ({"betwen": ["a", "b"]}, "link[0].betwen: unknown key", "mean between?"),
            ({"delay": 3}, "link[0].delay: unknown key", "mean delay_ms?"),
            ({"delay_ms": -3}, "link[0].delay_ms: found -3", "a number from 0"),
            ({"rate_mbit_s": 0}, "link[0].rate_mbit_s: found 0", "above 0"),
            ({"rate_mbit_s": -80}, "link[0].rate_mbit_s: found -80", "above 0"),
            ({"loss": 1.5}, "link[0].loss: found 1.5", "from 0 to 1"),
            ({"offload": "back"}, "link[0].offload: found 'back'", "both, forward, none"),
            ({"medium": "wifi"}, "link[0].medium: found 'wifi'", "none is here"),
        ],
    )
    def test_of_a_link(self, entry, begins, says):
        message = refusal(link=[dict({"between": ["a", "b"]}, **entry)])
        assert message.startswith(begins) and says in message

    def test_two_entries_for_one_pair(self):
        message = refusal(link=[{"between": ["a", "b"]}, {"between": ["b", "a"]}])
        assert message.startswith("link[1].between: ") and "one entry per pair" in message

    def test_a_value_from_the_defaults_is_named_there(self):
        assert refusal(link_defaults={"jitter_ms": "x"}).startswith("link_defaults.jitter_ms: ")

    def test_two_media_of_one_name(self):
        medium = {"name": "wifi", "rate_mbit_s": 5}
        assert refusal(medium=[medium, medium]).startswith("medium[1].name: found 'wifi'")

    def test_a_rate_beside_that_of_the_medium(self):
        message = refusal(
            medium=[{"name": "wifi", "rate_mbit_s": 5}],
            link=[{"between": ["a", "b"], "medium": "wifi", "rate_mbit_s": 5}],
        )
        assert message.startswith("link[0].rate_mbit_s: found 5") and "medium" in message

    def test_an_unknown_topology(self):
        assert refusal(topology="tree").startswith("topology: found 'tree', expected one of mesh,")


class TestStudents:
    """An ensemble of two, of three stages each."""

    def refusal(self, folder, **changes):
        with pytest.raises(ConfigError) as caught:
            fleet(folder, **changes)
        return str(caught.value)

    def test_nobody_need_hold_several(self, tmp_path):
        _, scenario = fleet(tmp_path)
        assert [(node.stages, node.parts) for node in scenario.nodes] == [
            ((), None),
            (None, (0,)),
            (None, (1,)),
        ]

    def test_one_that_there_is_not(self, tmp_path):
        nodes = [{"name": "camera"}, {"name": "one", "parts": [2]}]
        message = self.refusal(tmp_path, node=nodes)
        assert message.startswith("node[1].parts[0]: found 2, expected a part of the model, 0 to 1")

    def test_one_that_nobody_holds(self, tmp_path):
        nodes = [{"name": "camera", "stages": []}] + [{"name": n, "parts": [0]} for n in "ab"]
        message = self.refusal(tmp_path, node=nodes)
        assert message.startswith("node: found nobody that holds stage 0, 1, 2 of part 1")

    def test_one_that_the_source_cannot_send_to(self, tmp_path):
        message = self.refusal(tmp_path, topology="chain")  # camera - one - two
        assert "of part 1 among those that tasks of source camera get to (camera)" in message


class TestReach:
    def test_a_node_without_a_way_to_it(self):
        message = refusal(node=nodes("abc"))
        assert message.startswith("link: no way from source a to c")

    def test_a_stage_that_nobody_holds(self):
        message = refusal(node=[{"name": n, "stages": [0, 1]} for n in "ab"])
        assert message.startswith("node: found nobody that holds stage 2")

    def test_a_stage_that_only_somebody_holds_whom_tasks_do_not_get_to(self):
        message = refusal(
            node=[{"name": "a", "stages": [0, 1]}, {"name": "b"}],
            link=[{"between": ["b", "a"], "offload": "forward"}],
        )
        assert "nobody that holds stage 2" in message and "source a get to (a)" in message

    def test_a_stage_whose_holder_is_behind_one_that_takes_no_task(self):
        three = [{"name": "a", "stages": [0, 1]}, {"name": "b", "stages": []}, {"name": "c"}]
        message = refusal(node=three, link=None, topology="chain")
        assert message.startswith("node: found nobody that holds stage 2")
        assert "source a get to (a)" in message
        three[1]["stages"] = [1]  # which it computes, and then knows somebody for the rest
        parse_scenario(world(node=three, link=None, topology="chain"), "")

    def test_a_source_without_stage_0(self):
        split = [{"name": "a", "stages": [1, 2]}, {"name": "b"}]
        message = refusal(node=split)
        assert message.startswith("node a: ") and "offload_inputs" in message
        parse_scenario(world(node=split, offloading={"offload_inputs": True}), "")

    def test_stages_may_be_spread_over_those_that_tasks_get_to(self):
        scenario = parse_scenario(
            world(node=[{"name": "a", "stages": [0]}, {"name": "b", "stages": [1, 2]}]), ""
        )
        assert [node.stages for node in scenario.nodes] == [(0,), (1, 2)]
