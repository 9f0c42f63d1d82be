"""`python -m edgesdk.bench engine`: every stage and exit head of a plan, each alone, on a device.

What it measures can be written as a profile (`edgesdk.profiles`), which planning and simulation
read.
"""

import functools
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from .. import cli
from ..arrays import Array
from ..backends import Backend, smallest_limit
from ..bundle import Bundle
from ..core.metrics import percentile
from ..core.worker import DEFAULT_MAX_BATCH
from ..errors import ConfigError
from ..profiles import StageTime
from ..runtime.stages import LoadedStage, load_stages
from .energy import Meter
from .timing import interleaved_rounds

SEED = 0
BATCHES = (1, DEFAULT_MAX_BATCH)


class Rig:
    """The stages of one plan of a part, and arrays of one batch size, or of the largest that the
    stages take: what the executor does, step by step."""

    def __init__(
        self, bundle: Bundle, plan: str, backend: Backend, batch: int, part: int = 0
    ) -> None:
        spec = bundle.manifest.parts[part]
        held = [(part, index) for index in range(len(spec.plans[plan].stages))]
        self.stages: List[LoadedStage] = list(load_stages(bundle, plan, backend, held).values())
        limit = smallest_limit(stage.max_batch for stage in self.stages)
        self.batch = batch if limit is None else min(batch, limit)
        shape = (self.batch,) + tuple(spec.segments[0].input_shape)
        first = np.random.RandomState(SEED).standard_normal(shape).astype(np.float32)
        self.arrays: List[Array] = [first]
        for stage in self.stages:
            self.arrays.append(backend.memory.empty((self.batch,) + stage.output_shape))
        self.run_stages()

    def run_stages(self) -> None:
        """All stages, one after the other, from a random input to the last features."""
        for index in range(len(self.stages)):
            self.run_stage(index)

    def run_stage(self, index: int) -> None:
        """One stage, on what the stage before it gave."""
        self.stages[index].program.run(self.arrays[index], self.arrays[index + 1])

    def run_heads(self) -> None:
        """Every exit head, on the features of its stage."""
        for index in range(len(self.stages)):
            self.run_head(index)

    def run_head(self, index: int) -> None:
        """The exit head behind a stage, if the plan has one there."""
        head = self.stages[index].head
        if head is not None:
            head(self.arrays[index + 1], False)


def measure(
    bundle: Bundle,
    plan: str,
    backend: Backend,
    seconds: float,
    batches: Sequence[int] = BATCHES,
    meter: Optional[Meter] = None,
) -> List[StageTime]:
    """Times of every stage and head of a plan, of all parts, for each of `batches`, `seconds` for
    each. With a `meter` also the energy of every stage, which takes its time for each.

    Raises ConfigError for a plan that the bundle lacks.
    """
    plans = bundle.manifest.parts[0].plans
    if plan not in plans:
        raise ConfigError(
            "plan: found {!r}, expected one of {}".format(plan, ", ".join(sorted(plans)))
        )
    times: List[StageTime] = []
    part_count = len(bundle.manifest.parts)
    for batch in batches:
        for part in range(part_count):
            rig = Rig(bundle, plan, backend, batch, part)
            if (part, rig.batch) in [(time.part, time.batch) for time in times]:
                continue  # the stages take no more
            found = _stage_times(rig, plan, rig.batch, seconds / part_count)
            if meter is not None:
                found = _with_energy(rig, found, meter)
            times += [time._replace(part=part) for time in found]
    return times


def _stage_times(rig: Rig, plan: str, batch: int, seconds: float) -> List[StageTime]:
    def call(step: Callable[[int], None], index: int) -> Callable[[], None]:
        return lambda: step(index)

    count = len(rig.stages)
    calls = [call(rig.run_stage, index) for index in range(count)]
    calls += [call(rig.run_head, index) for index in range(count)]
    times = [_p50_p95(times_us) for times_us in interleaved_rounds(calls, seconds)]
    result = []
    for index, stage in enumerate(rig.stages):
        time = StageTime(0, plan, index, batch, *times[index])
        if stage.head is not None:
            head_p50_us, head_p95_us = times[count + index]
            time = time._replace(head_p50_us=head_p50_us, head_p95_us=head_p95_us)
        result.append(time)
    return result


def _with_energy(rig: Rig, times: Sequence[StageTime], meter: Meter) -> List[StageTime]:
    meter.measure_idle()
    result = []
    for time in times:
        energy = meter.energy(functools.partial(rig.run_stage, time.stage), time.batch)
        if energy is not None:
            time = time._replace(
                energy_mj=energy.total_mj, energy_above_idle_mj=energy.above_idle_mj
            )
        result.append(time)
    return result


def _p50_p95(times_us: Sequence[float]) -> Tuple[float, float]:
    ordered = sorted(times_us)
    return round(percentile(ordered, 0.50), 2), round(percentile(ordered, 0.95), 2)


def slowed(times: Sequence[StageTime], factor: float) -> List[StageTime]:
    """The times of a device that needs `factor` times as long for everything. Energy is not
    known there."""

    def grown(value: Optional[float]) -> Optional[float]:
        return None if value is None else round(value * factor, 2)

    return [
        time._replace(
            p50_us=round(time.p50_us * factor, 2),
            p95_us=round(time.p95_us * factor, 2),
            head_p50_us=grown(time.head_p50_us),
            head_p95_us=grown(time.head_p95_us),
            energy_mj=None,
            energy_above_idle_mj=None,
        )
        for time in times
    ]


HEADER = ("stage", "batch", "p50 us", "p95 us", "head p50 us", "head p95 us", "mJ per item")


def row(time: StageTime) -> Tuple[str, ...]:
    """One line of the table a person reads."""
    heads = [
        "-" if value is None else "{:.1f}".format(value)
        for value in (time.head_p50_us, time.head_p95_us)
    ]
    return (
        "{} {}{}".format(time.plan, time.stage, _of_part(time)),
        str(time.batch),
        "{:.1f}".format(time.p50_us),
        "{:.1f}".format(time.p95_us),
        heads[0],
        heads[1],
        "-" if time.energy_mj is None else "{:.4g}".format(time.energy_mj),
    )


def _of_part(time: StageTime) -> str:
    """Plain networks have one part, of which nobody speaks."""
    return " of part {}".format(time.part) if time.part else ""


def figures(times: Sequence[StageTime]) -> List[Dict[str, Any]]:
    """p50 and p95 of each stage and head, and the energy of stages."""
    result = []
    for time in times:
        name = "plan {}, stage {}{}, batch {}".format(
            time.plan, time.stage, _of_part(time), time.batch
        )
        for what, value, unit in (
            ("stage p50", time.p50_us, "us"),
            ("stage p95", time.p95_us, "us"),
            ("head p50", time.head_p50_us, "us"),
            ("head p95", time.head_p95_us, "us"),
            ("energy per item", time.energy_mj, "mJ"),
            ("energy per item above idle", time.energy_above_idle_mj, "mJ"),
        ):
            if value is not None:
                result.append(cli.figure("{}, {}".format(name, what), value, unit))
    return result
