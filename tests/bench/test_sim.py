"""`bench.sim`: the worlds that it measures do what the figures say."""

import pytest

from edgesdk.bench import sim
from edgesdk.sim.simulator import Simulator


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(sim, "ITEM_COUNT", 30)
    monkeypatch.setattr(sim, "ROUNDS", 2)


def test_the_local_world_takes_every_item_through_all_exits():
    totals = Simulator(sim.local(), sim.SEED).run()
    assert totals.event_count == 30 * (1 + sim.STAGE_COUNT)
    assert totals.sources[0].ended == {"result.final": 30}


def test_between_two_nodes_every_item_travels():
    totals = Simulator(sim.pair(), sim.SEED, new_worker=sim._Relay).run(linger_us=10**6)
    assert totals.directions[0].messages == {"Task": 30}
    assert totals.event_count == 2 + 30 * 2
    assert [node.held_count for node in totals.nodes] == [0, 0]


def test_figures_have_targets():
    figures = sim.measure()
    assert [figure["unit"] for figure in figures] == ["1/s", "1/s", "us", "us", "us"]
    assert all(figure["ok"] in (True, False) for figure in figures)


def test_a_large_world_answers_every_item():
    figures = sim.measure_large(worker_count=10, item_count=55)
    assert (figures[0]["value"], figures[0]["target"], figures[0]["ok"]) == (55, 55, True)
    assert figures[0]["name"] == "10 workers, 55 items: answered"


def test_its_workers_share_the_work():
    totals = Simulator(sim.clusters(4, 40), 0, trace=False).run()
    assert all(node.stage_run_count > 0 for node in totals.nodes)
