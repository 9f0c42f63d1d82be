"""What applications do: items arrive at a source, one after the other, in constant memory."""

from random import Random
from typing import Any, Callable, Dict, Iterator

from ..core.events import Admit
from ..errors import ConfigError
from .body import Body
from .spec import Workload
from .world import World


def periodic(workload: Workload, rng: Random) -> Iterator[int]:
    """Times of arrivals at equal distances, without drift."""
    number = 0
    while True:
        yield workload.start_us + int(number * 1e6 / workload.rate_hz + 0.5)
        number += 1


def poisson(workload: Workload, rng: Random) -> Iterator[int]:
    """Times of arrivals that know nothing of each other."""
    at_us = float(workload.start_us)
    while True:
        at_us += rng.expovariate(workload.rate_hz) * 1e6
        yield int(at_us + 0.5)


def trace(workload: Workload, rng: Random) -> Iterator[int]:
    """Times of arrivals as they were given."""
    return iter(workload.times_us)


TIMES: Dict[str, Callable[[Workload, Random], Iterator[int]]] = {
    "periodic": periodic,
    "poisson": poisson,
    "trace": trace,
}
ADMISSION = "admission"


class Arrivals:
    """One workload. `is_over` when its last item has arrived; nothing arrives at the scenario's end
    or later."""

    def __init__(self, world: World, workload: Workload, body: Body, index: int) -> None:
        self._world = world
        self._workload = workload
        self._body = body
        self._end_us = world.scenario.duration_us
        self._remaining_count = workload.item_count
        self._times = self._draw_times("workload:{}:{}".format(workload.source, index))
        self.is_over = False

    def start(self) -> None:
        """Enter the first arrival."""
        self._schedule_next()

    def _draw_times(self, purpose: str) -> Iterator[int]:
        return TIMES[self._workload.kind](self._workload, self._world.stream(purpose))

    def _schedule_next(self) -> None:
        at_us = None if self._remaining_count == 0 else next(self._times, None)
        if at_us is None or at_us >= self._end_us:
            self.is_over = True
        else:
            self._world.scheduler.at(at_us, self._arrive)

    def _arrive(self, _: Any) -> None:
        if self._remaining_count is not None:
            self._remaining_count -= 1
        self._schedule_next()
        self._body.submit(self._workload)
        if self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        if not self._world.open_count:  # nobody was there to take the last item
            self._world.on_idle()


class PacedArrivals(Arrivals):
    """Items arrive as the source's core admits them (Algorithm 3). A new interval counts from the
    arrival before."""

    def __init__(self, world: World, workload: Workload, body: Body, index: int) -> None:
        super().__init__(world, workload, body, index)
        self._interarrival_us = world.scenario.admission.interarrival_us
        self._next_us = workload.start_us
        self._entry = 0  # the entry of the scheduler that counts
        body.on_admit.append(self._on_admit)

    def _draw_times(self, purpose: str) -> Iterator[int]:
        return iter(())

    def _schedule_next(self) -> None:
        if self._remaining_count == 0:
            self.is_over = True
        else:
            self._entry += 1
            at_us = min(self._next_us, self._end_us)  # until then it may become earlier
            self._world.scheduler.at(at_us, self._arrive, self._entry)

    def _arrive(self, entry: Any) -> None:
        if entry != self._entry or self.is_over:
            return
        if self._next_us < self._end_us:
            self._next_us += self._interarrival_us
            super()._arrive(None)
        else:
            self._end()

    def _on_admit(self, action: Admit) -> None:
        if action.interarrival_us is None or self.is_over:
            return
        last_us = self._next_us - self._interarrival_us
        self._interarrival_us = action.interarrival_us
        self._next_us = max(self._world.scheduler.now_us, last_us + action.interarrival_us)
        self._schedule_next()


def new_arrivals(world: World, workload: Workload, body: Body, index: int) -> Arrivals:
    """The arrivals of `workload`, the scenario's `index`th, at its source `body`."""
    if workload.kind == ADMISSION:
        return PacedArrivals(world, workload, body, index)
    if workload.kind not in TIMES:
        kinds = ", ".join(sorted(TIMES) + [ADMISSION])
        raise ConfigError(
            "workload: found kind {!r}, expected one of {}".format(workload.kind, kinds)
        )
    return Arrivals(world, workload, body, index)
