"""Child processes do the work of a build; what becomes of them is told apart here."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any, Callable, Dict

from .. import errors
from ..errors import EdgeError, EngineError

TICK_S = 1.0
LAST_WORDS_MAX = 400
# The failure that users of boards with 4 GB report most, and what helped them.
KILLED = (
    "the process that computed it was killed (SIGKILL), as the system does where memory ends: give "
    "the builder less (--workspace-mib 64), add a swap file of 4 GB, stop the desktop (sudo "
    "systemctl isolate multi-user.target); what was timed is kept, so the next build is shorter"
)

_CHILD = "from edgesdk.build import child; child.main()"

Tick = Callable[[float], None]


def ask(task: str, request: Dict[str, Any], what: str, tick: Tick) -> Dict[str, Any]:
    """What a child answers that does `task` (`child.TASKS`). `what`: the stage, for errors. `tick`
    is called every second with those that have passed.

    Raises the child's EdgeError, or EngineError if it ended without an answer.
    """
    # Files, not pipes: a pipe must be fed and emptied beside the ticks, where Python 3.6 errs.
    with contextlib.ExitStack() as files:
        asked, out, err = (files.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        asked.write(json.dumps(dict(request, task=task, parent=os.getpid())).encode("utf-8"))
        asked.seek(0)
        status = _run(asked, out, err, tick)
        out.seek(0)
        err.seek(0)
        return _answer(what, status, out.read(), err.read())


def _run(asked: IO[bytes], out: IO[bytes], err: IO[bytes], tick: Tick) -> int:
    """The status of a child that has ended."""
    begin = time.monotonic()
    command = [sys.executable, "-c", _CHILD]
    try:
        process = subprocess.Popen(command, stdin=asked, stdout=out, stderr=err)
    except OSError as error:
        raise EdgeError("no process can be started: {}; end other programs".format(error)) from None
    try:
        while True:
            try:
                return process.wait(TICK_S)
            except subprocess.TimeoutExpired:
                tick(time.monotonic() - begin)
    finally:
        if process.poll() is None:  # interrupted
            process.kill()
            process.wait()


def _answer(what: str, status: int, out: bytes, err: bytes) -> Dict[str, Any]:
    told: Any = None
    with contextlib.suppress(ValueError):
        told = json.loads(out.decode("utf-8"))
    if isinstance(told, dict) and status == 0:
        if "error" not in told:
            answer: Dict[str, Any] = told["answer"]
            return answer
        name, text = told["error"]
        raise getattr(errors, name)(text)
    if status == -signal.SIGKILL:
        raise EngineError("{}: {}".format(what, KILLED))
    lines = err.decode("utf-8", "replace").strip().splitlines()
    words = "".join(lines[-1:])[:LAST_WORDS_MAX]
    raise EngineError(
        "{}: the process that computed it {}{}; expected an answer; `python -m edgesdk.doctor "
        "--for tensorrt` says whether the libraries fit this machine".format(
            what, _ending(status), ", saying: " + words if words else " and said nothing"
        )
    )


def _ending(status: int) -> str:
    if status >= 0:
        return "ended with status {}".format(status)
    try:
        return "was ended by {}".format(signal.Signals(-status).name)
    except ValueError:
        return "was ended by signal {}".format(-status)
