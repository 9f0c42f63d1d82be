"""`python -m edgesdk.bench core`: what edgesdk itself costs, before any network computes."""

import os
import subprocess
import sys
import tempfile
from random import Random
from time import process_time
from typing import Any, Dict, List

from .. import cli
from ..core import wire
from ..core.events import RunStage, Scores, StageDone, Submit
from ..core.exits import MaxProbability
from ..core.messages import Envelope, ItemId, Task
from ..core.metrics import Metrics
from ..core.source import Source
from ..core.spec import Plan, Stage
from ..core.tensor import Tensor
from ..core.worker import Worker

EXIT_COUNT = 7
ROUNDS = 40
ITEMS_PER_ROUND = 200
MESSAGES_PER_ROUND = 2000
STARTS = 10
HANDLE_US_MAX = 6.0
WIRE_US_MAX = 3.0
IMPORT_MS_MAX = 40.0
RESIDENT_MB_MAX = 60.0

# Processor time, not wall time: other programs on the machine cost the latter.
_IMPORT = """
import numpy, resource, time
begin = time.process_time()
import edgesdk
print((time.process_time() - begin) * 1e3, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def measure() -> List[Dict[str, Any]]:
    """Figures: the core's time per event and message, the import beyond numpy, resident memory."""
    handle_us = _handle_us()
    wire_us = _wire_us()
    import_ms, resident_mb = _import_cost()
    return [
        _at_most("Worker.handle, per event, 7 exits", handle_us, "us", HANDLE_US_MAX),
        _at_most("wire: encode and decode a task", wire_us, "us", WIRE_US_MAX),
        _at_most("import edgesdk beyond numpy", import_ms, "ms", IMPORT_MS_MAX),
        _at_most("resident after import edgesdk", resident_mb, "MB", RESIDENT_MB_MAX),
    ]


def _handle_us() -> float:
    """The fastest round: one item at a time passes every exit."""
    plan = Plan("full", tuple(Stage(i, i, i, "") for i in range(EXIT_COUNT)))
    policy = MaxProbability([0.9] * EXIT_COUNT)
    worker = Worker([plan], policy, Source(policy, 1, Metrics(EXIT_COUNT), Random(0)))
    scores = [Scores(1, 0.5, 0.2, 0.3)]
    fastest = float("inf")
    for number in range(ROUNDS):
        begin = process_time()
        for item in range(number * ITEMS_PER_ROUND, (number + 1) * ITEMS_PER_ROUND):
            carry(worker, item, scores)
        fastest = min(fastest, process_time() - begin)
    return fastest / (ITEMS_PER_ROUND * (EXIT_COUNT + 1)) * 1e6


def carry(worker: Worker, item: int, scores: List[Scores]) -> None:
    """Take one item through `worker` as if every exit that it evaluates gave `scores`."""
    actions: List[Any] = worker.handle(Submit((item,), (None,), 0), 0)
    while actions and isinstance(actions[-1], RunStage):
        run = actions[-1]
        found = scores if run.evaluate else None
        actions = worker.handle(StageDone(run.part, run.stage, run.items, found), 0)


def _wire_us() -> float:
    """The fastest round: a task with 64 KB of features, whose bytes are not looked at."""
    item = ItemId(1 << 60, 77, 12345)
    envelope = Envelope(12, 13, Task(5, 3, item, 0, 3, 0, 2, 250000, 0.5, (3, -1)))
    tensor = Tensor("float32", (16, 32, 32), "raw", bytes(16 * 32 * 32 * 4))
    fastest = float("inf")
    for _ in range(ROUNDS):
        begin = process_time()
        for _ in range(MESSAGES_PER_ROUND):
            wire.decode(wire.encode(envelope, tensor))
        fastest = min(fastest, process_time() - begin)
    return fastest / MESSAGES_PER_ROUND * 1e6


def _import_cost() -> List[float]:
    """Milliseconds and megabytes of fresh processes, compiled before; the least of each."""
    with tempfile.TemporaryDirectory() as cache:
        environment = dict(os.environ, PYTHONPYCACHEPREFIX=cache, PYTHONDONTWRITEBYTECODE="")
        runs = [
            subprocess.check_output([sys.executable, "-c", _IMPORT], env=environment).split()
            for _ in range(STARTS)
        ]
    return [min(float(word) for word in column) for column in zip(*runs)]


def _at_most(name: str, value: float, unit: str, target: float) -> Dict[str, Any]:
    return cli.figure(name, round(value, 2), unit, target, value <= target)
