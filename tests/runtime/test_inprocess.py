"""Workers in one process: nothing is copied, nothing is kept of those who are gone."""

import numpy as np
import pytest

from edgesdk.runtime.inprocess import INBOX_MAX, Hub, InProcess


@pytest.fixture
def hub():
    return Hub()


def test_frames_are_handed_over_as_they_are(hub):
    one, two = InProcess(hub, 1), InProcess(hub, 2)
    body = np.arange(1000, dtype=np.float32)
    frames = [b"head", body.data.cast("B"), body]
    one.send(2, "data", frames)
    arrival = two.receive()
    assert arrival.peer == 1 and arrival.frames is frames
    assert np.shares_memory(np.frombuffer(arrival.frames[1], np.float32), body)


def test_two_of_one_name_cannot_be(hub):
    InProcess(hub, 1)
    with pytest.raises(ValueError, match="worker 1 is at this hub already"):
        InProcess(hub, 1)


def test_who_has_left_may_come_back_and_gets_nothing_old(hub):
    one, two = InProcess(hub, 1), InProcess(hub, 2)
    one.send(2, "control", [b"old"])
    two.close(0)
    assert two.receive() is None
    one.send(2, "control", [b"to nobody"])
    again = InProcess(hub, 2)
    two.close(0)  # a second time: the new one stays
    one.send(2, "control", [b"new"])
    assert again.receive().frames == [b"new"]
    assert one.counters == {"sent_to_nobody": 1}


def test_what_nobody_reads_is_bounded(hub):
    one, _ = InProcess(hub, 1), InProcess(hub, 2)
    for _ in range(INBOX_MAX + 10):
        one.send(2, "control", [b"x"])
    assert one.counters == {"lane_full": 10}


def test_who_has_left_sends_nothing(hub):
    one, two = InProcess(hub, 1), InProcess(hub, 2)
    one.close(0)
    one.send(2, "control", [b"from the beyond"])
    assert two.receive() is None


def test_hubs_do_not_meet(hub):
    one, two = InProcess(hub, 1), InProcess(Hub(), 2)
    one.send(2, "control", [b"x"])
    assert two.receive() is None and hub.ends == {1: one}
