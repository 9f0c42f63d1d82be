"""Is anything wrong?"""

import pytest
from recorded_runs import MS, SHELF, item, recording, run_of

from edgesdk.report.facts import facts_of
from edgesdk.report.recording import Keys


def troubles(*recordings):
    facts = facts_of(run_of(*recordings))
    return facts.verdict, {trouble.name: trouble for trouble in facts.troubles}


def test_nothing():
    assert troubles(recording([item(0, 0, 1)], counters={"tasks_sent": 5})) == ("good", {})


def test_what_has_one_name_is_told_once():
    keys = Keys()
    verdict, found = troubles(
        recording(
            [],
            keys=keys,
            incidents=[("retransmissions", SHELF, None, "x")],
            counters={"retransmissions": 7},
            ticks={"retransmissions": [30 * MS]},
        ),
        recording(
            [],
            SHELF,
            "shelf",
            keys,
            counters={"retransmissions": 3},
            ticks={"retransmissions": [20 * MS]},
        ),
    )
    trouble = found["retransmissions"]
    assert verdict == "warning" and trouble.event_count == 10
    assert trouble.workers == {"robot": 7, "shelf": 3}
    assert trouble.times_us == [20 * MS, 30 * MS] and trouble.peers == ["shelf"]


def test_images_without_an_answer():
    spans = [
        item(0, 0, 5, None, status="failed", reason="stage_failed"),
        item(1, 0, 9, None, status="expired", reason="deadline"),
        item(2, 0, 9, 0, reason="deadline"),
        item(3, 0, 9, None, status="open", reason=""),
    ]
    verdict, found = troubles(recording(spans))
    assert verdict == "bad"
    assert {name: trouble.level for name, trouble in found.items()} == {
        "failed.stage_failed": "bad",
        "expired.deadline": "warning",
        "result.deadline": "note",
        "open": "warning",
    }
    assert found["failed.stage_failed"].times_us == [5 * MS]


def test_the_worst_comes_first():
    facts = facts_of(
        run_of(recording([], counters={"results_late": 1, "sessions_lost.silent": 1, "odd": 2}))
    )
    assert [trouble.level for trouble in facts.troubles] == ["bad", "note", "note"]
    assert facts.troubles[2].sentence == "Counted as odd."


@pytest.mark.parametrize(
    ("made", "name", "expected"),
    [
        ({"is_complete": False}, "cut", "was not closed"),
        ({"raised": "Traceback\nKeyError: 5\n", "is_complete": False}, "raised", "KeyError: 5"),
        ({"difference": "First at line 7.", "difference_count": 2}, "difference", "2 of 10 events"),
        ({"difference": "First.", "read_share": 0.25}, "difference", "for 25.0\u00a0% of the file"),
    ],
)
def test_of_a_trace(made, name, expected):
    _, found = troubles(recording([], **made))
    assert list(found) == [name] and expected in found[name].sentence


def test_why_a_neighbour_was_turned_away():
    incidents = [("greetings_rejected", SHELF, None, "plan: found 00, expected 01")]
    _, found = troubles(recording([], incidents=incidents, counters={"greetings_rejected": 1}))
    assert found["greetings_rejected"].sentence.endswith("plan: found 00, expected 01.")
