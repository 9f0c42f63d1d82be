"""The table of neighbours: who is greeted, heard, believed and given up."""

import pytest
from by_hand import MODEL, ByHand, greeting, said

from edgesdk.core.events import (
    CloseLink,
    MessageReceived,
    OpenLink,
    PeerFound,
    PeerGone,
    PeerLost,
    Send,
)
from edgesdk.core.link import ACK_EVERY_COUNT, ACK_WITHIN_US, TASK_RETRANSMIT_US_MIN
from edgesdk.core.messages import (
    CONTROL,
    DATA,
    PROTOCOL_VERSION,
    TEXT_MAX,
    Ack,
    Bye,
    Envelope,
    Hello,
    Load,
    Reject,
    ResultMessage,
    Task,
    Welcome,
)
from edgesdk.core.peer import (
    ABSENT,
    GREETING,
    GREETING_US,
    GREETING_US_MAX,
    HEARTBEAT_US,
    LEAVING,
    SILENT_US,
    UP,
)


def state(hand, worker=2):
    return hand.core._neighbours.peers[worker].state


def hello(worker=2, session=77, **options):
    return MessageReceived(worker, Envelope(session, 0, Hello(greeting(worker, **options))))


class TestGreeting:
    def test_a_neighbour_that_was_found_is_greeted(self):
        hand = ByHand()
        assert hand.handle(PeerFound(2))[0] == OpenLink(2)
        actions = hand.wake()
        found = said(Hello, actions, 2)[0].greeting
        assert (found.worker, found.epoch, found.model_id) == (1, 7, MODEL)
        assert (found.version, len(found.stages)) == (PROTOCOL_VERSION, 3)
        assert [a.envelope.to_session for a in actions if isinstance(a, Send)] == [0]

    def test_until_it_answers_less_and_less_often(self):
        hand = ByHand()
        hand.handle(PeerFound(2))
        hellos_us = []
        for _ in range(2000):
            if said(Hello, hand.wake(after_us=10_000)):
                hellos_us.append(hand.now_us)
        gaps = [later - earlier for earlier, later in zip(hellos_us, hellos_us[1:])]
        assert gaps[:2] == [GREETING_US, 2 * GREETING_US]
        assert set(gaps[2:]) == {GREETING_US_MAX}

    def test_a_stranger_that_greets_is_welcomed_but_gets_no_tasks(self):
        hand = ByHand()
        actions = hand.handle(hello())
        assert actions[0] == OpenLink(2)
        assert len(said(Welcome, actions, 2)) == 1
        assert hand.core._neighbours.targets == []

    def test_anything_else_of_a_stranger_is_dropped(self):
        hand = ByHand()
        envelope = Envelope(5, 6, Load(1, 0, 0, 8, 1))
        assert said(object, hand.handle(MessageReceived(2, envelope))) == []
        assert (hand.counter("stale_messages"), hand.core._neighbours.peers) == (1, {})

    def test_the_first_use_of_the_session_is_answered_with_a_report(self):
        # The other side waits for it: it may know us by our Welcome alone.
        hand = ByHand()
        hand.handle(PeerFound(2))
        assert len(said(Load, hand.meet(2), 2)) == 1
        assert state(hand) is UP

    def test_a_neighbour_whose_hellos_arrive_but_hears_nothing_is_never_up(self):
        hand = ByHand()
        hand.handle(PeerFound(2))
        for _ in range(50):
            actions = hand.handle(hello(), after_us=500_000)
            assert len(said(Welcome, actions)) == 1
            hand.wake()
            assert state(hand) is GREETING
        assert said(Load, hand.actions) == [] == hand.core._neighbours.targets


