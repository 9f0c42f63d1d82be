"""What the demonstration of a fleet observes: a stream of images, and who answers them when."""

import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

from ..errors import EdgeError
from ..pipeline import Pipeline

IN_FLIGHT = 64  # enough that nobody runs dry, few enough that a death strands little
TICK_S = 0.005
SAMPLE_S = 0.1


class Answer(NamedTuple):
    """When the image number `tag` was answered, `at_s` after the beginning; `outcome` is a
    `Result`, or the exception in its place."""

    tag: int
    at_s: float
    outcome: Any


class Sample(NamedTuple):
    """How many images had been answered at `at_s`: in all, and by each neighbour."""

    at_s: float
    total: int
    answered: Dict[str, int]


class Mark(NamedTuple):
    """Something that happened at `at_s` to `worker`: "killed", "missed", ..."""

    at_s: float
    what: str
    worker: str


class Stream:
    """Keeps IN_FLIGHT images of `images`, over and over again, under way in `pipe`, and notes what
    becomes of them. All times are in seconds after it was made."""

    def __init__(self, pipe: Pipeline, images: np.ndarray) -> None:
        self._pipe = pipe
        self._images = images
        self._begun_s = time.monotonic()
        self.submitted_count = 0
        self.answers: List[Answer] = []  # in the order in which they came
        self.samples: List[Sample] = []
        self.marks: List[Mark] = []

    @property
    def now_s(self) -> float:
        """Seconds since the stream was made."""
        return time.monotonic() - self._begun_s

    @property
    def in_flight_count(self) -> int:
        """Images that were handed in and not answered."""
        return self.submitted_count - len(self.answers)

    def neighbours(self) -> Dict[str, Dict[str, Any]]:
        """State and counts of every neighbour, as the source sees them."""
        known: Dict[str, Dict[str, Any]] = self._pipe.stats()["neighbours"]
        return known

    def mark(self, what: str, worker: str = "") -> None:
        """Note that something has happened now."""
        self.marks.append(Mark(self.now_s, what, worker))

    def at_s(self, what: str) -> float:
        """When `what` was marked."""
        return next(mark.at_s for mark in self.marks if mark.what == what)

    def run(self, story: Iterator[None], drain_s: float, look: Callable[[], None]) -> None:
        """Stream until `story` is told, then wait until every image has its answer; call `look`
        on the way. Raises EdgeError if that takes longer than `drain_s`."""
        for _ in story:
            while self.in_flight_count < IN_FLIGHT:
                self._submit()
            self._turn(look)
        until_s = self.now_s + drain_s
        while self.in_flight_count:
            if self.now_s > until_s:
                raise EdgeError(
                    "{} of {} images have no answer {:.0f} s after the last was handed in".format(
                        self.in_flight_count, self.submitted_count, drain_s
                    )
                )
            self._turn(look)
        self._sample()

    def _turn(self, look: Callable[[], None]) -> None:
        if not self.samples or self.now_s >= self.samples[-1].at_s + SAMPLE_S:
            self._sample()
        look()
        time.sleep(TICK_S)

    def _submit(self) -> None:
        tag = self.submitted_count
        self.submitted_count += 1
        future = self._pipe.submit(self._images[tag % len(self._images)], tag)
        future.add_done_callback(lambda done: self._on_answer(tag, done))

    def _on_answer(self, tag: int, done: Any) -> None:
        """In the thread that drives the pipeline."""
        error = done.exception()
        self.answers.append(Answer(tag, self.now_s, done.result() if error is None else error))

    def _sample(self) -> None:
        known = self.neighbours()
        answered = {name: known[name]["answered_count"] for name in known}
        total = len(self.answers)
        self.samples.append(Sample(self.now_s, total, answered))

    def rate(self, begin: str, end: str) -> Tuple[float, float]:
        """Seconds between two marks, and images per second that were answered there."""
        begin_s, end_s = self.at_s(begin), self.at_s(end)
        count = sum(begin_s <= answer.at_s < end_s for answer in self.answers)
        return end_s - begin_s, count / (end_s - begin_s)

    def pause_s(self, begin: str, end: str) -> float:
        """The longest time without an answer between two marks."""
        begin_s, end_s = self.at_s(begin), self.at_s(end)
        times = [begin_s] + [a.at_s for a in self.answers if begin_s < a.at_s < end_s] + [end_s]
        return max(after - before for before, after in zip(times, times[1:]))

    def overdue_s(self, what: str) -> float:
        """How long after a mark the last image was answered that had been under way then."""
        at_s = self.at_s(what)
        before = [answer.tag for answer in self.answers if answer.at_s < at_s]
        # Images are handed in in the order of their tags, at most IN_FLIGHT beside those answered.
        newest = len(before) + IN_FLIGHT
        waited = [a.at_s for a in self.answers if a.at_s >= at_s and a.tag < newest]
        return max(waited, default=at_s) - at_s

    def answered_by(self, worker: str, until_s: float = float("inf")) -> int:
        """Images that `worker` had answered at `until_s`, as of the last sample."""
        counts = [s.answered.get(worker, 0) for s in self.samples if s.at_s <= until_s]
        return max(counts, default=0)
