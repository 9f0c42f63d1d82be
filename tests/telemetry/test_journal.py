"""The log says why, with values for programs, and not more often than a person can read."""

import json
import logging

import pytest

from edgesdk.core.metrics import Incident, Metrics
from edgesdk.telemetry.journal import LINES_AT_ONCE, Journal, JsonLines, Limiter


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def journal(clock, caplog):
    caplog.set_level(logging.DEBUG, "edgesdk.incidents")
    return Journal("robot-1", {7: "nano-2"}, Limiter(clock_s=clock))


def said(caplog):
    return [record.getMessage() for record in caplog.records]


class TestLines:
    def test_say_who_what_and_why(self, journal, caplog):
        journal(Incident("leases_expired", 7, 17, "no result came in time"))
        journal(Incident("sessions_begun", 9))
        journal(Incident("tasks_refused", 7, -5))
        assert said(caplog) == [
            "robot-1: leases_expired neighbour=nano-2 item=17: no result came in time",
            "robot-1: sessions_begun neighbour=0000000000000009",
            "robot-1: tasks_refused neighbour=nano-2",  # -5 is no number that anybody knows
        ]

    def test_have_their_values_beside_them(self, journal, caplog):
        journal(Incident("failed.stage_failed", None, 0, "stage 1: ValueError: no"))
        assert caplog.records[0].edgesdk == {
            "event": "failed.stage_failed",
            "worker": "robot-1",
            "item": 0,
            "detail": "stage 1: ValueError: no",
        }

    @pytest.mark.parametrize(
        ("name", "level"),
        [
            ("sessions_lost.silent", "WARNING"),
            ("sessions_lost.left", "INFO"),
            ("failed.attempts", "WARNING"),
            ("failed.cancelled", "DEBUG"),
            ("expired.deadline", "INFO"),
            ("something_new", "INFO"),
        ],
    )
    def test_are_as_loud_as_they_should_be(self, journal, caplog, name, level):
        journal(Incident(name))
        assert [record.levelname for record in caplog.records] == [level]

    def test_that_nobody_would_see_cost_no_allowance(self, journal, caplog):
        caplog.set_level(logging.WARNING, "edgesdk.incidents")
        for _ in range(50):
            journal(Incident("retransmissions", 7))
        caplog.set_level(logging.INFO, "edgesdk.incidents")
        journal(Incident("retransmissions", 7))
        assert said(caplog) == ["robot-1: retransmissions neighbour=nano-2"]


class TestHowOften:
    def test_the_same_again_and_again_is_said_some_times_and_then_counted(
        self, journal, caplog, clock
    ):
        for _ in range(100):
            journal(Incident("retransmissions", 7))
        assert len(said(caplog)) == LINES_AT_ONCE
        journal(Incident("retransmissions", 9))  # another neighbour is another story
        journal(Incident("tasks_refused", 7))
        assert len(said(caplog)) == LINES_AT_ONCE + 2
        clock.now_s += 11
        journal(Incident("retransmissions", 7))
        assert said(caplog)[-1] == (
            "robot-1: retransmissions neighbour=nano-2 (and 95 more like it before)"
        )
        assert caplog.records[-1].edgesdk["left_out_count"] == 95

    def test_what_is_saved_up_has_an_end(self, journal, caplog, clock):
        clock.now_s += 1e6
        for _ in range(100):
            journal(Incident("retransmissions", 7))
        assert len(said(caplog)) == LINES_AT_ONCE

    def test_a_flood_of_kinds_is_forgotten(self, clock):
        limiter = Limiter(clock_s=clock)
        for kind in range(20_000):
            limiter.left_out(kind)
        assert len(limiter._kinds) < 5000


class TestJsonLines:
    def record(self, **more):
        record = logging.LogRecord("edgesdk.x", logging.INFO, "", 0, "%s é", ("a\nb",), None)
        record.__dict__.update(more)
        return record

    def test_one_object_a_line(self):
        text = JsonLines().format(self.record(edgesdk={"event": "e", "item": 3}))
        assert "\n" not in text
        document = json.loads(text)
        assert abs(document.pop("time") - self.record().created) < 60
        assert document == {
            "level": "INFO",
            "logger": "edgesdk.x",
            "message": "a\nb é",
            "event": "e",
            "item": 3,
        }

    def test_a_traceback_is_in_it(self):
        try:
            raise ValueError("no")
        except ValueError as error:
            info = (ValueError, error, error.__traceback__)
        assert (
            "ValueError: no"
            in json.loads(JsonLines().format(self.record(exc_info=info)))["traceback"]
        )


def test_the_core_tells_who_listens_and_counts_in_any_case():
    metrics, told = Metrics(1), []
    metrics.incident("a", 7, 3, "why")
    metrics.on_incident = told.append
    metrics.incident("a", 7, 3, "why")
    assert metrics.counters == {"a": 2} and told == [Incident("a", 7, 3, "why")]
