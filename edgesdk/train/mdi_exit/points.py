"""Points of the curves: simulated once, kept in a file, and read from it ever after."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple, Optional

from ...errors import EdgeError
from ...outcomes import Outcomes
from ...sim.report import link_uses
from ...sim.runs import run_scenario
from ...sim.spec import Scenario

IN_TIME_US = 2_000_000
WARMUP_SHARE = 0.25  # of the virtual time, in which admission looks for its rate


class Point(NamedTuple):
    """One run after its warm-up. Rates are items per second; `bound_per_s` is min(1/t_0, N/m) with
    the exits that were taken, of which 1/t_0 is `begun_per_s` (None: inputs may be sent). `used`:
    share of the channel's rate, None without one. `in_time`: share of the answers that came within
    `IN_TIME_US`; where queues grow all the time, few do."""

    items_per_s: float
    bound_per_s: float
    begun_per_s: Optional[float]
    accuracy: float
    p50_ms: float
    p99_ms: float
    used: Optional[float]
    in_time: float


class Spread(NamedTuple):
    """Several seeds: their mean, and the least and the most of what curves show."""

    mean: Point
    rates: tuple[float, float]
    accuracies: tuple[float, float]


class Points:
    """Points by what they were simulated from, in the file `path`, a line for each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = dict(_read(path))

    def point(self, scenario: Scenario, about: str, seed: int) -> Point:
        """Of one seed. `about` says which images the scenario has, for they are too many to
        look at. Raises EdgeError if the file cannot be written."""
        key = _key(scenario, about, seed)
        if key not in self._known:
            found = simulate(scenario, seed)
            self._known[key] = found
            self._keep(key, found)
        return self._known[key]

    def _keep(self, key: str, point: Point) -> None:
        # A line of its own, whatever a kill left of the one before.
        line = "\n" + json.dumps({"key": key, **point._asdict()})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise EdgeError(f"{self._path}: cannot be written ({error.strerror})") from None


def _read(path: Path) -> Any:
    """Pairs; what a killed process left half written is simulated again."""
    if not path.exists():
        return
    for line in path.read_text("utf-8").splitlines():
        try:
            values = json.loads(line)
            yield values.pop("key"), Point(**values)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _key(scenario: Scenario, about: str, seed: int) -> str:
    shown = scenario._replace(model=scenario.model._replace(images=()))
    return hashlib.sha256(repr((shown, about, seed)).encode()).hexdigest()[:32]


def simulate(scenario: Scenario, seed: int) -> Point:
    """One run."""
    report = run_scenario(scenario, seed, round(WARMUP_SHARE * scenario.duration_us))
    total, part = report.total, scenario.model.parts[0]
    begins = not scenario.offloading.offload_inputs
    in_time = sum(each <= IN_TIME_US for each in total.latencies_us)
    return Point(
        total.items_per_s,
        total.bound_per_s or 0.0,
        1e6 / part.stage_us[0] if begins else None,
        total.accuracy or 0.0,
        (total.p50_us or 0.0) / 1000,
        (total.p99_us or 0.0) / 1000,
        link_uses(report.run)[-1].utilisation if scenario.media and scenario.links else None,
        in_time / max(1, len(total.latencies_us)),
    )


def about(test: Outcomes) -> str:
    """Which images a scenario of `test` has, as `Points` takes it."""
    return f"{test.model_id} {test.data} {test.image_count}"


def spread(points: Sequence[Point]) -> Spread:
    """Of the seeds of one scenario."""
    columns: list[Any] = [None if values[0] is None else mean(values) for values in zip(*points)]
    rates, accuracies = [p.items_per_s for p in points], [p.accuracy for p in points]
    return Spread(
        Point(*columns),
        (min(rates), max(rates)),
        (min(accuracies), max(accuracies)),
    )
