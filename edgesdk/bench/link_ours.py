"""Contender of `bench link`: edgesdk itself, a source that computes nothing beside one worker.

The reply is an answer (a class), never the payload; compare with the form ANSWER of the others.
"""

import os
import runpy
import sys
import tempfile
from collections import deque
from typing import Any, Deque, List, Optional

import numpy as np

from .. import keys
from ..cluster import local_cluster_text, read_cluster
from ..errors import EdgeError, TransportError
from ..pipeline import Pipeline
from .link_bundle import LABELS, load_onnx, write_echo_bundle
from .link_contender import ANSWER, REPLY_S, WINDOW, Contender, Options
from .link_process import Child, Ready

SOURCE, WORKER = "source", "echo"
WORKER_COMMAND = "edgesdk.worker"


class Ours(Contender):
    """`Pipeline.infer` and `submit` here, `python -m edgesdk.worker` there; not encrypted."""

    name = "edgesdk"
    trip_forms = (ANSWER,)
    stream_forms = (ANSWER,)

    def __init__(self) -> None:
        self._cores: Optional[List[int]] = None
        self._folder: Any = None
        self._pipe: Any = None
        self._payload: Any = None

    @staticmethod
    def require() -> None:
        load_onnx()

    def start(self, cores: Optional[List[int]]) -> None:
        self._cores = cores

    def fit(self, payload: np.ndarray) -> None:
        """A bundle takes inputs of one shape, so each has workers of its own."""
        self.stop()
        self._payload = payload
        self._folder = tempfile.TemporaryDirectory(prefix="edgesdk-link-")
        bundle = os.path.join(self._folder.name, "echo", "1")
        cluster = os.path.join(self._folder.name, "cluster.toml")
        write_echo_bundle(bundle, payload.shape)
        with open(cluster, "w", encoding="utf-8") as file:
            file.write(cluster_text(bundle, self._security()))
        self._make_keys(cluster)
        self.child = Child(__name__ + ":serve", {"cluster": cluster}, self._cores)
        self._pipe = Pipeline.open(bundle, cluster=cluster, name=SOURCE)

    def round_trip(self, form: str) -> Any:
        try:
            return self._pipe.infer(self._payload)
        except EdgeError as error:
            raise self.failed(error) from error

    def stream(self, count: int, window: int, form: str) -> int:
        waiting: Deque[Any] = deque()
        try:
            for _ in range(count):
                if len(waiting) == window:
                    waiting.popleft().result(REPLY_S)
                waiting.append(self._pipe.submit(self._payload))
            for future in waiting:
                future.result(REPLY_S)
        except EdgeError as error:
            raise self.failed(error) from error
        return count

    def check(self, payload: np.ndarray) -> None:
        try:
            result = self._pipe.infer(payload, deadline_ms=1000 * REPLY_S)
        except EdgeError as error:
            raise self.failed(error) from error
        if result.label != LABELS[0]:
            raise TransportError(
                "{}: found the answer {!r}, expected {!r}; it is not timed".format(
                    self.name, result.label, LABELS[0]
                )
            )
        if self.stream(2 * WINDOW, WINDOW, ANSWER) != 2 * WINDOW:
            raise TransportError("{}: results of a stream are missing".format(self.name))

    def stop(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        super().stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _security(self) -> str:
        return "insecure = true"

    def _make_keys(self, cluster: str) -> None:
        """Nothing: there are none."""


class OursCurve(Ours):
    """The same, encrypted and authenticated by CURVE."""

    name = "edgesdk curve"
    curve = True

    def _security(self) -> str:
        return 'keys = "keys"'

    def _make_keys(self, cluster: str) -> None:
        keys.make_keys(read_cluster(cluster))


def serve(options: Options, ready: Ready) -> None:
    """The other side: the worker command, as a person would start it. `options`: "cluster", and
    "name" and further "arguments" where they are not those of this bench."""
    ready({})  # the first answer tells when it has joined
    name, arguments = options.get("name", WORKER), options.get("arguments", [])
    sys.argv = [WORKER_COMMAND, "--cluster", options["cluster"], "--name", name] + arguments
    runpy.run_module(WORKER_COMMAND, run_name="__main__", alter_sys=True)


def cluster_text(bundle: str, security: str) -> str:
    """The cluster file; `security` is one line of TOML."""
    workers = {SOURCE: ["stages = []"], WORKER: []}
    return local_cluster_text(bundle, workers, ['codec = "raw"', "[security]", security])
