"""One neighbour: states, sessions, reports."""

from random import Random

import pytest
from by_hand import greeting

from edgesdk.core import peer as module
from edgesdk.core.messages import WINDOW, Envelope, Hello, Load, ResultMessage, Task, Welcome
from edgesdk.core.peer import (
    ABSENT,
    AGREED,
    BYE,
    FINAL,
    FOUND,
    FRESH_US,
    GONE,
    GREETING,
    HELLO,
    LEAVING,
    SILENT,
    SUSPECT_US,
    TRANSITIONS,
    UP,
    Peer,
)

EXPECTED = {
    (ABSENT, FOUND): GREETING,
    (ABSENT, HELLO): GREETING,
    (ABSENT, AGREED): ABSENT,
    (ABSENT, SILENT): ABSENT,
    (ABSENT, BYE): ABSENT,
    (ABSENT, FINAL): ABSENT,
    (ABSENT, GONE): ABSENT,
    (GREETING, FOUND): GREETING,
    (GREETING, HELLO): GREETING,
    (GREETING, AGREED): UP,
    (GREETING, SILENT): GREETING,
    (GREETING, BYE): GREETING,
    (GREETING, FINAL): ABSENT,
    (GREETING, GONE): ABSENT,
    (UP, FOUND): UP,
    (UP, HELLO): UP,
    (UP, AGREED): UP,
    (UP, SILENT): GREETING,
    (UP, BYE): LEAVING,
    (UP, FINAL): ABSENT,
    (UP, GONE): ABSENT,
    (LEAVING, FOUND): LEAVING,
    (LEAVING, HELLO): LEAVING,
    (LEAVING, AGREED): UP,
    (LEAVING, SILENT): ABSENT,
    (LEAVING, BYE): LEAVING,
    (LEAVING, FINAL): ABSENT,
    (LEAVING, GONE): ABSENT,
}
WAYS = {ABSENT: [], GREETING: [FOUND], UP: [FOUND, AGREED], LEAVING: [FOUND, AGREED, BYE]}
NOW_US = 10_000_000
TASK = Task(0, 0, None, 0, 0, 0, 1, 0, 0.0, (0, 0))
RESULT = ResultMessage(0, 0, None, 0, 0, 1, "final", None)


def peer_in(state, worker=2, seed=0):
    found = Peer(worker, True, Random(seed))
    for event in WAYS[state]:
        found.move(event)
    assert found.state is state
    return found


@pytest.mark.parametrize("event", module.EVENTS)
@pytest.mark.parametrize("state", module.STATES)
def test_every_pair_of_state_and_event(state, event):
    found = peer_in(state)
    found.move(event)
    assert found.state is EXPECTED[(state, event)]
    assert found.is_connected is (found.state in (UP, LEAVING))


def test_the_table_holds_exactly_these_pairs():
    pairs = {(s, e): after for s, row in TRANSITIONS.items() for e, after in row.items()}
    assert pairs == EXPECTED


def side(worker, seed):
    """One end of an acquaintance, which greets the other."""
    found = peer_in(GREETING, worker, seed)
    found.me = greeting(5 - worker)
    return found


def hello(sender):
    return Envelope(sender.my_session, 0, Hello(sender.me))


def welcome(sender, asked):
    session = sender.answer(asked.from_session, asked.message.greeting)
    return Envelope(session, asked.from_session, Welcome(sender.me))


def use(sender):
    """Any message in the session that stands at `sender`."""
    return Envelope(sender.my_session, sender.their_session, Load(1, 0, 0, 8, 1))


def conclude(receiver, envelope):
    """Whether a message concludes the handshake at `receiver`, which then begins."""
    given = envelope.message.greeting if isinstance(envelope.message, Welcome) else None
    agreed = receiver.agrees(envelope, given)
    if agreed is None:
        return False
    receiver.move(AGREED)
    receiver.begin(envelope, agreed, NOW_US)
    return True


