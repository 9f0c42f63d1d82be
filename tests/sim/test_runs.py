"""A run is what simulator, recorder and report make of a scenario together."""

from worlds import world

from edgesdk.sim.runs import SAMPLES, run_scenario
from edgesdk.sim.scenario import parse_scenario

SCENARIO = parse_scenario(world(), "")


def test_every_item_of_the_run_is_in_the_report():
    found = run_scenario(SCENARIO, 1)
    assert found.total.result_count == found.total.admitted_count > 0
    assert found.total.admitted_count == found.run.totals.sources[0].submitted_count
    assert found.warmup_us == SCENARIO.duration_us // 5


def test_the_seed_decides():
    runs = [run_scenario(SCENARIO, seed).total.latencies_us for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_queues_are_sampled():
    found = run_scenario(SCENARIO, 1, warmup_us=0)
    assert 10 < len(found.run.queue_samples) <= 2 * SAMPLES  # some come after the end
    assert found.warmup_us == 0
