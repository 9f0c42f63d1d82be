"""A TCP proxy in a thread of the test: what a bad network does to connections, at a word.

    with Proxy(port_of_the_worker) as proxy:
        peer.connect(proxy.endpoint)
        proxy.hold()                  # from here on nothing arrives, and nobody is told
        ...
        proxy.let_go()

Every verb may be called at any time and from any thread; when it returns, it is in force. Verbs
with a `way` act on one direction, or on both where none is given. What an end of a connection does
(bytes, end of stream, reset) reaches the other end in order, late, or not at all, as the way says.

Unlike a real partition, `hold` cannot keep a new connection from being made: the kernel accepts it
on behalf of the proxy, and then nothing more happens.
"""

import contextlib
import queue
import random
import selectors
import socket
import struct
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Tuple

TO_TARGET = "to target"
TO_CLIENT = "to client"
WAYS = (TO_TARGET, TO_CLIENT)

READ_BYTES = 64 * 1024
# A throttled way sends what 10 ms allow at a time, so that it flows rather than jerks.
THROTTLE_STEP_S = 0.01
VERB_TIMEOUT_S = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close sends RST

END = "end of stream"
RESET = "reset"


class Way:
    """What one direction does to everything that travels on it; counters since the start."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.is_held = False
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.bytes_per_s: Optional[float] = None
        self.free_at_s = 0.0  # when a throttled way may send again
        self.read_bytes = 0
        self.passed_bytes = 0
        self.flip_at: Optional[int] = None  # as read_bytes counts
        self.cut_at: Optional[int] = None  # as passed_bytes counts

    def draw_delay_s(self) -> float:
        """How long what is read now stays on the way."""
        return max(0.0, self.delay_s + self.rng.uniform(-self.jitter_s, self.jitter_s))

    def may_send_bytes(self, wanted_bytes: int, now_s: float) -> int:
        """How many of `wanted_bytes` may be passed on now."""
        if self.cut_at is not None:
            wanted_bytes = min(wanted_bytes, self.cut_at - self.passed_bytes)
        if self.bytes_per_s is not None:
            if now_s < self.free_at_s:
                return 0
            wanted_bytes = min(wanted_bytes, max(1, int(self.bytes_per_s * THROTTLE_STEP_S)))
        return wanted_bytes

    def sent(self, sent_bytes: int, now_s: float) -> None:
        """Count what was passed on."""
        self.passed_bytes += sent_bytes
        if self.bytes_per_s is not None:
            self.free_at_s = max(self.free_at_s, now_s - THROTTLE_STEP_S)
            self.free_at_s += sent_bytes / self.bytes_per_s


class Parcel(NamedTuple):
    """Bytes on their way, or what became of the stream (END, RESET)."""

    due_s: float
    data: memoryview
    news: Optional[str] = None


class Stream:
    """One direction of one connection: what was read from `source` and is not yet in `sink`."""

    def __init__(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        self.way, self.source, self.sink = way, source, sink
        self.parcels: Deque[Parcel] = deque()
        self.held_bytes = 0
        self.has_ended = False  # nothing more comes from the source
        self.is_deaf = False  # the sink takes nothing more
        self.way_back = self  # the other stream of the connection

    def put(self, data: bytes, now_s: float, news: Optional[str] = None) -> None:
        """Send `data` or `news` on its way, behind what went earlier, however late that is."""
        self.has_ended = self.has_ended or news is not None
        self.held_bytes += len(data)
        due_s = now_s + self.way.draw_delay_s()
        self.parcels.append(Parcel(due_s, memoryview(data), news))

    def wants_to_read(self, buffer_bytes: int) -> bool:
        return not (self.way.is_held or self.has_ended or self.held_bytes >= buffer_bytes)

    def due_s(self) -> Optional[float]:
        """When the next parcel may be passed on; None if there is none or the way is held."""
        if self.way.is_held or not self.parcels:
            return None
        return max(self.parcels[0].due_s, self.way.free_at_s)

    def read(self, buffer_bytes: int, now_s: float) -> None:
        """Take from the source what there is, up to the size of the buffer."""
        try:
            data = bytearray(self.source.recv(min(READ_BYTES, buffer_bytes - self.held_bytes)))
        except BlockingIOError:
            return
        except OSError:
            self.put(b"", now_s, RESET)
            return
        if not data:  # where sending has met the reset already, reading sees only the end
            self.put(b"", now_s, RESET if self.way_back.is_deaf else END)
            return
        way = self.way
        if way.flip_at is not None and way.flip_at < way.read_bytes + len(data):
            data[max(0, way.flip_at - way.read_bytes)] ^= 1
            way.flip_at = None
        way.read_bytes += len(data)
        self.put(bytes(data), now_s)

    def write(self, now_s: float) -> Optional[str]:
        """Pass on what is due; what became of the connection, where it is at its end."""
        while self.parcels and self.parcels[0].due_s <= now_s:
            parcel = self.parcels[0]
            if parcel.news == RESET:
                return RESET
            if parcel.news == END:
                self.parcels.popleft()
                with contextlib.suppress(OSError):
                    self.sink.shutdown(socket.SHUT_WR)
                return END
            allowed_bytes = self.way.may_send_bytes(len(parcel.data), now_s)
            if not allowed_bytes:
                return None
            sent_bytes = self._send(parcel.data[:allowed_bytes], now_s)
            if not sent_bytes:
                return None
            self.way.sent(sent_bytes, now_s)
            self.held_bytes -= sent_bytes
            if sent_bytes < len(parcel.data):
                self.parcels[0] = parcel._replace(data=parcel.data[sent_bytes:])
            else:
                self.parcels.popleft()
            if self.way.passed_bytes == self.way.cut_at:
                self.way.cut_at = None
                return RESET
        return None

    def _send(self, data: memoryview, now_s: float) -> int:
        """Bytes that the sink took. A sink that is gone takes everything; the news of it goes
        the way back, as its reset would."""
        if not self.is_deaf:
            try:
                return self.sink.send(data)
            except BlockingIOError:
                return 0
            except OSError:
                self.is_deaf = True
                if self.way_back.has_ended:
                    self.way_back.put(b"", now_s, RESET)
        return len(data)


class Connection:
    """Two sockets and the two streams between them."""

    def __init__(self, client: socket.socket, target: socket.socket, ways: Dict[str, Way]) -> None:
        self.client, self.target = client, target
        forth = Stream(ways[TO_TARGET], client, target)
        back = Stream(ways[TO_CLIENT], target, client)
        forth.way_back, back.way_back = back, forth
        self.streams = (forth, back)
        self.ended_streams = 0

    def reset(self) -> None:
        """RST to both ends."""
        for sock in (self.client, self.target):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.close()

    def close(self) -> None:
        """End of stream to both ends; what was on its way is lost."""
        for sock in (self.client, self.target):
            with contextlib.suppress(OSError):  # closing alone would reset it, if bytes are unread
                sock.shutdown(socket.SHUT_WR)
            sock.close()


class Proxy:
    """Passes connections to an ephemeral port on to `target_host:target_port`.

    Each direction of a connection holds at most `buffer_bytes`; then it is not read from until
    there is room, so that back-pressure works (a delay of d seconds passes at most
    buffer_bytes / d). Jitter is drawn from `seed`.
    """

    def __init__(
        self,
        target_port: int,
        target_host: str = "127.0.0.1",
        buffer_bytes: int = 1 << 20,
        seed: int = 0,
    ) -> None:
        self._target = (target_host, target_port)
        self._buffer_bytes = buffer_bytes
        self._ways = {way: Way(random.Random("{}:{}".format(seed, way))) for way in WAYS}
        self._connections: List[Connection] = []
        self._accepted = 0
        self._listener = self._bound_socket(0)
        self._listener.listen(1024)
        self._is_refusing = False
        self.port: int = self._listener.getsockname()[1]
        self.endpoint = "tcp://127.0.0.1:{}".format(self.port)
        self._verbs: "queue.Queue[Tuple[Callable[[], Any], queue.Queue[Any]]]" = queue.Queue()
        self._selector = selectors.DefaultSelector()
        self._alarm, self._bell = socket.socketpair()
        self._alarm.setblocking(False)
        self._watched: Dict[socket.socket, int] = {}
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """Close every connection, the port and the thread; again: nothing."""
        if self._thread.is_alive():
            self._do(self._end)
            self._thread.join()

    # Verbs.

    def hold(self, way: Optional[str] = None) -> None:
        """Pass nothing on and tell nobody: a silent partition."""
        self._set(way, is_held=True)

    def let_go(self, way: Optional[str] = None) -> None:
        """Heal the partition; what waited goes on in order, as TCP would repair it."""
        self._set(way, is_held=False)

    def delay(self, seconds: float, jitter_s: float = 0.0, way: Optional[str] = None) -> None:
        """Everything read from now on stays `seconds` +/- `jitter_s` on its way, in order."""
        self._set(way, delay_s=seconds, jitter_s=jitter_s)

    def throttle(self, bytes_per_s: Optional[float], way: Optional[str] = None) -> None:
        """Each way passes at most `bytes_per_s`, all connections together; None: no limit."""
        self._set(way, bytes_per_s=bytes_per_s, free_at_s=0.0)

    def flip_bit(self, after_bytes: int, way: str = TO_TARGET) -> None:
        """Flip the lowest bit of the byte behind the next `after_bytes` that are read."""
        state = self._ways[way]
        self._do(lambda: setattr(state, "flip_at", state.read_bytes + after_bytes))

    def cut_after(self, count_bytes: int, way: str = TO_TARGET) -> None:
        """Let `count_bytes` (> 0) more pass, then reset the connection that had the last one."""
        assert count_bytes > 0, "to cut at once is to reset"
        state = self._ways[way]
        self._do(lambda: setattr(state, "cut_at", state.passed_bytes + count_bytes))

    def reset(self) -> None:
        """RST to both ends of every connection, also on a held way; later ones are welcome."""
        self._do(lambda: self._drop_all(Connection.reset))

    def close(self) -> None:
        """End of stream (FIN) to both ends of every connection; later ones are welcome."""
        self._do(lambda: self._drop_all(Connection.close))

    def refuse(self) -> None:
        """Refuse new connections (ECONNREFUSED), as if the process were gone."""
        self._do(self._stop_listening)

    def admit(self) -> None:
        """Take new connections again."""
        self._do(self._start_listening)

    # What was seen.

    @property
    def bytes_to_target(self) -> int:
        """Bytes passed on to the target, all connections together."""
        return self._see(lambda: self._ways[TO_TARGET].passed_bytes)

    @property
    def bytes_to_client(self) -> int:
        """Bytes passed on to clients, all connections together."""
        return self._see(lambda: self._ways[TO_CLIENT].passed_bytes)

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return self._see(lambda: len(self._connections))

    @property
    def accepted(self) -> int:
        """Connections accepted since the start."""
        return self._see(lambda: self._accepted)

    # The thread.

    def _set(self, way: Optional[str], **values: Any) -> None:
        states = [self._ways[one] for one in (WAYS if way is None else (way,))]
        self._do(lambda: [setattr(s, name, values[name]) for s in states for name in values])

    def _see(self, look: Callable[[], int]) -> int:
        """A number as it is between two turns: whatever has arrived somewhere is counted."""
        return self._do(look) if self._thread.is_alive() else look()

    def _do(self, verb: Callable[[], Any]) -> Any:
        """Have the proxy's thread run `verb`, and wait for what it returns."""
        if not self._thread.is_alive():
            raise RuntimeError("the proxy has stopped")
        done: "queue.Queue[Any]" = queue.Queue()
        self._verbs.put((verb, done))
        self._bell.send(b"!")
        return done.get(timeout=VERB_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                self._turn()
        finally:
            self._drop_all(Connection.reset)
            self._selector.close()
            for sock in (self._listener, self._alarm, self._bell):
                sock.close()

    def _end(self) -> None:
        self._is_stopping = True

    def _turn(self) -> None:
        for key, events in self._wait():
            if key.fileobj is self._alarm:
                self._run_verbs()
            elif key.fileobj is self._listener:
                self._accept()
            elif events & selectors.EVENT_READ:
                self._read(key.fileobj)
        for connection in list(self._connections):
            self._write(connection)

    def _wait(self) -> List[Any]:
        """What is ready; asks only for what somebody can use, so that it never spins."""
        now_s = time.monotonic()
        wanted = {self._alarm: selectors.EVENT_READ}
        if not self._is_refusing:
            wanted[self._listener] = selectors.EVENT_READ
        next_s: Optional[float] = None
        for connection in self._connections:
            for stream in connection.streams:
                if stream.wants_to_read(self._buffer_bytes):
                    wanted[stream.source] = wanted.get(stream.source, 0) | selectors.EVENT_READ
                due_s = stream.due_s()
                if due_s is not None and due_s <= now_s:
                    wanted[stream.sink] = wanted.get(stream.sink, 0) | selectors.EVENT_WRITE
                elif due_s is not None:
                    next_s = due_s if next_s is None else min(next_s, due_s)
        self._watch(wanted)
        return self._selector.select(None if next_s is None else max(0.0, next_s - now_s))

    def _watch(self, wanted: Dict[socket.socket, int]) -> None:
        for sock in [sock for sock in self._watched if sock not in wanted]:
            self._forget(sock)
        for sock, events in wanted.items():
            if sock not in self._watched:
                self._selector.register(sock, events)
            elif self._watched[sock] != events:
                self._selector.modify(sock, events)
            self._watched[sock] = events

    def _forget(self, sock: socket.socket) -> None:
        if self._watched.pop(sock, None) is not None:
            self._selector.unregister(sock)

    def _run_verbs(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._alarm.recv(READ_BYTES)
        while not self._verbs.empty():
            verb, done = self._verbs.get()
            done.put(verb())

    def _accept(self) -> None:
        try:
            client = self._listener.accept()[0]
        except OSError:
            return
        target = socket.socket()
        for sock in (client, target):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target.connect_ex(self._target)  # a refusal is heard as a reset, and passed on as one
        self._connections.append(Connection(client, target, self._ways))
        self._accepted += 1

    def _read(self, sock: socket.socket) -> None:
        now_s = time.monotonic()
        for connection in self._connections:
            for stream in connection.streams:
                if stream.source is sock and stream.wants_to_read(self._buffer_bytes):
                    stream.read(self._buffer_bytes, now_s)

    def _write(self, connection: Connection) -> None:
        now_s = time.monotonic()
        for stream in connection.streams:
            due_s = stream.due_s()
            if due_s is None or due_s > now_s:
                continue
            news = stream.write(now_s)
            connection.ended_streams += news == END
            if news == RESET or connection.ended_streams == len(connection.streams):
                self._drop(connection, Connection.reset if news == RESET else Connection.close)
                return

    def _drop(self, connection: Connection, end: Callable[[Connection], None]) -> None:
        self._forget(connection.client)
        self._forget(connection.target)
        self._connections.remove(connection)
        end(connection)

    def _drop_all(self, end: Callable[[Connection], None]) -> None:
        for connection in list(self._connections):
            self._drop(connection, end)

    @staticmethod
    def _bound_socket(port: int) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.setblocking(False)
        return sock

    def _stop_listening(self) -> None:
        """A socket that is bound but does not listen keeps the port, and refuses."""
        if not self._is_refusing:
            self._forget(self._listener)
            self._listener.close()
            self._listener = self._bound_socket(self.port)
            self._is_refusing = True

    def _start_listening(self) -> None:
        if self._is_refusing:
            self._listener.listen(1024)
            self._is_refusing = False
