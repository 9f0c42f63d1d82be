"""The heart of the simulator: a virtual clock and what happens when, in one order.

Times are integers in microseconds; what happens at the same time happens in the order in which it
was entered. So equal inputs give equal runs.
"""

import heapq
from typing import Any, Callable, List, NoReturn, Tuple


class _Stop(Exception):
    """Ends `Scheduler.run`: an entry like any other, so that the loop need not ask."""


class Scheduler:
    """A heap of calls by (time, order of entry). `now_us` is the virtual time."""

    __slots__ = ("_entered_count", "_heap", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self._heap: List[Tuple[int, int, Callable[[Any], None], Any]] = []
        self._entered_count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, at_us: int, call: Callable[[Any], None], argument: Any = None) -> None:
        """Call `call(argument)` when the clock reaches `at_us`, which must not have passed."""
        if at_us < self.now_us:
            raise AssertionError("found {} us, expected {} or later".format(at_us, self.now_us))
        self._entered_count = count = self._entered_count + 1
        heapq.heappush(self._heap, (at_us, count, call, argument))

    def stop_at(self, at_us: int) -> None:
        """Let `run` end at `at_us`."""
        self.at(at_us, _raise_stop)

    def run(self) -> None:
        """Do what was entered, and what that enters, until nothing is left or a stop comes."""
        heap, pop = self._heap, heapq.heappop
        try:
            while heap:
                self.now_us, _, call, argument = pop(heap)
                call(argument)
        except _Stop:
            pass


def _raise_stop(_: None) -> NoReturn:
    raise _Stop
