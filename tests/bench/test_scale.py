"""The study of sizes: its worlds, its figures, what it writes."""

import json
from pathlib import Path

import pytest

from edgesdk.bench import scale, scale_report
from edgesdk.bench.__main__ import main
from edgesdk.sim.scenario import read_scenario

FILES = Path(__file__).resolve().parent.parent.parent / "examples" / "scenarios"
TEN = str(FILES / "scale-10.toml")
MEASURED = ("processor time", "most memory so far")


def figures(capsys, *more):
    assert main(["scale", TEN, "--seconds", "0.5", "--no-steps", "--json", *more]) == 0
    return {each["name"]: each for each in json.loads(capsys.readouterr().out)["figures"]}


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_one_in_ten_of_the_files_is_a_source(count):
    scenario = read_scenario(str(FILES / "scale-{}.toml".format(count)))
    assert len(scenario.nodes) == 10 * len(scenario.workloads) == count
    assert 8 <= 2 * len(scenario.links) / count < 10
    assert scenario.media and scenario.faults


class TestWorlds:
    def test_of_ten_workers_one_asks_in_any_case(self):
        worlds = scale.worlds_of(read_scenario(TEN))
        assert [world[1:] for world in worlds] == [
            ("1 source", "own", "no"),
            ("1 source", "shared", "no"),
            ("1 source", "shared", "yes"),
        ]

    def test_of_a_thousand_with_free_links_only_one(self):
        worlds = scale.worlds_of(read_scenario(str(FILES / "scale-1000.toml")))
        assert [world[1:] for world in worlds] == [
            ("1 source", "own", "no"),
            ("1 source", "shared", "no"),
            ("100 sources", "shared", "no"),
            ("100 sources", "shared", "yes"),
        ]
        assert [len(world.scenario.workloads) for world in worlds] == [1, 1, 100, 100]
        assert [bool(world.scenario.faults) for world in worlds] == [False, False, False, True]

    def test_links_of_their_own_are_as_fast_as_the_medium_was(self):
        own, shared, _ = [world.scenario for world in scale.worlds_of(read_scenario(TEN))]
        assert own.media == () and {link.medium for link in own.links} == {None}
        assert {link.bytes_per_s for link in own.links} == {shared.media[0].bytes_per_s}

    def test_a_quarter_of_the_bytes(self):
        scenario = read_scenario(TEN)
        before, after = (
            s.model.parts[0].feature_bytes for s in (scenario, scale.quarter(scenario))
        )
        assert [4 * size for size in after] == list(before)


def test_how_busy_by_distance():
    own = scale.worlds_of(read_scenario(TEN))[0].scenario
    chain = own._replace(
        nodes=own.nodes[:3],
        links=tuple(
            own.links[0]._replace(first=own.nodes[i].name, second=own.nodes[i + 1].name)
            for i in range(2)
        ),
    )
    busy = dict(zip([node.name for node in chain.nodes], (0.5, 0.25, 0.125)))
    assert scale.busy_by_distance(chain, busy) == {0: (1, 0.5), 1: (1, 0.25), 2: (1, 0.125)}


def test_every_item_has_one_end_and_a_seed_gives_one_study(capsys):
    first, again = figures(capsys), figures(capsys)
    ends = [figure for name, figure in first.items() if name.endswith("items with one end")]
    assert len(ends) == 3 and all(figure["ok"] and figure["value"] > 0 for figure in ends)
    same = [name for name in first if not name.endswith(MEASURED)]
    assert [first[name] for name in same] == [again[name] for name in same]
    assert len(same) == len(first) - 6


def test_messages_add_up():
    found = scale.simulate(scale.worlds_of(scale._read(TEN, 0.5))[0])
    sent = sum(sum(each.messages.values()) for each in found.report.run.totals.directions)
    assert sum(found.messages.values()) == sent
    assert sum(found.hops.values()) >= found.messages["Task"] > 0
    assert min(found.hops) == 1


def test_a_table_and_a_picture_are_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    assert main(["scale", TEN, "--seconds", "0.3", "--out", str(out)]) == 0
    text = (out / "scale.txt").read_text("utf-8")
    assert text.splitlines()[0] in capsys.readouterr().out
    assert "radio.mean_degree=16" in text and "bytes/4" in text
    assert (out / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_whatever_there_is():
    pytest.importorskip("matplotlib")
    own, shared, churn = (scale.simulate(world) for world in scale.worlds_of(scale._read(TEN, 0.1)))
    for found in ([own], [shared, churn], [own, shared, churn]):
        assert scale_report.picture(found).startswith(b"\x89PNG")


def test_a_fleet_without_places_is_refused(capsys):
    assert main(["scale", str(FILES / "local.toml")]) == 1
    assert 'found no places, expected topology = "radio"' in capsys.readouterr().err
