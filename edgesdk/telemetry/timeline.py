"""Timelines that Perfetto and chrome://tracing open: Chrome's trace event format, from spans.

A file is a JSON array of events that may lack its end, so a killed process leaves one that opens.
Each worker is a process there, with these rows (threads there):

    events          neighbours come and go, repetitions, leases that expired, items without answer
    compute         one slice for each batch, named after the stage
    to NAME: tasks, to NAME: results        from sending to the verdict
    from NAME: tasks                        arrivals
    items           one slice for each own item, named after the exit that answered

Slices of a row never overlap: where several are open at once, there is a further row of the name.
Arrows lead along the way of an item, over all workers.
"""

import contextlib
import json
import os
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple, Type

from ..core.events import Action, Event
from ..files import GrowingFile
from ..trace.values import plain_tag
from .spans import (
    ACCEPTED,
    OPEN,
    Arrival,
    Instant,
    ItemKey,
    ItemSpan,
    ResultSpan,
    Span,
    StageSpan,
    Tracker,
    TransferSpan,
)

BYTES_MAX = 1 << 28  # then a timeline ends: viewers hold all of it in memory
FLOW_BITS = 52  # of the numbers that bind arrows: JSON's are exact up to there
_MIX = 0x9E3779B97F4A7C15  # odd, and without a pattern: spreads ids that lie close together

# Numbers of rows within a worker, for viewers show them in that order: events, compute, from LINKS
# on three kinds for each neighbour, and from ITEMS on items, of which there may be very many.
EVENTS, COMPUTE, LINKS, ITEMS = 1_001, 1_002, 10_000, 1_000_000
TASKS_TO, RESULTS_TO, TASKS_FROM, PEER_STEP = 0, 1_000, 2_000, 3_000

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Sheet:
    """A timeline in the making: numbers its processes, and takes their events.

    `add(at_us, text)` takes what is written next, between `Sheet.begin()` and `Sheet.END`.
    """

    END = "\n]\n"

    def __init__(self, add: Callable[[int, str], None]) -> None:
        self._add = add
        self._process_count = 0

    @staticmethod
    def begin(**about: Any) -> str:
        """What a timeline begins with; `about` says where it is from, and is not drawn."""
        from .. import __version__  # which is there only when every module has been loaded

        about.update(edgesdk=__version__, read="docs/timeline.md")
        return "[\n" + _encode({"ph": "M", "name": "about", "pid": 0, "tid": 0, "args": about})

    def new_process(self) -> int:
        """A number for a process."""
        self._process_count += 1
        return self._process_count

    def add(self, at_us: int, event: Dict[str, Any]) -> None:
        """Write one event."""
        self._add(at_us, ",\n" + _encode(event))


@contextlib.contextmanager
def whole_sheet(path: str, **about: Any) -> Iterator[Sheet]:
    """A sheet in a file that takes the place of `path` when it is complete. Raises OSError where
    that cannot be written; what was there is then untouched."""
    temporary = path + ".tmp"
    try:
        with open(temporary, "w", encoding="ascii") as file:

            def add(at_us: int, text: str) -> None:
                file.write(text)

            file.write(Sheet.begin(**about))
            yield Sheet(add)
            file.write(Sheet.END)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


class _Row(NamedTuple):
    """`free_us[n]`: when the n-th thread of this row is free again; `threads[n]`: its number, from
    `first` on."""

    name: str
    first: int
    threads: List[int]
    free_us: List[int]


def same_time(time_us: int) -> float:
    """Times as they are."""
    return time_us


