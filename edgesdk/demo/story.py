"""What happens to the fleet of the demonstration while images stream."""

import sys
from typing import Iterator, Sequence, Tuple

from .. import cli
from .processes import Processes
from .stream import Stream

UP_S_MAX = 20.0  # for a worker to come up, or to leave
SEEN_S_MAX = 5.0  # for a death to be seen: six heartbeats are 3 s
LINE_S = 0.1  # between two lines of progress
NOT_THERE = ("greeting", "absent")

# What is marked in the stream, in this order.
ALONE, JOIN, FULL = "alone", "workers start", "all up"
KILLED, MISSED, BACK, UP = "killed", "missed", "started again", "up"
LEAVE, GONE, END = "told to leave", "gone", "end"


class Story:
    """One event after the other, `phase_s` seconds apart, and the line that shows how far we are.
    The first of the workers `names` is killed, the last one leaves."""

    def __init__(
        self,
        stream: Stream,
        processes: Processes,
        names: Sequence[str],
        phase_s: float,
        as_json: bool,
    ) -> None:
        self._stream = stream
        self._processes = processes
        self._names = names
        self._phase_s = phase_s
        self._as_json = as_json
        self._shown_s = 0.0

    def tell(self) -> Iterator[None]:
        """What happens; images stream at every `yield`. Raises EdgeError if a worker does not do
        what it should in time."""
        victim, leaver = self._names[0], self._names[-1]
        self._happens(ALONE)
        yield from self._pause()
        self._happens(JOIN)
        for name in self._names:
            self._processes.start(name)
        for name in self._names:
            yield from self._until(name, ("up",), UP_S_MAX)
        self._happens(FULL)
        yield from self._pause()
        self._happens(KILLED, victim)
        self._processes.kill(victim)
        yield from self._until(victim, NOT_THERE, SEEN_S_MAX)
        self._happens(MISSED, victim)
        yield from self._pause()
        self._happens(BACK, victim)
        self._processes.start(victim)
        yield from self._until(victim, ("up",), UP_S_MAX)
        self._happens(UP, victim)
        yield from self._pause()
        self._happens(LEAVE, leaver)
        self._processes.tell_to_leave(leaver)
        yield from self._until(leaver, NOT_THERE, UP_S_MAX)
        self._happens(GONE, leaver)
        yield from self._pause()
        self._happens(END)

    def look(self) -> None:
        """See that all processes are there, and show how far we are."""
        self._processes.check()
        now_s = self._stream.now_s
        if now_s >= self._shown_s + LINE_S:
            self._shown_s = now_s
            known = self._stream.neighbours()
            states = ["{} {}".format(name, known[name]["state"]) for name in self._names]
            line = "{:5.1f} s  {:6d} answered  {:3d} under way  {}"
            counts = len(self._stream.answers), self._stream.in_flight_count
            self._show(line.format(now_s, *counts + ("  ".join(states),)))

    def _show(self, text: str) -> None:
        """One line that is overwritten, on a terminal only."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K" + text)
            sys.stderr.flush()

    def _happens(self, what: str, worker: str = "") -> None:
        self._stream.mark(what, worker)
        self._show("")
        at_s = self._stream.marks[-1].at_s
        cli.say("{:5.1f} s  {}".format(at_s, " ".join([worker, what]).strip()), self._as_json)

    def _pause(self) -> Iterator[None]:
        end_s = self._stream.now_s + self._phase_s
        while self._stream.now_s < end_s:
            yield

    def _until(self, name: str, states: Tuple[str, ...], limit_s: float) -> Iterator[None]:
        """Until the source sees `name` in one of `states`."""
        end_s = self._stream.now_s + limit_s
        while self._stream.neighbours()[name]["state"] not in states:
            if self._stream.now_s > end_s:
                what = "is not {} for the source after {:.0f} s".format(states[0], limit_s)
                raise self._processes.failure(name, what)
            yield