class TestCodecs:
    """What each side can decode is known when the session stands."""

    OURS, THEIRS = ("raw", "uint8", "zstd"), ("raw", "lz4")

    def test_ours_are_in_both_greetings(self):
        hand = ByHand(codecs=self.OURS)
        hand.handle(PeerFound(2))
        hand.wake()
        hand.handle(hello())
        for kind in (Hello, Welcome):
            found = said(kind, hand.actions, 2)[0].greeting
            assert (found.codecs, found.version) == (self.OURS, PROTOCOL_VERSION)

    def test_theirs_come_with_a_hello(self):
        hand = ByHand(codecs=self.OURS)
        hand.meet(2, codecs=self.THEIRS)
        assert hand.core._neighbours.peers[2].greeting.codecs == self.THEIRS

    def test_or_with_a_welcome(self):
        hand = ByHand(codecs=self.OURS)
        hand.handle(PeerFound(2))
        session = next(a.envelope.from_session for a in hand.wake() if isinstance(a, Send))
        welcome = Welcome(greeting(2, codecs=self.THEIRS))
        hand.handle(MessageReceived(2, Envelope(77, session, welcome)))
        assert state(hand) is UP
        assert hand.core._neighbours.peers[2].greeting.codecs == self.THEIRS

    def test_those_of_a_neighbour_that_started_again_are_the_new_ones(self):
        hand = ByHand()
        hand.meet(2, codecs=self.OURS)
        hand.meet(2, epoch=2, codecs=self.THEIRS)
        assert hand.core._neighbours.peers[2].greeting.codecs == self.THEIRS

    def test_whoever_says_nothing_of_them_gets_raw_bodies(self):
        assert greeting(2).codecs == ("raw",) == ByHand().core._neighbours.identity.codecs


class TestRejection:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (
                {"version": 2},
                "protocol version: found 2, expected 1; start both with the same edgesdk",
            ),
            (
                {"model_id": b"M" * 16},
                "model: found {}, expected {}; start both with the same bundle".format(
                    "4d" * 16, "6d" * 16
                ),
            ),
            (
                {"plan_id": b"P" * 16},
                "plan: found {}, expected {}; start both with the same plan and policy".format(
                    "50" * 16, "70" * 16
                ),
            ),
        ],
    )
    def test_says_what_was_found_what_was_expected_and_what_to_do(self, change, reason):
        hand = ByHand()
        hand.handle(PeerFound(2))
        stranger = greeting(2)._replace(**change)
        actions = hand.handle(MessageReceived(2, Envelope(77, 0, Hello(stranger))))
        assert said(object, actions) == [Reject(reason)]
        assert len(reason) <= TEXT_MAX
        assert hand.counter("greetings_rejected") == 1
        assert state(hand) is GREETING

    def test_a_welcome_that_does_not_fit_concludes_nothing(self):
        hand = ByHand()
        hand.handle(PeerFound(2))
        session = hand.core._neighbours.peers[2].my_session
        stranger = greeting(2)._replace(plan_id=b"P" * 16)
        hand.handle(MessageReceived(2, Envelope(77, session, Welcome(stranger))))
        assert state(hand) is GREETING

    def test_ours_is_counted_if_it_answers_our_hello(self):
        hand = ByHand()
        hand.handle(PeerFound(2))
        session = hand.core._neighbours.peers[2].my_session
        hand.handle(MessageReceived(2, Envelope(77, session + 1, Reject("no"))))
        assert hand.counter("greetings_declined") == 0
        hand.handle(MessageReceived(2, Envelope(77, session, Reject("no"))))
        assert hand.counter("greetings_declined") == 1


