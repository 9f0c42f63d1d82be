"""The hop layer: numbers, verdicts, repetition."""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgesdk.core.link import (
    JITTER_SHARE,
    RETRANSMIT_US_MAX,
    RETRANSMIT_US_MIN,
    TASK_RETRANSMIT_US_MAX,
    TASK_RETRANSMIT_US_MIN,
    TRIES_MAX,
    Link,
)
from edgesdk.core.messages import WINDOW, Ack, CancelTask, ItemId, ResultMessage, Task

ITEM = ItemId(9, 1, 5)
TASK = Task(0, 0, ITEM, 0, 1, 0, 1, 0, float("nan"), (0, 0))
RESULT = ResultMessage(0, 0, ITEM, 0, 0, 1, "final", None)


class NoJitter(Random):
    def random(self):
        return 0.0


def link():
    return Link(NoJitter())


def send(sender, payload="x", now_us=0, message=TASK):
    return sender.send(message, payload, None, now_us)


def ack(receiver, now_us=0):
    """What the receiver acknowledges now."""
    return Ack(*(receiver.verdicts(now_us) + (1, 0, 0, 8)))


def accept(receiver, message, now_us=0, verdict=True):
    """Whether the message was new to the receiver, which then judges it."""
    is_new = receiver.receive(message.seq, message.oldest, now_us)
    if is_new:
        receiver.judge(message.seq, verdict)
    return is_new


class TestNumbers:
    def test_count_from_one(self):
        sender = link()
        assert [send(sender).seq for _ in range(3)] == [1, 2, 3]

    def test_every_message_names_the_oldest_without_a_verdict(self):
        sender, receiver = link(), link()
        first = send(sender)
        assert (first.oldest, send(sender).oldest) == (1, 1)
        accept(receiver, first)
        sender.on_ack(ack(receiver), 10)
        assert send(sender).oldest == 2

    def test_a_repeated_message_keeps_its_number_and_renews_its_oldest(self):
        sender, receiver = link(), link()
        send(sender)
        second = send(sender)
        sender.forget(1)
        repeated = sender.due(2 * TASK_RETRANSMIT_US_MIN)[0].message
        assert (repeated.seq, repeated.oldest) == (2, 2)
        assert second.oldest == 1
        assert accept(receiver, repeated) and not accept(receiver, second)

    def test_no_more_than_a_window_is_in_flight(self):
        sender = link()
        while sender.has_room:
            last = send(sender)
        assert last.seq == WINDOW == len(sender.unsettled)

    def test_one_old_message_holds_the_window(self):
        sender, receiver = link(), link()
        messages = [send(sender) for _ in range(WINDOW)]
        for message in messages[1:]:
            accept(receiver, message)
        sender.on_ack(ack(receiver), 10)
        assert list(sender.unsettled) == [1] and not sender.has_room
        accept(receiver, messages[0])
        sender.on_ack(ack(receiver), 10)
        assert sender.has_room and sender.oldest == WINDOW + 1

    def test_only_tasks_are_counted_as_tasks(self):
        sender, receiver = link(), link()
        for message in (send(sender), send(sender, message=RESULT)):
            accept(receiver, message)
        assert sender.task_count == 1
        sender.on_ack(ack(receiver), 10)
        assert sender.task_count == 0


