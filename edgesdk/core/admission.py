"""How a source takes part: MDI-Exit Algorithm 3 adapts the rate, Algorithm 4 the exit threshold.

Both look at I_n + O_n of the worker that owns the data, every `period_us`, and are written as one
step without a clock. At exactly T_Q1 or T_Q2 the paper says nothing; here that belongs to the
interval below.
"""

import math
from typing import NamedTuple

from ..errors import ConfigError
from .events import Admit


class Admission(NamedTuple):
    """Constants of both algorithms, the paper's where it gives them.

    `kind`: "none", "rate" (Algorithm 3) or "threshold" (Algorithm 4). `low_count`, `high_count`:
    T_Q1 and T_Q2. `alpha`, `beta`, `zeta`: the factors of lines 3, 5 and 7. `period_us`: s. The
    first mu, its limits, T_e and its least value T_e^min are not in the paper.
    """

    kind: str = "none"
    low_count: int = 10
    high_count: int = 30
    alpha: float = 0.2
    beta: float = 0.1
    zeta: float = 0.2
    period_us: int = 500_000
    interarrival_us: int = 100_000
    interarrival_us_min: int = 100
    interarrival_us_max: int = 60_000_000
    threshold: float = 0.8
    threshold_min: float = 0.5


NO_ADMISSION = Admission()
KINDS = ("none", "rate", "threshold")


def check_admission(options: Admission) -> Admission:
    """`options` itself. Raises ConfigError for constants that the algorithms do not allow."""
    if options.kind not in KINDS:
        raise ConfigError(
            "admission: found {!r}, expected one of {}".format(options.kind, ", ".join(KINDS))
        )
    for ok, name, expected in (
        (0 <= options.low_count <= options.high_count, "low_count", "0 <= it <= high_count"),
        (0 < options.beta < options.alpha < 1, "alpha", "0 < beta < alpha < 1"),
        (0 < options.zeta < 1, "zeta", "0 < it < 1"),
        (options.period_us > 0, "period_us", "above 0"),
        (
            0 < options.interarrival_us_min <= options.interarrival_us_max,
            "interarrival_us_min",
            "0 < it <= interarrival_us_max",
        ),
        (options.interarrival_us > 0, "interarrival_us", "above 0"),
        (0 < options.threshold_min <= 1, "threshold_min", "0 < it <= 1"),
        (0 < options.threshold <= 1, "threshold", "0 < it <= 1"),
    ):
        if not ok:
            raise ConfigError(
                "admission.{}: found {}, expected {}".format(name, getattr(options, name), expected)
            )
    return options


def next_interarrival_us(options: Admission, interarrival_us: float, queued_count: int) -> float:
    """Algorithm 3: mu after one step, within the limits of `options`. `queued_count`: I_n + O_n."""
    mu = interarrival_us * (1 + _change(options, queued_count, -1.0))
    return min(max(mu, options.interarrival_us_min), options.interarrival_us_max)


def next_threshold(options: Admission, threshold: float, queued_count: int) -> float:
    """Algorithm 4: T_e after one step, at most 1 and at least T_e^min."""
    changed = threshold * (1 + _change(options, queued_count, 1.0))
    return min(max(changed, options.threshold_min), 1.0)


def _change(options: Admission, queued_count: int, when_idle: float) -> float:
    """The relative change: `when_idle` is its sign while queues are short."""
    if queued_count <= options.low_count:
        return when_idle * options.alpha
    if queued_count <= options.high_count:
        return when_idle * options.beta
    return -when_idle * options.zeta


class AdmissionControl:
    """The state of both algorithms at one source. `threshold` is T_e, NaN unless Algorithm 4 runs;
    `period_us` is s, None if neither does."""

    def __init__(self, options: Admission) -> None:
        self._options = check_admission(options)
        self._interarrival_us = float(options.interarrival_us)
        self.threshold = options.threshold if options.kind == "threshold" else math.nan
        self.period_us = None if options.kind == "none" else options.period_us
        self._patience_us = options.period_us
        self._has_begun = False

    def step(self, queued_count: int, unused_us: int = 0) -> Admit:
        """One round of the algorithm; the first one only tells what it begins with.

        `unused_us`: for how long no item was handed in. Where that is the application's doing, not
        ours, short queues say nothing: what was found before stays.
        """
        adapts = self._has_begun and unused_us <= 2 * self._interarrival_us + self._patience_us
        self._has_begun = True
        if self._options.kind == "threshold":
            if adapts:
                self.threshold = next_threshold(self._options, self.threshold, queued_count)
            return Admit(None, self.threshold)
        if adapts:
            mu = next_interarrival_us(self._options, self._interarrival_us, queued_count)
            self._interarrival_us = mu
        return Admit(int(self._interarrival_us), None)
