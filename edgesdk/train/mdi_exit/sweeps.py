"""Which points are simulated, and each of them over all seeds."""

from collections.abc import Sequence
from random import Random
from typing import Callable, NamedTuple, Optional

from ...outcomes import Outcomes
from ...sim.scenario_files import images_of
from ...sim.spec import Image, Scenario
from .boards import Board
from .points import Points, Spread, about, spread
from .topologies import (
    BASELINES,
    CODED,
    LOCAL,
    MESH_3,
    MESH_5,
    PAPER,
    THRESHOLD,
    Topology,
    at_rate,
    at_threshold,
    scenario_of,
)

THRESHOLDS = (0.5, 0.65, 0.8, 0.9, 0.95)
LOADS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0)  # in what one board does without exits
LOAD_MAX = 0.95  # of the items that the source can begin at all
BEGIN_SHARE = 0.8  # of the bound, where Algorithm 3 begins
IMAGES_MIN = 1500  # of a run, or its accuracy would be chance
BUSY_BOARDS = 4.0  # without exits, whose rate is offered where channels are compared


class Settings(NamedTuple):
    """`thresholds` and `loads` of the curves; `wifi_mbit_s` of the channel, and `media_mbit_s` of
    those it is compared with; at least `seconds` of virtual time for each of `seed_count` runs from
    `seed` on; `image_bytes` of a compressed image."""

    thresholds: tuple[float, ...]
    loads: tuple[float, ...]
    wifi_mbit_s: float
    media_mbit_s: tuple[float, ...]
    seconds: float
    seed: int
    seed_count: int
    image_bytes: int


class Job(NamedTuple):
    """A point: with `rate_hz` Poisson arrivals and Algorithm 4; else Algorithm 3 at `threshold`,
    None: no early exits."""

    topology: Topology
    wifi_mbit_s: float
    threshold: Optional[float] = None
    rate_hz: Optional[float] = None


class Sweep:
    """The simulations of one network on `board`, with its answers to the images of `test`."""

    def __init__(self, board: Board, test: Outcomes, settings: Settings, points: Points) -> None:
        self.board, self.test, self.settings = board, test, settings
        self._points = points
        images = images_of([test])
        # Data sets are often sorted by class; each seed draws an order of its own.
        self._seeds = range(settings.seed, settings.seed + settings.seed_count)
        self._images = [Random(seed).sample(images, len(images)) for seed in self._seeds]

    def jobs(self) -> list[Job]:
        """Every point, in the order of the page; those of the codes only where there are any."""
        settings, wifi = self.settings, self.settings.wifi_mbit_s
        coded = CODED if self.board.code else ()
        curves = PAPER + BASELINES + coded
        fixed = [
            Job(each, wifi, threshold)
            for each in curves
            for threshold in (*settings.thresholds, None)
        ]
        poisson = [Job(each, wifi, None, rate) for each in curves for rate in self.rates_hz()]
        media = [
            job
            for mbit_s in settings.media_mbit_s
            for each in (MESH_3, MESH_5, *coded)
            for job in (
                Job(each, mbit_s, THRESHOLD),
                Job(each, mbit_s, None, self.busy_hz()),
            )
        ]
        return list(dict.fromkeys(fixed + poisson + media))

    def rates_hz(self) -> list[float]:
        """Of Poisson arrivals: what one board does without exits, times the loads, as far as the
        source can begin them."""
        local_hz = 1e6 / self.board.whole_us
        most = LOAD_MAX * self._begun_hz()
        found = [round(load * local_hz, 1) for load in self.settings.loads]
        return [rate for rate in found if rate <= most] or [round(most, 1)]

    def busy_hz(self) -> float:
        """Of the arrivals for which channels are compared."""
        local_hz = 1e6 / self.board.whole_us
        return round(min(BUSY_BOARDS * local_hz, LOAD_MAX * self._begun_hz()), 1)

    def _begun_hz(self) -> float:
        return 1e6 / self.board.part(True, coded=False).stage_us[0]

    def run(self, job: Job, progress: Callable[[], None]) -> Spread:
        """Of all seeds; `progress` is told after each."""
        found = []
        for seed, images in zip(self._seeds, self._images):
            scenario = self.scenario(job, images)
            found.append(self._points.point(scenario, about(self.test), seed))
            progress()
        return spread(found)

    def scenario(self, job: Job, images: Sequence[Image]) -> Scenario:
        """As the simulator takes it."""
        if job.rate_hz is not None:
            per_s = job.rate_hz
            drive = at_rate(per_s)
        else:
            boards = job.topology.boards
            per_s = BEGIN_SHARE * self.board.most_per_s(self.test, job.threshold, boards)
            drive = at_threshold(job.threshold, per_s)
        wifi = None if job.topology == LOCAL else job.wifi_mbit_s
        return scenario_of(
            job.topology,
            self.board,
            images,
            drive,
            max(self.settings.seconds, IMAGES_MIN / per_s),
            wifi,
            self.settings.image_bytes,
        )
