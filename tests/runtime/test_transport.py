"""What every transport promises; one suite over all of them."""

import threading
import time

import numpy as np
import pytest
from links import (
    KINDS,
    WAIT_S,
    Bed,
    drain,
    eventually,
    exchange,
    introduce,
    nothing_more_than,
    take,
    used,
)

from edgesdk.runtime.transport import Arrival

LANES = ("control", "data")


@pytest.fixture(params=KINDS)
def bed(request):
    if request.param != "in process":
        pytest.importorskip("zmq")
    bed = Bed(request.param)
    yield bed
    bed.close()


class TestMessages:
    @pytest.mark.parametrize("lane", LANES)
    def test_arrive_with_their_sender_and_their_frames(self, bed, lane):
        one, two = bed.pair()
        body = np.arange(6, dtype=np.float32)
        for frames in ([b"head"], [b"head", body.data.cast("B")], [b"head", b"body", b"beside"]):
            two.send(1, lane, frames)
            arrival = take(one)
            assert isinstance(arrival, Arrival) and arrival.peer == 2
            assert [bytes(frame) for frame in arrival.frames] == [bytes(f) for f in frames]

    @pytest.mark.parametrize("lane", LANES)
    def test_stay_in_order_within_a_lane(self, bed, lane):
        one, two = bed.pair()
        found = []
        for start in range(0, 120, 8):
            for number in range(start, start + 8):
                two.send(1, lane, [b"%d" % number])
            found += [int(bytes(take(one).frames[0])) for _ in range(8)]
        assert found == list(range(120))
        assert two.counters == {}

    def test_of_several_neighbours_reach_one(self, bed):
        one, two, three = bed.open(1), bed.open(2), bed.open(3)
        for peer, sender in ((2, two), (3, three)):
            assert exchange(sender, 1, one, "control", [b"here"]).peer == peer

    @pytest.mark.parametrize("kind_of_body", ["array", "bytes"])
    def test_large_ones_arrive_whole(self, bed, kind_of_body):
        one, two = bed.pair()
        values = np.arange(800_000, dtype=np.float32)
        body = values.data.cast("B") if kind_of_body == "array" else values.tobytes()
        two.send(1, "data", [b"head", body])
        arrival = take(one)
        assert np.array_equal(np.frombuffer(arrival.frames[1], np.float32), values)

    def test_to_nobody_are_no_error(self, bed):
        one = bed.open(1)
        one.open_link(2)
        one.send(2, "control", [b"hello"])
        one.close_link(2)
        one.close_link(2)
        one.send(2, "data", [b"hello"])
        assert one.receive() is None


class TestLinks:
    def test_open_before_the_other_side_exists(self, bed):
        one = bed.open(1)
        one.open_link(2)
        one.open_link(2)
        one.send(2, "control", [b"too early"])
        two = bed.open(2)
        assert exchange(one, 2, two, "control", [b"in time"]).peer == 1

    def test_stand_again_when_the_neighbour_is_back(self, bed):
        one, two = bed.pair()
        two.close(0)
        drain(one)
        one.send(2, "control", [b"is anybody there"])
        again = bed.open(2)
        introduce(one, again)

    def test_that_were_closed_open_again(self, bed):
        one, two = bed.pair()
        one.close_link(2)
        one.open_link(2)
        assert exchange(one, 2, two, "control", [b"again"]).frames == [b"again"]

    def test_what_goes_to_one_that_vanished_is_dropped_or_counted(self, bed):
        one, two = bed.pair()
        two.close(0)
        for _ in range(2000):
            one.send(2, "data", [b"head", b"x" * 1000])
        assert sum(one.counters.values()) > 0


class TestWaiting:
    def test_ends_with_its_time(self, bed):
        end = bed.open(1)
        drain(end)
        assert 0.04 < seconds_of(lambda: end.wait(0.05)) < 5
        end.wait(0)
        end.wait(-1)

    def test_ends_when_another_thread_says_so(self, bed):
        end = bed.open(1)
        drain(end)
        waker = threading.Timer(0.05, end.wake)
        waker.start()
        assert seconds_of(lambda: end.wait(WAIT_S)) < WAIT_S
        waker.join()

    def test_a_wish_that_came_before_it_began_counts(self, bed):
        end = bed.open(1)
        drain(end)
        for _ in range(3):
            end.wake()
            assert seconds_of(lambda: end.wait(WAIT_S)) < WAIT_S

    def test_wishes_are_used_up(self, bed):
        end = bed.open(1)
        for _ in range(20_000):  # more than any buffer holds
            end.wake()
        drain(end)
        waits = 0
        while seconds_of(lambda: end.wait(0.05)) < 0.04:
            waits += 1
            assert waits < 20_000

    def test_ends_for_every_arrival_once_receive_has_found_nothing(self, bed):
        """The descriptors of libzmq tell of changes, not of states: none may be missed."""
        one, two = bed.pair()
        drain(one)
        for number in range(300):
            lane = LANES[number % 2]
            sender = threading.Timer(0, two.send, (1, lane, [b"%d" % number]))
            (sender.start if number % 3 else sender.run)()
            waits = 0
            arrival = one.receive()
            while arrival is None:
                assert seconds_of(lambda: one.wait(WAIT_S)) < WAIT_S
                waits += 1
                arrival = one.receive()
            assert bytes(arrival.frames[0]) == b"%d" % number
            assert waits < 50
            if number % 3:
                sender.join(WAIT_S)

    def test_of_several_threads_ends_for_all(self, bed):
        end = bed.open(1)
        drain(end)
        returned = []

        def wait():
            end.wait(WAIT_S)
            returned.append(time.monotonic())
            end.wake()  # as whoever returns for nothing does

        threads = [threading.Thread(target=wait) for _ in range(4)]
        begun_s = time.monotonic()
        for thread in threads:
            thread.start()
        end.wake()
        for thread in threads:
            thread.join(WAIT_S)
        assert len(returned) == 4 and max(returned) - begun_s < WAIT_S - 1

    def test_ends_when_the_transport_is_closed(self, bed):
        end = bed.open(1)
        drain(end)
        threads = [threading.Thread(target=end.wait, args=(WAIT_S,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.02)
        assert seconds_of(lambda: end.close(0)) < 5
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
        end.wake()
        assert seconds_of(lambda: end.wait(WAIT_S)) < WAIT_S


class TestClosing:
    def test_twice_and_with_others_is_once(self, bed):
        one, _ = bed.pair()
        threads = [threading.Thread(target=one.close, args=(1,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        one.close(0)

    def test_the_last_words_are_said(self, bed):
        one, two = bed.pair()
        for number in range(5):
            one.send(2, "control", [b"%d" % number])
        one.close(2.0)
        assert [bytes(take(two).frames[0]) for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]

    def test_what_is_asked_afterwards_is_nothing(self, bed):
        one, _ = bed.pair()
        one.close(0)
        one.send(2, "control", [b"late"])
        one.open_link(2)
        one.close_link(2)
        assert one.receive() is None

    def test_nothing_is_left(self, bed):
        cycles = 60 if bed.kind == "curve" else 200
        bed.pair()
        bed.close()
        before = used()
        for _ in range(cycles):
            one, two = bed.open(1), bed.open(2)
            one.send(2, "control", [b"hello"])
            two.open_link(1)
            two.receive()
            bed.close()
            bed.opened.clear()
        eventually(lambda: nothing_more_than(before))


def seconds_of(action):
    begun_s = time.monotonic()
    action()
    return time.monotonic() - begun_s
