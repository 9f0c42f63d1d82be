"""The main loop: take an event, ask the core, carry out its actions. It all happens in `_turn`.
`runtime/fleet_loop.py` is the same loop among neighbours.

Whoever waits for an outcome drives the loop in its own thread (`drive`), one driver at a time, so
that a single `infer` pays for no hand-over between threads. Futures have nobody who waits; for
them a background thread drives (`start`).
"""

import heapq
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple, Type, Union

from ..core.events import (
    Action,
    Admit,
    CancelTimer,
    Classify,
    Deliver,
    Event,
    Outcome,
    Release,
    RunStage,
    SetTimer,
    Shutdown,
    StageFailed,
    Timer,
)
from ..core.worker import Worker
from ..telemetry.timeline import TimelineWriter
from ..trace.file import TraceWriter
from .clock import now_us
from .executor import Executor

# How long close() waits for the stage that is running. One that takes longer hangs.
CLOSE_TIMEOUT_S = 10.0


# What is told of every event, and what the core asked for.
Writer = Union[TraceWriter, TimelineWriter]


class Owner:
    """Who the loop works for. All methods but `run_callbacks` are called under the loop's lock:
    they must only store."""

    def on_started(self, items: Tuple[int, ...]) -> None:
        """The first stage of `items` begins."""

    def on_outcome(self, outcome: Outcome) -> None:
        """The one end of an item."""

    def on_admit(self, action: Admit) -> None:
        """What an admission algorithm has decided."""

    def on_shutdown(self, detail: str) -> None:
        """Nothing will ever be delivered again."""

    def run_callbacks(self) -> None:
        """Run what was stored; the lock is free, user code may run."""


def _at_once() -> bool:
    return True


