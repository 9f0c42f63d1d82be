"""Contenders of `bench link`: gRPC with bytes, by generic handlers, so that nothing is generated.

The payload is made `bytes` before anything is timed, which a program with arrays would have to do
each time.
"""

import itertools
import queue
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Deque, Dict, Iterator, List, Optional

import numpy as np

from ..errors import BackendUnavailable
from .link_contender import ANSWER, ANSWER_REPLY, ECHO, ONE_WAY, REPLY_S, Contender, Options
from .link_process import Child, Ready

SERVICE = "edgesdk.Link"
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
SERVER_THREADS = 2  # a stream keeps one for as long as it is open


def load_grpc() -> Any:
    """The package. Raises BackendUnavailable without it."""
    try:
        import grpc
    except ImportError as error:
        raise BackendUnavailable(
            "grpcio is not installed ({}); install it with: make bench-deps, or pip install "
            "'edgesdk[bench]'".format(error)
        ) from None
    return grpc


class GrpcUnary(Contender):
    """One call per payload."""

    name = "grpc unary"
    stream_forms: Any = (ANSWER,)

    def __init__(self) -> None:
        self._channel: Any = None
        self._calls: Dict[str, Any] = {}
        self._payload = b""

    @staticmethod
    def require() -> None:
        load_grpc()

    def start(self, cores: Optional[List[int]]) -> None:
        self.child = Child(__name__ + ":serve", {}, cores)
        address = "127.0.0.1:{}".format(self.child.ready["port"])
        options = UNLIMITED + [("grpc.enable_http_proxy", 0)]
        self._channel = load_grpc().insecure_channel(address, options=options)
        self._calls = {form: self._channel.unary_unary(_path(form)) for form in (ECHO, ANSWER)}

    def fit(self, payload: np.ndarray) -> None:
        self._payload = payload.tobytes()

    def round_trip(self, form: str) -> Any:
        try:
            return self._calls[form](self._payload, timeout=REPLY_S)
        except load_grpc().RpcError as error:
            raise self.failed(error) from error

    def stream(self, count: int, window: int, form: str) -> int:
        call = self._calls[form]
        waiting: Deque[Any] = deque()
        try:
            for _ in range(count):
                if len(waiting) == window:
                    waiting.popleft().result()
                waiting.append(call.future(self._payload, timeout=REPLY_S))
            for future in waiting:
                future.result()
        except load_grpc().RpcError as error:
            raise self.failed(error) from error
        return count

    def stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        super().stop()


class GrpcStream(GrpcUnary):
    """One call for all payloads; one with replies, or one without for the form ONE_WAY."""

    name = "grpc stream"
    stream_forms = (ONE_WAY, ANSWER)

    def __init__(self) -> None:
        super().__init__()
        self._streams: Dict[str, Any] = {}
        self._count: Any = None
        self._requests: Any = None  # of the open stream, or None
        self._replies: Any = None
        self._form = ""

    def start(self, cores: Optional[List[int]]) -> None:
        super().start(cores)
        self._streams = {
            form: self._channel.stream_stream(_path(form + " stream")) for form in (ECHO, ANSWER)
        }
        self._count = self._channel.stream_unary(_path(ONE_WAY))

    def round_trip(self, form: str) -> Any:
        try:
            if form != self._form:
                self._open(form)
            self._requests.put(self._payload)
            return next(self._replies)
        except load_grpc().RpcError as error:
            raise self.failed(error) from error

    def stream(self, count: int, window: int, form: str) -> int:
        try:
            if form == ONE_WAY:
                payloads = itertools.repeat(self._payload, count)
                return int(self._count(payloads, timeout=2 * REPLY_S))
            if form != self._form:
                self._open(form)
            for _ in range(min(window, count)):
                self._requests.put(self._payload)
            for received in range(count):
                next(self._replies)
                if received + window < count:
                    self._requests.put(self._payload)
            return count
        except load_grpc().RpcError as error:
            raise self.failed(error) from error

    def stop(self) -> None:
        self._end_stream()
        super().stop()

    def _open(self, form: str) -> None:
        self._end_stream()
        self._requests, self._form = queue.Queue(), form
        self._replies = self._streams[form](_until_none(self._requests))

    def _end_stream(self) -> None:
        if self._requests is not None:
            self._requests.put(None)
            self._requests, self._form = None, ""


def serve(options: Options, ready: Ready) -> None:
    """The other side; never returns."""
    grpc = load_grpc()
    methods = {
        ECHO: grpc.unary_unary_rpc_method_handler(lambda request, context: request),
        ANSWER: grpc.unary_unary_rpc_method_handler(lambda request, context: ANSWER_REPLY),
        ECHO + " stream": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
        ANSWER + " stream": grpc.stream_stream_rpc_method_handler(
            lambda requests, context: (ANSWER_REPLY for _ in requests)
        ),
        ONE_WAY: grpc.stream_unary_rpc_method_handler(
            lambda requests, context: str(sum(1 for _ in requests)).encode("ascii")
        ),
    }
    handlers = {_method(form): handler for form, handler in methods.items()}
    server = grpc.server(ThreadPoolExecutor(SERVER_THREADS), options=UNLIMITED)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ready({"port": port})
    server.wait_for_termination()


def _method(form: str) -> str:
    return form.title().replace(" ", "")


def _path(form: str) -> str:
    return "/{}/{}".format(SERVICE, _method(form))


def _until_none(requests: Any) -> Iterator[bytes]:
    while True:
        request = requests.get()
        if request is None:
            return
        yield request
