"""Socket options, their values and why."""

from typing import Any, Dict, Tuple

import zmq

from ..core.messages import CONTROL, DATA
from ..core.reports import CREDIT_MAX
from ..core.tensor import BODY_BYTES_MAX
from ..core.wire_format import HEAD_BYTES_MAX

Options = Tuple[Tuple[str, int], ...]
CURVE_BYTES_MAX = 64  # what encryption adds to a frame: 33, and libzmq counts it

# No HEARTBEAT_IVL: libzmq aborts the process if a heartbeat is due on a connection that broke while
# its messages waited to be read (libzmq 4.3.5, issue 4364), as after a pause of some seconds. The
# core's heartbeats find who is silent, and keep-alive frees what is left of the connections.
BOTH: Options = (
    ("LINGER", 0),  # unless the worker says otherwise when it closes
    ("HANDSHAKE_IVL", 3000),  # by default half open ones pile up for 30 s
    ("TCP_KEEPALIVE", 1),
    ("TCP_KEEPALIVE_IDLE", 10),
    ("TCP_KEEPALIVE_INTVL", 5),
    ("TCP_KEEPALIVE_CNT", 3),
    ("TCP_MAXRT", 5000),  # otherwise a cut link is retransmitted for minutes
)
# ROUTER: a worker that connects again takes over from the connection that it has lost.
INBOX_OPTIONS: Options = BOTH + (("ROUTER_HANDOVER", 1), ("BACKLOG", 128))
# IMMEDIATE stays 0: with 1, libzmq throws away what has come in already when a peer disconnects.
LINK_OPTIONS: Options = BOTH + (
    ("RECONNECT_IVL", 100),
    ("RECONNECT_IVL_MAX", 5000),
    ("CONNECT_TIMEOUT", 3000),
)
# What is queued is lost with its connection, and counts in messages: so few feature maps. Twice
# the credit: libzmq notices only after half of a lane's messages that there is room again.
LANE_OPTIONS: Dict[str, Options] = {
    CONTROL: (("SNDHWM", 256), ("RCVHWM", 256), ("MAXMSGSIZE", 65536)),
    DATA: (
        ("SNDHWM", 2 * CREDIT_MAX),
        ("RCVHWM", 2 * CREDIT_MAX),
        ("SNDBUF", 1 << 20),
        ("RCVBUF", 1 << 20),
        ("MAXMSGSIZE", BODY_BYTES_MAX + CURVE_BYTES_MAX),
    ),
}
assert HEAD_BYTES_MAX + CURVE_BYTES_MAX < 65536


def set_options(socket: Any, options: Options) -> None:
    """Set what this libzmq knows; an older one works without the rest."""
    for name, value in options:
        option = getattr(zmq, name, None)
        if option is None:
            continue
        try:
            socket.setsockopt(option, value)
        except zmq.ZMQError as error:
            if error.errno != zmq.EINVAL:
                raise
