"""The tables of the algorithms: names as in the papers' rules, times in ms, mistakes by path."""

import pytest

from edgesdk.algorithms import read_admission, read_offloading, read_replanning
from edgesdk.core.admission import Admission
from edgesdk.core.offload import Offloading
from edgesdk.core.replanning import Replanning
from edgesdk.errors import ConfigError
from edgesdk.schema import Field


def field(value, path):
    return Field(value, path, ConfigError)


def test_without_a_table_the_defaults_hold():
    assert (read_offloading(None), read_admission(None)) == (Offloading(), Admission())
    assert read_offloading(field({}, "offloading")) == Offloading()
    assert read_admission(field({}, "admission")) == Admission()


def test_offloading_by_the_names_of_the_rules():
    table = {"output_queue_max": 3, "serve_output": False, "offload_inputs": True}
    found = read_offloading(field(table, "offloading"))
    assert found == Offloading(3, serve_output=False, offload_inputs=True)


def test_admission_in_milliseconds():
    table = {"kind": "rate", "period_ms": 250, "interarrival_ms_min": 0.2, "low_count": 5}
    found = read_admission(field(table, "admission"))
    assert found == Admission("rate", low_count=5, period_us=250_000, interarrival_us_min=200)


def test_replanning_names_its_coordinator_and_is_off_without_a_table():
    assert read_replanning(None, {"a": 7}) is None
    found = read_replanning(field({"coordinator": "a", "period_s": 0.5}, "replanning"), {"a": 7})
    assert found == Replanning(7, period_us=500_000)
    with pytest.raises(ConfigError, match=r"replanning\.coordinator: missing"):
        read_replanning(field({}, "replanning"), {"a": 7})


@pytest.mark.parametrize(
    ("table", "begins", "says"),
    [
        ({"kind": "speed"}, "admission.kind: found 'speed'", "none, rate, threshold"),
        ({"period": 1}, "admission.period: unknown key", "period_ms"),
        ({"period_us": 1}, "admission.period_us: unknown key", "period_ms"),
        ({"alpha": 2}, "admission.alpha: found 2", "beta < alpha < 1"),
        ({"alpha": "big"}, "admission.alpha: found 'big'", "a number"),
        ({"low_count": 1.5}, "admission.low_count: found 1.5", "a whole number"),
        ({"period_ms": 0}, "admission.period_ms: found 0", "above 0"),
    ],
)
def test_mistakes_of_admission(table, begins, says):
    with pytest.raises(ConfigError) as caught:
        read_admission(field(table, "admission"))
    assert str(caught.value).startswith(begins) and says in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"serve_output": 1}, "offloading.serve_output: found 1, expected true or false"),
        (
            {"output_queue_max": -1},
            "offloading.output_queue_max: found -1, expected a whole number from 0",
        ),
    ],
)
def test_mistakes_of_offloading(table, message):
    with pytest.raises(ConfigError) as caught:
        read_offloading(field(table, "offloading"))
    assert str(caught.value) == message
