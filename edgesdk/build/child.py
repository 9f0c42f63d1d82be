"""One task of a build, in a process of its own; `processes.py` starts it.

The request is one JSON object on standard input, with the `task` and what it needs; the answer is
one on standard output: {"answer": ...} or {"error": [class, message]}. TensorRT may need all
memory that a board has, and the system ends who takes too much: so one stage is built by one
process, which imports neither torch nor onnxruntime, and the builder lives on.
"""

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from typing import Any, Dict

from ..errors import EdgeError, EngineError

# By task: the module that has `answer(request)`. Imported where it is asked for, no other.
TASKS = {
    "look": ".gpu_task",
    "build": ".build_task",
    "golden": ".golden",
    "half": ".half",
    "try": ".cpu_task",
}
PARENT_LOOK_S = 0.5


def main() -> None:
    """Do what standard input asks for."""
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    _end_with(request["parent"])
    _die_first()
    try:
        task = importlib.import_module(TASKS[request["task"]], __package__)
        answer: Dict[str, Any] = {"answer": task.answer(request)}
    except EdgeError as error:
        answer = {"error": [type(error).__name__, str(error)]}
    except MemoryError:
        text = "this machine had too little memory for it; end other programs, or add swap"
        answer = {"error": [EngineError.__name__, text]}
    with os.fdopen(answer_to, "w") as out:
        json.dump(answer, out)


def _end_with(parent: int) -> None:
    """End when whoever asked has ended, in the middle of what TensorRT does, too: nobody waits for
    it any more, and the next build would find the GPU taken."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_LOOK_S)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _die_first() -> None:
    """Where memory ends, the system ends this process, not the one that can tell why."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
