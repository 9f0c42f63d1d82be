"""Streams of images: a window of futures slides over them."""

import threading
from collections import deque
from concurrent.futures import Future
from queue import Queue
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, Optional

from .core.events import Admit
from .errors import ConfigError, Expired, Failed
from .results import AnyOutcome, Result
from .runtime.clock import now_us

LOOK_S = 0.1  # how often one that waits looks whether it still should


def windowed(
    submit: Callable[[Any, int], "Future[Result]"],
    images: Iterable[Any],
    in_flight: int,
    ordered: bool,
) -> Iterator[AnyOutcome]:
    """One outcome per image, `in_flight` images at a time, as they finish or in order.

    `submit(image, index)` gives the future of an image. Images in flight when the caller stops are
    cancelled where they still can be.
    """
    window: Deque["Future[Result]"] = deque()
    finished: "Queue[Future[Result]]" = Queue()

    def next_outcome() -> AnyOutcome:
        future = window[0] if ordered else finished.get()
        window.remove(future)
        return _outcome_of(future)

    try:
        for index, image in enumerate(images):
            future = submit(image, index)
            window.append(future)
            if not ordered:
                future.add_done_callback(finished.put)
            if len(window) == in_flight:
                yield next_outcome()
        while window:
            yield next_outcome()
    finally:
        for future in window:
            future.cancel()


class Gate:
    """Lets images in when Algorithm 3 says so. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._latest: Optional[Admit] = None
        self._due_us = 0  # when the next one may enter

    def on_admit(self, action: Admit) -> None:
        """The algorithm has decided anew."""
        with self._changed:
            before, self._latest = self._latest, action
            if before is not None and before.interarrival_us and action.interarrival_us:
                self._due_us += action.interarrival_us - before.interarrival_us
            self._changed.notify_all()

    def describe(self) -> Dict[str, Any]:
        """What was decided last: interarrival_us and threshold, None where there is none."""
        latest = self._latest or Admit(None, None)
        return dict(latest._asdict())

    def paced(self, images: Iterable[Any], check: Callable[[], None]) -> Iterator[Any]:
        """`images`, each when it may enter. `check` raises when nothing will be let in any more."""
        for image in images:
            with self._changed:
                while not self._may_enter():
                    check()
                    self._changed.wait(self._left_s())
            yield image

    def _may_enter(self) -> bool:
        latest, at_us = self._latest, now_us()
        if latest is None or latest.interarrival_us is None or at_us < self._due_us:
            return False
        # From when it was due: who is a little late each time would never reach the rate.
        self._due_us = max(self._due_us, at_us - latest.interarrival_us) + latest.interarrival_us
        return True

    def _left_s(self) -> float:
        return min(LOOK_S, max(0.0, (self._due_us - now_us()) * 1e-6) or LOOK_S)


def refused(index: int, error: ConfigError) -> Failed:
    """The outcome of an image that could not be taken."""
    return Failed(str(error), tag=index, reason="refused")


def failed_future(failed: Failed) -> "Future[Result]":
    """A future that has ended with `failed`."""
    future: "Future[Result]" = Future()
    future.set_exception(failed)
    return future


def _outcome_of(future: "Future[Result]") -> AnyOutcome:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, (Expired, Failed)):
        return error
    raise error
