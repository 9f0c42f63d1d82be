"""Stages that move by themselves, between real processes: a worker is killed, another becomes slow,
and whatever had been handed in is answered, once and rightly."""

import os
import signal

import pytest
from fleet import Fleet, wait_for

from edgesdk.bundle import read_bundle
from edgesdk.placement_file import placement_of, write_placement

SIDE = 16
MOVED_WITHIN_S = 60.0  # two looks, half a second apart, and whatever else this machine does
OPTIONS = """placement = "placement.toml"
[replanning]
coordinator = "source"
period_s = 0.5
gain = 0.6
rounds = 2
"""


@pytest.fixture
def placed(tmp_path, busy):
    """The folder of a fleet whose placement gives a two stages, b one and the source none."""
    manifest = read_bundle(busy.path).manifest
    held = {"source": [], "a": [0, 1], "b": [2]}
    write_placement(str(tmp_path / "placement.toml"), placement_of(manifest, "full", held))
    return tmp_path


def make_fleet(folder, busy, **options):
    return Fleet(folder, busy, SIDE, options=OPTIONS, **options)


def held(fleet, name):
    """The stages that a neighbour says it holds."""
    return [int(place[2:]) for place in fleet.pipe.stats()["neighbours"][name]["held"]]


def keep_busy_until(fleet, condition):
    def is_so():
        fleet.keep_busy(0.2)
        return condition()

    return wait_for(is_so, MOVED_WITHIN_S, lambda: (fleet.counters(), fleet.pipe.stats()))


def test_what_a_dead_worker_held_is_taken_over(placed, busy, caplog):
    before = (placed / "placement.toml").read_bytes()
    with make_fleet(placed, busy) as fleet:
        fleet.start()
        assert (held(fleet, "a"), held(fleet, "b")) == ([0, 1], [2])
        fleet.submit(100)
        fleet.wait_until_done(20)
        fleet.process("b").kill()
        took_s = keep_busy_until(fleet, lambda: held(fleet, "a") == [0, 1, 2])
        print("the stage of a dead worker moved within {:.1f} s".format(took_s))
        fleet.settle()
        said = [record.getMessage() for record in caplog.records]
        expected = "placements_changed: a stage is nobody's: from source none; a 0, 1 to source"
        assert any(expected in line for line in said), said
        # It comes back with what the file says, and may do that again.
        fleet.restart("b")
        fleet.wait_until("b", "up")
        fleet.keep_busy(0.5)
        fleet.settle()
        assert held(fleet, "b") == [2]
        assert fleet.counters()["placements_changed"] == 1
    assert (placed / "placement.toml").read_bytes() == before


def test_a_worker_that_becomes_slow_is_relieved(placed, busy):
    # So slow that it stands out on a machine that is slow itself.
    with make_fleet(placed, busy, odd={"b": "tires=0.3"}) as fleet:
        fleet.start()
        assert held(fleet, "b") == [2]
        fleet.process("b").send(signal.SIGUSR1)
        took_s = keep_busy_until(fleet, lambda: held(fleet, "b") == [])
        print("the stage of a slow worker moved within {:.1f} s".format(took_s))
        assert held(fleet, "a") == [0, 1, 2]
        fleet.keep_busy(1.0)
        fleet.settle()
        counters = fleet.counters()
        assert counters["placements_changed"] == 1
        assert counters.get("leases_expired", 0) == 0
        fleet.process("b").terminate()
        assert fleet.process("b").wait() == 0
        stats = fleet.process("b").final_stats
        assert not any(stage["held"] for stage in stats["stages"])
        assert stats["counters"]["stages_changed"] == 1


def test_stages_that_cannot_be_loaded_stay_where_they_are(placed, busy, tmp_path_factory):
    """The bundle of a has lost a file since it started: only b can go on."""
    with make_fleet(placed, busy, odd={"b": "tires=0.3"}) as fleet:
        fleet.start()
        hidden = os.path.join(busy.path, "onnx", "segment_2.onnx")
        os.rename(hidden, hidden + ".away")
        try:
            fleet.process("b").send(signal.SIGUSR1)
            keep_busy_until(fleet, lambda: fleet.counters().get("assignments_given_up", 0) > 0)
            assert (held(fleet, "a"), held(fleet, "b")) == ([0, 1], [2])
            fleet.settle()
            assert "assignments_failed" in fleet.process("a").said
        finally:
            os.rename(hidden + ".away", hidden)
