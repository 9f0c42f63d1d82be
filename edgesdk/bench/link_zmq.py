"""Contenders of `bench link`: pyzmq with nothing around it, the floor of what edgesdk builds on.

DEALER here, ROUTER there, over tcp; one header frame and one payload frame. Payloads up to COPY_MAX
are copied into libzmq, larger ones are not, as suits pyzmq best.
"""

from typing import Any, Dict, List, Optional

import numpy as np
import zmq

from .link_contender import ANSWER, ANSWER_REPLY, ECHO, ONE_WAY, REPLY_S, Contender, Options
from .link_process import Child, Ready

COPY_MAX_BYTES = 64 * 1024
QUEUED_BYTES = 16 * 1024 * 1024  # in the queue of a socket, so that 3.2 MB payloads fit memory
QUEUED_COUNT = (4, 1000)  # at least, at most; 1000 is what ZeroMQ has by default
HEADERS = {form: form.encode("ascii").ljust(64) for form in (ECHO, ANSWER, ONE_WAY, "end")}
ECHO_HEADER, ANSWER_HEADER, ONE_WAY_HEADER, END_HEADER = (
    HEADERS[form] for form in (ECHO, ANSWER, ONE_WAY, "end")
)


class Raw(Contender):
    """pyzmq, not encrypted."""

    name = "raw"
    stream_forms = (ONE_WAY, ANSWER)

    def __init__(self) -> None:
        self._cores: Optional[List[int]] = None
        self._context: Any = None
        self._socket: Any = None
        self._payload: Any = None
        self._copy = True

    def start(self, cores: Optional[List[int]]) -> None:
        self._cores = cores

    def fit(self, payload: np.ndarray) -> None:
        """A new pair of sockets: the depth of their queues is fixed when they connect."""
        self.stop()
        self._payload, self._copy = payload, payload.nbytes <= COPY_MAX_BYTES
        options = {"copy": self._copy, "queued": _queued_count(payload.nbytes)}
        theirs, ours = _keys() if self.curve else ({}, {})
        self.child = Child(__name__ + ":serve", dict(options, **theirs), self._cores)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.rcvtimeo = self._socket.sndtimeo = int(1000 * REPLY_S)
        self._socket.sndhwm = self._socket.rcvhwm = options["queued"]
        for name, value in ours.items():
            setattr(self._socket, name, value.encode("ascii"))
        self._socket.connect(self.child.ready["address"])

    def round_trip(self, form: str) -> Any:
        try:
            self._send(HEADERS[form])
            if form == ECHO:
                self._socket.recv()
                return self._socket.recv(copy=self._copy)
            return self._socket.recv()
        except zmq.ZMQError as error:
            raise self.failed(error) from error

    def stream(self, count: int, window: int, form: str) -> int:
        try:
            return self._one_way(count) if form == ONE_WAY else self._answered(count, window)
        except zmq.ZMQError as error:
            raise self.failed(error) from error

    def stop(self) -> None:
        if self._context is not None:
            self._socket.close()
            self._context.term()
            self._context = self._socket = None
        super().stop()

    def _send(self, header: bytes) -> None:
        self._socket.send(header, zmq.SNDMORE)
        self._socket.send(self._payload, copy=self._copy)

    def _one_way(self, count: int) -> int:
        for _ in range(count):
            self._send(ONE_WAY_HEADER)
        self._socket.send_multipart([END_HEADER, b""])
        return int(self._socket.recv())

    def _answered(self, count: int, window: int) -> int:
        received = 0
        for sent in range(count):
            if sent - received == window:
                self._socket.recv()
                received += 1
            self._send(ANSWER_HEADER)
        while received < count:
            self._socket.recv()
            received += 1
        return received


class RawCurve(Raw):
    """pyzmq, encrypted and authenticated by CURVE."""

    name = "raw curve"
    curve = True


def serve(options: Options, ready: Ready) -> None:
    """The other side; never returns."""
    router: Any = zmq.Context().socket(zmq.ROUTER)
    router.sndhwm = router.rcvhwm = options["queued"]
    if "curve_secretkey" in options:
        router.curve_server = True
        router.curve_secretkey = options["curve_secretkey"].encode("ascii")
    router.bind("tcp://127.0.0.1:*")
    ready({"address": router.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode("ascii")})
    copy, received = options["copy"], 0
    while True:
        peer, header, payload = router.recv(), router.recv(), router.recv(copy=copy)
        if header == ONE_WAY_HEADER:
            received += 1
            continue
        router.send(peer, zmq.SNDMORE)
        if header == ECHO_HEADER:
            router.send(header, zmq.SNDMORE)
            router.send(payload, copy=copy)
        elif header == ANSWER_HEADER:
            router.send(ANSWER_REPLY)
        else:
            router.send(str(received).encode("ascii"))
            received = 0


def _queued_count(payload_bytes: int) -> int:
    least, most = QUEUED_COUNT
    return min(most, max(least, QUEUED_BYTES // payload_bytes))


def _keys() -> Any:
    """(options of the other side, socket options of this one) for one run."""
    server_public, server_secret = (key.decode("ascii") for key in zmq.curve_keypair())
    public, secret = (key.decode("ascii") for key in zmq.curve_keypair())
    theirs: Dict[str, str] = {"curve_secretkey": server_secret}
    ours = {
        "curve_serverkey": server_public,
        "curve_publickey": public,
        "curve_secretkey": secret,
    }
    return theirs, ours