class TestHandshake:
    def sides(self):
        return side(2, 1), side(3, 2)

    def understand_each_other(self, a, b):
        return a.is_current(use(b)) and b.is_current(use(a))

    def test_whoever_greets_is_up_with_the_welcome_the_other_with_the_first_use(self):
        a, b = self.sides()
        answer = welcome(b, hello(a))
        assert conclude(a, answer) and not b.is_connected
        assert conclude(b, use(a))
        assert self.understand_each_other(a, b)

    def test_in_the_other_order_too(self):
        a, b = self.sides()
        assert conclude(b, welcome(a, hello(b))) and conclude(a, use(b))
        assert self.understand_each_other(a, b)

    def test_simultaneous_hellos_make_one_session(self):
        a, b = self.sides()
        to_a, to_b = hello(b), hello(a)
        from_a, from_b = welcome(a, to_a), welcome(b, to_b)
        assert conclude(a, from_b) and conclude(b, from_a)
        assert self.understand_each_other(a, b)

    def test_a_lost_welcome_is_made_good_by_the_first_use(self):
        a, b = self.sides()
        welcome(b, hello(a))  # lost
        assert conclude(a, welcome(b, hello(a)))  # of the Hello repeated
        assert conclude(b, use(a))
        assert self.understand_each_other(a, b)

    def test_a_welcome_to_another_session_concludes_nothing(self):
        a, b = self.sides()
        old = welcome(b, hello(a))
        a.greet_anew()
        assert not conclude(a, old)

    def test_the_use_of_a_session_never_offered_concludes_nothing(self):
        a, b = self.sides()
        welcome(b, hello(a))
        assert not conclude(b, use(a)._replace(from_session=12345))
        assert not conclude(b, use(a)._replace(to_session=12345))

    def together(self):
        a, b = self.sides()
        old = hello(a)
        conclude(a, welcome(b, old))
        conclude(b, use(a))
        return a, b, old

    def test_a_second_hello_of_the_standing_session_is_answered_with_it(self):
        a, b, old = self.together()
        again = welcome(b, old)
        assert (again.from_session, again.to_session) == (b.my_session, a.my_session)

    def test_an_old_hello_that_comes_late_changes_nothing(self):
        a, b, _ = self.together()
        late = Envelope(999, 0, Hello(a.me))
        answer = welcome(b, late)
        assert not a.is_current(answer) and not conclude(a, answer)
        assert b.is_current(use(a)) and self.understand_each_other(a, b)

    def test_a_neighbour_that_started_again_takes_over_when_it_uses_the_offer(self):
        a, b, _ = self.together()
        again = side(2, 77)
        answer = welcome(b, hello(again))
        assert b.is_current(use(a))  # not before
        assert conclude(again, answer) and conclude(b, use(again))
        assert not b.is_current(use(a))
        assert self.understand_each_other(again, b)

    def test_the_offer_is_the_same_for_every_repetition_of_a_hello(self):
        _, b, _ = self.together()
        again = side(2, 77)
        assert welcome(b, hello(again)) == welcome(b, hello(again))

    def test_after_a_session_nothing_of_it_is_current(self):
        a, b, _ = self.together()
        last = use(a)
        b.greet_anew()
        assert not b.is_current(last) and not conclude(b, last)

    def test_a_new_session_forgets_what_the_old_one_knew(self):
        _, b, _ = self.together()
        b.on_report(41, 5, 6, 7, NOW_US)
        b.promised_count = 8
        b.link.send(TASK, None, None, NOW_US)
        b.greet_anew()
        assert (b.report, b.queue_length, b.task_limit, b.promised_count) == (0, 0, 0, 0)
        assert not b.link.unsettled


