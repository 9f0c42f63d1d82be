"""pyzmq as a contender: every form of reply, both ways of copying, and honest failures."""

import pytest
import zmq

from edgesdk.bench import link_zmq
from edgesdk.bench.link_contender import (
    ANSWER,
    ANSWER_REPLY,
    ECHO,
    ONE_WAY,
    SIZES,
    payload_of,
    reply_bytes,
)
from edgesdk.bench.link_zmq import Raw, RawCurve
from edgesdk.errors import TransportError

COPIED, NOT_COPIED = SIZES[1], SIZES[2]


@pytest.fixture(params=[Raw, RawCurve], ids=["plain", "curve"])
def raw(request):
    if request.param.curve and not zmq.has("curve"):
        pytest.skip("this libzmq has no CURVE")
    contender = request.param()
    contender.start(None)
    yield contender
    contender.stop()


@pytest.mark.parametrize("size", [COPIED, NOT_COPIED], ids=lambda size: size.name)
def test_the_payload_comes_back_or_an_answer_does(raw, size):
    payload = payload_of(size)
    raw.fit(payload)
    assert reply_bytes(raw.round_trip(ECHO)) == payload.tobytes()
    assert reply_bytes(raw.round_trip(ANSWER)) == ANSWER_REPLY
    raw.check(payload)


def test_streams_count_what_arrived_over_there(raw):
    raw.fit(payload_of(COPIED))
    assert raw.stream(50, 4, ONE_WAY) == 50
    assert raw.stream(7, 4, ONE_WAY) == 7, "each stream is counted from 0"
    assert raw.stream(50, 4, ANSWER) == 50
    assert raw.stream(3, 16, ANSWER) == 3


def test_another_payload_after_the_first(raw):
    for size in (NOT_COPIED, COPIED):
        raw.fit(payload_of(size))
        assert len(reply_bytes(raw.round_trip(ECHO))) == size.payload_bytes


def test_one_in_clear_text_gets_no_answer_from_one_with_curve(monkeypatch):
    if not zmq.has("curve"):
        pytest.skip("this libzmq has no CURVE")
    monkeypatch.setattr(link_zmq, "REPLY_S", 0.5)
    keys = link_zmq._keys
    monkeypatch.setattr(link_zmq, "_keys", lambda: (keys()[0], {}))
    contender = RawCurve()
    contender.start(None)
    try:
        contender.fit(payload_of(COPIED))
        with pytest.raises(TransportError, match=r"raw curve: .*; the other process still runs"):
            contender.round_trip(ANSWER)
    finally:
        contender.stop()


def test_when_the_other_process_is_gone_that_is_said(raw, monkeypatch):
    monkeypatch.setattr(link_zmq, "REPLY_S", 0.5)
    raw.fit(payload_of(COPIED))
    raw.child._process.kill()
    with pytest.raises(TransportError, match="the other process ended with status -9"):
        raw.round_trip(ECHO)


def test_queues_are_bounded_in_bytes_and_never_closed():
    assert link_zmq._queued_count(64) == 1000, "what ZeroMQ has by default"
    assert link_zmq._queued_count(SIZES[3].payload_bytes) == 5
    assert link_zmq._queued_count(1 << 30) == 4
