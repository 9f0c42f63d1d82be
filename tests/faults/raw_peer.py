"""Peers that are hostile, or too simple, for whoever listens on a port.

Raw ones are plain sockets that never become a ZMTP peer; each is a function that connects and
returns its open socket or sockets (close them yourself), or a context manager. `ZmtpPeer` shakes
hands correctly, with any routing id, and then sends the frames that a test gives it.
"""

import contextlib
import socket
import threading
from random import Random
from typing import Any, List, Optional, Sequence, Tuple

import zmq

CONNECT_TIMEOUT_S = 5.0
LOOPBACK = "127.0.0.1"

# ZMTP 3.1, RFC 37: signature, version, mechanism, as-server, filler. The first ten bytes say ZMTP.
SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
GREETING = SIGNATURE + b"\x03\x01" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
HTTP_REQUEST = b"GET / HTTP/1.1\r\nHost: worker\r\nAccept: */*\r\n\r\n"


def connect(port: int, data: bytes = b"", host: str = LOOPBACK) -> socket.socket:
    """A connection that has sent `data` and stays; with no data, one that never speaks."""
    sock = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
    with contextlib.suppress(OSError):  # whoever listens has hung up already
        sock.sendall(data)
    return sock


def random_bytes(port: int, count_bytes: int, seed: int, host: str = LOOPBACK) -> socket.socket:
    """A connection that has sent so many bytes of noise, the same for the same seed."""
    rng = Random(seed)
    return connect(port, bytes(rng.getrandbits(8) for _ in range(count_bytes)), host)


def http_request(port: int, host: str = LOOPBACK) -> socket.socket:
    """A connection that asks for a web page."""
    return connect(port, HTTP_REQUEST, host)


def half_greeting(port: int, count_bytes: int = 20, host: str = LOOPBACK) -> socket.socket:
    """A connection that begins to shake hands, and stays silent in the middle of it."""
    return connect(port, GREETING[:count_bytes], host)


def silent_connections(port: int, count: int, host: str = LOOPBACK) -> List[socket.socket]:
    """So many connections that never speak; fewer, where the system allows no more."""
    opened: List[socket.socket] = []
    with contextlib.suppress(OSError):
        for _ in range(count):
            opened.append(connect(port, b"", host))
    return opened


def is_hung_up(sock: socket.socket, within_s: float) -> bool:
    """Whether the other end closes or resets the connection in that time."""
    sock.settimeout(within_s)
    try:
        while sock.recv(65536):
            pass
    except socket.timeout:
        return False
    except OSError:
        pass
    return True


class SlowLoris:
    """Sends `data` one byte per `interval_s`, in a thread, until it is through, hung up on or
    stopped; `sent_bytes` counts."""

    def __init__(
        self,
        port: int,
        data: bytes = GREETING,
        interval_s: float = 0.1,
        host: str = LOOPBACK,
    ) -> None:
        self.socket = connect(port, b"", host)
        self.sent_bytes = 0
        self._data, self._interval_s = data, interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow loris", daemon=True)
        self._thread.start()

    def __enter__(self) -> "SlowLoris":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()
        self.socket.close()

    def _run(self) -> None:
        for position in range(len(self._data)):
            try:
                self.socket.sendall(self._data[position : position + 1])
            except OSError:
                return
            self.sent_bytes += 1
            if self._stop.wait(self._interval_s):
                return


class CurveKeys:
    """What a CURVE client needs, in Z85: the server's public key, and a key pair of its own."""

    def __init__(self, server_public: bytes, pair: Optional[Tuple[bytes, bytes]] = None) -> None:
        self.server_public = server_public
        self.public, self.secret = pair if pair is not None else zmq.curve_keypair()


class ZmtpPeer:
    """A DEALER that says whatever it is given under the routing id that it is given.

    No id lets the other end choose one. Nothing blocks: `send` tells whether libzmq took it.
    """

    def __init__(
        self,
        port: int,
        routing_id: Optional[bytes] = None,
        keys: Optional[CurveKeys] = None,
        host: str = LOOPBACK,
    ) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        if routing_id is not None:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        if keys is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server_public)
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self.socket.connect("tcp://{}:{}".format(host, port))

    def __enter__(self) -> "ZmtpPeer":
        return self

    def __exit__(self, *_: Any) -> None:
        self._context.destroy(linger=0)

    def send(self, *frames: bytes) -> bool:
        """Send one message of these frames; False where the queue is full, or the peer refused."""
        try:
            self.socket.send_multipart(list(frames), flags=zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def send_garbage(self, rng: Random, frames_max: int = 5, frame_bytes_max: int = 200) -> bool:
        """Send a message of 1 to `frames_max` frames of noise, empty ones among them."""
        sizes = [rng.randrange(frame_bytes_max + 1) for _ in range(rng.randint(1, frames_max))]
        return self.send(*(bytes(rng.getrandbits(8) for _ in range(size)) for size in sizes))

    def send_many_frames(self, count: int, frame: bytes = b"x") -> bool:
        """Send one message of so many frames."""
        return self.send(*([frame] * count))

    def send_oversize(self, count_bytes: int, before: Sequence[bytes] = ()) -> bool:
        """Send one message whose last frame has so many bytes."""
        return self.send(*(list(before) + [bytes(count_bytes)]))
