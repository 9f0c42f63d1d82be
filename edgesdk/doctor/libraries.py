"""Asks each library what it is, in a process of its own (`probes.py`), so that one that crashes or
hangs takes nobody with it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Sequence

from . import probes

TIMEOUT_S = 60.0  # to import torch from the card of a Nano takes a good part of it
GIVE_UP_S = 1.0  # a process that hangs in a driver cannot be killed either
FAILURE_LENGTH_MAX = 400
# Being asked leaves nothing behind: when they are imported, onnxruntime 1.29 and newer write to the
# home folder and report to their maker.
LEAVE_NOTHING = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUDA_CACHE_DISABLE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
# With it numpy 1.19.5 works on a Nano; whether numpy works without is what is asked.
HIDDEN_FROM = {"numpy": ("OPENBLAS_CORETYPE",)}


_LAUNCH = "import runpy, sys; runpy.run_path(sys.argv[1])['main'](sys.argv[2])"


class Answer(NamedTuple):
    """What a library told, or why it did not: `failure` is "" where it did. `is_missing`: it is
    not installed where this Python looks."""

    told: Dict[str, Any]
    failure: str = ""
    is_missing: bool = False

    @property
    def version(self) -> str:
        """Of the library, "" where it told none."""
        return str(self.told.get("version", ""))


def ask(name: str, timeout_s: float = TIMEOUT_S) -> Answer:
    """One of `probes.PROBES`."""
    return answer_of(command_for(name), timeout_s, HIDDEN_FROM.get(name, ()))


def command_for(name: str) -> List[str]:
    """What answers for a library, with the modules of the current folder and none of ours."""
    return [sys.executable, "-c", _LAUNCH, probes.__file__, name]


def answer_of(
    command: Sequence[str], timeout_s: float = TIMEOUT_S, hidden: Sequence[str] = ()
) -> Answer:
    """What a process prints that answers as probes do, without the variables `hidden`; it gets
    `timeout_s`. Raises nothing."""
    surroundings = dict(os.environ, **LEAVE_NOTHING)
    for name in hidden:
        surroundings.pop(name, None)
    try:
        process = subprocess.Popen(
            list(command),
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Answer({}, "no process can be started: {}".format(error))
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return Answer({}, "no answer within {:g} s".format(timeout_s))
    return _answer(out, err, process.returncode)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill it with all that it started, and wait for the end only briefly."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=GIVE_UP_S)


def _answer(out: bytes, err: bytes, status: int) -> Answer:
    try:
        told: Any = json.loads(out.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        return Answer({}, _ending(err, status))
    failure = " ".join(str(told.get("failure", "")).split())[:FAILURE_LENGTH_MAX]
    return Answer({} if failure else told, failure, told.get("is_missing") is True)


def _ending(err: bytes, status: int) -> str:
    if status < 0:
        try:
            return "killed by {}".format(signal.Signals(-status).name)
        except ValueError:
            return "killed by signal {}".format(-status)
    last = err.decode("utf-8", "replace").strip().splitlines()[-1:]
    said = "".join(last).strip()[:FAILURE_LENGTH_MAX]
    return "ended with status {}{}".format(status, ": " + said if said else " and no answer")
