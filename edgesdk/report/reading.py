"""From files to a run: traces are found, told to a core again, and what happened is kept."""

from typing import Any, Callable, Dict, List, Optional, Sequence

from ..core.events import Action
from ..core.fleet import FleetWorker
from ..core.metrics import Metrics
from ..errors import ConfigError
from ..telemetry.spans import Tracker
from ..trace.file import Record, Trace, read_trace
from ..trace.replay import Difference, Replayed, replay
from .recording import TICKS_MAX, Keys, Made, Recording

NAME_CHARS_MAX = 64
SHOWN_CHARS_MAX = 160  # of an event, or of what a core does about it


def open_traces(paths: Sequence[str]) -> List[Trace]:
    """The traces in `paths`, of which none is read yet. Raises ConfigError for files that do not
    begin as a trace does, and for traces that are not of one run."""
    traces = [read_trace(path) for path in paths]
    first: Dict[Any, Trace] = {}
    for trace in traces:
        identity = trace.spec.identity
        other = first.setdefault(identity[:2], trace)
        if other is not trace:
            raise ConfigError(
                "{} and {}: found two traces of one process, expected each once; leave one "
                "out".format(other.path, trace.path)
            )
        for name in ("model_id", "plan_id"):
            expected = getattr(traces[0].spec.identity, name)
            if getattr(identity, name) != expected:
                raise ConfigError(
                    "{}: found the {} {}, expected {} as in {}; report on one network at a "
                    "time".format(
                        trace.path,
                        name.replace("_", " "),
                        getattr(identity, name).hex(),
                        expected.hex(),
                        traces[0].path,
                    )
                )
    return traces


def record(
    trace: Trace, keys: Keys, on_progress: Callable[[int], None] = lambda end_bytes: None
) -> Recording:
    """Tell a core what `trace` tells, and write down what happened. Where the core does something
    else than it did then, go on as long as it can follow: much is right all the same. `on_progress`
    is told how much of the file was read."""
    recording = Recording(keys)
    observer = _Observer(trace, recording, on_progress)
    replayed: Optional[Replayed] = None
    malformed = ""
    try:
        replayed = replay(trace, observer.differ, on_actions=observer.look, on_core=observer.meet)
    except ConfigError as error:  # a line that no worker writes: what came before it counts
        malformed = "It cannot be read on: {}".format(error)[:SHOWN_CHARS_MAX]
    observer.finish(replayed, malformed)
    return recording


class _Observer:
    """Stands beside the replay of one trace."""

    def __init__(
        self, trace: Trace, recording: Recording, on_progress: Callable[[int], None]
    ) -> None:
        self._trace = trace
        self._recording = recording
        self._on_progress = on_progress
        self._core: Optional[FleetWorker] = None
        self._metrics = Metrics(0)
        self._tracker = Tracker(*trace.spec.identity[:2])
        self._event_count = self._end_bytes = self._difference_count = 0
        self._begin_us: Optional[int] = None
        self._end_us = 0
        self._counters: Dict[str, int] = {}
        self._ticks: Dict[str, List[int]] = {}

    def meet(self, core: FleetWorker, metrics: Metrics) -> None:
        """This is the core that will be told."""
        self._core, self._metrics = core, metrics
        metrics.on_incident = self._recording.note

    def differ(self, difference: Difference) -> bool:
        """The core does something else than it did; whether it can be told more."""
        self._difference_count += 1
        if not difference.error:
            self.look(difference.record, difference.actions)
        return not difference.error

    def look(self, record: Record, actions: Sequence[Action]) -> None:
        """The core was told `record` and asked for `actions`, as it did then."""
        assert self._core is not None
        now_us = record.now_us
        if self._begin_us is None:
            self._begin_us = now_us
        self._end_us = max(self._end_us, now_us) if self._event_count else now_us
        self._event_count += 1
        for span in self._tracker.record(now_us, record.event, actions):
            self._recording.add(span)
        self._recording.readings.record(now_us, record.event)
        self._recording.sample(now_us, self._core.queue_length, self._core.output_length)
        if self._metrics.counters != self._counters:
            self._count(now_us, self._metrics.counters)
        self._end_bytes = record.end_bytes
        self._on_progress(record.end_bytes)

    def _count(self, now_us: int, counters: Dict[str, int]) -> None:
        for name, count in counters.items():
            more = count - self._counters.get(name, 0)
            if more:
                ticks = self._ticks.setdefault(name, [])
                ticks += [now_us] * min(more, TICKS_MAX - len(ticks))
        self._counters = dict(counters)

    def finish(self, replayed: Optional[Replayed], malformed: str) -> None:
        """The replay is over."""
        for span in self._tracker.finish(self._end_us):
            self._recording.add(span)
        trace = self._trace
        difference, is_whole = malformed, not malformed
        if replayed is not None and replayed.difference is not None:
            difference = _sentence(replayed.difference)
            is_whole = self._end_bytes >= trace.size_bytes or replayed.is_complete
        self._recording.made = Made(
            path=trace.path,
            worker=_name(trace),
            versions=trace.versions,
            note=trace.note,
            spec=trace.spec,
            event_count=self._event_count,
            begin_us=self._begin_us or 0,
            end_us=self._end_us,
            is_complete=replayed is not None and replayed.is_complete,
            difference=difference,
            raised="" if replayed is None else replayed.raised,
            difference_count=self._difference_count,
            read_share=1.0 if is_whole else self._end_bytes / trace.size_bytes,
            counters=self._counters,
            ticks=self._ticks,
        )


def _name(trace: Trace) -> str:
    """What people call the worker: workers and simulated nodes note it."""
    for key in ("worker", "node"):
        if trace.note.get(key):
            return trace.note[key][:NAME_CHARS_MAX]
    return "{:016x}".format(trace.spec.identity.worker)


def _sentence(difference: Difference) -> str:
    """Where a core does something else today."""
    record = difference.record
    now = "asks for {}".format(", ".join(map(str, difference.actions)) or "nothing")
    if difference.error:
        now = "raises {}".format(difference.error)
    then = "raised {}".format(record.error) if record.error else "did something else"
    return "First at line {}: told {}, the core now {}; then it {}.".format(
        record.line, _clipped(str(record.event)), _clipped(now), then
    )


def _clipped(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "..."
