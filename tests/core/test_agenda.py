"""Duties by time."""

from hypothesis import given
from hypothesis import strategies as st

from edgesdk.core.agenda import Agenda

A, B, C = ("a", 1), ("b", 1), ("c", 1)


def agenda(*entries):
    found = Agenda()
    for duty, at_us in entries:
        found.put(duty, at_us)
    return found


def test_an_empty_agenda_is_never_due():
    found = Agenda()
    assert found.next_us() is None
    assert list(found.due(10**12)) == []


def test_duties_are_due_in_the_order_of_time():
    found = agenda((A, 30), (B, 10), (C, 20))
    assert found.next_us() == 10
    assert list(found.due(30)) == [B, C, A]
    assert len(found) == 0


def test_nothing_is_due_before_its_time():
    found = agenda((A, 30))
    assert list(found.due(29)) == []
    assert list(found.due(30)) == [A]


def test_ties_keep_the_order_of_entry():
    assert list(agenda((C, 5), (A, 5), (B, 5)).due(5)) == [C, A, B]


def test_a_duty_is_done_once():
    found = agenda((A, 5))
    assert list(found.due(5)) == [A]
    assert list(found.due(100)) == []


def test_put_replaces_an_earlier_and_a_later_time():
    for first, second in ((5, 9), (9, 5)):
        found = agenda((A, first), (A, second))
        assert (len(found), found.next_us()) == (1, second)
        assert list(found.due(20)) == [A]


def test_put_earlier_only_brings_forward():
    found = Agenda()
    found.put_earlier(A, 9)
    found.put_earlier(A, 12)
    assert found.next_us() == 9
    found.put_earlier(A, 5)
    assert found.next_us() == 5


def test_what_was_dropped_is_not_due():
    found = agenda((A, 5), (B, 6))
    found.drop(A)
    found.drop(C)  # it was never entered
    assert found.next_us() == 6
    assert list(found.due(10)) == [B]


def test_a_dropped_duty_may_be_entered_again():
    found = agenda((A, 5))
    found.drop(A)
    found.put(A, 5)
    assert list(found.due(5)) == [A]


def test_duties_entered_meanwhile_are_done_too_if_they_are_due():
    found = agenda((A, 5))
    seen = []
    for duty in found.due(5):
        seen.append(duty)
        if duty == A:
            found.put(B, 5)
            found.put(C, 6)
    assert seen == [A, B]
    assert found.next_us() == 6


@given(
    st.lists(st.tuples(st.sampled_from(["put", "earlier", "drop"]), *[st.integers(0, 5)] * 2)),
    st.integers(0, 5),
)
def test_it_is_a_dictionary_of_times(steps, now_us):
    found, expected = Agenda(), {}
    for what, who, at_us in steps:
        duty = ("x", who)
        if what == "drop":
            found.drop(duty)
            expected.pop(duty, None)
        elif what == "put":
            found.put(duty, at_us)
            expected[duty] = at_us
        else:
            found.put_earlier(duty, at_us)
            expected[duty] = min(at_us, expected.get(duty, at_us))
    assert len(found) == len(expected)
    assert found.next_us() == min(expected.values(), default=None)
    due = {duty for duty, at_us in expected.items() if at_us <= now_us}
    done = list(found.due(now_us))
    assert set(done) == due and len(done) == len(due)
    assert [expected[duty] for duty in done] == sorted(expected[duty] for duty in done)