class TestVerdicts:
    def test_payloads_come_back_as_accepted_or_refused_oldest_first(self):
        sender, receiver = link(), link()
        for payload, verdict in (("a", True), ("b", False), ("c", True), ("d", False)):
            accept(receiver, send(sender, payload), verdict=verdict)
        settled = sender.on_ack(ack(receiver), 10)
        assert (settled.accepted, settled.refused) == (["a", "c"], ["b", "d"])
        assert not sender.unsettled

    def test_are_repeated_until_the_sender_has_seen_them(self):
        sender, receiver = link(), link()
        accept(receiver, send(sender))
        accept(receiver, send(sender), verdict=False)
        for _ in range(2):
            assert receiver.verdicts(0)[:3] == (1, 0b01, 0b10)

    def test_are_forgotten_when_oldest_has_passed_them(self):
        sender, receiver = link(), link()
        accept(receiver, send(sender))
        sender.on_ack(ack(receiver), 10)
        accept(receiver, send(sender))
        assert receiver.verdicts(0)[:3] == (2, 0b1, 0)
        assert receiver.held_verdict_count == 1

    def test_what_has_not_arrived_has_none(self):
        sender, receiver = link(), link()
        send(sender, "lost")
        accept(receiver, send(sender, "here"))
        assert sender.on_ack(ack(receiver), 10).accepted == ["here"]
        assert [sent.payload for sent in sender.unsettled.values()] == ["lost"]

    def test_an_ack_that_comes_twice_or_late_settles_nothing_twice(self):
        sender, receiver = link(), link()
        accept(receiver, send(sender, "a"))
        early = ack(receiver)
        assert sender.on_ack(early, 10).accepted == ["a"]
        accept(receiver, send(sender, "b"))
        assert sender.on_ack(early, 20) == ([], [])
        assert sender.on_ack(ack(receiver), 30).accepted == ["b"]

    def test_a_duplicate_earns_an_ack_and_nothing_else(self):
        sender, receiver = link(), link()
        message = send(sender)
        assert accept(receiver, message)
        receiver.verdicts(0)
        assert not accept(receiver, message)
        assert receiver.unacknowledged_count == 1

    def test_a_number_beyond_the_window_is_no_message(self):
        receiver = link()
        assert not receiver.receive(WINDOW + 1, 1, 0)
        assert receiver.receive(WINDOW, 1, 0)

    def test_an_ack_names_the_newest_and_how_long_it_was_held(self):
        sender, receiver = link(), link()
        first, second = send(sender), send(sender)
        accept(receiver, second, now_us=100)
        accept(receiver, first, now_us=150)
        assert receiver.verdicts(190)[3:] == (1, 40)


class TestForgetting:
    def test_a_forgotten_message_is_not_repeated_and_has_no_verdict(self):
        sender, receiver = link(), link()
        message = send(sender)
        sender.forget(message.seq)
        assert sender.next_due_us() is None and sender.task_count == 0
        accept(receiver, message)
        assert sender.on_ack(ack(receiver), 10) == ([], [])

    def test_twice_is_once(self):
        sender = link()
        send(sender)
        sender.forget(1)
        sender.forget(1)
        assert sender.task_count == 0

    def test_its_number_is_passed_over(self):
        sender, receiver = link(), link()
        sender.forget(send(sender).seq)
        accept(receiver, send(sender))
        assert receiver.verdicts(0)[0] == 2


