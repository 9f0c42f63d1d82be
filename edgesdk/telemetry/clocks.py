"""Clocks of different machines, laid over each other by the heartbeats that went between them.

A Load carries when it was sent, when the latest one from the other side had been sent, and how long
that had been there. So each Load that is received tells of two messages, one in each direction,
when they left and when they came, each time by the clock of that side. No message arrives before
it was sent: if `d` is how far their clock is ahead of ours, every message of ours gives a number
above `d`, every one of theirs a number below it, and `d` lies between the closest two. They are
apart by the smallest round trip, so the middle is off by half of that at most; by nothing where
both ways take equally long.

Clocks drift. So this is done in windows of time, with what the windows say of the drift taken out.
"""

import heapq
from bisect import bisect_right
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..core.events import Event, MessageReceived
from ..core.messages import Hello, Load, Welcome

Process = Tuple[int, int]  # (worker, epoch): each has a clock of its own, as far as anyone knows
Sample = Tuple[int, int]  # (when, by our clock; how far theirs is ahead, at most or at least)

WINDOW_COUNT = 8  # of a run that is neither short nor long
WINDOW_US_MIN, WINDOW_US_MAX = 2_000_000, 30_000_000
ROUNDS = 3  # of finding the drift: the better it is known, the better is what is left
FLOOR_US = 100.0  # no window is trusted more than that, as long as drift is in it
GOOD = 3  # windows that are so many times as uncertain as the best one say nothing


class Readings:
    """What the heartbeats that a process has received say of its clock and of those of others.

    `sent[other]`: of messages to `other`, (when they left by our clock, when they came by its).
    `heard[other]`: of messages from there, (when they left by its clock, when they came by ours).
    """

    def __init__(self) -> None:
        self.sent: Dict[Process, List[Tuple[int, int]]] = {}
        self.heard: Dict[Process, List[Tuple[int, int]]] = {}
        self._epochs: Dict[Tuple[int, int], int] = {}  # by (peer, its session)

    def record(self, now_us: int, event: Event) -> None:
        """The core of this process was told `event` at `now_us`."""
        if event.__class__ is not MessageReceived:
            return
        peer, envelope = event
        message, session = envelope.message, (peer, envelope.from_session)
        if isinstance(message, (Hello, Welcome)):
            self._epochs[session] = message.greeting.epoch
        elif isinstance(message, Load) and session in self._epochs:
            other = (peer, self._epochs[session])
            self.heard.setdefault(other, []).append((message.sent_us, now_us))
            if message.echo_us:
                arrived_us = message.sent_us - message.echo_held_us
                self.sent.setdefault(other, []).append((message.echo_us, arrived_us))


class Offset(NamedTuple):
    """How far another clock is ahead: `points` of (our time, by how much), straight lines between
    them, and `slope` (us per us) before and behind; off by `uncertainty_us` at most, while nothing
    but drift happens to the clocks."""

    points: Tuple[Tuple[float, float], ...]
    slope: float
    uncertainty_us: float

    def at(self, time_us: float) -> float:
        """How far it is ahead when our clock shows `time_us`."""
        points = self.points
        index = bisect_right(points, (time_us,))
        if 0 < index < len(points):
            (before_us, first), (after_us, second) = points[index - 1 : index + 1]
            return first + (second - first) * (time_us - before_us) / (after_us - before_us)
        edge_us, offset_us = points[0 if index == 0 else -1]
        return offset_us + self.slope * (time_us - edge_us)

    def seen_from_there(self) -> "Offset":
        """The same from the other side: how far our clock is ahead, by the time there."""
        return Offset(
            tuple([(time_us + offset_us, -offset_us) for time_us, offset_us in self.points]),
            -self.slope / (1.0 + self.slope),
            self.uncertainty_us,
        )


SAME_CLOCK = Offset(((0.0, 0.0),), 0.0, 0.0)


class Alignment(NamedTuple):
    """How times of one process become times of `reference`: by these offsets, one after the other.
    `uncertainty_us` is the sum of theirs; 0 for the reference and whoever has its clock."""

    reference: Process
    offsets: Tuple[Offset, ...]
    uncertainty_us: float

    def to_reference(self, time_us: float) -> float:
        """What the clock of the reference shows when that of this process shows `time_us`."""
        for offset in self.offsets:
            time_us += offset.at(time_us)
        return time_us


def offset_between(
    ours: Readings, theirs: Readings, us: Process, them: Process
) -> Optional[Offset]:
    """How far the clock of `them` is ahead of that of `us`; None if they have not exchanged
    heartbeats. One of the two `Readings` may be empty: each tells of both directions."""
    at_most = [
        (left_us, came_us - left_us)
        for left_us, came_us in ours.sent.get(them, []) + theirs.heard.get(us, [])
    ]
    at_least = [
        (came_us, left_us - came_us)
        for left_us, came_us in ours.heard.get(them, []) + theirs.sent.get(us, [])
    ]
    if not at_most or not at_least:
        return None
    first_us = min(min(at_most), min(at_least))[0]
    slope = 0.0
    for _ in range(ROUNDS):
        slope = _slope(_windows(at_most, at_least, first_us, slope))
    found = _windows(at_most, at_least, first_us, slope)
    best_us = min(uncertainty_us for _, uncertainty_us in found)
    good = [each for each in found if each[1] <= GOOD * best_us]
    return Offset(
        tuple([point for point, _ in good]), slope, max(uncertainty for _, uncertainty in good)
    )


