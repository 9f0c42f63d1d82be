"""All that the experiment found, as plain values: what the page shows."""

from typing import NamedTuple, Optional

from .boards import Board
from .live import LivePoint
from .points import Spread
from .sweeps import Job, Settings


class ExitFigures(NamedTuple):
    """Of one exit: accuracy 0..1 on the test images, and multiply-adds up to it, heads of earlier
    exits not counted."""

    accuracy: float
    multiply_adds: int


class Row(NamedTuple):
    """A point and what was asked of it."""

    job: Job
    found: Spread


class NetworkResults(NamedTuple):
    """Of one bundle `name`, on the `test_count` test images of `data`. `rows` in the order of the
    page. `live`: on real processes at `live_board_ms` an image, empty if they were not asked for.
    """

    name: str
    data: str
    test_count: int
    board: Board
    exits: tuple[ExitFigures, ...]
    rates_hz: tuple[float, ...]
    busy_hz: float
    rows: tuple[Row, ...]
    live: tuple[LivePoint, ...]

    def at(self, job: Job) -> Optional[Spread]:
        """The point that was asked for, or None."""
        return next((row.found for row in self.rows if row.job == job), None)


class Results(NamedTuple):
    """Of every network; `versions` of what computed."""

    versions: dict[str, str]
    settings: Settings
    board_ms: float
    live_board_ms: float
    networks: tuple[NetworkResults, ...]
