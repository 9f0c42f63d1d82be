"""Reports and credit."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from edgesdk.core.guests import GUESTS_MAX
from edgesdk.core.peer import FOUND, Peer
from edgesdk.core.reports import CREDIT_MAX, REPORT_GAP_US, Reported, Reporter


class Subject(Reported):
    """Someone with a queue and room for guests."""

    def __init__(self, room=GUESTS_MAX):
        self.length, self.delay_us, self.room = 0, 0, room

    def report(self):
        return self.length, self.delay_us, self.room


def reporter(count=3, room=GUESTS_MAX):
    subject = Subject(room)
    peers = {worker: Peer(worker, True, Random(worker)) for worker in range(2, 2 + count)}
    return Reporter(subject, peers), subject, peers


class TestLoads:
    def test_tell_i_n_gamma_n_and_count_themselves(self):
        found, subject, peers = reporter()
        subject.length, subject.delay_us = 4, 9_000
        loads = [found.load(peer, False, 1_000) for peer in peers.values()]
        assert [load.report for load in loads] == [1, 2, 3]
        assert loads[0][1:5] == (4, 9_000, CREDIT_MAX, 1_000)

    def test_echo_what_was_heard_last_and_how_long_ago(self):
        found, _, peers = reporter()
        assert found.load(peers[2], False, 1_000)[5:7] == (0, 0)
        peers[2].echo_us, peers[2].echoed_us = 55, 400
        assert found.load(peers[2], False, 1_000)[5:7] == (55, 600)

    def test_whoever_leaves_says_so_and_promises_nothing(self):
        found, _, peers = reporter()
        load = found.load(peers[2], True, 0)
        assert (load.is_leaving, load.task_limit) == (True, 0)
        assert found.ack(peers[2], True, 0).task_limit == 0

    def test_an_ack_is_a_report_too(self):
        found, subject, peers = reporter()
        subject.length = 3
        found.load(peers[2], False, 0)
        peers[2].link.receive(1, 1, 0)
        peers[2].link.judge(1, True)
        ack = found.ack(peers[2], False, 40)
        assert ack == (1, 1, 0, 1, 40, 2, 3, 0, CREDIT_MAX)


class TestCredit:
    def test_is_limited_for_each_neighbour(self):
        found, _, peers = reporter()
        assert found.load(peers[2], False, 0).task_limit == CREDIT_MAX

    def test_all_promises_together_fit_into_the_room(self):
        found, _, peers = reporter(room=CREDIT_MAX + 3)
        limits = [found.load(peer, False, 0).task_limit for peer in peers.values()]
        assert limits == [CREDIT_MAX, 3, 0]

    def test_a_promise_is_renewed_not_added_to(self):
        found, _, peers = reporter(room=CREDIT_MAX)
        assert [found.load(peers[2], False, 0).task_limit for _ in range(3)] == [CREDIT_MAX] * 3

    def test_a_dead_neighbours_promise_is_free_again(self):
        found, _, peers = reporter(room=CREDIT_MAX)
        peers[2].move(FOUND)
        found.load(peers[2], False, 0)
        assert found.load(peers[3], False, 0).task_limit == 0
        peers[2].greet_anew()
        assert found.load(peers[3], False, 0).task_limit == CREDIT_MAX

    def test_so_is_that_of_one_that_was_removed(self):
        found, _, peers = reporter(room=CREDIT_MAX)
        found.load(peers[2], False, 0)
        del peers[2]
        assert found.load(peers[3], False, 0).task_limit == CREDIT_MAX

    def test_no_room_is_no_credit(self):
        found, _, peers = reporter(room=0)
        assert found.load(peers[2], False, 0).task_limit == 0

    @given(st.lists(st.tuples(st.integers(2, 11), st.sampled_from(["load", "ack", "task", "end"]))))
    def test_promises_and_guests_never_exceed_the_room_there_is(self, steps):
        found, subject, peers = reporter(10)
        for worker, what in steps:
            peer = peers[worker]
            if what == "load":
                found.load(peer, False, 0)
            elif what == "ack":
                found.ack(peer, False, 0)
            elif what == "task" and peer.promised_count:
                peer.promised_count -= 1
                subject.room -= 1
            elif what == "end" and subject.room < GUESTS_MAX:
                subject.room += 1
            promised = sum(peer.promised_count for peer in peers.values())
            assert promised + GUESTS_MAX - subject.room <= GUESTS_MAX


class TestNews:
    def test_a_queue_a_quarter_off_is_news(self):
        found, subject, _ = reporter()
        subject.length = 20
        found.told_all(0)
        assert found.next_report_us(25, 50_000) is None
        assert found.next_report_us(26, 50_000) == 50_000
        assert found.next_report_us(15, 50_000) is None
        assert found.next_report_us(14, 50_000) == 50_000

    def test_one_task_more_or_less_is_none(self):
        found, _, _ = reporter()
        assert found.next_report_us(1, 50_000) is None
        assert found.next_report_us(2, 50_000) == 50_000

    def test_a_queue_that_is_empty_at_last_is_news(self):
        found, subject, _ = reporter()
        subject.length = 1
        found.told_all(0)
        assert found.next_report_us(0, 50_000) == 50_000
        subject.length = 0
        found.told_all(0)
        assert found.next_report_us(0, 50_000) is None

    def test_news_keep_a_distance(self):
        found, _, _ = reporter()
        found.told_all(1_000)
        assert found.next_report_us(9, 2_000) == 1_000 + REPORT_GAP_US