class TestSilence:
    def test_heartbeats_go_to_everybody(self):
        hand = ByHand()
        hand.meet(2)
        hand.meet(3)
        before = len(said(Load, hand.actions, 2))
        for _ in range(4):
            hand.wake(after_us=HEARTBEAT_US)
        assert len(said(Load, hand.actions, 2)) == before + 4
        assert len(said(Load, hand.actions, 3)) >= 4

    def test_any_message_is_a_sign_of_life(self):
        hand = ByHand()
        hand.meet(2)
        for _ in range(20):
            hand.wake(after_us=HEARTBEAT_US)
            hand.tell(2, Ack(1, 0, 0, 0, 0, 0, 0, 0, 0))
        assert state(hand) is UP

    def test_of_another_session_is_none(self):
        hand = ByHand()
        hand.meet(2)
        hand.played[2].session += 1
        for _ in range(8):
            hand.wake(after_us=HEARTBEAT_US)
            hand.report(2)
        assert state(hand) is GREETING

    def test_ends_the_session_after_six_heartbeats_and_greets_anew(self):
        hand = ByHand()
        hand.meet(2)
        begin_us, old = hand.now_us, hand.core._neighbours.peers[2].my_session
        while state(hand) is UP:
            actions = hand.wake(after_us=HEARTBEAT_US)
        assert SILENT_US <= hand.now_us - begin_us <= SILENT_US + HEARTBEAT_US
        assert CloseLink(2) in actions and OpenLink(2) in actions
        assert len(said(Hello, actions, 2)) == 1
        assert hand.core._neighbours.peers[2].my_session != old
        assert hand.counter("sessions_lost.silent") == 1

    def test_a_neighbour_that_is_removed_is_forgotten(self):
        hand = ByHand()
        hand.meet(2)
        assert hand.handle(PeerGone(2))[-1] == CloseLink(2)
        assert hand.core._neighbours.peers == {}
        assert said(object, hand.wake(after_us=GREETING_US)) == []
        hand.handle(PeerGone(2))  # twice is once

    def test_a_neighbour_whose_process_is_gone_is_not_waited_for(self):
        hand = ByHand()
        hand.meet(2)
        actions = hand.handle(PeerLost(2))
        assert state(hand) is GREETING
        assert CloseLink(2) in actions and OpenLink(2) in actions
        assert hand.counter("sessions_lost.disconnected") == 1
        assert hand.handle(PeerLost(2)) == []  # it is known

    def test_of_one_that_was_leaving_nothing_more_is_expected(self):
        hand = ByHand()
        hand.meet(2)
        hand.tell(2, Bye(False))
        hand.handle(PeerLost(2))
        assert state(hand) is ABSENT

    def test_a_stranger_that_is_gone_is_none_of_our_business(self):
        assert ByHand().handle(PeerLost(9)) == []


class TestRestart:
    def test_a_neighbour_that_started_again_is_up_as_soon_as_it_uses_the_offer(self):
        hand = ByHand()
        hand.meet(2)
        hand.meet(2, epoch=2)
        assert state(hand) is UP
        assert hand.counter("sessions_lost.started_again") == 1
        assert hand.core._neighbours.peers[2].greeting.epoch == 2

    def test_so_is_one_that_was_leaving(self):
        hand = ByHand()
        hand.meet(2)
        hand.tell(2, Bye(False))
        assert state(hand) is LEAVING
        hand.meet(2, epoch=2)
        assert state(hand) is UP
        assert len(hand.core._neighbours.targets) == 1

    def test_a_hello_alone_ends_nothing(self):
        hand = ByHand()
        hand.meet(2)
        hand.handle(hello(session=999, epoch=2))
        assert state(hand) is UP and hand.counter("sessions_lost.started_again") == 0
        hand.report(2)  # in the old session
        assert hand.counter("stale_messages") == 0


