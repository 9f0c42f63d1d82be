"""A run: what its traces told, on one axis of time as far as their clocks are known."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .labels import Labels
from .recording import Made, Recording


class Run(NamedTuple):
    """`shifts_us`: what to take from a time of each recording to have that of the run, which begins
    at 0. `clock_errors_us`: how far that may be wrong, None where every recording counts from its
    own beginning. `clocks`: a sentence on both. `feature_bytes`: of the input of each stage, raw,
    where a bundle tells."""

    recordings: Sequence[Recording]
    names: Sequence[str]
    shifts_us: Sequence[int]
    clocks: str
    is_aligned: bool
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
        ends = [made.end_us - shift for made, shift in zip(self.made, self.shifts_us)]
        return max(ends) if ends else 0

    def name_of(self, worker: int) -> str:
        """Of a worker by its number on the wire: its name, or the number where no trace has it."""
        for name, made in zip(self.names, self.made):
            if made.spec.identity.worker == worker:
                return name.split(FROM)[0]
        return "{:016x}".format(worker)

    def is_recorded(self, worker: int) -> bool:
        """Whether there is a trace of this worker."""
        return any(made.spec.identity.worker == worker for made in self.made)


FROM = ", process "  # between the name of a worker and the number of its process


def made_of(recording: Recording) -> Made:
    """How a finished recording was made."""
    assert recording.made is not None
    return recording.made


def names_of(made: Sequence[Made]) -> List[str]:
    """What to call each process: the name of its worker, and a number where that has several."""
    counts: Dict[str, int] = {}
    for each in made:
        counts[each.worker] = counts.get(each.worker, 0) + 1
    seen: Dict[str, int] = {}
    names = []
    for each in made:
        seen[each.worker] = seen.get(each.worker, 0) + 1
        several = counts[each.worker] > 1
        names.append(each.worker + (FROM + str(seen[each.worker]) if several else ""))
    return names


def unaligned(made: Sequence[Made]) -> Tuple[List[int], str]:
    """Shifts and a sentence for clocks that nothing is known of."""
    if len(made) < 2:
        return [each.begin_us for each in made], ""
    return [each.begin_us for each in made], (
        "The clocks of these traces cannot be compared: every worker's time counts from the "
        "beginning of its own trace."
    )


def plain(value: Any) -> Any:
    """`value` of the report as JSON has it: NamedTuples become objects."""
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in zip(value._fields, value)}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value
