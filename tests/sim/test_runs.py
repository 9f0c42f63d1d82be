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


def test_the_seed_decides_and_a_hash_shows_it():
    hashes = [run_scenario(SCENARIO, seed, trace=True).run.totals.trace_hash for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_queues_are_sampled_and_whoever_waits_is_told():
    moments = []
    found = run_scenario(SCENARIO, 1, warmup_us=0, on_sample=moments.append)
    assert [at_us for at_us, _ in found.run.queue_samples] == moments
    assert 10 < len(moments) <= 2 * SAMPLES  # a sample needs an event; some come after the end
    assert found.warmup_us == 0
