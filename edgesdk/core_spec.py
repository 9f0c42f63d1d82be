"""What a worker among neighbours is made from, as plain values, and the one way to make it.

The runtime, the simulator and the replay of a trace all build their cores here: equal specs, events
and times give equal actions.
"""

from random import Random
from typing import NamedTuple, Optional, Tuple

from .core.admission import NO_ADMISSION, Admission
from .core.disturbance import Disturbance, undisturbed
from .core.exits import ExitPolicy
from .core.fleet import FleetWorker
from .core.metrics import Metrics
from .core.neighbours import Identity
from .core.offload import DEFAULT_OFFLOADING, Offloading
from .core.replanning import Replanning
from .core.source import Source
from .core.spec import Plan
from .core.worker import DEFAULT_MAX_BATCH


class CoreSpec(NamedTuple):
    """Everything that decides what a core does, but the events and their times.

    `plans`: one per part. `exit_count`: trained exits of the model. `seed`: of all that the core
    draws. `is_disturbed`: it does unlikely things on purpose, in simulations only. `replanning`:
    None where stages stay where they are.
    """

    identity: Identity
    plans: Tuple[Plan, ...]
    policy: ExitPolicy
    exit_count: int
    part_count: int = 1
    seed: int = 0
    max_batch: int = DEFAULT_MAX_BATCH
    offloading: Offloading = DEFAULT_OFFLOADING
    admission: Admission = NO_ADMISSION
    is_disturbed: bool = False
    replanning: Optional[Replanning] = None


def new_core(
    spec: CoreSpec, metrics: Optional[Metrics] = None, rng: Optional[Random] = None
) -> Tuple[FleetWorker, Metrics]:
    """The core that `spec` describes, and what it counts in.

    `metrics` go on counting if they are given; `rng` is used instead of one of `spec.seed`. Raises
    ConfigError for constants that the algorithms do not allow and a policy that does not fit.
    """
    deepest = max(spec.plans, key=lambda plan: plan.exit_indices[-1])
    spec.policy.check(spec.exit_count, deepest.exit_indices)
    metrics = Metrics(spec.exit_count) if metrics is None else metrics
    rng = Random(spec.seed) if rng is None else rng
    disturb = Disturbance(Random(rng.getrandbits(64))) if spec.is_disturbed else undisturbed
    source = Source(spec.policy, spec.part_count, metrics, rng)
    core = FleetWorker(
        spec.identity,
        spec.plans,
        spec.policy,
        source,
        spec.max_batch,
        spec.offloading,
        spec.admission,
        disturb,
        spec.replanning,
    )
    return core, metrics
