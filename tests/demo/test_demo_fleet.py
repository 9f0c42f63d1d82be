"""The checks of the fleet's demonstration can fail."""

import pytest

from edgesdk.demo import fleet
from edgesdk.demo.stream import Answer, Mark, Sample, Stream
from edgesdk.errors import Failed
from edgesdk.results import Result

NAMES = ["board-1", "board-2"]
EXPECTED = [
    Result(0, 0, "7", 7, 0.9, 0.8, 0.1, 1, "threshold", False, 100, "source"),
    Result(1, 1, "3", 3, 0.7, 0.5, 0.6, 2, "threshold", False, 100, "source"),
]


def streamed(outcomes):
    """A stream in which these (tag, outcome) were noted."""
    stream = Stream(None, EXPECTED)
    stream.submitted_count = 3
    stream.answers = [Answer(tag, 0.1, outcome) for tag, outcome in outcomes]
    return stream


RIGHT = [(0, EXPECTED[0]), (2, EXPECTED[0]), (1, EXPECTED[1])]


class TestAnswers:
    def test_in_any_order_and_from_any_worker_are_right(self):
        other = EXPECTED[1]._replace(item=9, latency_us=5)
        assert fleet._judge(streamed(RIGHT[:2] + [(1, other)]), EXPECTED) == (0, 0)

    def test_that_are_missing_or_come_twice_are_found(self):
        assert fleet._judge(streamed(RIGHT[:2]), EXPECTED) == (1, 0)
        assert fleet._judge(streamed(RIGHT + RIGHT[:1]), EXPECTED) == (1, 0)

    @pytest.mark.parametrize(
        "name", ["class_index", "exit_index", "max_probability", "margin", "entropy"]
    )
    def test_that_differ_in_the_last_bit_are_found(self, name):
        value = getattr(EXPECTED[1], name)
        wrong = EXPECTED[1]._replace(**{name: value * (1 + 2e-16) if value < 1 else value + 1})
        assert fleet._judge(streamed(RIGHT[:2] + [(1, wrong)]), EXPECTED) == (0, 1)

    def test_that_are_none_are_wrong(self):
        assert fleet._judge(streamed(RIGHT[:2] + [(1, Failed("no", 1))]), EXPECTED) == (0, 1)


TIMES = {fleet.ALONE: 0, fleet.JOIN: 1, fleet.FULL: 2, fleet.KILLED: 3, fleet.MISSED: 4}
TIMES.update({fleet.BACK: 5, fleet.UP: 6, fleet.LEAVE: 7, fleet.GONE: 8, fleet.END: 9})


ANSWERED_AT = [0.5, 2.2, 2.4, 3.5, 4.5, 5.5, 6.5, 7.5]


def told(
    unanswered=0, wrong=0, in_flight=0, in_order=True, back=3, at_s=None, answered_at=ANSWERED_AT
):
    """A run in which nothing went wrong, but for what is given."""
    stream = streamed(RIGHT)
    stream.marks = [Mark(dict(TIMES, **at_s or {})[what], what, "") for what in TIMES]
    stream.answers = [Answer(tag, at, None) for tag, at in enumerate(answered_at)]
    stream.samples = [Sample(4.0, 5, {"board-1": 2}), Sample(9.0, 9, {"board-1": 2 + back})]
    report = {"left_in_order": in_order, "in_flight_count": 0}
    reports = dict.fromkeys(NAMES, report)
    return fleet.Told(stream, 1e5, unanswered, wrong, {"in_flight_count": in_flight}, reports)


@pytest.mark.parametrize(
    ("failing", "options"),
    [
        ([], {}),
        ([0], {"unanswered": 1}),
        ([0], {"in_flight": 1}),
        ([1], {"wrong": 1}),
        ([2], {"at_s": {fleet.MISSED: 8.5}}),
        ([3], {"at_s": {fleet.BACK: 8.5}, "answered_at": [0.5, 2.2, 2.4]}),
        ([4], {"back": 0}),
        ([5], {"in_order": False}),
        ([6], {"at_s": {fleet.FULL: 2.5}}),
    ],
)
def test_every_check_can_fail(failing, options):
    given = told(**options)
    found = fleet._check(NAMES, given, fleet._rates(NAMES, given.stream))
    assert [index for index, ok in enumerate(found.values()) if not ok] == failing


def test_more_processes_on_fewer_cores_are_paced_slower(monkeypatch):
    monkeypatch.setattr(fleet.os, "sched_getaffinity", lambda pid: {0, 1})
    assert [fleet._slower(count) for count in (2, 4, 8)] == [25, 50, 100]
    monkeypatch.setattr(fleet.os, "sched_getaffinity", lambda pid: set(range(64)))
    assert fleet._slower(8) == 25
