"""A run: what its traces told, on one axis of time as far as their clocks are known."""

from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np

from ..telemetry.clocks import Alignment, align
from ..telemetry.merge import CLOCK
from ..trace.run import process_names
from .labels import Labels
from .recording import Made, Recording
from .words import milliseconds

KNOTS = 129  # clocks drift slowly


class Clock(NamedTuple):
    """How times of one recording become those of the run, which begins at 0: what is added changes
    evenly between `knots_us`. `is_known`: it is the clock of the first trace, within
    `uncertainty_us`; otherwise the recording counts from its own beginning."""

    knots_us: np.ndarray
    added_us: np.ndarray
    is_known: bool
    uncertainty_us: float = 0.0

    def to_run(self, times_us: np.ndarray) -> np.ndarray:
        """int64 [n], of times of the recording."""
        return times_us + np.interp(times_us, self.knots_us, self.added_us).astype(np.int64)

    def moment(self, time_us: int) -> int:
        """The same for one."""
        return int(self.to_run(np.array([time_us], dtype=np.int64))[0])


class Run(NamedTuple):
    """`recordings` with a name and a clock each. `feature_bytes`: of the input of each stage, raw,
    where a bundle tells."""

    recordings: Sequence[Recording]
    names: Sequence[str]
    clocks: Sequence[Clock]
    labels: Optional[Labels] = None
    class_names: Sequence[str] = ()
    feature_bytes: Sequence[int] = ()

    @property
    def made(self) -> List[Made]:
        """How each recording was made."""
        return [made_of(recording) for recording in self.recordings]

    @property
    def end_us(self) -> int:
        """When the last of the traces ends."""
        ends = [clock.moment(made.end_us) for made, clock in zip(self.made, self.clocks)]
        return max(ends) if ends else 0

    @property
    def is_aligned(self) -> bool:
        """Whether all recordings have one axis of time."""
        return all(clock.is_known for clock in self.clocks)

    def name_of(self, worker: int) -> str:
        """Of a worker by its number on the wire: its name, or the number where no trace has it."""
        for made in self.made:
            if made.spec.identity.worker == worker:
                return made.worker
        return "{:016x}".format(worker)

    def is_recorded(self, worker: int) -> bool:
        """Whether there is a trace of this worker."""
        return any(made.spec.identity.worker == worker for made in self.made)


def made_of(recording: Recording) -> Made:
    """How a finished recording was made."""
    assert recording.made is not None
    return recording.made


def names_of(made: Sequence[Made], clocks: Sequence["Clock"]) -> List[str]:
    """What to call each process: the name of its worker, from its second process on with a
    number."""
    begins = [clock.moment(each.begin_us) for each, clock in zip(made, clocks)]
    return process_names([(each.worker, begin) for each, begin in zip(made, begins)])


def clocks_of(recordings: Sequence[Recording]) -> List[Clock]:
    """The clocks of the recordings, laid over each other as far as their heartbeats allow."""
    made = [made_of(recording) for recording in recordings]
    processes = [each.spec.identity[:2] for each in made]
    aligned = align(
        {process: each.readings for process, each in zip(processes, recordings)},
        {process: each.note.get(CLOCK, "") for process, each in zip(processes, made)},
    )
    found = [_clock(each, aligned[process]) for each, process in zip(made, processes)]
    known = [aligned[process].reference == processes[0] for process in processes]
    shared = [c.moment(m.begin_us) for c, m, is_known in zip(found, made, known) if is_known]
    return [
        clock._replace(
            added_us=clock.added_us - (min(shared) if is_known else clock.moment(each.begin_us)),
            is_known=is_known,
        )
        for clock, each, is_known in zip(found, made, known)
    ]


def _clock(made: Made, alignment: Alignment) -> Clock:
    """By the clock of its reference."""
    knots_us = np.linspace(made.begin_us, max(made.end_us, made.begin_us + 1), KNOTS)
    added_us = np.array([alignment.to_reference(float(at)) - float(at) for at in knots_us])
    return Clock(knots_us, added_us, True, alignment.uncertainty_us)


def clock_text(clock: Clock, first: str) -> str:
    """What a reader has to know of it. `first`: the name of the first trace."""
    if not clock.is_known:
        return "not comparable: it counts from the beginning of its own trace"
    if not clock.uncertainty_us:
        return "that of {}".format(first)
    return "aligned with that of {}, within {}".format(first, milliseconds(clock.uncertainty_us))


def plain(value: Any) -> Any:
    """`value` of the report as JSON has it: NamedTuples become objects."""
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in zip(value._fields, value)}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value
