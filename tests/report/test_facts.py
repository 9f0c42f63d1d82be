"""All numbers together: in simulated worlds they agree with each other and with the simulator."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded_runs import WORLD, pair, simulated

from edgesdk.report.facts import document, facts_of
from edgesdk.sim.scenario import parse_scenario

CHAOS = {"mode": "chaos", "link_defaults": {"delay_ms": 2, "loss": 0.05, "duplication": 0.02}}


def check(run, facts):
    """What must agree, whatever happened."""
    assert sum(row.image_count for row in facts.outcomes) == facts.admitted_count
    assert sum(row.admitted_count for row in facts.workers) == facts.admitted_count
    assert sum(row.answer_count for row in facts.exits) == facts.result_count
    assert sum(row.answer_count for row in facts.workers) >= facts.result_count
    assert len(facts.latencies_us) == facts.result_count
    ended = sum(sum(each.exit_counts.values()) + each.unanswered_count for each in facts.intervals)
    assert ended == sum(len(recording.items) for recording in run.recordings)
    for row in facts.workers:
        stages = [stage for stage in facts.stages if stage.worker == row.name]
        assert sum(stage.busy_us for stage in stages) == row.busy_us
        assert sum(stage.item_count for stage in stages) == row.item_count
        assert row.busy_us <= row.end_us - row.begin_us + 2
        sent = [link.task_count for link in facts.links if link.sender == row.name]
        assert sum(sent) == row.sent_count
    for stage in facts.stages:
        assert sum(stage.sizes.values()) == stage.batch_count
        assert sum(size * count for size, count in stage.sizes.items()) == stage.item_count
    for link in facts.links:
        verdicts = link.accepted_count + link.refused_count + link.unsettled_count
        assert verdicts == link.task_count
    for row in facts.slowest:
        assert sum(row.spent) == row.latency_us and min(row.spent) >= 0
    if facts.spent is not None:
        mean_us = sum(facts.latencies_us) / len(facts.latencies_us)
        assert sum(facts.spent) == pytest.approx(mean_us)


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(0, 10_000), st.sampled_from([{}, CHAOS]), st.sampled_from([None, 60, 15]))
def test_numbers_agree_in_simulated_worlds(tmp_path_factory, seed, changes, deadline_ms):
    workload = {"source": "a", "kind": "poisson", "rate_hz": 60}
    workload.update({} if deadline_ms is None else {"deadline_ms": deadline_ms})
    scenario = parse_scenario(dict(WORLD, workload=[workload], **changes), "")
    run, facts = simulated(tmp_path_factory.mktemp("world"), scenario, seed)
    assert facts.admitted_count > 50 and all(origin.is_same for origin in facts.origins)
    check(run, facts)


def test_numbers_agree_in_a_run_made_by_hand():
    run = pair()
    facts = facts_of(run)
    check(run, facts)
    assert facts.result_count == 3 and facts.duration_us == 1_000_000
    assert facts.unrecorded == []
    assert facts.per_s == pytest.approx(3 / 0.105)


def test_the_document_is_json_with_every_number():
    found = json.loads(json.dumps(document(facts_of(pair())), allow_nan=False))
    assert found["admitted_count"] == 3 and found["workers"][1]["name"] == "shelf"
    assert found["slowest"][0]["spent"]["away_us"] == 35_000
    assert found["origins"][0]["policy"]["kind"] == "max_probability"
    assert "latencies_us" not in found