class WorkerRows:
    """Draws the spans of one worker process into `sheet`.

    `names`: of workers, by id. `label` says what people should know of this process, such as how
    its clock was aligned. `to_timeline` maps its times to those of the sheet, and never back in
    time.
    """

    def __init__(
        self,
        sheet: Sheet,
        name: str,
        names: Dict[int, str],
        label: str = "",
        to_timeline: Callable[[int], float] = same_time,
    ) -> None:
        self._sheet = sheet
        self._names = names
        self._to_timeline = to_timeline
        self._process = sheet.new_process()
        self._rows: Dict[int, _Row] = {}  # by the number of their first thread
        self._threads: Set[int] = set()
        self._peers: Dict[int, int] = {}  # in the order in which they came
        self._flows: Dict[Tuple[int, int], int] = {}
        self._draw: Dict[Type[Any], Callable[..., None]] = {
            StageSpan: self._stage,
            ItemSpan: self._item,
            TransferSpan: self._transfer,
            ResultSpan: self._result,
            Arrival: self._arrival,
            Instant: self._instant,
        }
        self._meta("process_name", name=name)
        self._meta("process_sort_index", sort_index=self._process)
        if label:
            self._meta("process_labels", labels=label)

    def draw(self, spans: Sequence[Span]) -> None:
        """Draw `spans`, which have ended one after the other."""
        for span in spans:
            self._draw[span.__class__](span)

    def mark(self, at_us: int, name: str, **values: Any) -> None:
        """A mark in the row of events."""
        self._point(self._row("events", EVENTS), at_us, name, values)

    # --- spans --------------------------------------------------------------------------------

    def _stage(self, span: StageSpan) -> None:
        name = "stage {}".format(span.stage)
        if span.part:
            name += " of part {}".format(span.part)
        values = {"items": [self._label(item) for item in span.items], "count": len(span.items)}
        self._slice(
            self._row("compute", COMPUTE),
            span.begin_us,
            span.end_us,
            name if span.ok else name + ", no result",
            values,
            [("t", item) for item in span.items],
        )

    def _item(self, span: ItemSpan) -> None:
        name = span.status
        if span.status == "result":
            name = "answer" if span.exit_index is None else "exit {}".format(span.exit_index)
        values = {"item": self._label(span.item), "reason": span.reason, "tag": _plain(span.tag)}
        if span.exit_index is not None:
            values.update(exit=span.exit_index, class_index=span.class_index)
            values["worker"] = self._name(span.worker or span.item.source)
        self._slice(
            self._row("items", ITEMS),
            span.begin_us,
            span.end_us,
            name,
            values,
            [("s", span.item), ("f", span.item)],
        )

    def _transfer(self, span: TransferSpan) -> None:
        row = self._link("to {}: tasks", span.peer, TASKS_TO)
        self._sent(row, span, "stage {}".format(span.stage), {"stage": span.stage})

    def _result(self, span: ResultSpan) -> None:
        row = self._link("to {}: results", span.peer, RESULTS_TO)
        self._sent(row, span, "result", {"reason": span.reason})

    def _sent(self, row: _Row, span: Any, name: str, values: Dict[str, Any]) -> None:
        if span.verdict != ACCEPTED:
            name += ", no verdict" if span.verdict == OPEN else ", " + span.verdict
        values.update(item=self._label(span.item), verdict=span.verdict)
        self._slice(row, span.begin_us, span.end_us, name, values, [("t", span.item)])

    def _arrival(self, span: Arrival) -> None:
        row = self._link("from {}: tasks", span.peer, TASKS_FROM)
        values = {"item": self._label(span.item), "stage": span.stage}
        self._point(row, span.at_us, "stage {}".format(span.stage), values)

    def _instant(self, span: Instant) -> None:
        name, values = span.name, {}
        if span.peer is not None:
            values["worker"] = self._name(span.peer)
            name = "{}: {}".format(name, values["worker"])
        if span.item is not None:
            values["item"] = self._label(span.item)
        if span.detail:
            values["detail"] = span.detail
        self.mark(span.at_us, name, **values)

    # --- names --------------------------------------------------------------------------------

    def _name(self, worker: int) -> str:
        return self._names.get(worker) or "worker {}".format(worker)

    def _label(self, item: ItemKey) -> str:
        return "{} {}".format(self._name(item.source), item.number)

    def _flow(self, item: ItemKey) -> int:
        """The number that binds the arrows of an item, in every timeline."""
        begin = self._flows.get(item[:2])
        if begin is None:
            mixed = ((item.source * _MIX + item.epoch) * _MIX) >> 7
            begin = self._flows[item[:2]] = mixed & ((1 << FLOW_BITS) - 1)
        return begin + item.number

    # --- rows ---------------------------------------------------------------------------------

    def _row(self, name: str, first: int) -> _Row:
        row = self._rows.get(first)
        if row is None:
            row = self._rows[first] = _Row(name, first, [], [])
            self._add_thread(row)
        return row

    def _link(self, form: str, peer: int, kind: int) -> _Row:
        order = self._peers.setdefault(peer, len(self._peers))
        return self._row(form.format(self._name(peer)), LINKS + PEER_STEP * order + kind)

    def _add_thread(self, row: _Row) -> None:
        count = len(row.threads)
        thread = row.first + count
        while thread in self._threads:
            thread += 1
        self._threads.add(thread)
        row.threads.append(thread)
        row.free_us.append(-(1 << 62))
        name = row.name if not count else "{} ({})".format(row.name, count + 1)
        self._meta("thread_name", thread, name=name)
        self._meta("thread_sort_index", thread, sort_index=thread)

    def _meta(self, what: str, thread: int = 0, **values: Any) -> None:
        event = {"ph": "M", "name": what, "pid": self._process, "tid": thread, "args": values}
        self._sheet.add(0, event)

    def _slice(
        self,
        row: _Row,
        begin_us: int,
        end_us: int,
        name: str,
        values: Dict[str, Any],
        flows: Sequence[Tuple[str, ItemKey]],
    ) -> None:
        """A slice in the first thread of `row` that is free, and the ends of arrows in it."""
        first_us = round(self._to_timeline(begin_us))
        last_us = max(first_us, round(self._to_timeline(end_us)))
        index = next((i for i, free_us in enumerate(row.free_us) if free_us <= first_us), None)
        if index is None:
            index = len(row.threads)
            self._add_thread(row)
        row.free_us[index] = last_us
        event = {"ph": "X", "name": name, "cat": "span", "pid": self._process}
        event.update(tid=row.threads[index], ts=first_us, dur=last_us - first_us, args=values)
        self._sheet.add(end_us, event)
        if last_us > first_us:  # nothing can be bound to a slice without a length
            for phase, item in flows:
                at_us = {"s": first_us, "t": first_us + 0.5, "f": last_us - 0.5}[phase]
                self._bind(phase, item, row.threads[index], at_us)

    def _bind(self, phase: str, item: ItemKey, thread: int, at_us: float) -> None:
        """The begin (s), a step (t) or the end (f) of the arrows of `item`. Half a microsecond
        keeps what happens at once in that order."""
        event = {"ph": phase, "name": "item", "cat": "item", "id": self._flow(item)}
        event.update(pid=self._process, tid=thread, ts=at_us)
        if phase == "f":
            event["bp"] = "e"  # it ends in the slice around it, not the next one
        self._sheet.add(int(at_us), event)

    def _point(self, row: _Row, at_us: int, name: str, values: Dict[str, Any]) -> None:
        event = {"ph": "i", "s": "t", "name": name, "cat": "mark", "pid": self._process}
        event.update(tid=row.threads[0], ts=round(self._to_timeline(at_us)), args=values)
        self._sheet.add(at_us, event)


