"""A worker without neighbours, put together; `runtime/member.py` has the one among them."""

from random import Random
from typing import List, Optional, Sequence, Tuple

from ..core.exits import ExitPolicy
from ..core.metrics import Metrics
from ..core.source import Source
from ..core.spec import Plan
from ..core.worker import Worker
from ..telemetry.timeline import TimelineWriter
from .executor import Executor
from .loop import Loop, Owner, Writer

NAME = "local"


def alone(
    exit_count: int,
    plans: Sequence[Plan],
    policy: ExitPolicy,
    executor: Executor,
    owner: Owner,
    max_batch: int,
    seed: int,
    timeline: Optional[str] = None,
) -> Tuple[Loop, Metrics]:
    """The loop of a worker that computes everything itself. Raises ConfigError for a `timeline`
    that cannot be written."""
    metrics = Metrics(exit_count)
    source = Source(policy, len(plans), metrics, Random(seed))
    worker = Worker(plans, policy, source, max_batch)
    writers: List[Writer] = []
    if timeline is not None:
        writers.append(TimelineWriter(timeline, NAME, 0, 0, {}))
    return Loop(worker, executor, owner, writers), metrics