class TestRepetition:
    def test_begins_after_the_least_time(self):
        sender = link()
        send(sender, now_us=1_000)
        assert sender.next_due_us() == 1_000 + TASK_RETRANSMIT_US_MIN
        assert sender.due(1_000 + TASK_RETRANSMIT_US_MIN - 1) == []
        assert len(sender.due(1_000 + TASK_RETRANSMIT_US_MIN)) == 1

    def test_waits_twice_as_long_each_time_up_to_a_limit_then_gives_up(self):
        sender, now_us, waits = link(), 0, []
        send(sender)
        while True:
            due_us = sender.next_due_us()
            waits.append(due_us - now_us)
            now_us = due_us
            if sender.due(now_us) is None:
                break
        doubled = [TASK_RETRANSMIT_US_MIN << tries for tries in range(TRIES_MAX)]
        assert waits == [min(wait, TASK_RETRANSMIT_US_MAX) for wait in doubled]

    def test_new_messages_wait_as_long_until_a_clean_sample_says_how_long_it_takes(self):
        sender, receiver = link(), link()
        accept(receiver, send(sender), now_us=0)
        sender.due(TASK_RETRANSMIT_US_MIN)
        late = send(sender, now_us=600_000, message=RESULT)
        assert sender.unsettled[late.seq].due_us == 600_000 + 2 * RETRANSMIT_US_MIN
        accept(receiver, late, now_us=600_000)
        sender.on_ack(ack(receiver, 600_000), 601_000)
        send(sender, now_us=601_000)
        assert sender.next_due_us() == 601_000 + TASK_RETRANSMIT_US_MIN

    def test_a_task_waits_for_those_before_it_too(self):
        sender, receiver = link(), link()
        tasks = [send(sender) for _ in range(3)]
        answer = send(sender, message=RESULT)  # on a lane of its own
        due_us = [sender.unsettled[each.seq].due_us for each in tasks + [answer]]
        least_us = TASK_RETRANSMIT_US_MIN
        assert due_us == [least_us, 2 * least_us, 3 * least_us, RETRANSMIT_US_MIN]
        for each in tasks:
            accept(receiver, each)
        sender.on_ack(ack(receiver), 10)
        assert sender.unsettled[send(sender, now_us=20).seq].due_us == 20 + least_us

    @pytest.mark.parametrize("seed", range(20))
    def test_is_spread_by_jitter(self, seed):
        sender = Link(Random(seed))
        sent = [send(sender, message=RESULT).seq for _ in range(3)]
        waits = [sender.unsettled[seq].due_us for seq in sent]
        assert all(
            RETRANSMIT_US_MIN <= wait <= RETRANSMIT_US_MIN * (1 + JITTER_SHARE) for wait in waits
        )
        assert len(set(waits)) == 3

    def sampled(self, *round_trips_us):
        """A sender that has seen these round trips."""
        sender, receiver, now_us = link(), link(), 0
        for round_trip_us in round_trips_us:
            accept(receiver, send(sender, now_us=now_us), now_us=now_us)
            now_us += round_trip_us
            sender.on_ack(ack(receiver, now_us - round_trip_us), now_us)
        return sender, now_us

    def test_waits_for_the_smoothed_round_trip_and_four_variations(self):
        sender, now_us = self.sampled(400_000)
        send(sender, now_us=now_us)
        assert sender.next_due_us() - now_us == 400_000 + 4 * 200_000

    def test_samples_are_smoothed_as_in_tcp(self):
        sender, now_us = self.sampled(400_000, 800_000)
        assert sender.round_trip_us == 400_000 + 400_000 / 8
        send(sender, now_us=now_us)
        variation_us = 200_000 + (400_000 - 200_000) / 4
        assert sender.next_due_us() - now_us == 450_000 + 4 * variation_us

    def test_a_slow_link_is_never_repeated_faster_than_its_round_trip(self):
        sender, now_us = self.sampled(5_000_000)
        send(sender, now_us=now_us)
        assert sender.next_due_us() - now_us > 5_000_000 > RETRANSMIT_US_MAX

    def test_the_time_an_ack_was_held_is_no_part_of_the_round_trip(self):
        sender, receiver = link(), link()
        accept(receiver, send(sender), now_us=300)
        sender.on_ack(ack(receiver, 5_300), 5_600)
        assert sender.round_trip_us == 600

    def test_a_repeated_message_gives_no_sample(self):
        # Karn: nobody knows which of the two was acknowledged.
        sender, receiver = link(), link()
        send(sender)
        repeated = sender.due(TASK_RETRANSMIT_US_MIN)[0].message
        accept(receiver, repeated, TASK_RETRANSMIT_US_MIN)
        sender.on_ack(ack(receiver, TASK_RETRANSMIT_US_MIN), TASK_RETRANSMIT_US_MIN + 10)
        assert sender.round_trip_us is None

    def test_a_sample_below_zero_is_none(self):
        sender, receiver = link(), link()
        accept(receiver, send(sender))
        sender.on_ack(ack(receiver, 900)._replace(held_us=900), 500)
        assert sender.round_trip_us is None


