"""What cores are made from: equal specs are equal cores, and what cannot be made is refused."""

from random import Random

import pytest
from traces import SPEC

from edgesdk.core.admission import Admission
from edgesdk.core.disturbance import Disturbance
from edgesdk.core.events import WAKE, PeerFound, RunStage, Submit, Timer
from edgesdk.core.exits import FixedExit, MaxProbability, RandomExit
from edgesdk.core.metrics import Metrics
from edgesdk.core.offload import Offloading
from edgesdk.core.spec import Plan
from edgesdk.core_spec import new_core
from edgesdk.errors import ConfigError


def acquaintance(spec, **options):
    """What a new core says to a neighbour first: with a session that it draws."""
    core, _ = new_core(spec, **options)
    return core.handle(PeerFound(9), 5) + core.handle(Timer(WAKE), 5)


def test_equal_specs_are_equal_cores():
    assert acquaintance(SPEC) == acquaintance(SPEC) != acquaintance(SPEC._replace(seed=12))


def test_a_generator_may_be_given_instead_of_the_seed():
    assert acquaintance(SPEC, rng=Random(12)) == acquaintance(SPEC._replace(seed=12))


def test_metrics_are_new_or_go_on():
    _, fresh = new_core(SPEC)
    assert fresh.exit_counts == [0, 0, 0]
    old = Metrics(3)
    core, metrics = new_core(SPEC, old)
    core.handle(Submit((0,), (None,), 0), 0)
    assert metrics is old and old.admitted_count == 1


def test_every_field_has_its_effect():
    core, _ = new_core(SPEC._replace(max_batch=2))
    run = core.handle(Submit((0, 1, 2), (None,) * 3, 0), 0)[-1]
    assert isinstance(run, RunStage) and len(run.items) == 2
    core, _ = new_core(SPEC._replace(policy=RandomExit(), seed=1))
    assert core.identity == SPEC.identity
    core, _ = new_core(SPEC._replace(admission=Admission(kind="rate")))
    assert core._admission.period_us == 500_000
    core, _ = new_core(SPEC._replace(part_count=2))
    assert core._source.part_count == 2


def test_the_students_of_an_ensemble_may_differ_much_in_depth():
    (whole,) = SPEC.plans
    shallow = Plan("full", whole.stages[:1])
    for plans in ((whole, shallow), (shallow, whole)):
        core, _ = new_core(SPEC._replace(plans=plans, part_count=2))
        assert len(core._plans) == 2
        with pytest.raises(ConfigError, match="thresholds"):
            new_core(SPEC._replace(plans=plans, policy=MaxProbability([0.5])))


def test_only_a_disturbed_core_is():
    calm, wild = new_core(SPEC)[0], new_core(SPEC._replace(is_disturbed=True))[0]
    assert not isinstance(calm._neighbours._disturb, Disturbance)
    assert isinstance(wild._neighbours._disturb, Disturbance)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offloading": Offloading(output_queue_max=-1)}, "output_queue_max: found -1"),
        ({"admission": Admission(kind="magic")}, "admission: found 'magic'"),
        ({"policy": FixedExit(5)}, "exit_index 5 is not among"),
        ({"policy": MaxProbability([0.5, 0.5])}, "found 2 thresholds, expected 3"),
    ],
)
def test_what_cannot_be_made_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        new_core(SPEC._replace(**change))
