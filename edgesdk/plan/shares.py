"""How many images come to each stage, and how often each exit is right."""

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..core.exits import ExitPolicy
from ..core.spec import Plan
from ..errors import ConfigError
from ..manifest import Manifest
from ..outcomes import Outcomes, replay
from ..schema import Field

SPLIT = "calibration"  # plans are chosen there; test images are only reported
NEAR = 1e-3  # shares that are written with few digits still add up to 1


def exit_shares(
    manifest: Manifest,
    plan: Plan,
    policy: ExitPolicy,
    asked: Union[str, None],
    outcomes: Optional[Outcomes],
) -> Tuple[Tuple[float, ...], str]:
    """The share of images that leave at each exit of `plan`, and where that is known from.

    `asked`: the policy's name in the manifest, None for its default. Raises ConfigError where it is
    not known: it has to be found out with outcomes.
    """
    if outcomes is not None:
        left = replay(outcomes.select(SPLIT), policy, plan.exit_indices).exit_index
        shares = [float(np.mean(left == index)) for index in plan.exit_indices]
        return tuple(shares), "outcomes of {} images".format(len(left))
    if policy.kind == "final":
        last = [0.0] * (len(plan.exit_indices) - 1) + [1.0]
        return tuple(last), "the policy: nobody leaves early"
    name = manifest.default_policy if asked is None else asked
    entry = manifest.document["policies"].get(name, {})
    provenance: Dict[str, Any] = entry.get("provenance") or {}
    if "share_per_exit" not in provenance:
        raise ConfigError(
            "policy {}: found no share_per_exit in its provenance, expected --outcomes FILE, which "
            "python -m edgesdk.train calibrate --outcomes writes".format(name)
        )
    where = "policies.{}.provenance".format(name)
    field = Field(provenance, where, ConfigError).get("share_per_exit")
    return _of_plan(field, manifest.exit_count, plan), "the policy's provenance"


def _of_plan(field: Field, exit_count: int, plan: Plan) -> Tuple[float, ...]:
    shares = [item.number(0, 1) for item in field.items()]
    if len(shares) != exit_count or abs(sum(shares) - 1) > NEAR:
        raise field.fail("{} shares that add up to 1".format(exit_count))
    found = [shares[index] for index in plan.exit_indices]
    if abs(sum(found) - 1) > NEAR:
        raise field.fail(
            "nobody to leave but at the exits of plan {!r}: {}".format(
                plan.name, ", ".join(map(str, plan.exit_indices))
            )
        )
    return tuple(found)


def reach(plan: Plan, shares: Sequence[float]) -> Tuple[float, ...]:
    """The share of images that come to each stage, from those that leave at each exit."""
    left, found = dict(zip(plan.exit_indices, shares)), []
    going = 1.0
    for stage in plan.stages:
        found.append(going)
        if stage.exit_index is not None:
            going = max(0.0, going - left[stage.exit_index])
            going = 0.0 if going < 1e-9 else going
    return tuple(found)


def accuracies(
    manifest: Manifest, plan: Plan, outcomes: Optional[Outcomes]
) -> Tuple[Tuple[Optional[float], ...], str]:
    """How often the exit behind each stage is right, of all images; None where there is no exit.
    And where that is known from.

    Raises ConfigError where it is not known.
    """
    if outcomes is not None:
        of_exits: List[float] = outcomes.select(SPLIT).correct.mean(axis=0).tolist()
        known = "outcomes"
    else:
        provenance = manifest.document.get("provenance") or {}
        of_exits = (provenance.get("test") or {}).get("accuracy_per_exit") or []
        known = "the manifest, of test images"
    if len(of_exits) != manifest.exit_count:
        raise ConfigError(
            "accuracy: found that of {} exits in the manifest, expected {}, or --outcomes "
            "FILE".format(len(of_exits), manifest.exit_count)
        )
    stages = [None if s.exit_index is None else of_exits[s.exit_index] for s in plan.stages]
    return tuple(stages), known
