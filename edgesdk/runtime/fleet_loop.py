"""The main loop among neighbours: `runtime/loop.py`, and messages as a further kind of event.

Stages run in a thread of their own, so that heartbeats and results never wait for one, unless they
are shorter than the hand-over. Whoever waits for an outcome still drives the loop, and so gets it
without a hand-over between threads; while nobody does, a background thread drives.
"""

import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Optional, Sequence, Tuple

from ..core.events import (
    Admit,
    CloseLink,
    Event,
    Keep,
    KeepStages,
    Leave,
    LoadStages,
    OpenLink,
    RunStage,
    Send,
    StageFailed,
    StagesLoaded,
)
from ..core.fleet import FleetWorker
from ..core.messages import Task
from .clock import now_us
from .compute import ComputeThread
from .executor import Executor, Run
from .loop import CLOSE_TIMEOUT_S, Loop, Owner, Writer
from .network import Network
from .pace import Pace

EVENTS_AT_ONCE = 64  # then whoever else wants the loop may have it
# How often the background thread looks whether the application still drives by itself.
YIELD_S, YIELD_S_MAX = 0.005, 0.05
WAIT_S_MAX = 0.1  # of whoever drives, who may have a deadline of his own
LINGER_S = 2.0  # for the last words
# A stage that takes longer hangs. Each costs a thread, so not too many.
STAGE_US_MAX = 30_000_000
HUNG_MAX = 8
# A stage that is over before another thread has begun to run is computed in the loop. What was the
# longest counts less with every run.
INLINE_US_MAX = 250
LONGEST_KEPT = 0.98
LOOK_EVERY = 8  # of these stages, there is a look at what has come


class Budget:
    """Says "enough" after so many events."""

    def __init__(self, event_count: int) -> None:
        self._left = event_count

    def __call__(self) -> bool:
        self._left -= 1
        return self._left <= 0


