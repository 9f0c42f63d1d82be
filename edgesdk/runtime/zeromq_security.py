"""Who may connect, and, with CURVE, that what is said stays between the two.

libzmq authenticates the server to its clients; the reverse is the business of a handler that it
asks over an inproc socket (ZeroMQ RFC 27). Without one, a CURVE server takes every key, and a
server without CURVE takes random bytes for messages of a very old peer.
"""

from typing import Any, Dict, NamedTuple, Optional

import zmq
from zmq.utils import z85

from ..errors import BackendUnavailable

_DOMAIN = b"edgesdk"
_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
OBSERVER_NAME = "observer"  # as a connection's user, where a worker has its number


def has_curve() -> bool:
    """Whether this libzmq was built with CURVE."""
    return bool(zmq.has("curve"))


def check_curve() -> None:
    """Raise BackendUnavailable, with what to do, where `has_curve` is not true."""
    if not has_curve():
        raise BackendUnavailable(
            "this pyzmq was built without CURVE; install one with it (pip install pyzmq), or "
            "set security.insecure = true in the cluster file"
        )


class Curve(NamedTuple):
    """Our key pair, the public key of every neighbour by worker id, and that of observers, if they
    have one: Z85, 40 characters each."""

    public: str
    secret: str
    neighbours: Dict[int, str]
    observer: Optional[str] = None

    @property
    def is_pair(self) -> bool:
        """Whether our two keys belong together: otherwise nobody would let us in."""
        public: bytes = zmq.curve_public(self.secret.encode("ascii"))
        return public == self.public.encode("ascii")

    def lock_client(self, outlet: Any, peer: int) -> None:
        """Let `outlet` talk to `peer` and to nobody else."""
        outlet.setsockopt(zmq.CURVE_SECRETKEY, self.secret.encode("ascii"))
        outlet.setsockopt(zmq.CURVE_PUBLICKEY, self.public.encode("ascii"))
        outlet.setsockopt(zmq.CURVE_SERVERKEY, self.neighbours[peer].encode("ascii"))


def lock_door(inbox: Any, curve: Optional[Curve]) -> None:
    """Let the `Doorkeeper` decide who may connect to `inbox`; nobody, if there is none."""
    inbox.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
    if hasattr(zmq, "ZAP_ENFORCE_DOMAIN"):
        inbox.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    if curve is not None:
        inbox.setsockopt(zmq.CURVE_SERVER, 1)
        inbox.setsockopt(zmq.CURVE_SECRETKEY, curve.secret.encode("ascii"))


class Doorkeeper:
    """Answers libzmq's question who may connect: neighbours and observers, by their keys, or
    without `curve` everybody who speaks properly. What it answers with, such as the worker's id,
    comes with every message over the connection, and nothing else can put it there."""

    def __init__(self, context: Any, curve: Optional[Curve]) -> None:
        if curve is not None:
            check_curve()
        self._mechanism = b"NULL" if curve is None else b"CURVE"
        self._names: Optional[Dict[bytes, bytes]] = None
        if curve is not None:
            self._names = {
                z85.decode(key.encode("ascii")): str(worker).encode("ascii")
                for worker, key in curve.neighbours.items()
            }
            if curve.observer is not None:
                name = OBSERVER_NAME.encode("ascii")
                self._names[z85.decode(curve.observer.encode("ascii"))] = name
        self.socket = context.socket(zmq.REP)
        self.socket.bind(_ENDPOINT)

    def answer_all(self) -> int:
        """Answer what was asked; how many were refused."""
        refused_count = 0
        while self.socket.get(zmq.EVENTS) & zmq.POLLIN:
            request = self.socket.recv_multipart(zmq.DONTWAIT)
            name = None
            if request[2] == _DOMAIN and request[5] == self._mechanism:
                name = b"" if self._names is None else self._names.get(request[6])
            answer = [b"400", b"unknown key", b""] if name is None else [b"200", b"", name]
            self.socket.send_multipart([_VERSION, request[1]] + answer + [b""])
            refused_count += name is None
        return refused_count
