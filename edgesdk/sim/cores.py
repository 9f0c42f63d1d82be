"""The core workers of a simulated world: the only place that makes them."""

from random import Random
from typing import Any, List, Optional

from ..core.admission import NO_ADMISSION
from ..core.disturbance import Disturbance, undisturbed
from ..core.fleet import FleetWorker
from ..core.metrics import Metrics
from ..core.neighbours import Identity
from ..core.source import Source
from ..core.spec import FULL_PLAN, Plan, Stage
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


def stage_times(model: Model, node: Node) -> List[Optional[float]]:
    """What a stage takes at `node` for one item, in us; None where it is not held."""
    return [
        stage_us / node.speed if node.stages is None or stage in node.stages else None
        for stage, stage_us in enumerate(model.stage_us)
    ]


def identity(scenario: Scenario, node: Node, epoch: int) -> Identity:
    """Who the process at `node` is. Every node has the same model."""
    count = len(scenario.model.stage_us)
    stages = tuple(range(count)) if node.stages is None else node.stages
    return Identity(
        worker=1 + scenario.nodes.index(node),
        epoch=epoch,
        model_id=bytes(16),
        plan_id=bytes(16),
        stages=tuple((0, stage) for stage in stages),
    )


def new_worker(scenario: Scenario, node: Node, epoch: int, rng: Random, metrics: Metrics) -> Any:
    """The core of a process that starts at `node`."""
    model = scenario.model
    is_source = node.name in {workload.source for workload in scenario.workloads}
    return FleetWorker(
        identity(scenario, node, epoch),
        [plan_of(model)],
        model.policy,
        Source(model.policy, 1, metrics, rng),
        node.max_batch,
        scenario.offloading,
        scenario.admission if is_source else NO_ADMISSION,
        Disturbance(Random(rng.getrandbits(64))) if scenario.is_disturbed else undisturbed,
    )