Window = Tuple[Tuple[float, float], float]  # a point, and how uncertain it is


def _windows(
    at_most: Sequence[Sample], at_least: Sequence[Sample], first_us: int, slope: float
) -> List[Window]:
    """One for each window of time in which there was something in both directions, or one for all.
    `slope` is the drift as far as it is known."""
    length_us = max(max(at_most), max(at_least))[0] - first_us
    window_us = min(max(length_us // WINDOW_COUNT, WINDOW_US_MIN), WINDOW_US_MAX)
    lowest = _closest(at_most, first_us, slope, window_us, 1)
    highest = _closest(at_least, first_us, slope, window_us, -1)
    both = sorted(set(lowest) & set(highest))
    if not both:
        window_us = length_us + 1
        lowest = _closest(at_most, first_us, slope, window_us, 1)
        highest = _closest(at_least, first_us, slope, window_us, -1)
        both = [0]
    return [_window(lowest[index], highest[index], first_us, slope) for index in both]


def _closest(
    samples: Sequence[Sample], first_us: int, slope: float, window_us: int, sign: int
) -> Dict[int, Tuple[float, int]]:
    """Of each window the smallest sample (`sign` 1) or the greatest (-1), and its time."""
    found: Dict[int, Tuple[float, int]] = {}
    for time_us, ahead_us in samples:
        index = (time_us - first_us) // window_us
        value = (sign * (ahead_us - slope * (time_us - first_us)), time_us)
        if index not in found or value < found[index]:
            found[index] = value
    return {index: (sign * value, time_us) for index, (value, time_us) in found.items()}


def _window(
    lowest: Tuple[float, int], highest: Tuple[float, int], first_us: int, slope: float
) -> Window:
    """In the middle, in between: so whatever drift is left does not matter."""
    time_us = (lowest[1] + highest[1]) / 2
    offset_us = (lowest[0] + highest[0]) / 2 + slope * (time_us - first_us)
    return (time_us, offset_us), max(1.0, (lowest[0] - highest[0]) / 2)


def _slope(windows: Sequence[Window]) -> float:
    """Of the straight line that fits best, or 0. What is uncertain counts little."""
    if len(windows) < 2:
        return 0.0
    weighted = [(point, max(FLOOR_US, uncertain_us) ** -2.0) for point, uncertain_us in windows]
    total = sum(weight for _, weight in weighted)
    mean_us = sum(time_us * weight for (time_us, _), weight in weighted) / total
    squares = sum((time_us - mean_us) ** 2 * weight for (time_us, _), weight in weighted)
    products = sum((time_us - mean_us) * ahead * weight for (time_us, ahead), weight in weighted)
    return products / squares


def align(
    readings: Dict[Process, Readings], clocks: Dict[Process, str]
) -> Dict[Process, Alignment]:
    """How the times of each process of `readings` become those of another.

    All that can be reached from the first one, along pairs that exchanged heartbeats, have it as
    their reference; of the others again the first one is one, and so on. Of all ways the least
    uncertain pairs are taken. `clocks` names the clock of a process where that is known: processes
    on one machine have one.
    """
    pairs: Dict[Process, Dict[Process, Offset]] = {process: {} for process in readings}
    for us in readings:
        for them in readings:
            if us < them:
                offset = _pair(readings, clocks, us, them)
                if offset is not None:
                    pairs[us][them], pairs[them][us] = offset, offset.seen_from_there()
    found: Dict[Process, Alignment] = {}
    for process in readings:
        if process not in found:
            _reach(process, pairs, found)
    return found


def _pair(
    readings: Dict[Process, Readings], clocks: Dict[Process, str], us: Process, them: Process
) -> Optional[Offset]:
    if clocks.get(us) and clocks.get(us) == clocks.get(them):
        return SAME_CLOCK
    return offset_between(readings[us], readings[them], us, them)


def _reach(
    reference: Process,
    pairs: Dict[Process, Dict[Process, Offset]],
    found: Dict[Process, Alignment],
) -> None:
    """Whoever is connected with `reference`: a spanning tree, the least uncertain pair first."""
    found[reference] = Alignment(reference, (), 0.0)
    edges = [(o.uncertainty_us, other, reference) for other, o in pairs[reference].items()]
    heapq.heapify(edges)
    while edges:
        uncertainty_us, process, parent = heapq.heappop(edges)
        if process in found:
            continue
        onward = found[parent]
        found[process] = Alignment(
            reference,
            (pairs[process][parent],) + onward.offsets,
            uncertainty_us + onward.uncertainty_us,
        )
        for other, offset in pairs[process].items():
            heapq.heappush(edges, (offset.uncertainty_us, other, process))
