"""Paced devices: a stage takes as long here as a profile says it takes on another, slower device.

So a fleet of small boards can be tried on one large machine. It stands for these boards only while
the stages themselves are faster than the pace: a `Pace` counts those that were not.
"""

import contextlib
import threading
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from ..core.events import RunStage
from ..errors import ConfigError
from ..profiles import REMEASURE, Profile, StageTime, read_profile

SPIN_S = 200e-6  # a sleep may be so much too long; the rest is waited for with open eyes


class Measured(NamedTuple):
    """Times of one stage, in us, for a whole batch; `head_us` is 0 where the plan has no exit."""

    batch: int
    stage_us: float
    head_us: float


class Pace:
    """The times of the stages of plan `plan_name` in `profile`, of each of `part_count` parts.

    `stage_us` may be asked from any thread; `stage` and what is counted belong to the one that
    computes: `paced_count` stages so far, `overrun_count` of them took longer than they should,
    the worst `worst_ratio` times as long. Raises ConfigError for a profile without these stages.
    """

    def __init__(self, profile: Profile, plan_name: str, part_count: int = 1) -> None:
        self.device = profile.device
        self.paced_count = self.overrun_count = 0
        self.worst_ratio = 0.0
        self._plan_name = plan_name
        self._parts = [_stages_of(profile, plan_name, part) for part in range(part_count)]

    def stage_us(self, stage: int, batch: int, evaluate: bool, part: int = 0) -> float:
        """How long `stage` takes there on a batch of `batch`, with its exit head if `evaluate`.

        Between two measured batches in proportion, beyond the largest as long for each sample as
        there. Raises ConfigError for a stage that the profile lacks.
        """
        stages = self._parts[part]
        if not 0 <= stage < len(stages):
            raise ConfigError(
                "pace: found no stage {} of plan {!r} in the profile, only {}; {}".format(
                    stage, self._plan_name, len(stages), REMEASURE
                )
            )
        stage_us, head_us = _at(stages[stage], batch)
        return stage_us + head_us if evaluate else stage_us

    @contextlib.contextmanager
    def stage(self, action: RunStage, closing: threading.Event) -> Iterator[None]:
        """Around the computation of `action`: it ends when the time is up, or `closing` is set. If
        the computation raises, nothing is waited for."""
        pace_us = self.stage_us(action.stage, len(action.items), action.evaluate, action.part)
        begun_s = time.perf_counter()
        yield
        taken_us = (time.perf_counter() - begun_s) * 1e6
        self.count(pace_us, taken_us)
        wait_until(begun_s + pace_us * 1e-6, closing)

    def count(self, pace_us: float, taken_us: float) -> None:
        """A stage that should take `pace_us` was computed in `taken_us`."""
        self.paced_count += 1
        if taken_us > pace_us:
            self.overrun_count += 1
        self.worst_ratio = max(self.worst_ratio, taken_us / pace_us)

    def describe(self) -> Dict[str, Any]:
        """device, paced_count, overrun_count and worst_ratio (0 before the first stage)."""
        return {
            "device": self.device,
            "paced_count": self.paced_count,
            "overrun_count": self.overrun_count,
            "worst_ratio": self.worst_ratio,
        }


def read_pace(path: str, model_id: str, plan_name: str, part_count: int = 1) -> Pace:
    """The pace of the device whose profile is in file `path`, which must be of the network
    `model_id`. Raises ConfigError, with the file, for one that cannot be used."""
    profile = read_profile(path, model_id)
    try:
        return Pace(profile, plan_name, part_count)
    except ConfigError as error:
        raise ConfigError("{}: {}".format(path, error)) from None


def wait_until(end_s: float, closing: threading.Event) -> None:
    """Return when `time.perf_counter()` reaches `end_s`, about 100 us late at most on an idle
    machine, or as soon as `closing` is set."""
    left_s = end_s - time.perf_counter()
    if left_s > SPIN_S:
        closing.wait(left_s - SPIN_S)
    while time.perf_counter() < end_s and not closing.is_set():
        time.sleep(0)  # other threads may have the interpreter meanwhile


def _stages_of(profile: Profile, plan_name: str, part: int) -> List[List[Measured]]:
    """For every stage of a part what was measured, by rising batch."""
    first = profile.stage_times(plan_name, part=part)
    by_stage: List[Dict[int, Measured]] = [{} for _ in first]
    for time_ in profile.stages:
        if (time_.part, time_.plan) == (part, plan_name) and time_.stage < len(first):
            by_stage[time_.stage][time_.batch] = _measured(time_)
    return [[found[batch] for batch in sorted(found)] for found in by_stage]


def _measured(time_: StageTime) -> Measured:
    return Measured(time_.batch, time_.p50_us, time_.head_p50_us or 0.0)


def _at(measured: List[Measured], batch: int) -> Tuple[float, float]:
    """Stage and head at `batch`, from those measured at some batches, 1 among them, in order."""
    last = measured[-1]
    if batch >= last.batch:
        return last.stage_us * batch / last.batch, last.head_us * batch / last.batch
    below = max(each for each in measured if each.batch <= batch)
    above = min(each for each in measured if each.batch > batch)
    share = (batch - below.batch) / (above.batch - below.batch)
    return (
        below.stage_us + share * (above.stage_us - below.stage_us),
        below.head_us + share * (above.head_us - below.head_us),
    )
