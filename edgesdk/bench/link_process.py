"""The other process of `bench link`: started, told what to serve, and gone when this one is.

Parent and child share two pipes. The first line on the child's standard input says what to run;
its first line on standard output says that it is ready. End of input means that the parent has
stopped it or has died, however that came about, and the child leaves.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from ..errors import TransportError

START = "from edgesdk.bench.link_process import main; main()"
READY_S = 60.0  # importing torch from a slow card takes half of it
LEAVE_S = 5.0  # until a child that was asked to leave is killed
EXPLAINED_LINES = 4  # of what a child that failed wrote last

Ready = Callable[[Dict[str, Any]], None]


class Child:
    """A process that runs `target` ("module:function") with `options` and on `cores`.

    The function takes the options (plain JSON values) and `ready`, to be called once with what the
    parent has to know, which is `self.ready` here. Raises TransportError if that does not come.
    """

    def __init__(
        self, target: str, options: Dict[str, Any], cores: Optional[List[int]] = None
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # `stop` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the parent, who ends this one in order
        )
        try:
            self._order({"target": target, "options": options, "cores": cores})
            self.ready = self._wait_until_ready(target)
        except BaseException:
            self.stop()
            raise

    @property
    def process_id(self) -> int:
        """Its number in the system."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    def explain(self) -> str:
        """Whether it still runs, and the last it wrote on standard error; for messages."""
        status = self._process.poll()
        state = "still runs" if status is None else "ended with status {}".format(status)
        self._errors.seek(0)
        text = self._errors.read().decode("utf-8", "replace")
        last = [line.strip() for line in text.splitlines() if line.strip()][-EXPLAINED_LINES:]
        return "the other process {}{}".format(state, ": " + " | ".join(last) if last else "")

    def stop(self) -> None:
        """Ask it to leave, kill it after LEAVE_S, wait for its end. May be called twice."""
        if self._errors.closed:
            return
        with contextlib.suppress(OSError):  # it has gone already
            _pipe(self._process.stdin).close()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()
        self._errors.close()

    def _order(self, order: Dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # `_wait_until_ready` says why
            _pipe(self._process.stdin).write(json.dumps(order).encode("utf-8") + b"\n")
            _pipe(self._process.stdin).flush()

    def _wait_until_ready(self, target: str) -> Dict[str, Any]:
        output = _pipe(self._process.stdout).fileno()
        received, end = b"", time.monotonic() + READY_S
        while not received.endswith(b"\n"):
            readable, _, _ = select.select([output], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(output, 65536) if readable else b""
            if not chunk:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1 if readable else 0)  # so that its status can be told
                raise TransportError(
                    "{}: found no answer, expected it to be ready within {:.0f} s; {}".format(
                        target, READY_S, self.explain()
                    )
                )
            received += chunk
        ready: Dict[str, Any] = json.loads(received.decode("utf-8"))
        return ready


def main() -> None:
    """What a child runs."""
    received = b""
    while not received.endswith(b"\n"):
        chunk = os.read(0, 65536)
        if not chunk:
            return
        received += chunk
    order = json.loads(received.decode("utf-8"))
    answer = os.dup(1)
    os.dup2(2, 1)  # what it prints is not for the parent's program
    if order["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order["cores"])
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    module, _, function = order["target"].partition(":")

    def ready(found: Dict[str, Any]) -> None:
        os.write(answer, json.dumps(found).encode("utf-8") + b"\n")

    getattr(importlib.import_module(module), function)(order["options"], ready)


def _leave_with_the_parent() -> None:
    while os.read(0, 65536):  # not sys.stdin, whose lock would hang an orderly end
        pass
    os.kill(os.getpid(), signal.SIGTERM)  # as a person would stop a worker
    time.sleep(LEAVE_S)
    os._exit(1)


def _environment() -> Dict[str, str]:
    """One compute thread, and the parent's edgesdk, wherever that was imported from."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [root] + [path for path in [os.environ.get("PYTHONPATH")] if path]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS="1")


def _pipe(pipe: Any) -> Any:
    assert pipe is not None  # asked for when the process was started
    return pipe