def _plain(tag: Any) -> Any:
    tag = plain_tag(tag)
    return repr(tag) if isinstance(tag, float) and tag - tag != 0.0 else tag


class TimelineWriter:
    """Draws the timeline of one worker while it runs, by its own clock. For one thread at a time.

    `worker_id`, `epoch`, `names` as in `core.neighbours.Identity` and `WorkerRows`. The file has a
    number at its end where there is one of that name. Raises ConfigError if it cannot be made.
    Later nothing is raised: a disk that is full, or `bytes_max`, ends it with one logged warning.
    """

    def __init__(
        self,
        path: str,
        worker_name: str,
        worker_id: int,
        epoch: int,
        names: Dict[int, str],
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._file = GrowingFile(path, "timeline", Sheet.begin(), bytes_max)
        self.path = self._file.path
        self._tracker = Tracker(worker_id, epoch)
        names = dict(names)
        names[worker_id] = worker_name
        self._rows = WorkerRows(Sheet(self._file.add), worker_name, names)
        self._last_us = 0

    @property
    def is_open(self) -> bool:
        """Whether it is still drawn."""
        return self._file.is_open

    def record(self, now_us: int, event: Event, actions: Sequence[Action]) -> None:
        """The core was told `event` at `now_us` and asked for `actions`."""
        if self._file.is_open:
            self._last_us = now_us
            try:
                spans = self._tracker.record(now_us, event, actions)
                if spans:
                    self._rows.draw(spans)
                self._file.flush_if_due(now_us)
            except Exception as error:  # ours, and no reason to stop a worker
                self._file.end(repr(error))

    def record_failure(self, now_us: int, event: Event, error: BaseException) -> None:
        """The core was told `event` at `now_us` and raised `error`."""
        if self._file.is_open:
            self._last_us = now_us
            told = {"event": type(event).__name__, "error": type(error).__name__}
            self._rows.mark(now_us, "the core raised", **told)
            self._file.flush()

    def close(self) -> None:
        """Draw what is still open, up to now. Idempotent."""
        if self._file.is_open:
            self._rows.draw(self._tracker.finish(self._last_us))
        self._file.close(Sheet.END)
