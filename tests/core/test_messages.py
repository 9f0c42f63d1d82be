"""The vocabulary between workers."""

import inspect

import pytest

from edgesdk.core import messages as module
from edgesdk.core.exchange import ATTEMPTS_MAX
from edgesdk.core.guests import GUESTS_MAX
from edgesdk.core.messages import (
    CONTROL,
    DATA,
    HOPS_MAX,
    ITEMS_MAX,
    STAGES_MAX,
    TEXT_MAX,
    WINDOW,
    Ack,
    Message,
    Task,
)
from edgesdk.core.reports import CREDIT_MAX

PARTS_OF_MESSAGES = {"ItemId", "Greeting", "Envelope", "Answer"}


def classes():
    return {
        name: found
        for name, found in vars(module).items()
        if inspect.isclass(found) and issubclass(found, tuple) and hasattr(found, "_fields")
    }


def test_every_message_is_in_the_union():
    named = {kind.__name__ for kind in Message.__args__}
    assert named == set(classes()) - PARTS_OF_MESSAGES
    assert len(named) == 12


def test_an_acks_bitmaps_hold_a_window():
    assert WINDOW == 64


def test_limits_that_depend_on_each_other():
    assert CREDIT_MAX <= WINDOW  # credit beyond the window could not be used
    assert GUESTS_MAX <= ITEMS_MAX  # one Progress names them all
    assert ATTEMPTS_MAX < 2**16 and HOPS_MAX < 2**8
    assert STAGES_MAX >= 1 and TEXT_MAX >= 100


def test_lanes_are_told_apart():
    assert CONTROL != DATA


@pytest.mark.parametrize("kind", Message.__args__)
def test_messages_are_immutable(kind):
    message = kind(*[0] * len(kind._fields))
    with pytest.raises(AttributeError):
        setattr(message, kind._fields[0], 1)


def test_settled_messages_are_those_with_a_number():
    settled = {kind.__name__ for kind in Message.__args__ if "seq" in kind._fields}
    assert settled == {"Task", "ResultMessage"}
    for kind in Message.__args__:
        assert ("seq" in kind._fields) is ("oldest" in kind._fields)


def test_an_ack_repeats_what_a_load_reports():
    reported = ("report", "queue_length", "delay_us", "task_limit")
    for kind in (Ack, module.Load):
        assert set(reported) <= set(kind._fields)


def test_features_travel_with_tasks_alone():
    for kind in Message.__args__:
        assert ("policy_state" in kind._fields) is (kind is Task)