class TestReports:
    def test_the_latest_one_counts_whatever_their_order(self):
        found = peer_in(UP)
        assert found.on_report(2, 5, 6_000, 7, NOW_US)
        assert not found.on_report(1, 50, 60_000, 0, NOW_US + 1)
        assert not found.on_report(2, 50, 60_000, 0, NOW_US + 1)
        assert (found.queue_length, found.delay_us, found.task_limit) == (5, 6_000, 7)

    def ready(self):
        found = peer_in(UP)
        found.heard_us = NOW_US
        found.on_report(1, 0, 0, 2, NOW_US)
        return found

    def test_a_task_may_be_sent_to_a_neighbour_that_is_up_fresh_and_has_credit(self):
        assert self.ready().takes_tasks(NOW_US)

    def test_not_to_one_that_was_not_heard_lately(self):
        found = self.ready()
        assert found.takes_tasks(NOW_US + SUSPECT_US - 1)
        assert not found.takes_tasks(NOW_US + SUSPECT_US)

    def test_not_after_an_old_report_even_if_it_is_heard(self):
        found = self.ready()
        found.heard_us = NOW_US + FRESH_US
        assert found.takes_tasks(NOW_US + FRESH_US - 1)
        assert not found.takes_tasks(NOW_US + FRESH_US)

    def test_not_against_the_direction(self):
        found = self.ready()
        found.may_offload = False
        assert not found.takes_tasks(NOW_US)

    def test_not_to_one_that_leaves(self):
        found = self.ready()
        found.move(BYE)
        assert not found.takes_tasks(NOW_US)

    def test_not_beyond_its_credit_of_unsettled_tasks(self):
        found = self.ready()
        for _ in range(2):
            assert found.takes_tasks(NOW_US)
            found.link.send(TASK, None, None, NOW_US)
        assert not found.takes_tasks(NOW_US)

    def test_not_beyond_the_window(self):
        found = self.ready()
        for _ in range(WINDOW):
            found.link.send(RESULT, None, None, NOW_US)
        assert not found.takes_tasks(NOW_US)

    def test_it_describes_itself(self):
        assert self.ready().describe(NOW_US + 5) == {
            "state": UP,
            "queue_length": 0,
            "delay_us": 0,
            "link_delay_us": 0.0,
            "round_trip_us": None,
            "unsettled_count": 0,
            "sent_count": 0,
            "received_count": 0,
            "answered_count": 0,
            "heard_us_ago": 5,
            "lost_because": "",
            "held": [],
        }


class TestLinkDelay:
    def load(self, echo_us, held_us=0):
        return Load(1, 0, 0, 8, 77, echo_us, held_us)

    def test_is_nothing_while_nothing_is_known(self):
        assert peer_in(UP).link_delay_us == 0

    def test_is_half_the_round_trip_of_a_heartbeat_less_the_time_it_was_held(self):
        found = peer_in(UP)
        found.on_load(self.load(NOW_US - 10_600, held_us=10_000), NOW_US)
        assert (found.control_round_trip_us, found.link_delay_us) == (600, 300)

    def test_an_echo_of_nothing_or_of_the_future_is_no_sample(self):
        found = peer_in(UP)
        found.on_load(self.load(0), NOW_US)
        found.on_load(self.load(NOW_US - 100, held_us=101), NOW_US)
        assert found.control_round_trip_us is None

    def test_round_trips_are_smoothed(self):
        found = peer_in(UP)
        found.on_load(self.load(NOW_US - 800), NOW_US)
        found.on_load(self.load(NOW_US - 1_600), NOW_US)
        assert found.control_round_trip_us == 900

    def test_tasks_know_better_less_the_way_of_the_ack(self):
        found = peer_in(UP)
        found.on_load(self.load(NOW_US - 600), NOW_US)
        found.link._sample(27_300)
        assert found.link_delay_us == 27_000
        found.link._smoothed_us = 100.0
        assert found.link_delay_us == 0

    def test_the_latest_heartbeat_is_what_is_echoed(self):
        found = peer_in(UP)
        found.on_load(self.load(0), NOW_US)
        assert (found.echo_us, found.echoed_us) == (77, NOW_US)