class FleetLoop(Loop):
    """Drives one core worker among neighbours."""

    stage_us_max = STAGE_US_MAX

    def __init__(
        self,
        worker: FleetWorker,
        executor: Executor,
        owner: Owner,
        network: Network,
        pace: Optional[Pace] = None,
        writers: Sequence[Writer] = (),
    ) -> None:
        super().__init__(worker, executor, owner, writers)
        self.core = worker
        self.network = network
        self.pace = pace
        self._transport = network.transport
        self._compute = ComputeThread(executor, self._on_computed, pace)
        self._running: Optional[Run] = None
        self._running_since_us = 0
        self._hung_count = 0
        self._longest_us: Dict[Tuple[int, int], float] = {}  # by stage and number of items
        self._loads: Deque[LoadStages] = deque()  # the compute thread is at these, or soon
        self._ended: Deque[Tuple[Run, Optional[BaseException]]] = deque()
        self._front = threading.Lock()  # held by the application's thread that drives
        self._front_thread: Optional[int] = None
        self._changed = threading.Condition()
        self._onlooker_count = 0  # threads that wait for an outcome and do not drive
        self._inline_count = 0  # stages computed in the loop
        self._must_free = False  # when the turn ends: it was closed, or broke, in there
        self._is_freed = False
        self._perform.update(
            {
                Send: self._send,
                Keep: network.keep,
                OpenLink: network.open_link,
                CloseLink: network.close_link,
                Admit: owner.on_admit,
                LoadStages: self._load_stages,
                KeepStages: lambda action: executor.keep_stages(action.stages),
            }
        )

    def drive(self, done: Callable[[], bool]) -> None:
        """Turn the loop in the calling thread until `done()`; see there if another one does."""
        while not done():
            if not self._front.acquire(False):
                self._look_on(done)
                continue
            self._front_thread = threading.get_ident()
            try:
                self._drive(done)
            finally:
                self._front_thread = None
                self._front.release()

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
        if self.is_turning_here:
            self._must_free = True
        else:
            self._free(timeout_s)

    def _free(self, timeout_s: float) -> None:
        """Let go of threads, sockets and files, once; whoever takes a turn finds no network."""
        if not self._driving.acquire(timeout=timeout_s):
            return
        try:
            if self._is_freed:
                return
            self._is_freed = True
            for kind in (Send, OpenLink, CloseLink):
                self._perform[kind] = _ignore
        finally:
            self._driving.release()
        self._compute.close(timeout_s)
        self._transport.close(min(LINGER_S, timeout_s))
        super()._let_go()

    def _let_go(self) -> None:
        """Not yet: what is posted meanwhile is told too, until `_free`."""

    def _give_up(self, error: BaseException) -> None:
        super()._give_up(error)
        self._must_free = self._broken

    @property
    def is_driving_here(self) -> bool:
        """See `Loop.is_driving_here`."""
        return self.is_turning_here or self._front_thread == threading.get_ident()

    def describe(self) -> Dict[str, Any]:
        """See `Loop.describe`; also state and last report of every neighbour, by name."""
        network, at_us = self.network, now_us()
        peers = list(self.core.neighbours.items())  # at once: another thread may drive
        neighbours = {
            network.names[worker]: dict(peer.describe(at_us), **network.traffic[worker].describe())
            for worker, peer in peers
        }
        return dict(
            super().describe(),
            neighbours=neighbours,
            transport=dict(self._transport.counters),
            pace=None if self.pace is None else self.pace.describe(),
        )

    def _drive(self, done: Callable[[], bool]) -> None:
        while not done():
            was_closing = self._closing is not None
            if self._turn_until(done) or done():
                continue
            if was_closing:  # that turn has ended every item
                raise AssertionError("closed, and an item is open")
            if self._closing is None:
                self._transport.wait(self._idle_s())

    def _look_on(self, done: Callable[[], bool]) -> None:
        """Wait while another thread drives."""
        self._transport.wake()
        with self._changed:
            self._onlooker_count += 1
            try:
                if not done():
                    self._changed.wait(WAIT_S_MAX)
            finally:
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
            if self._must_free and not self.is_turning_here:
                self._free(LINGER_S)

    def _next_event(self) -> Optional[Event]:
        if self._closing is not None:
            return None
        event = self._message_between() if self._stage_event is not None else None
        if event is None:
            event = super()._next_event()
        while event is None and self._ended:
            event = self._finish(*self._ended.popleft())
        if event is None and self._running is not None and self._hangs:
            event = self._lose_run(self._running)
        return event if event is not None else self.network.receive(now_us())

    def _message_between(self) -> Optional[Event]:
        """Stages that are computed in the loop follow each other at once; every other event is a
        message all the same, or neighbours would take us for dead."""
        self._inline_count += 1
        if self._inline_count % LOOK_EVERY == 0:
            self._transport.wait(0.0)
        return self.network.receive(now_us()) if self._inline_count % 2 == 0 else None

    def _run_stage(self, action: RunStage) -> None:
        if self._closing is not None:
            return
        kind = (action.stage, len(action.items))
        is_short = self._longest_us.get(kind, INLINE_US_MAX) < INLINE_US_MAX
        if is_short and not self._loads:
            begin_us = now_us()
            super()._run_stage(action)
            self._note_time(kind, now_us() - begin_us)
            return
        if action.stage == 0:
            self._owner.on_started(action.items)
        self._running, self._running_since_us = self._executor.begin(action), now_us()
        self._compute.start(self._running)

    def _note_time(self, kind: Tuple[int, int], taken_us: int) -> None:
        """How long a stage takes on so many items: of late, at most."""
        if self.pace is None:
            before_us = self._longest_us.get(kind, 0.0)
            self._longest_us[kind] = max(taken_us, before_us * LONGEST_KEPT)

    def _load_stages(self, action: LoadStages) -> None:
        """Between two batches, for backends need not load and compute at once."""

        def load() -> None:
            failure = ""
            try:
                self._executor.load_stages(action.stages)
            except Exception as error:  # whatever a model does, the others are there
                failure = "{}: {}".format(type(error).__name__, error)
            self._loads.popleft()
            if self._closing is None:
                self.post(StagesLoaded(action.stages, failure))

        self._loads.append(action)
        self._compute.call(load)

    def _on_computed(self, run: Run, error: Optional[BaseException]) -> None:
        """The compute thread says so."""
        self._ended.append((run, error))
        self._transport.wake()

    def _finish(self, run: Run, error: Optional[BaseException]) -> Optional[Event]:
        if run is not self._running:
            return None  # it was given up
        self._running = None
        self._note_time((run.action.stage, len(run.action.items)), run.taken_us)
        if error is None:
            return self._executor.finish(run)
        self._executor.abandon(run)
        return _failed(run, "{}: {}".format(type(error).__name__, error))

    @property
    def _hangs(self) -> bool:
        return now_us() - self._running_since_us > self.stage_us_max

    def _lose_run(self, run: Run) -> Event:
        """A stage hangs: its thread and its memory are lost, its items fail, the others go on."""
        self._running = None
        self._hung_count += 1
        self._executor.forsake(run)
        reason = "has run for {:g} s".format(self.stage_us_max * 1e-6)
        if self._hung_count >= HUNG_MAX:
            raise RuntimeError("stage {} {}, as others before".format(run.action.stage, reason))
        self._compute.close(0.0)
        self._compute = ComputeThread(self._executor, self._on_computed, self.pace)
        return _failed(run, reason)

    def _send(self, action: Send) -> None:
        item, message = action.item, action.envelope.message
        if item is not None and item >= 0 and isinstance(message, Task) and not message.stage:
            if self._closing is not None:
                return  # it has its outcome already
            self._owner.on_started((item,))
        self.network.send(action)


def _failed(run: Run, what: str) -> StageFailed:
    part, stage, items, _ = run.action
    return StageFailed(part, stage, items, "stage {}: {}".format(stage, what))


def _ignore(action: Any) -> None:
    """What is left to do when there is no network any more."""
