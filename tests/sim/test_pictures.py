"""Pictures are PNGs; what they look like, a person has seen."""

from random import Random

import pytest
from test_report import ended, run

from edgesdk.sim import pictures
from edgesdk.sim.report import summarise

pytest.importorskip("matplotlib")


def a_run(seed=0, **changes):
    rng = Random(seed)
    items = [
        ended(rng.uniform(0, 10), rng.choice([0, 0, 1, 2]), ms=int(rng.expovariate(0.02)))
        for _ in range(300)
    ]
    return run(items, **changes)


def is_png(content):
    return content.startswith(b"\x89PNG") and len(content) > 10_000


def test_a_run():
    assert is_png(pictures.run_picture(summarise(a_run())))


@pytest.mark.parametrize("workers", [2, 30])
def test_a_run_whose_queues_were_sampled(workers):
    samples = [(int(k * 1e5), [k % 7] * workers) for k in range(100)]
    found = a_run()._replace(queue_samples=samples)
    nodes = found.totals.nodes[:1] * workers
    found = found._replace(totals=found.totals._replace(nodes=nodes))
    assert is_png(pictures.run_picture(summarise(found)))


def test_a_run_without_an_answer():
    assert is_png(pictures.run_picture(summarise(run([ended(3, status="failed")]))))


def test_two_sources():
    workloads = [{"source": s, "kind": "periodic", "rate_hz": 1} for s in "ab"]
    found = run([ended(3), ended(4, source="b")], workload=workloads)
    assert is_png(pictures.run_picture(summarise(found)))


@pytest.mark.parametrize(
    "values",
    [[0.5, 0.9], [1, 2], ["mesh", "ring"], [True, False], [{"kind": "final"}, {"kind": "fixed"}]],
    ids=repr,
)
def test_a_sweep(values):
    reports = [summarise(a_run(seed)) for seed in range(2)]
    assert is_png(pictures.sweep_picture("some.key", values, reports))


def test_a_sweep_with_a_run_that_answered_nothing():
    reports = [summarise(a_run()), summarise(run())]
    assert is_png(pictures.sweep_picture("some.key", [1, 2], reports))


def test_numbers_stand_at_themselves_and_other_values_side_by_side():
    assert pictures._places([3, 0.5]) == ([3.0, 0.5], [])
    assert pictures._places(["mesh", "ring"]) == ([0.0, 1.0], ["mesh", "ring"])
    long = [{"kind": "max_probability", "thresholds": 0.8}]
    assert pictures._places(long)[1] == ["max_probability\n0.8"]
