"""The main loop among neighbours: `runtime/loop.py`, and messages as a further kind of event.

Stages run in a thread of their own, so that heartbeats and results never wait for one. Whoever
waits for an outcome still drives the loop, and so gets it without a hand-over between threads;
while nobody does, a background thread drives.
"""

import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Optional, Tuple

from ..core.events import (
    Admit,
    CloseLink,
    Event,
    Keep,
    Leave,
    OpenLink,
    RunStage,
    Send,
    StageFailed,
)
from ..core.fleet import FleetWorker
from ..core.messages import Task
from ..trace_file import TraceWriter
from .clock import now_us
from .compute import ComputeThread
from .executor import Executor, Run
from .loop import CLOSE_TIMEOUT_S, Loop, Owner
from .network import Network
from .pace import Pace

EVENTS_AT_ONCE = 64  # then whoever else wants the loop may have it
# How often the background thread looks whether the application still drives by itself.
YIELD_S, YIELD_S_MAX = 0.005, 0.05
WAIT_S_MAX = 0.1  # of whoever drives, who may have a deadline of his own
LINGER_S = 2.0  # for the last words


class Budget:
    """Says "enough" after so many events."""

    def __init__(self, event_count: int) -> None:
        self._left = event_count

    def __call__(self) -> bool:
        self._left -= 1
        return self._left <= 0


class FleetLoop(Loop):
    """Drives one core worker among neighbours."""

    def __init__(
        self,
        worker: FleetWorker,
        executor: Executor,
        owner: Owner,
        network: Network,
        pace: Optional[Pace] = None,
        trace: Optional[TraceWriter] = None,
    ) -> None:
        super().__init__(worker, executor, owner)
        self.core = worker
        self.network = network
        self.pace = pace
        self._transport = network.transport
        self._compute = ComputeThread(executor, self._on_computed, pace)
        self._ended: Deque[Tuple[Run, Optional[BaseException]]] = deque()
        self._trace = trace
        self._front = threading.Lock()  # held by the application's thread that drives
        self._changed = threading.Condition()
        self._onlooker_count = 0  # threads that wait for an outcome and do not drive
        self._perform.update(
            {
                Send: self._send,
                Keep: network.keep,
                OpenLink: network.open_link,
                CloseLink: network.close_link,
                Admit: owner.on_admit,
            }
        )

    def drive(self, done: Callable[[], bool]) -> None:
        """Turn the loop in the calling thread until `done()`; see there if another one does."""
        while not done():
            if not self._front.acquire(False):
                self._look_on(done)
                continue
            try:
                self._drive(done)
            finally:
                self._front.release()
            if self._closing is not None:
                return

    def leave(self, timeout_s: float) -> bool:
        """Take no more tasks, end those that are here, part; False if that took too long."""
        until_s = time.monotonic() + timeout_s
        self.post(Leave(), will_drive=True)
        self.drive(
            lambda: (
                self.core.has_parted
                or time.monotonic() >= until_s
                or self.closed_because is not None
            )
        )
        return self.core.has_parted

    def close(
        self,
        reason: str = "closed",
        detail: str = "the pipeline was closed",
        timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        """See `Loop.close`. What was said last may take LINGER_S to leave."""
        super().close(reason, detail, timeout_s)
        if not self.is_turning_here:
            self._compute.close(timeout_s)
            self._transport.close(min(LINGER_S, timeout_s))
            if self._trace is not None:
                self._trace.close()

    def describe_neighbours(self) -> Dict[str, Dict[str, Any]]:
        """State and last report of every neighbour, by name."""
        names = self.network.names
        peers = list(self.core.neighbours.items())  # at once: another thread may drive
        return {names[worker]: peer.describe() for worker, peer in peers}

    def _drive(self, done: Callable[[], bool]) -> None:
        while not done():
            if self._turn_until(done) or done():
                continue
            if self._closing is not None:
                return
            self._transport.wait(self._idle_s())

    def _look_on(self, done: Callable[[], bool]) -> None:
        """Wait while another thread drives."""
        self._transport.wake()
        with self._changed:
            self._onlooker_count += 1
            if not done():
                self._changed.wait(WAIT_S_MAX)
            self._onlooker_count -= 1

    def _serve(self) -> None:
        pause_s = YIELD_S
        while self._closing is None:
            if self._front.locked():
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, YIELD_S_MAX)
                continue
            pause_s = YIELD_S
            while self._turn_until(Budget(EVENTS_AT_ONCE)):
                pass
            if self._closing is None and not self._front.locked():
                self._transport.wait(self._idle_s())
            if self._front.locked():
                self._transport.wake()  # whatever it was, it is for whoever drives now

    def _rouse(self) -> None:
        self._transport.wake()

    def _idle_s(self) -> float:
        """How long there is nothing to do, if nothing comes."""
        timers = self._timers
        if not timers:
            return WAIT_S_MAX
        return min(WAIT_S_MAX, max(0.0, (timers[0][0] - now_us()) * 1e-6))

    def _turn_until(self, done: Callable[[], bool]) -> bool:
        try:
            return super()._turn_until(done)
        finally:
            if self._onlooker_count and self._has_outcome:
                with self._changed:
                    self._changed.notify_all()

    def _next_event(self) -> Optional[Event]:
        event = super()._next_event()
        if event is None and self._ended:
            event = self._finish(*self._ended.popleft())
        return event if event is not None else self.network.receive(now_us())

    def _handle(self, event: Event) -> None:
        if self._trace is None:
            super()._handle(event)
            return
        at_us = now_us()
        actions = self._worker.handle(event, at_us)
        self._trace.record(at_us, event, actions)
        for action in actions:
            self._perform[action.__class__](action)

    def _run_stage(self, action: RunStage) -> None:
        if self._closing is not None:
            return
        if action.stage == 0:
            self._owner.on_started(tuple([item for item in action.items if item >= 0]))
        self._compute.start(self._executor.begin(action))

    def _on_computed(self, run: Run, error: Optional[BaseException]) -> None:
        """The compute thread says so."""
        self._ended.append((run, error))
        self._transport.wake()

    def _finish(self, run: Run, error: Optional[BaseException]) -> Event:
        if error is None:
            return self._executor.finish(run)
        self._executor.abandon(run)
        part, stage, items, _ = run.action
        reason = "stage {}: {}: {}".format(stage, type(error).__name__, error)
        return StageFailed(part, stage, items, reason)

    def _send(self, action: Send) -> None:
        item, message = action.item, action.envelope.message
        if item is not None and item >= 0 and isinstance(message, Task) and not message.stage:
            self._owner.on_started((item,))
        self.network.send(action)
