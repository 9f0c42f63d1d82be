"""The recorder sees what the simulator counts."""

import pytest
from worlds import world

from edgesdk.sim.recorder import Recorder
from edgesdk.sim.scenario import parse_scenario
from edgesdk.sim.simulator import Simulator


def watched(sample_us=100_000, on_sample=lambda now_us: None, **changes):
    scenario = parse_scenario(world(**changes), "")
    recorder = Recorder(sample_us, on_sample)
    simulator = Simulator(scenario, 1, observer=recorder)
    recorder.watch(simulator)
    return recorder, simulator.run()


class TestEnds:
    def test_are_those_of_the_totals(self):
        recorder, totals = watched()
        (source,) = totals.sources
        assert len(recorder.ended) == source.submitted_count == source.answered_count
        assert sum(ended.right for ended in recorder.ended) == source.correct_count
        exits = [ended.exit_index for ended in recorder.ended]
        assert tuple(exits.count(index) for index in range(3)) == source.exit_counts

    def test_also_after_a_restart_of_the_source(self):
        crash = {"kind": "crash", "where": "a", "at_s": 3, "duration_s": 1}
        recorder, totals = watched(fault=[crash])
        (source,) = totals.sources
        assert sum(ended.right for ended in recorder.ended) == source.correct_count > 0

    def test_of_several_sources(self):
        workloads = [{"source": s, "kind": "poisson", "rate_hz": 20} for s in "ab"]
        recorder, totals = watched(workload=workloads)
        for source in totals.sources:
            right = [ended.right for ended in recorder.ended if ended.source == source.name]
            assert (len(right), sum(right)) == (source.answered_count, source.correct_count)

    def test_without_an_answer(self):
        workload = [{"source": "a", "kind": "periodic", "rate_hz": 10, "deadline_ms": 1.5}]
        model = dict(world()["model"], exit_shares=[0, 0, 1])
        recorder, _ = watched(workload=workload, model=model)
        found = {(ended.status, ended.exit_index, ended.right) for ended in recorder.ended}
        assert found == {("expired", None, False)}


class TestSamples:
    def test_are_taken_about_every_so_often(self):
        times = []
        recorder, _ = watched(sample_us=500_000, on_sample=times.append)
        assert times == [at_us for at_us, _ in recorder.queue_samples]
        gaps = [later - before for before, later in zip(times, times[1:])]
        assert min(gaps) >= 500_000
        assert sum(gaps) / len(gaps) == pytest.approx(500_000, rel=0.3)

    def test_have_a_length_for_each_node(self):
        workload = [{"source": "a", "kind": "poisson", "rate_hz": 900}]
        recorder, _ = watched(duration_s=2, workload=workload)
        assert all(len(lengths) == 2 for _, lengths in recorder.queue_samples)
        assert max(lengths[0] for _, lengths in recorder.queue_samples) > 5

    def test_a_node_without_a_process_has_no_queue(self):
        nodes = [{"name": "a"}, {"name": "b", "join_s": 5}]
        recorder, _ = watched(node=nodes)
        assert recorder.queue_samples[0][1] == [0, 0]
