"""CURVE: who may connect, and what is said stays between the two.

libzmq authenticates the server to its clients; the reverse is the business of a handler that it
asks over an inproc socket (ZeroMQ RFC 27). Without one, a CURVE server takes every key.
"""

from typing import Any, Dict, NamedTuple

import zmq
from zmq.utils import z85

from ..errors import BackendUnavailable

_DOMAIN = b"edgesdk"
_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"


class Curve(NamedTuple):
    """Our key pair, and the public key of every neighbour by worker id: Z85, 40 characters each."""

    public: str
    secret: str
    neighbours: Dict[int, str]

    def lock_server(self, inbox: Any) -> None:
        """Let only neighbours connect to `inbox`."""
        inbox.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
        inbox.setsockopt(zmq.CURVE_SERVER, 1)
        inbox.setsockopt(zmq.CURVE_SECRETKEY, self.secret.encode("ascii"))

    def lock_client(self, outlet: Any, peer: int) -> None:
        """Let `outlet` talk to `peer` and to nobody else."""
        outlet.setsockopt(zmq.CURVE_SECRETKEY, self.secret.encode("ascii"))
        outlet.setsockopt(zmq.CURVE_PUBLICKEY, self.public.encode("ascii"))
        outlet.setsockopt(zmq.CURVE_SERVERKEY, self.neighbours[peer].encode("ascii"))


class Doorkeeper:
    """Answers libzmq's question whether a key may connect. What it answers with, the worker's id,
    comes with every message over the connection, and nothing else can put it there."""

    def __init__(self, context: Any, curve: Curve) -> None:
        if not zmq.has("curve"):
            raise BackendUnavailable(
                "this pyzmq was built without CURVE; install one with it (pip install pyzmq), or "
                "set security.insecure = true in the cluster file"
            )
        self._names = {
            z85.decode(key.encode("ascii")): str(worker).encode("ascii")
            for worker, key in curve.neighbours.items()
        }
        self.socket = context.socket(zmq.REP)
        self.socket.bind(_ENDPOINT)

    def answer_all(self) -> int:
        """Answer what was asked; how many were refused."""
        refused_count = 0
        while self.socket.get(zmq.EVENTS) & zmq.POLLIN:
            request = self.socket.recv_multipart(zmq.DONTWAIT)
            name = None
            if request[2] == _DOMAIN and request[5] == b"CURVE":
                name = self._names.get(request[6])
            answer = [b"400", b"unknown key", b""] if name is None else [b"200", b"", name]
            self.socket.send_multipart([_VERSION, request[1]] + answer + [b""])
            refused_count += name is None
        return refused_count
