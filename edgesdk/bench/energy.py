"""What a stage costs in energy, by the rails that a board measures of itself.

A stage runs again and again for some seconds, and every tenth of a second the power of the rails is
read, between two runs. Its energy is the mean power times the time per item. What the board
draws when nothing runs is measured before, in the same way.

What to know of the figures: a reading takes about a millisecond per rail and tells the last
conversion of the sensor, which lasts milliseconds too, so shorter things cannot be seen: hence a
mean over seconds, of the stage alone. Sensors resolve some 10 mW and are some percent off. Idle is
measured once before the stages of a batch size; a fan that starts later is taken for theirs.
"""

import math
import statistics
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..telemetry.board import Board, total_rails

SECONDS = 2.0
SETTLE_S = 0.5  # what ran before is still in what regulators and sensors say
READ_EVERY_S = 0.1  # some percent of the time at most: readings are not the stage's


class Energy(NamedTuple):
    """Of one item, in mJ: by all that the board drew, and by what it drew more than idle (None
    where that is lost in the noise)."""

    total_mj: float
    above_idle_mj: Optional[float]


class Meter:
    """Measures energy by the rails of `board` that make up what it draws. `clock` and `sleep` are
    in seconds."""

    def __init__(
        self,
        board: Board,
        rails: Sequence[str],
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rails = tuple(rails)
        self.idle_w: List[float] = []
        self._last_idle_w = math.nan
        self._board = board
        self._seconds = seconds
        self._clock = clock
        self._sleep = sleep

    def measure_idle(self) -> None:
        """What the board draws now, while nothing is asked of it."""
        self._run(lambda: self._sleep(READ_EVERY_S / 2), SETTLE_S)
        power_w, _ = self._run(lambda: self._sleep(READ_EVERY_S / 2), self._seconds)
        self._last_idle_w = power_w
        if not math.isnan(power_w):
            self.idle_w.append(round(power_w, 4))

    def energy(self, call: Callable[[], object], item_count: int) -> Optional[Energy]:
        """Of one of the `item_count` items that each `call` computes, after `measure_idle`; None
        where the rails could not be read."""
        self._run(call, SETTLE_S)
        power_w, call_s = self._run(call, self._seconds)
        ms_per_item = call_s / item_count * 1e3
        if not power_w > 0:
            return None
        above_w = power_w - self._last_idle_w
        return Energy(
            _rounded(power_w * ms_per_item),
            _rounded(above_w * ms_per_item) if above_w > 0 else None,
        )

    def _run(self, call: Callable[[], object], seconds: float) -> Tuple[float, float]:
        """Mean power in W, and the time of a call in s, without that of the readings."""
        powers: List[float] = []
        count, reading_s = 0, 0.0
        begin = self._clock()
        end, due = begin + seconds, begin + READ_EVERY_S
        while count == 0 or self._clock() < end:
            call()
            count += 1
            before = self._clock()
            if before >= due:
                due = before + READ_EVERY_S
                powers += self._read()
                reading_s += self._clock() - before
        spent_s = self._clock() - begin - reading_s
        powers = powers or self._read()  # one call took all the time
        return statistics.mean(powers) if powers else math.nan, spent_s / count

    def _read(self) -> List[float]:
        """Their sum, if all of them can be read."""
        power_w: Dict[str, float] = self._board.read_power_w()
        if not set(self.rails) <= set(power_w):
            return []
        return [sum(power_w[rail] for rail in self.rails)]


def open_meter(root: str = "/", seconds: float = SECONDS) -> Optional[Meter]:
    """A meter of this machine; None where no rail is known that tells what it draws."""
    board = Board(root)
    rails = total_rails(board.read_power_w())
    return Meter(board, rails, seconds) if rails else None


def _rounded(millijoule: float) -> float:
    return float("{:.4g}".format(millijoule))
