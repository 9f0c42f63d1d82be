"""What tests on real ZeroMQ sockets share: sockets that end with the test, monitors, processes."""

import subprocess
import sys
import threading
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

ZAP_ENDPOINT = "inproc://zeromq.zap.01"

CLOSED = zmq.EVENT_CLOSED
CONNECT_DELAYED = zmq.EVENT_CONNECT_DELAYED
CONNECT_RETRIED = zmq.EVENT_CONNECT_RETRIED
DISCONNECTED = zmq.EVENT_DISCONNECTED
HANDSHAKE_SUCCEEDED = zmq.EVENT_HANDSHAKE_SUCCEEDED


class Sockets:
    """Makes sockets of one context; all are gone at the end, whatever they still had to send."""

    def __init__(self):
        self.context = zmq.Context()
        self._made = []  # a socket that nobody refers to would be closed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.destroy(linger=0)

    def make(self, kind, **options):
        """A socket with options by their names in lower case; recv gives up after 5 s."""
        sock = self.context.socket(kind)
        self._made.append(sock)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVTIMEO, 5000)
        for name, value in options.items():
            sock.setsockopt(getattr(zmq, name.upper()), value)
        return sock

    def bound(self, kind, **options):
        """A socket bound to an ephemeral port of loopback: (socket, port)."""
        sock = self.make(kind, **options)
        return sock, sock.bind_to_random_port("tcp://127.0.0.1")

    def connected(self, kind, port, **options):
        """A socket connected to that port of loopback."""
        sock = self.make(kind, **options)
        sock.connect("tcp://127.0.0.1:{}".format(port))
        return sock


class Monitor:
    """The events of one socket, in order; make it before the socket connects or binds."""

    def __init__(self, sock):
        self._socket = sock.get_monitor_socket()

    def next_of(self, events, within_s):
        """The first of `events` that comes within so many seconds, or None."""
        until_s = time.monotonic() + within_s
        while self._socket.poll(max(0, int(1000 * (until_s - time.monotonic())))):
            event = int(recv_monitor_message(self._socket)["event"])
            if event in events:
                return event
        return None


def verdict(monitor, within_s=0.5):
    """The rule by which a death is told from a hiccup, after DISCONNECTED of a TCP endpoint.

    "back": hands are shaken again, only the connection was lost. "gone": the peer's kernel refuses
    a connection that was under way, so no process listens there. "silent": neither in time. A
    connection that fails before it is under way says only that our own network is down.
    """
    until_s = time.monotonic() + within_s
    is_under_way = False
    while True:
        left_s = until_s - time.monotonic()
        event = monitor.next_of([HANDSHAKE_SUCCEEDED, CONNECT_DELAYED, CLOSED], left_s)
        if event is None:
            return "silent"
        if event == HANDSHAKE_SUCCEEDED:
            return "back"
        if event == CLOSED and is_under_way:
            return "gone"
        is_under_way = event == CONNECT_DELAYED


def drain(sock, wait_ms=300):
    """Every message that comes, as lists of bytes, until none came for `wait_ms`."""
    messages = []
    while sock.poll(wait_ms):
        messages.append(sock.recv_multipart())
    return messages


class Child:
    """A Python process that runs `program`, which prints its port first; killed at the end."""

    def __init__(self, program, *arguments):
        self._process = subprocess.Popen(
            [sys.executable, "-c", program] + [str(argument) for argument in arguments],
            stdout=subprocess.PIPE,
        )
        self.port = int(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def signal(self, number):
        """Send a signal; after SIGKILL, wait until the process is gone."""
        self._process.send_signal(number)
        if number == 9:
            self._process.wait()


class Zap:
    """Answers the context's authentication requests in a thread.

    `decide(domain, mechanism, credentials)` returns the user id, or None to refuse; credentials are
    the client's public key (32 bytes) for CURVE, None for NULL.
    """

    def __init__(self, context, decide):
        self._decide = decide
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ZAP_ENDPOINT)
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="zap", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._is_stopping = True
        self._thread.join()
        self._socket.close()

    def _run(self):
        while not self._is_stopping:
            if not self._socket.poll(20):
                continue
            frames = self._socket.recv_multipart()
            envelope, request = frames[:2], frames[2:]
            version, request_id, domain, _, _, mechanism = request[:6]
            credentials = request[6] if len(request) > 6 else None
            user = self._decide(domain.decode(), mechanism.decode(), credentials)
            status = [b"400", b"not listed", b""] if user is None else [b"200", b"", user]
            self._socket.send_multipart(envelope + [version, request_id] + status + [b""])
