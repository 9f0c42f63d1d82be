"""A simulation is drawn in virtual time, whatever the clocks of its nodes."""

import pytest
from trace_events import problems, processes, read, slices, unordered_flows

from edgesdk.sim import chaos
from edgesdk.sim.drawn import Drawn
from edgesdk.sim.recorder import Recorder
from edgesdk.sim.simulator import Simulator
from edgesdk.telemetry.timeline import whole_sheet


@pytest.mark.parametrize("seed", range(5))
def test_every_item_of_a_world_where_much_goes_wrong(seed, tmp_path):
    path = str(tmp_path / "world.json")
    recorder = Recorder(100_000)
    scenario = chaos.draw(seed)
    with whole_sheet(path) as sheet:
        drawn = Drawn(sheet, recorder)
        simulator = Simulator(scenario, seed, observer=drawn)
        recorder.watch(simulator)
        drawn.watch(simulator)
        totals = simulator.run()
        drawn.finish()
    events = read(path)
    assert problems(events) == []
    assert list(processes(events).values()) == [node.name for node in scenario.nodes]
    ended = [e for e in slices(events) if "reason" in e["args"] and "verdict" not in e["args"]]
    lost_count = sum(source.lost_count + source.open_count for source in totals.sources)
    assert len(ended) == len(recorder.ended) + lost_count > 0
    by_latency = sorted(each.latency_us for each in recorder.ended)
    lengths = sorted(e["dur"] for e in ended if e["name"] != "open")
    for latency_us, length_us in zip(by_latency, lengths):
        assert abs(latency_us - length_us) <= 2 + latency_us * 1e-3  # drift
    assert all(0 <= e["ts"] <= totals.end_us for e in events if "ts" in e)
    assert list(unordered_flows(events)) == []
    starts = [e for e in events if e["name"] == "starts"]
    assert len(starts) >= len([n for n in scenario.nodes if n.join_us < totals.end_us])


def test_changes_nothing(tmp_path):
    scenario, hashes = chaos.draw(7), []
    for observer in (False, True):
        recorder = Recorder(100_000)
        with whole_sheet(str(tmp_path / "world.json")) as sheet:
            drawn = Drawn(sheet, recorder)
            simulator = Simulator(scenario, 7, observer=drawn if observer else recorder)
            recorder.watch(simulator)
            drawn.watch(simulator)
            hashes.append(simulator.run().trace_hash)
    assert hashes[0] == hashes[1]
