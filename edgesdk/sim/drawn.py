"""Draws a simulation: the timeline of all its workers, in virtual time."""

from typing import Dict, List

from ..core.events import Action, Event
from ..telemetry.spans import Tracker
from ..telemetry.timeline import Sheet, WorkerRows
from .body import Body
from .simulator import Simulator
from .world import Observer


class Drawn(Observer):
    """Draws what it sees, and passes it on to another observer, `after`."""

    def __init__(self, sheet: Sheet, after: Observer) -> None:
        self._sheet = sheet
        self._after = after
        self._bodies: Dict[str, Body] = {}
        self._names: Dict[int, str] = {}
        self._trackers: Dict[str, Tracker] = {}  # of the processes that run
        self._rows: Dict[str, WorkerRows] = {}
        self._end_us = 0

    def watch(self, simulator: Simulator) -> None:
        """Look into the nodes of `simulator`, which has this as its observer, before it runs."""
        self._bodies = {body.name: body for body in simulator.bodies}
        self._names = {body.worker_id: body.name for body in simulator.bodies}
        for body in simulator.bodies:
            self._rows[body.name] = WorkerRows(
                self._sheet, body.name, self._names, to_timeline=body.clock.true_us
            )

    def on_start(self, node: str, epoch: int, now_us: int) -> None:
        """A process starts."""
        self._after.on_start(node, epoch, now_us)
        body = self._bodies[node]
        self._trackers[node] = Tracker(body.worker_id, epoch)
        self._rows[node].mark(body.clock.local_us(now_us), "starts")

    def on_crash(self, node: str, now_us: int) -> None:
        """What the process had open ends with it."""
        self._after.on_crash(node, now_us)
        local_us = self._bodies[node].clock.local_us(now_us)
        self._rows[node].draw(self._trackers.pop(node).finish(local_us))
        self._rows[node].mark(local_us, "killed")

    def on_event(self, node: str, event: Event, actions: List[Action], now_us: int) -> None:
        """Draw what has ended."""
        self._after.on_event(node, event, actions, now_us)
        local_us = self._bodies[node].clock.local_us(now_us)
        self._rows[node].draw(self._trackers[node].record(local_us, event, actions))
        self._end_us = now_us

    def finish(self) -> None:
        """The simulation is over: draw what is still open."""
        for node, tracker in self._trackers.items():
            local_us = self._bodies[node].clock.local_us(self._end_us)
            self._rows[node].draw(tracker.finish(local_us))
