"""What no way of sharing the work can exceed, from the times of stages and where they are held."""

import math
from typing import Dict, Optional, Sequence

from .spec import Model, Node, Part, Scenario


def bound_per_s(
    scenario: Scenario, sources: Sequence[str], part_exit_shares: Sequence[Dict[int, float]]
) -> Optional[float]:
    """The most items per second that any way of sharing the work can answer.

    m is the compute of an item whose parts leave as `part_exit_shares` say, N the sum of the speeds
    of all nodes, t_0 the time of the stages 0 that sources compute themselves, which are those they
    hold unless they may send inputs. Of an ensemble, no part alone may take more than the nodes
    that hold it have. Nodes that batch count with their largest batch. None where nobody left.
    """
    model = scenario.model
    mean_us = [_mean_us(part, shares) for part, shares in zip(model.parts, part_exit_shares)]
    if sum(mean_us) <= 0:
        return None
    every = tuple(range(len(model.parts)))
    bounds = [
        sum(
            _rate(node, model.batch_share) for node in scenario.nodes if _serves(node, model, parts)
        )
        * 1e6
        / sum(mean_us[part] for part in parts)
        for parts in (every,) + tuple((part,) for part in every if mean_us[part])
    ]
    if not scenario.offloading.offload_inputs:
        begin = [node for node in scenario.nodes if node.name in sources]
        bounds.append(sum(_begun_per_s(scenario.model, node) for node in begin))
    return min(bounds)


def _serves(node: Node, model: Model, parts: Sequence[int]) -> bool:
    """Whether a node holds any stage of any of these parts."""
    return any(node.holds(part, stage) for part, stage in model.stages if part in parts)


def _mean_us(part: Part, exit_shares: Dict[int, float]) -> float:
    """Compute of an item in this part."""
    until, total_us = {}, 0
    for exit_index, stage_us in zip(part.exit_indices, part.stage_us):
        total_us += stage_us
        until[exit_index] = total_us
    return sum(share * until[exit_index] for exit_index, share in exit_shares.items())


def _begun_per_s(model: Model, node: Node) -> float:
    """Items of which a source can compute the stages 0 that it holds."""
    first_us = sum(
        part.stage_us[0] for index, part in enumerate(model.parts) if node.holds(index, 0)
    )
    return _rate(node, model.batch_share) * 1e6 / first_us if first_us else math.inf


def _rate(node: Node, batch_share: float) -> float:
    """Items per time of one item at speed 1, in full batches."""
    return node.speed * node.max_batch / (1 + (node.max_batch - 1) * batch_share)
