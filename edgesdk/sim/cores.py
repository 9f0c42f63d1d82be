"""The core workers of a simulated world: the only place that makes them."""

from random import Random
from typing import Any, List

from ..core.metrics import Metrics
from ..core.source import Source
from ..core.spec import FULL_PLAN, Plan, Stage
from ..core.worker import Worker
from .spec import Model, Node, Scenario


def plan_of(model: Model) -> Plan:
    """The plan that `model` stands for: each stage ends at its exit."""
    stages: List[Stage] = []
    first = 0
    for exit_index in model.exit_indices:
        stages.append(Stage(first, exit_index, exit_index, ""))
        first = exit_index + 1
    return Plan(FULL_PLAN, tuple(stages))


def new_metrics(model: Model) -> Metrics:
    """Counters for every trained exit of `model`."""
    return Metrics(model.exit_indices[-1] + 1)


def new_worker(scenario: Scenario, node: Node, epoch: int, rng: Random, metrics: Metrics) -> Any:
    """The core of a process that starts at `node`. Today: a source without neighbours."""
    model = scenario.model
    source = Source(model.policy, 1, metrics, rng)
    return Worker([plan_of(model)], model.policy, source, node.max_batch)
