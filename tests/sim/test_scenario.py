"""Scenario files: every example reads, every mistake is named with its path."""

import os
import re
from pathlib import Path

import pytest
from worlds import LOCAL, MODEL, PAIR, world

from edgesdk.core.admission import Admission
from edgesdk.core.offload import Offloading
from edgesdk.document import parse_toml
from edgesdk.errors import ConfigError
from edgesdk.sim.scenario import parse_scenario, read_arrivals, read_scenario
from edgesdk.sim.spec import Node, Workload

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "scenarios").glob("*.toml"))


def refusal(document, folder=""):
    with pytest.raises(ConfigError) as caught:
        parse_scenario(document, str(folder))
    return str(caught.value)


def read(document):
    return parse_scenario(document, "")


PAGE = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text("utf-8")


class TestTheExamples:
    @pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
    def test_every_one_reads_and_is_called_as_its_file(self, path):
        assert read_scenario(path).name == path.stem

    def test_there_are_those_that_the_page_speaks_of(self):
        assert [path.stem for path in EXAMPLES if "`{}`".format(path.stem) not in PAGE] == []

    def test_the_file_that_the_page_explains_reads(self):
        (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
        scenario = parse_scenario(parse_toml(text), "")
        assert [node.name for node in scenario.nodes] == ["robot", "shelf1", "shelf2"]
        assert (scenario.offloading, scenario.admission) == (Offloading(), Admission())

    @pytest.mark.parametrize(
        ("name", "nodes", "links"),
        [("local", 1, 0), ("2-node", 2, 1), ("3-node-mesh", 3, 3), ("5-node-mesh", 5, 10)],
    )
    def test_the_topologies_of_mdi_exit(self, name, nodes, links):
        (path,) = [path for path in EXAMPLES if path.stem == name]
        scenario = read_scenario(path)
        assert (len(scenario.nodes), len(scenario.links)) == (nodes, links)

    def test_three_in_a_circle_offload_one_way_round(self):
        (path,) = [path for path in EXAMPLES if path.stem == "3-node-circular"]
        ways = [(link.offload, link.second) for link in read_scenario(path).links]
        assert ways == [
            (("source",), "worker1"),
            (("worker1",), "worker2"),
            (("worker2",), "source"),
        ]

    def test_no_exit_is_a_change_of_one_value(self):
        scenario = read_scenario(EXAMPLES[0], [("model.policy", {"kind": "final"})])
        assert scenario.model.policy.kind == "final"


class TestWhatIsRead:
    def test_what_is_not_given_has_the_defaults_of_the_values(self):
        scenario = read(LOCAL)
        assert scenario.nodes == (Node("a"),)
        assert scenario.workloads == (Workload("a", "periodic", 10.0),)
        assert (scenario.offloading, scenario.admission) == (Offloading(), Admission())
        assert (scenario.mode, scenario.duration_us, scenario.heal_us) == ("tcp", 10_000_000, None)

    def test_times_are_converted(self):
        node = {"name": "a", "join_s": 0.5, "leave_s": 2, "clock_offset_us": -7, "drift_ppm": -40}
        found = read(world(LOCAL, node=[node], heal_s=7, grace_s=1.5))
        assert found.nodes[0] == Node(
            "a", drift_ppm=-40.0, clock_offset_us=-7, join_us=500_000, leave_us=2_000_000
        )
        assert (found.heal_us, found.grace_us) == (7_000_000, 1_500_000)

    def test_one_entry_may_stand_for_several_nodes(self):
        nodes = [{"name": "a"}, {"name": "w", "count": 3, "speed": 2}]
        found = read(world(node=nodes, link=None, topology="star"))
        assert [node.name for node in found.nodes] == ["a", "w1", "w2", "w3"]
        assert [node.speed for node in found.nodes] == [1, 2, 2, 2]

    def test_or_for_none(self):
        found = read(world(node=[{"name": "a"}, {"name": "w", "count": 0}], link=None))
        assert [node.name for node in found.nodes] == ["a"]

    def test_the_tables_of_the_algorithms(self):
        admission, workload = (
            {"kind": "rate", "low_count": 5},
            [{"source": "a", "kind": "admission"}],
        )
        offloading = {"output_queue_max": 3}
        found = read(world(LOCAL, admission=admission, offloading=offloading, workload=workload))
        assert (found.admission, found.offloading) == (Admission("rate", 5), Offloading(3))

    def test_arrivals_from_a_file_beside_the_scenario(self, tmp_path):
        (tmp_path / "arrivals.txt").write_text("# seconds\n0.5\n\n0.75 # late\n0.75\n")
        (tmp_path / "s.toml").write_text(
            'name = "s"\nnode = [{name = "a"}]\n'
            'workload = [{source = "a", trace = "arrivals.txt"}]\n'
            "[model]\nstage_us = [5]\nfeature_bytes = [1]\nexit_shares = [1]\n"
            'exit_accuracy = [1]\npolicy = {kind = "final"}\n'
        )
        found = read_scenario(str(tmp_path / "s.toml")).workloads[0]
        assert found.kind == "trace"
        assert found.times_us == (500_000, 750_000, 750_000)

    def test_what_happens_at_a_deadline(self):
        workload = dict(PAIR["workload"][0], deadline_ms=80, on_deadline="best", latest=True)
        found = read(world(workload=[workload])).workloads[0]
        assert (found.deadline_us, found.best_at_deadline, found.latest) == (80_000, True, True)


class TestMistakes:
    """(what is changed, how the message begins, what else it says)"""

    @pytest.mark.parametrize(
        ("changes", "begins", "says"),
        [
            ({"duraton_s": 3}, "duraton_s: unknown key; did you mean duration_s?", "topology"),
            ({"node": [{"name": "a", "sped": 2}]}, "node[0].sped: unknown key", "mean speed?"),
            ({"model": dict(MODEL, polcy=1)}, "model.polcy: unknown key", "mean policy?"),
            ({"workload": [{"sorce": "a"}]}, "workload[0].sorce: unknown key", "mean source?"),
            ({"admission": {"alpha": 2}}, "admission.alpha: found 2", "beta < alpha"),
            ({"admission": {"kind": "rate"}}, "admission.kind: found 'rate'", "Algorithm 3"),
            ({"offloading": {"serve": True}}, "offloading.serve: unknown", "serve_output"),
            ({"fault": [{"knd": "cut"}]}, "fault[0].knd: unknown key", "mean kind?"),
            ({"medium": [{"nme": "wifi"}]}, "medium[0].nme: unknown key", "mean name?"),
            ({"mode": "udp"}, "mode: found 'udp'", "one of tcp, chaos"),
            ({"duration_s": 0}, "duration_s: found 0", "a number above 0"),
            ({"duration_s": "long"}, "duration_s: found 'long'", "a number"),
            ({"name": None}, "name: missing", ""),
            ({"node": []}, "node: found []", "a list of at least 1"),
            ({"node": [{"name": "a"}, {"name": "a"}]}, "node[1].name: found 'a'", "another name"),
            ({"node": [{"name": "a->b"}]}, "node[0].name: found 'a->b'", "without blanks"),
            ({"node": [{"name": "a", "speed": -1}]}, "node[0].speed: found -1", "above 0"),
            ({"node": [{"name": "a", "stages": [3]}]}, "node[0].stages[0]: found 3", "0 to 2"),
            ({"node": [{"name": "a", "stages": [1, 0]}]}, "node[0].stages: ", "rising order"),
            ({"node": [{"name": "a", "count": 5000}]}, "node[0].count: ", "at most 1000"),
            ({"node": [{"name": "a", "join_s": 2, "leave_s": 1}]}, "node[0].leave_s", "later"),
            ({"workload": []}, "workload: found []", "a list of at least 1"),
        ],
    )
    def test_of_one_value(self, changes, begins, says):
        message = refusal(world(LOCAL, **changes))
        assert message.startswith(begins) and says in message

    @pytest.mark.parametrize(
        ("changes", "begins", "says"),
        [
            ({"kind": "burst"}, "workload[0].kind: found 'burst'", "periodic, poisson, trace"),
            ({"source": "z"}, "workload[0].source: found 'z'", "one of a, b"),
            ({"rate_hz": -5}, "workload[0].rate_hz: found -5", "a number above 0"),
            ({"rate_hz": None}, "workload[0].rate_hz: missing", ""),
            ({"kind": "admission"}, "workload[0].rate_hz: found 10", "no rate beside"),
            ({"item_count": 0}, "workload[0].item_count: found 0", "from 1"),
            ({"deadline_ms": 0}, "workload[0].deadline_ms: found 0", "above 0"),
            ({"on_deadline": "best"}, "workload[0].on_deadline: ", "deadline_ms beside it"),
            ({"latest": 1}, "workload[0].latest: found 1", "true or false"),
            ({"trace": "x.txt"}, "workload[0]: found", 'kind = "trace"'),
            ({"kind": "trace", "rate_hz": None}, "workload[0]: found", 'trace = "FILE"'),
        ],
    )
    def test_of_a_workload(self, changes, begins, says):
        workload = dict(PAIR["workload"][0], **changes)
        workload = {key: value for key, value in workload.items() if value is not None}
        message = refusal(world(workload=[workload]))
        assert message.startswith(begins) and says in message

    def test_algorithm_4_moves_the_threshold_of_max_probability_only(self):
        model = dict(MODEL, policy={"kind": "final"})
        message = refusal(world(LOCAL, admission={"kind": "threshold"}, model=model))
        assert message.startswith("model.policy: ") and "max_probability" in message

    def test_algorithm_3_and_its_workload_belong_together(self):
        message = refusal(world(LOCAL, workload=[{"source": "a", "kind": "admission"}]))
        assert message.startswith("admission.kind: found 'none'")

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match=r"no\.toml: cannot be read.*examples/scenarios"):
            read_scenario(str(tmp_path / "no.toml"))

    def test_the_file_is_named_before_the_path(self, tmp_path):
        (tmp_path / "s.toml").write_text('nme = "s"\n')
        with pytest.raises(ConfigError) as caught:
            read_scenario(str(tmp_path / "s.toml"))
        assert str(caught.value).startswith(os.path.join(str(tmp_path), "s.toml") + ": nme: unk")


class TestArrivals:
    def refusal(self, path):
        with pytest.raises(ConfigError) as caught:
            read_arrivals(str(path))
        return str(caught.value)

    @pytest.mark.parametrize("line", ["soon", "-1", "nan", "inf", "0.5"])
    def test_a_line_that_is_no_later_time_is_named(self, tmp_path, line):
        path = tmp_path / "arrivals"
        path.write_text("0.2\n1\n{}\n".format(line))
        assert self.refusal(path).startswith("{}:3: found {!r}".format(path, line))

    def test_a_file_without_any(self, tmp_path):
        path = tmp_path / "arrivals"
        path.write_text("# none\n")
        assert "found no arrival times" in self.refusal(path)

    def test_a_file_that_is_not_there(self, tmp_path):
        assert "cannot be read (No such file" in self.refusal(tmp_path / "arrivals")

    def test_a_file_that_is_no_text(self, tmp_path):
        path = tmp_path / "arrivals"
        path.write_bytes(b"\xff\xfe0")
        assert "cannot be read" in self.refusal(path)