class EveryMessageIsJudgedOnce(RuleBasedStateMachine):
    """Two ends and an adversary between them, who loses, doubles and reorders as he likes."""

    def __init__(self):
        super().__init__()
        self.sender, self.receiver = Link(Random(0)), Link(Random(1))
        self.now_us = 0
        self.wire, self.acks = [], []
        self.sent_count = 0
        self.verdicts = {}  # payload -> verdict given
        self.learned = {}  # payload -> verdict learned
        self.is_lost = False

    @precondition(lambda self: not self.is_lost and self.sender.has_room)
    @rule(message=st.sampled_from([TASK, RESULT]))
    def send(self, message):
        self.sent_count += 1
        numbered = self.sender.send(message, self.sent_count, None, self.now_us)
        assert numbered.seq == self.sent_count
        self.wire.append(numbered)

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), verdict=st.booleans(), keep=st.booleans())
    def arrive(self, data, verdict, keep):
        index = data.draw(st.integers(0, len(self.wire) - 1))
        message = self.wire[index] if keep else self.wire.pop(index)
        if self.receiver.receive(message.seq, message.oldest, self.now_us):
            assert message.seq not in self.verdicts, "accepted twice"
            self.verdicts[message.seq] = verdict
            self.receiver.judge(message.seq, verdict)

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def lose(self, data):
        self.wire.pop(data.draw(st.integers(0, len(self.wire) - 1)))

    @rule()
    def acknowledge(self):
        self.acks.append(Ack(*(self.receiver.verdicts(self.now_us) + (1, 0, 0, 8))))

    @precondition(lambda self: self.acks)
    @rule(data=st.data(), keep=st.booleans())
    def ack_arrives(self, data, keep):
        index = data.draw(st.integers(0, len(self.acks) - 1))
        settled = self.sender.on_ack(
            self.acks[index] if keep else self.acks.pop(index), self.now_us
        )
        for verdict, payloads in ((True, settled.accepted), (False, settled.refused)):
            for payload in payloads:
                assert payload not in self.learned, "settled twice"
                self.learned[payload] = verdict

    @precondition(lambda self: not self.is_lost)
    @rule(after_us=st.integers(0, 700_000))
    def tick(self, after_us):
        self.now_us += after_us
        due = self.sender.due(self.now_us)
        self.is_lost = due is None
        self.wire += [sent.message for sent in due or []]

    @invariant()
    def the_sender_learns_what_the_receiver_said(self):
        for payload, verdict in self.learned.items():
            assert self.verdicts[payload] is verdict

    @invariant()
    def every_message_has_its_verdict_or_is_repeated(self):
        waiting = {sent.payload for sent in self.sender.unsettled.values()}
        assert waiting | set(self.learned) == set(range(1, self.sent_count + 1))
        assert not waiting & set(self.learned)

    @invariant()
    def nothing_grows_beyond_the_window(self):
        assert len(self.sender.unsettled) <= WINDOW
        assert self.receiver.held_verdict_count <= WINDOW
        tasks = [s for s in self.sender.unsettled.values() if isinstance(s.message, Task)]
        assert self.sender.task_count == len(tasks)

    def teardown(self):
        """The adversary rests: one round trip settles everything."""
        for message in [sent.message for sent in self.sender.unsettled.values()]:
            oldest = self.sender.oldest
            if self.receiver.receive(message.seq, oldest, self.now_us):
                self.verdicts[message.seq] = True
                self.receiver.judge(message.seq, True)
        last = Ack(*(self.receiver.verdicts(self.now_us) + (1, 0, 0, 8)))
        settled = self.sender.on_ack(last, self.now_us)
        for payload in settled.accepted + settled.refused:
            self.learned[payload] = payload in settled.accepted
        assert self.learned == {n: self.verdicts[n] for n in range(1, self.sent_count + 1)}


TestEveryMessageIsJudgedOnce = EveryMessageIsJudgedOnce.TestCase
TestEveryMessageIsJudgedOnce.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)


def test_a_message_that_is_not_settled_has_no_number():
    assert not hasattr(CancelTask(ITEM), "seq")
