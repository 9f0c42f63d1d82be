"""The compute thread: stages run beside the loop, so that heartbeats and results never wait."""

import queue
import threading
from typing import Any, Callable, Optional

from .clock import now_us
from .executor import Executor, Run
from .pace import Pace


class ComputeThread:
    """Computes one `Run` after the other. `done(run, error)` is called in this thread when one has
    ended; `error` is None or what was raised. `pace`: take as long as another device."""

    def __init__(
        self,
        executor: Executor,
        done: Callable[[Run, Optional[BaseException]], None],
        pace: Optional[Pace] = None,
    ) -> None:
        self._executor = executor
        self._done = done
        self._pace = pace
        self._closing = threading.Event()
        self._is_lost = False
        # SimpleQueue is twice as fast, and Python 3.6 has none.
        self._runs: Any = getattr(queue, "SimpleQueue", queue.Queue)()
        self._thread = threading.Thread(target=self._work, name="edgesdk-compute", daemon=True)
        self._thread.start()

    def start(self, run: Run) -> None:
        """Compute `run` as soon as what was started before has ended."""
        self._runs.put(run)

    def call(self, job: Callable[[], None]) -> None:
        """Do `job`, which raises nothing, when what was started before has ended."""
        self._runs.put(job)

    def close(self, timeout_s: float) -> bool:
        """End the thread; False if it is still computing after `timeout_s`: that hangs, and its
        thread is lost. Nobody waits for it a second time."""
        self._closing.set()
        self._runs.put(None)
        if threading.current_thread() is not self._thread and not self._is_lost:
            self._thread.join(timeout_s)
            self._is_lost = self._thread.is_alive()
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            run = self._runs.get()
            if run is None or self._closing.is_set():
                return
            if callable(run):
                run()
                continue
            error: Optional[BaseException] = None
            begin_us = now_us()
            try:
                self._compute(run)
            except BaseException as raised:  # whatever a model does fails its items, and no more
                error = raised
            run.taken_us = now_us() - begin_us
            self._done(run, error)

    def _compute(self, run: Run) -> None:
        if self._pace is None:
            self._executor.compute(run)
        else:
            with self._pace.stage(run.action, self._closing):
                self._executor.compute(run)
