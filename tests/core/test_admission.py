"""MDI-Exit Algorithms 3 and 4, with numbers worked out by hand."""

import math

import pytest

from edgesdk.core.admission import (
    NO_ADMISSION,
    Admission,
    AdmissionControl,
    check_admission,
    next_interarrival_us,
    next_threshold,
)
from edgesdk.core.events import Admit
from edgesdk.errors import ConfigError

RATE, THRESHOLD = Admission(kind="rate"), Admission(kind="threshold")


def test_the_constants_are_those_of_the_paper():
    assert RATE[1:6] == (10, 30, 0.2, 0.1, 0.2)


class TestAlgorithm3:
    @pytest.mark.parametrize(
        ("queued_count", "expected_us"),
        [
            (0, 80_000),  # line 3: mu - alpha mu
            (9, 80_000),
            (10, 80_000),  # exactly T_Q1 belongs to the interval below
            (11, 90_000),  # line 5: mu - beta mu
            (29, 90_000),
            (30, 90_000),  # exactly T_Q2
            (31, 120_000),  # line 7: mu + zeta mu
        ],
    )
    def test_one_step(self, queued_count, expected_us):
        assert next_interarrival_us(RATE, 100_000, queued_count) == pytest.approx(expected_us)

    def test_mu_stays_within_its_limits(self):
        options = RATE._replace(interarrival_us_min=900, interarrival_us_max=1_100)
        assert next_interarrival_us(options, 1_000, 0) == 900
        assert next_interarrival_us(options, 1_000, 99) == 1_100

    def test_mu_keeps_what_is_less_than_a_microsecond(self):
        control = AdmissionControl(RATE._replace(interarrival_us=101, interarrival_us_min=1))
        found = [control.step(0).interarrival_us for _ in range(3)]
        assert found == [101, 80, 64]  # 101, 80.8, 64.64


class TestAlgorithm4:
    @pytest.mark.parametrize(
        ("queued_count", "expected"),
        [(0, 0.72), (10, 0.72), (11, 0.66), (30, 0.66), (31, 0.50)],
    )
    def test_one_step(self, queued_count, expected):
        # 0.6 * 1.2, 0.6 * 1.1, and 0.6 * 0.8 = 0.48, which T_e^min = 0.5 stops.
        assert next_threshold(THRESHOLD, 0.6, queued_count) == pytest.approx(expected)

    def test_t_e_is_one_at_most(self):
        assert next_threshold(THRESHOLD, 0.95, 0) == 1.0

    def test_t_e_shrinks_when_queues_are_long(self):
        assert next_threshold(THRESHOLD, 0.9, 31) == pytest.approx(0.72)


class TestControl:
    def test_the_first_step_only_announces(self):
        assert AdmissionControl(RATE).step(99) == Admit(100_000, None)
        assert AdmissionControl(THRESHOLD).step(99) == Admit(None, 0.8)

    def test_the_second_one_adapts(self):
        control = AdmissionControl(RATE)
        control.step(99)
        assert control.step(99) == Admit(120_000, None)
        control = AdmissionControl(THRESHOLD)
        control.step(0)
        assert control.step(0).threshold == pytest.approx(0.96) == control.threshold

    def test_only_algorithm_4_has_a_threshold_and_none_has_no_period(self):
        assert math.isnan(AdmissionControl(RATE).threshold)
        assert math.isnan(AdmissionControl(NO_ADMISSION).threshold)
        assert AdmissionControl(NO_ADMISSION).period_us is None
        assert AdmissionControl(RATE).period_us == 500_000


@pytest.mark.parametrize(
    ("name", "wrong", "more"),
    [
        ("low_count", -1, {}),
        ("low_count", 31, {}),
        ("alpha", 0.1, {}),  # not above beta
        ("alpha", 1.0, {}),
        ("alpha", 0.2, {"beta": 0.0}),
        ("zeta", 0.0, {}),
        ("zeta", 1.0, {}),
        ("period_us", 0, {}),
        ("interarrival_us_min", 0, {}),
        ("interarrival_us_min", 70_000_000, {}),
        ("interarrival_us", 0, {}),
        ("threshold_min", 0.0, {}),
        ("threshold_min", 1.1, {}),
        ("threshold", 0.0, {}),
        ("threshold", 1.1, {}),
        ("threshold", math.nan, {}),
        ("alpha", math.nan, {}),
    ],
)
def test_a_wrong_constant_is_refused_by_its_name(name, wrong, more):
    options = Admission()._replace(**{name: wrong})._replace(**more)
    with pytest.raises(ConfigError, match=r"admission\.{}: found {}, exp".format(name, wrong)):
        check_admission(options)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="admission: found 'vegas', expected one of none, rate"):
        AdmissionControl(Admission(kind="vegas"))


def test_t_q1_may_equal_t_q2():
    assert check_admission(Admission(low_count=30)).low_count == 30
