"""Traces of several workers become one timeline, on one clock.

Each trace is read twice: for the heartbeats, by which clocks are aligned, and to be replayed, which
tells what its core asked for.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from ..core.events import Action
from ..errors import ConfigError
from ..trace.file import Record, Trace, read_trace
from ..trace.replay import Replayed, replay
from ..trace.run import process_names
from .clocks import Alignment, Process, Readings, align
from .spans import Tracker
from .timeline import Sheet, WorkerRows, whole_sheet

# What the note of a trace may hold.
NAME = "worker"
CLOCK = "clock"  # a name for the clock that its times are of: equal names, one clock


class Part(NamedTuple):
    """One trace and its place in the timeline.

    `name`: as it is shown, each once. `alignment`: how its times become those of the process
    `reference`. `shift_us`: where that could not be aligned with the first trace, what moves it to
    the beginning of the timeline; None for all others.
    """

    trace: Trace
    process: Process
    name: str
    alignment: Alignment
    reference: str
    shift_us: Optional[float]

    @property
    def clock(self) -> str:
        """For people: whose clock it has, or how well that was aligned."""
        if self.shift_us is not None:
            return "clock not aligned, drawn as if it began with the timeline"
        if not self.alignment.offsets:
            return "the clock of the timeline"
        if not self.alignment.uncertainty_us:
            return "the clock of {}".format(self.reference)
        return "clock aligned with that of {}, within {}".format(
            self.reference, _duration(self.alignment.uncertainty_us)
        )

    def to_timeline(self, time_us: int) -> float:
        """The timeline's time for one of this trace."""
        return self.alignment.to_reference(time_us) + (self.shift_us or 0.0)


class Merged(NamedTuple):
    """What became of one trace. If `replayed` has a difference, it is drawn up to there."""

    part: Part
    replayed: Replayed


def merge(
    paths: Sequence[str], out: str, on_bytes: Callable[[int], None] = lambda count: None
) -> List[Merged]:
    """Draw the traces `paths` into the timeline `out`, which is replaced; in the order of `paths`.

    Traces without events are left out. `on_bytes` is told how many more bytes were read; all are
    read twice. Raises ConfigError for what is no trace, before anything is written, and OSError if
    the timeline cannot be.
    """
    parts = _parts(paths, on_bytes)
    names = {part.process[0]: _name(part.trace) for part in parts}
    with whole_sheet(out, clocks={part.name: part.clock for part in parts}) as sheet:
        return [Merged(part, _draw(part, sheet, names, on_bytes)) for part in parts]


def _parts(paths: Sequence[str], on_bytes: Callable[[int], None]) -> List[Part]:
    """Read everything once, and find the place of each."""
    heard: Dict[Process, _Heard] = {}
    for path in paths:
        trace = read_trace(path)
        process = trace.spec.identity[:2]
        if process in heard:
            raise ConfigError(
                "{}: found the same process as in {}, expected each once".format(
                    path, heard[process].trace.path
                )
            )
        found = _listen(trace, on_bytes)
        if found is not None:
            heard[process] = found
    if not heard:
        raise ConfigError("{}: found no events, expected some".format(", ".join(paths)))
    return _placed(heard)


class _Heard(NamedTuple):
    trace: Trace
    readings: Readings
    first_us: int


def _listen(trace: Trace, on_bytes: Callable[[int], None]) -> Optional[_Heard]:
    """What its process heard of others; None if there are no events."""
    readings, first_us, at_bytes = Readings(), None, 0
    for record in trace.records():
        first_us = record.now_us if first_us is None else first_us
        readings.record(record.now_us, record.event)
        on_bytes(record.end_bytes - at_bytes)
        at_bytes = record.end_bytes
    return None if first_us is None else _Heard(trace, readings, first_us)


def _placed(heard: Dict[Process, _Heard]) -> List[Part]:
    aligned = align(
        {process: each.readings for process, each in heard.items()},
        {process: each.trace.note.get(CLOCK, "") for process, each in heard.items()},
    )
    begins = {process: aligned[process].to_reference(heard[process].first_us) for process in heard}
    origins: Dict[Process, float] = {}  # of those with one reference, when the first one begins
    for process, begin_us in begins.items():
        reference = aligned[process].reference
        origins[reference] = min(begin_us, origins.get(reference, begin_us))
    called = process_names(
        [(_name(each.trace), begins[process]) for process, each in heard.items()]
    )
    names = dict(zip(heard, called))
    first = next(iter(heard))
    parts = []
    for process, each in heard.items():
        reference = aligned[process].reference
        shift_us = None if reference == first else origins[first] - origins[reference]
        parts.append(
            Part(each.trace, process, names[process], aligned[process], names[reference], shift_us)
        )
    return parts


def _name(trace: Trace) -> str:
    return trace.note.get(NAME) or "worker {}".format(trace.spec.identity.worker)


def _draw(
    part: Part, sheet: Sheet, names: Dict[int, str], on_bytes: Callable[[int], None]
) -> Replayed:
    """Replay a trace and draw what its core did, as far as this one does the same."""
    tracker = Tracker(*part.process)
    rows = WorkerRows(sheet, part.name, names, part.clock, part.to_timeline)
    last_us = at_bytes = 0

    def read(record: Record) -> None:
        nonlocal last_us, at_bytes
        last_us = record.now_us
        on_bytes(record.end_bytes - at_bytes)
        at_bytes = record.end_bytes

    def draw(record: Record, actions: Sequence[Action]) -> None:
        rows.draw(tracker.record(record.now_us, record.event, actions))

    replayed = replay(part.trace, on_record=read, on_actions=draw)
    rows.draw(tracker.finish(last_us))
    if replayed.difference is not None:
        rows.mark(last_us, "not drawn from here on: replayed, the core decides otherwise")
    elif replayed.raised:
        rows.mark(last_us, "the core raised")
    elif not replayed.is_complete:
        rows.mark(last_us, "its trace ends here: it was killed within a second or so")
    return replayed


def _duration(time_us: float) -> str:
    return "{:.0f} us".format(time_us) if time_us < 1_000 else "{:.1f} ms".format(time_us / 1_000)
