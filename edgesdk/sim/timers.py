"""The timers of one process, on its own clock."""

from typing import Any, Callable, Dict, Iterator, Tuple

from .clock import Clock
from .events import Scheduler

Entry = Tuple[int, int, int]  # generation, item, true time


class Timers:
    """One live timer per id: the latest wish counts. An entry in the scheduler that comes too early
    is entered again when it is due, so that wishes that move on cost nothing.

    `put_off(call, argument)` says whether the process is frozen, and calls when it goes on;
    `ring(item)` tells it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        clock: Clock,
        put_off: Callable[[Callable[[Any], None], Any], bool],
        ring: Callable[[int], None],
    ) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._put_off = put_off
        self._ring = ring
        self._generation = 0  # what was entered in an earlier one is void
        self._wanted: Dict[int, int] = {}  # local time by id
        self._armed: Dict[int, int] = {}  # the first entry in the scheduler that counts, true time

    def __iter__(self) -> Iterator[int]:
        return iter(self._wanted)

    def set(self, item: int, local_us: int) -> None:
        """Ring for `item` at `local_us`, and not when it was to before."""
        self._wanted[item] = local_us
        self._arm(item, local_us)

    def cancel(self, item: int) -> None:
        """Do not ring for `item`."""
        self._wanted.pop(item, None)

    def clear(self) -> None:
        """The process has died."""
        self._generation += 1
        self._wanted.clear()
        self._armed.clear()

    def _arm(self, item: int, local_us: int) -> None:
        at_us = max(self._clock.true_us(local_us), self._scheduler.now_us)
        armed_us = self._armed.get(item)
        if armed_us is None or at_us < armed_us:
            self._armed[item] = at_us
            self._scheduler.at(at_us, self._end, (self._generation, item, at_us))

    def _end(self, entry: Entry) -> None:
        generation, item, at_us = entry
        if generation != self._generation or self._armed.get(item) != at_us:
            return
        if self._put_off(self._end, entry):
            return
        del self._armed[item]
        wanted_us = self._wanted.get(item)
        if wanted_us is None:
            return
        if wanted_us > self._clock.local_us(self._scheduler.now_us):
            self._arm(item, wanted_us)
        else:
            del self._wanted[item]
            self._ring(item)
