"""Socket options: set as far as this libzmq knows them; limits that fit the messages."""

import pytest

zmq = pytest.importorskip("zmq")

from edgesdk.core.reports import CREDIT_MAX  # noqa: E402
from edgesdk.core.tensor import BODY_BYTES_MAX  # noqa: E402
from edgesdk.core.wire_format import HEAD_BYTES_MAX  # noqa: E402
from edgesdk.runtime import zeromq_options  # noqa: E402
from edgesdk.runtime.zeromq_options import (  # noqa: E402
    INBOX_OPTIONS,
    LANE_OPTIONS,
    LINK_OPTIONS,
    set_options,
)

WRITE_ONLY = {"ROUTER_HANDOVER"}


@pytest.fixture
def socket_of():
    context = zmq.Context()
    opened = []

    def make(kind):
        opened.append(context.socket(kind))
        return opened[-1]

    yield make
    for each in opened:
        each.close(0)
    context.term()


@pytest.mark.parametrize(("kind", "options"), [("ROUTER", INBOX_OPTIONS), ("DEALER", LINK_OPTIONS)])
@pytest.mark.parametrize("lane", ["control", "data"])
def test_all_are_set(socket_of, kind, options, lane):
    socket = socket_of(getattr(zmq, kind))
    set_options(socket, options + LANE_OPTIONS[lane])
    for name, value in options + LANE_OPTIONS[lane]:
        if name not in WRITE_ONLY:
            assert socket.getsockopt(getattr(zmq, name)) == value, name


def test_messages_of_every_kind_pass():
    control, data = (dict(LANE_OPTIONS[lane]) for lane in ("control", "data"))
    assert control["MAXMSGSIZE"] > HEAD_BYTES_MAX
    assert data["MAXMSGSIZE"] > BODY_BYTES_MAX
    assert data["SNDHWM"] > CREDIT_MAX and data["RCVHWM"] > CREDIT_MAX


def test_what_a_reset_may_lose_is_bounded():
    every = INBOX_OPTIONS + LINK_OPTIONS + LANE_OPTIONS["control"] + LANE_OPTIONS["data"]
    assert {"IMMEDIATE", "CONFLATE"} & {name for name, _ in every} == set()
    assert dict(every)["LINGER"] == 0


def test_what_an_older_libzmq_does_not_know_is_left_out(socket_of, monkeypatch):
    socket = socket_of(zmq.DEALER)
    monkeypatch.setattr(zeromq_options.zmq, "SNDHWM", 123456, raising=False)
    set_options(socket, (("NO_SUCH_OPTION", 1), ("SNDHWM", 1), ("RCVHWM", 7)))
    assert socket.getsockopt(zmq.RCVHWM) == 7


def test_any_other_error_is_not_hidden(socket_of):
    end = socket_of(zmq.DEALER)
    end.close(0)
    with pytest.raises(zmq.ZMQError):
        set_options(end, LINK_OPTIONS)
