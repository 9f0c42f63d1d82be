"""The life of an item: every pair of state and event, allowed or impossible."""

from random import Random

import pytest

from edgesdk.core import source as module
from edgesdk.core.events import Answer, CancelTimer, Classify, Deliver, Release, Scores, Submit
from edgesdk.core.exits import FinalExit
from edgesdk.core.gather import Gather
from edgesdk.core.metrics import Metrics
from edgesdk.core.source import (
    ANSWERING,
    CANCEL,
    COMPLETE,
    DEADLINE,
    ENDED,
    FAIL,
    GATHER,
    RUNNING,
    START,
    SUPERSEDE,
    TRANSITIONS,
    WAITING,
    Source,
)

ANSWER = Answer(0, Scores(0, 0.9, 0.8, 0.1))

EXPECTED = {
    (WAITING, START): RUNNING,
    (WAITING, FAIL): ENDED,
    (WAITING, DEADLINE): ENDED,
    (WAITING, SUPERSEDE): ENDED,
    (WAITING, CANCEL): ENDED,
    (RUNNING, START): RUNNING,
    (RUNNING, GATHER): ANSWERING,
    (RUNNING, COMPLETE): ENDED,
    (RUNNING, FAIL): ENDED,
    (RUNNING, DEADLINE): ENDED,
    (RUNNING, SUPERSEDE): RUNNING,
    (RUNNING, CANCEL): RUNNING,
    (ANSWERING, START): ANSWERING,
    (ANSWERING, GATHER): ANSWERING,
    (ANSWERING, COMPLETE): ENDED,
    (ANSWERING, FAIL): ENDED,
    (ANSWERING, DEADLINE): ANSWERING,
    (ANSWERING, SUPERSEDE): ANSWERING,
    (ANSWERING, CANCEL): ANSWERING,
}


def source_with_item(state, **options):
    """A source that holds item 5 in `state`; of two parts if that is of ensembles only."""
    found = Source(FinalExit(), 2 if state == ANSWERING else 1, Metrics(1), Random(0))
    found.admit(Submit((5,), ("tag",), 100, **options), [])
    if state != WAITING:
        found.start(5)
    if state == ANSWERING:
        found.leave(5, 0, ANSWER, "final", 800, [])
        found.leave(5, 1, ANSWER, "final", 800, [])
    return found


def cause(source, event):
    """Make `event` happen to item 5; the actions."""
    actions = []
    if event == START:
        source.start(5)
    elif event == GATHER:  # of one part, the item is complete with it
        source.part_count = 2
        source._items[5].gather = Gather(1)
        source.leave(5, 0, ANSWER, "final", 900, actions)
    elif event == COMPLETE and source.part_count == 2:
        source.classified(5, ANSWER.scores, 900, actions)
    elif event == COMPLETE:
        source.leave(5, 0, ANSWER, "final", 900, actions)
    elif event == FAIL:
        source.fail(5, "stage_failed", "why", 900, actions)
    elif event == DEADLINE:
        source.on_deadline(5, 900, actions)
    else:
        source.drop_waiting(5, event, 900, actions)
    return actions


@pytest.mark.parametrize("event", module.EVENTS)
@pytest.mark.parametrize("state", [WAITING, RUNNING, ANSWERING])
def test_every_pair_of_state_and_event(state, event):
    source = source_with_item(state)
    if (state, event) not in EXPECTED:
        with pytest.raises(KeyError):
            cause(source, event)
        return
    actions = cause(source, event)
    ends = EXPECTED[(state, event)] == ENDED
    assert source.is_open(5) is not ends
    expected = [Deliver, Release] if ends else []
    if EXPECTED[(state, event)] == ANSWERING != state:
        expected = [Classify]
    assert [type(action) for action in actions] == expected
    if ends:
        assert actions[0].outcome.latency_us == 800


def test_the_table_holds_exactly_these_pairs():
    pairs = {(s, e): after for s, row in TRANSITIONS.items() for e, after in row.items()}
    assert pairs == EXPECTED


def test_a_timer_is_cancelled_unless_it_is_what_ended_the_item():
    source = source_with_item(RUNNING, deadline_us=1000)
    assert [type(a) for a in cause(source, FAIL)] == [CancelTimer, Deliver, Release]
    source = source_with_item(RUNNING, deadline_us=1000)
    assert [type(a) for a in cause(source, DEADLINE)] == [Deliver, Release]


def test_open_and_waiting_items_are_told_apart():
    source = source_with_item(RUNNING)
    source.admit(Submit((6, 7), (None, None), 100), [])
    assert source.open_items() == [5, 6, 7]
    assert source.waiting() == [6, 7]


def test_dropping_an_item_that_has_ended_changes_nothing():
    source = source_with_item(RUNNING)
    cause(source, FAIL)
    assert cause(source, CANCEL) == []
    assert source.metrics.snapshot()["ended"] == {"failed.stage_failed": 1}


def test_an_open_item_knows_its_deadline():
    assert source_with_item(RUNNING, deadline_us=1000).deadline_us(5) == 1000
    assert source_with_item(RUNNING).deadline_us(5) is None
    with pytest.raises(KeyError):
        source_with_item(RUNNING).deadline_us(6)