class Loop:
    """Drives one core worker."""

    def __init__(
        self, worker: Worker, executor: Executor, owner: Owner, writers: Sequence[Writer] = ()
    ) -> None:
        self._worker = worker
        self._writers = writers
        self._executor = executor
        self._owner = owner
        self._inbox: Deque[Event] = deque()
        self._stage_event: Optional[Event] = None  # what the stage that ran last gave
        self._timers: List[Tuple[int, int]] = []  # (at_us, item), a heap
        self._armed: Dict[int, int] = {}  # item -> at_us; what else the heap holds is cancelled
        self._driving = threading.Lock()
        self._driver: Optional[int] = None  # the thread that holds the lock
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._closing: Optional[Shutdown] = None
        self._broken = False
        self._has_outcome = False  # of the events since `_turn` began
        self._perform: Dict[Type[Any], Callable[[Any], object]] = {
            RunStage: self._run_stage,
            Classify: self._classify,
            Deliver: self._deliver,
            Release: lambda action: executor.release(action.item),
            SetTimer: self._set_timer,
            CancelTimer: lambda action: self._armed.pop(action.item, None),
        }

    @property
    def closed_because(self) -> Optional[str]:
        """Why the loop takes no more events, or None."""
        return self._closing.detail if self._closing else None

    def describe(self) -> Dict[str, Any]:
        """For people: what is queued, and what the stages have computed."""
        return {"queue": self._worker.queue_counts(), "stages": self._executor.stage_totals()}

    def post(self, event: Event, will_drive: bool = False) -> None:
        """Hand in an event, from any thread; one that `will_drive` at once need not wake others."""
        self._inbox.append(event)
        # A thread that starts now looks into the inbox first.
        if self._thread is not None and not will_drive:
            self._rouse()
        if self._closing is not None:
            self.close()

    def drive(self, done: Callable[[], bool]) -> None:
        """Turn the loop in the calling thread until `done()`."""
        while not done():
            if not self._turn_until(done) and not done():
                raise AssertionError("an item is in flight, but nothing is left to do")

    def start(self) -> None:
        """Let a background thread drive from now on, whenever there is work."""
        with self._starting:
            if self._thread is None and self._closing is None:
                self._thread = threading.Thread(target=self._serve, name="edgesdk", daemon=True)
                self._thread.start()

    def close(
        self,
        reason: str = "closed",
        detail: str = "the pipeline was closed",
        timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        """Fail what is open and stop. Idempotent; from any thread, callback or signal handler.

        A stage that runs for more than `timeout_s` is not waited for: its thread is lost.
        """
        if self._closing is None:
            self._closing = Shutdown(reason, detail)
        self._rouse()
        if self.is_turning_here:
            return  # called from inside a turn: it shuts down when the turn ends
        if self._driving.acquire(timeout=timeout_s):
            try:
                self._shut_down(self._closing)
            finally:
                self._driving.release()
        else:
            self._owner.on_shutdown(self._closing.detail)
        self._owner.run_callbacks()
        if not self.is_background_here and self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def is_turning_here(self) -> bool:
        """Whether the calling thread is inside a turn, as a callback or a signal handler may be."""
        return self._driver == threading.get_ident()

    @property
    def is_driving_here(self) -> bool:
        """Whether the calling thread must go on before anything else can."""
        return self.is_turning_here

    @property
    def is_background_here(self) -> bool:
        """Whether the calling thread is the one that drives while nobody else does."""
        return self._thread is threading.current_thread()

    def _rouse(self) -> None:
        """Something has happened: who waits for that should look."""
        self._wake.set()

    def _serve(self) -> None:
        while self._closing is None:
            while self._turn_until(_at_once):
                pass
            self._wake.wait()
            self._wake.clear()

    def _turn_until(self, done: Callable[[], bool]) -> bool:
        """Turn until `done()`, but at least once; False when nothing was left to do.

        Every outcome ends it, for whoever waits for that may be another thread, and callbacks need
        the lock to be free.
        """
        try:
            with self._driving:
                self._driver = threading.get_ident()
                try:
                    return self._turn(done)
                except BaseException as error:
                    self._give_up(error)
                    raise
                finally:
                    self._driver = None
                    if self._closing is not None:
                        self._shut_down(self._closing)
        finally:
            self._owner.run_callbacks()

    def _turn(self, done: Callable[[], bool]) -> bool:
        self._has_outcome = False
        event = self._next_event()
        while event is not None:
            self._handle(event)
            if self._has_outcome or self._closing is not None or done():
                return True
            event = self._next_event()
        return False

    def _handle(self, event: Event) -> None:
        for action in self._ask(event, now_us()):
            self._perform[action.__class__](action)

    def _ask(self, event: Event, at_us: int) -> List[Action]:
        """What the core wants done about `event`."""
        if not self._writers:
            return self._worker.handle(event, at_us)
        try:
            actions = self._worker.handle(event, at_us)
        except Exception as error:
            for writer in self._writers:
                writer.record_failure(at_us, event, error)
            raise
        for writer in self._writers:
            writer.record(at_us, event, actions)
        return actions

    def _next_event(self) -> Optional[Event]:
        """Deadlines first, then the application, then the stage that has run: so that what was
        submitted meanwhile can share the next batch."""
        while self._timers and self._timers[0][0] <= now_us():
            at_us, item = heapq.heappop(self._timers)
            if self._armed.get(item) == at_us:
                del self._armed[item]
                return Timer(item)
        if self._inbox:
            return self._inbox.popleft()
        event, self._stage_event = self._stage_event, None
        return event

    def _deliver(self, action: Deliver) -> None:
        self._has_outcome = True
        self._owner.on_outcome(action.outcome)

    def _run_stage(self, action: RunStage) -> None:
        if self._closing is not None:
            return
        if action.stage == 0:
            self._owner.on_started(action.items)
        try:
            self._stage_event = self._executor.run(action)
        except BaseException as error:
            reason = "stage {}: {}: {}".format(action.stage, type(error).__name__, error)
            self._stage_event = StageFailed(action.part, action.stage, action.items, reason)
            if not isinstance(error, Exception):
                raise  # the user interrupts; these items fail in the next turn

    def _classify(self, action: Classify) -> None:
        self._inbox.appendleft(self._executor.classify(action))  # before whatever else waits

    def _set_timer(self, action: SetTimer) -> None:
        self._armed[action.item] = action.at_us
        heapq.heappush(self._timers, (action.at_us, action.item))

    def _give_up(self, error: BaseException) -> None:
        """A turn was cut short. Unless it was a stage, the core can no longer be trusted."""
        if not isinstance(self._stage_event, StageFailed):
            self._broken = True
            self._closing = Shutdown(
                "closed", "the pipeline broke ({!r}) and must be opened anew".format(error)
            )

    def _shut_down(self, closing: Shutdown) -> None:
        while self._inbox and not self._broken:
            self._handle(self._inbox.popleft())
        if not self._broken:
            self._handle(closing)
        self._owner.on_shutdown(closing.detail)
        self._let_go()

    def _let_go(self) -> None:
        """The core is told nothing more."""
        for writer in self._writers:
            writer.close()
