"""The core workers of a simulated world: what they are made from."""

from random import Random
from typing import Any, Dict, List, Optional, Tuple

from ..core.admission import NO_ADMISSION
from ..core.metrics import Metrics
from ..core.neighbours import Identity
from ..core.replanning import Replanning, Seat, Work
from ..core.spec import FULL_PLAN, Plan, Stage
from ..core_spec import CoreSpec, new_core
from .spec import Model, Node, Part, Scenario


def plan_of(part: Part) -> Plan:
    """The plan that `part` stands for: each stage ends at its exit."""
    stages: List[Stage] = []
    first = 0
    for exit_index in part.exit_indices:
        stages.append(Stage(first, exit_index, exit_index, ""))
        first = exit_index + 1
    return Plan(FULL_PLAN, tuple(stages))


def new_metrics(model: Model) -> Metrics:
    """Counters for every trained exit of `model`."""
    return Metrics(model.exit_indices[-1] + 1)


def stage_times(model: Model, node: Node) -> Dict[Tuple[int, int], float]:
    """What the (part, stage) pairs that `node` holds take there for one item, in us."""
    return {
        (part, stage): model.parts[part].stage_us[stage] / node.speed
        for part, stage in model.stages
        if node.holds(part, stage)
    }


class Coding:
    """What bottlenecks cost one node. Encoding and decoding are short and come between stages: the
    processor owes their time to the stage that begins next."""

    def __init__(self, model: Model, node: Node) -> None:
        self._owed_us = 0.0
        self._encode_us, self._decode_us = (
            {
                (part, stage): us / node.speed
                for part, spec in enumerate(model.parts)
                for stage, us in enumerate(getattr(spec, name))
            }
            for name in ("encode_us", "decode_us")
        )

    def encode(self, part: int, stage: int) -> int:
        """The input of a stage is sent: the time until it leaves."""
        took_us = self._encode_us.get((part, stage), 0.0)
        self._owed_us += took_us
        return int(took_us + 0.5)

    def decode(self, part: int, stage: int) -> None:
        """The input of a stage has come."""
        self._owed_us += self._decode_us.get((part, stage), 0.0)

    def settle(self) -> float:
        """What is owed so far, in us, to be paid now."""
        owed_us, self._owed_us = self._owed_us, 0.0
        return owed_us


def identity(scenario: Scenario, node: Node, epoch: int) -> Identity:
    """Who the process at `node` is. Every node has the same model."""
    return Identity(
        worker=1 + scenario.nodes.index(node),
        epoch=epoch,
        model_id=bytes(16),
        plan_id=bytes(16),
        stages=tuple(place for place in scenario.model.stages if node.holds(*place)),
    )


def core_spec(scenario: Scenario, node: Node, epoch: int) -> CoreSpec:
    """What the process at `node` is made from, but for its seed."""
    model = scenario.model
    is_source = node.name in {workload.source for workload in scenario.workloads}
    return CoreSpec(
        identity(scenario, node, epoch),
        tuple(map(plan_of, model.parts)),
        model.policy,
        exit_count=model.exit_indices[-1] + 1,
        part_count=len(model.parts),
        max_batch=node.max_batch,
        offloading=scenario.offloading,
        admission=scenario.admission if is_source else NO_ADMISSION,
        is_disturbed=scenario.is_disturbed,
        replanning=replanning_at(scenario, node),
    )


def replanning_at(scenario: Scenario, node: Node) -> Optional[Replanning]:
    """What the process at `node` knows of moving stages. Every node that holds some may hold any;
    what a stage takes at speed 1 stands for its multiply-adds."""
    options = scenario.replanning
    if options is None or 1 + scenario.nodes.index(node) != options.coordinator:
        return options
    part, ids = scenario.model.parts[0], {n.name: i + 1 for i, n in enumerate(scenario.nodes)}
    targets: Dict[str, List[int]] = {name: [] for name in ids}
    for link in scenario.links:
        for name in link.offload:
            targets[name].append(ids[link.second if name == link.first else link.first])
    every = tuple(range(len(part.stage_us)))
    return options._replace(
        work=tuple(map(Work, part.feature_bytes, part.stage_us)),
        seats=tuple(
            Seat(ids[each.name], each.name, () if each.stages == () else every, tuple(to))
            for each, to in zip(scenario.nodes, targets.values())
        ),
    )


def new_worker(scenario: Scenario, node: Node, epoch: int, rng: Random, metrics: Metrics) -> Any:
    """The core of a process that starts at `node`."""
    return new_core(core_spec(scenario, node, epoch), metrics, rng)[0]