class TestLeaving:
    def test_a_neighbour_that_leaves_gets_no_tasks(self):
        hand = ByHand()
        hand.meet(2)
        hand.tell(2, Bye(False))
        assert state(hand) is LEAVING and hand.core._neighbours.targets == []

    def test_its_heartbeats_say_it_too_should_the_bye_be_lost(self):
        hand = ByHand()
        hand.meet(2)
        hand.report(2, is_leaving=True)
        assert state(hand) is LEAVING

    def test_its_last_word_ends_the_session_and_it_is_not_greeted(self):
        hand = ByHand()
        hand.meet(2)
        actions = hand.tell(2, Bye(True))
        assert state(hand) is ABSENT and CloseLink(2) in actions
        assert said(Hello, hand.wake(after_us=GREETING_US_MAX)) == []

    def test_silence_of_one_that_leaves_is_the_same(self):
        hand = ByHand()
        hand.meet(2)
        hand.tell(2, Bye(False))
        for _ in range(8):
            hand.wake(after_us=HEARTBEAT_US)
        assert state(hand) is ABSENT

    def test_whoever_meets_us_while_we_leave_hears_of_it(self):
        hand = ByHand()
        hand.meet(2)
        hand.send_task(2, 5)  # so that there is something to end
        hand.core._neighbours.leave([])
        hand.meet(3)
        assert said(Bye, hand.actions, 3) == [Bye(False)]


class TestSettling:
    def test_acks_wait_for_each_other(self):
        hand = ByHand()
        hand.meet(2)
        for number in range(ACK_EVERY_COUNT - 1):
            assert said(Ack, hand.send_task(2, number)) == []
        assert [ack.accepted for ack in said(Ack, hand.send_task(2, 99))] == [0b11111111]

    def test_but_not_long(self):
        hand = ByHand()
        hand.meet(2)
        hand.send_task(2, 5)
        assert said(Ack, hand.wake(after_us=ACK_WITHIN_US - 1)) == []
        (ack,) = said(Ack, hand.wake(after_us=1))
        assert (ack.base, ack.accepted, ack.refused, ack.newest) == (1, 1, 0, 1)
        assert ack.held_us == ACK_WITHIN_US

    def test_a_task_that_comes_twice_is_acknowledged_again_and_not_taken_again(self):
        hand = ByHand()
        hand.meet(2)
        for _ in range(2):
            hand.send_task(2, 5, seq=1, oldest=1)
            assert len(said(Ack, hand.wake(after_us=ACK_WITHIN_US))) == 1
        assert hand.counter("tasks_received") == 1

    def busy(self):
        """Items 0 and 1 wait for stage 1, and worker 2 takes one of them."""
        hand = ByHand()
        hand.meet(2, delay_us=1)
        first = hand.submit(0, 1, 2)[-1]
        return hand, hand.done(first)

    def test_tasks_travel_on_the_data_lane_and_everything_else_beside_it(self):
        hand, actions = self.busy()
        (sent,) = [a for a in actions if isinstance(a, Send)]
        assert (sent.lane, sent.peer, sent.item) == (DATA, 2, 0)
        hand.send_task(2, 5)
        others = [a for a in hand.actions if isinstance(a, Send) and a is not sent]
        assert {a.lane for a in others} == {CONTROL}

    def test_an_unsettled_task_is_repeated_with_its_features(self):
        hand, actions = self.busy()
        (sent,) = [a for a in actions if isinstance(a, Send)]
        actions = hand.wake(after_us=2 * TASK_RETRANSMIT_US_MIN)
        assert [a for a in actions if isinstance(a, Send) and a.lane == DATA] == [sent]
        assert hand.counter("retransmissions") == 1

    def test_a_settled_one_is_not(self):
        hand, _ = self.busy()
        hand.settle(2, 1)
        assert said(Task, hand.wake(after_us=2 * TASK_RETRANSMIT_US_MIN)) == []

    def test_a_neighbour_that_never_settles_is_given_up(self):
        hand, _ = self.busy()
        for _ in range(150):
            hand.wake(after_us=100_000)
            hand.report(2)  # it is alive, but nothing that is settled arrives
        assert hand.counter("sessions_lost.not_answering") == 1
        assert said(ResultMessage, hand.actions) == []

    def test_an_own_task_on_its_way_is_counted_into_i_m(self):
        hand, _ = self.busy()
        assert hand.core._neighbours.peers[2].queue_length == 1
        hand.report(2, queue_length=0)
        assert hand.core._neighbours.peers[2].queue_length == 0
