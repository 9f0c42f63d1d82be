"""Streams of images: a window of futures slides over them."""

from collections import deque
from concurrent.futures import Future
from queue import Queue
from typing import Any, Callable, Deque, Iterable, Iterator

from .errors import ConfigError, Expired, Failed
from .results import AnyOutcome, Result


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
