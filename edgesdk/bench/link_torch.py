"""Contender of `bench link`: torch.distributed.rpc over TensorPipe, as PipeEdge and DEFER-like
programs use it; with the transport `uv`, which is tcp, as it would be between two boards."""

import os
import tempfile
import threading
import warnings
from collections import deque
from typing import Any, Deque, List, Optional

import numpy as np

from ..errors import BackendUnavailable
from .link_contender import ANSWER, ANSWER_REPLY, REPLY_S, Contender, Options
from .link_process import READY_S, Child, Ready

HERE, THERE = "here", "there"
REPLY_TENSOR: Any = None  # uint8 [100], made where torch is loaded


def load_rpc() -> Any:
    """torch.distributed.rpc. Raises BackendUnavailable without it."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of every end of a connection
    try:
        import torch.distributed.rpc as rpc

        if not hasattr(rpc, "init_rpc"):
            raise ImportError("this build of torch has no distributed.rpc")
    except ImportError as error:
        raise BackendUnavailable(
            "torch.distributed.rpc cannot be loaded ({}); pip install 'edgesdk[torch]'".format(
                error
            )
        ) from None
    return rpc


def echo(payload: Any) -> Any:
    """What ECHO calls there."""
    return payload


def answer(payload: Any) -> Any:
    """What ANSWER calls there: uint8 [100]."""
    return REPLY_TENSOR


CALLED = {"echo": echo, "answer": answer}


class TorchRpc(Contender):
    """One call per payload. Of its kind there can be one in a process, and only once."""

    name = "torch rpc"
    stream_forms = (ANSWER,)

    def __init__(self) -> None:
        self._rpc: Any = None
        self._payload: Any = None
        self._folder: Any = None

    @staticmethod
    def require() -> None:
        load_rpc()

    def start(self, cores: Optional[List[int]]) -> None:
        rpc = load_rpc()
        self._folder = tempfile.TemporaryDirectory(prefix="edgesdk-link-")
        store = os.path.join(self._folder.name, "store")
        self.child = Child(__name__ + ":serve", {"store": store}, cores)
        try:
            join(rpc, HERE, 0, store)
        except RuntimeError as error:
            raise self.failed(error) from error
        self._rpc = rpc

    def fit(self, payload: np.ndarray) -> None:
        import torch

        self._payload = (torch.from_numpy(payload),)

    def round_trip(self, form: str) -> Any:
        try:
            return self._rpc.rpc_sync(THERE, CALLED[form], self._payload)
        except RuntimeError as error:
            raise self.failed(error) from error

    def stream(self, count: int, window: int, form: str) -> int:
        called = CALLED[form]
        waiting: Deque[Any] = deque()
        try:
            for _ in range(count):
                if len(waiting) == window:
                    waiting.popleft().wait()
                waiting.append(self._rpc.rpc_async(THERE, called, self._payload))
            for future in waiting:
                future.wait()
        except RuntimeError as error:
            raise self.failed(error) from error
        return count

    def stop(self) -> None:
        rpc, self._rpc = self._rpc, None
        if rpc is not None:
            rpc.shutdown(graceful=False)
        super().stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def serve(options: Options, ready: Ready) -> None:
    """The other side; never returns."""
    global REPLY_TENSOR
    import torch

    rpc = load_rpc()
    REPLY_TENSOR = torch.frombuffer(bytearray(ANSWER_REPLY), dtype=torch.uint8)
    ready({})  # joining waits for the parent
    join(rpc, THERE, 1, options["store"])
    threading.Event().wait()


def join(rpc: Any, name: str, rank: int, store: str) -> None:
    """Become `name`, one of two processes that meet in the file `store`, over tcp on loopback."""
    os.environ.setdefault("TP_SOCKET_IFNAME", "lo")
    backend_options = rpc.TensorPipeRpcBackendOptions(
        init_method="file://" + store,
        rpc_timeout=max(REPLY_S, READY_S),
        _transports=["uv"],
        _channels=["basic"],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what torch has deprecated
        rpc.init_rpc(name, rank=rank, world_size=2, rpc_backend_options=backend_options)
