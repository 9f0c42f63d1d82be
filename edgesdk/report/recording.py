"""What one trace told, in columns: as little as the report needs of every image and stage."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type

from ..core.metrics import Incident
from ..core_spec import CoreSpec
from ..errors import ConfigError
from ..telemetry.clocks import Readings
from ..telemetry.spans import (
    OPEN,
    Arrival,
    Instant,
    ItemKey,
    ItemSpan,
    ResultSpan,
    Span,
    StageSpan,
    TransferSpan,
)
from .columns import Columns, Curve

NUMBER_BITS = 40  # of an item, in its key: two years at 16,000 a second
SOURCES_MAX = 1 << 15  # processes that had items
TICKS_MAX = DETAILS_MAX = 100  # kept of each name; the rest is counted
NO_ANSWER = -1  # in the columns of exits and classes
OPEN_MAX = 20  # items without an end that are kept; the rest is counted


class Keys:
    """Items of all workers as whole numbers, the same in every recording of a run."""

    def __init__(self) -> None:
        self._sources: Dict[Tuple[int, int], int] = {}

    def key(self, item: ItemKey) -> int:
        """The number of `item`. Raises ConfigError for items that no worker numbers so."""
        source = self._sources.setdefault(item[:2], len(self._sources))
        if not 0 <= item.number < 1 << NUMBER_BITS or source >= SOURCES_MAX:
            raise ConfigError(
                "found {} in a trace, expected an item that a worker has numbered".format(item)
            )
        return source << NUMBER_BITS | item.number


def number_of(key: int) -> int:
    """The item's number at its source."""
    return key & ((1 << NUMBER_BITS) - 1)


class Names:
    """Words as small numbers."""

    def __init__(self) -> None:
        self.words: List[Any] = []
        self._numbers: Dict[Any, int] = {}

    def number(self, word: Any) -> int:
        """That of `word`."""
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers[word] = len(self.words)
            self.words.append(word)
        return found


class Made(NamedTuple):
    """How the trace came about: the file, what its header says, what was found reading it.

    `difference`: a sentence where a core first does something else today, or nothing, and at how
    many events. `raised`: what the core raised, or nothing. `read_share`: of the file, up to where
    the core could follow. `counters`: what the algorithms counted, and `ticks`
    when, the first TICKS_MAX times of each.
    """

    path: str
    worker: str
    versions: Dict[str, str]
    note: Dict[str, str]
    spec: CoreSpec
    event_count: int
    begin_us: int
    end_us: int
    is_complete: bool
    difference: str
    difference_count: int
    raised: str
    read_share: float
    counters: Dict[str, int]
    ticks: Dict[str, List[int]]


class Recording:
    """One process of a worker. Columns: one row for each item, batch, item in a batch, transfer
    and arrival. Times are those of the worker's own clock."""

    def __init__(self, keys: Keys) -> None:
        self.made: Optional[Made] = None
        self.items = Columns("key", "begin", "end", "outcome", "exit", "class", "answerer")
        self.tags: List[Any] = []  # of the items
        self.open_items: List[ItemSpan] = []  # the first of those without an end
        self.open_count = 0
        self.batches = Columns("part", "stage", "begin", "end", "count", "ok")
        self.members = Columns("key", "batch")
        self.transfers = Columns("key", "stage", "begin", "end", "peer", "verdict")
        self.results = Columns("begin", "end", "peer")
        self.arrivals = Columns("key", "stage", "at", "peer")
        self.outcomes = Names()  # (status, reason)
        self.answerers = Names()  # workers, by their number on the wire
        self.peers = Names()
        self.verdicts = Names()
        self.readings = Readings()  # of this worker's clock and of those of others
        self.incident_counts: Dict[Tuple[str, Optional[int]], int] = {}  # by name and neighbour
        self.details: Dict[str, Dict[Optional[int], str]] = {}  # by name and item: a sentence
        self.waiting = Curve()  # tasks in I_n
        self.leaving = Curve()  # tasks in O_n
        self._keys = keys
        self._adders: Dict[Type[Any], Callable[[Any], None]] = {
            ItemSpan: self._add_item,
            StageSpan: self._add_stage,
            TransferSpan: self._add_transfer,
            ResultSpan: self._add_result,
            Arrival: self._add_arrival,
            Instant: self._add_instant,
        }

    @property
    def admitted_count(self) -> int:
        """Items that were handed to this worker."""
        return len(self.items) + self.open_count

    def add(self, span: Span) -> None:
        """A span, arrival or instant that the tracker found. Raises ConfigError for numbers that
        no worker writes."""
        self._adders[span.__class__](span)

    def note(self, incident: Incident) -> None:
        """The core counted something that a person may ask about."""
        kind = (incident.name, incident.peer)
        self.incident_counts[kind] = self.incident_counts.get(kind, 0) + 1
        details = self.details.setdefault(incident.name, {})
        if incident.detail and len(details) < DETAILS_MAX:
            details.setdefault(incident.item, incident.detail)

    def sample(self, now_us: int, waiting_count: int, leaving_count: int) -> None:
        """How long the queues are from now on."""
        self.waiting.tell(now_us, waiting_count)
        self.leaving.tell(now_us, leaving_count)

    def _add_item(self, span: ItemSpan) -> None:
        if span.status == OPEN:
            self.open_count += 1
            self.open_items += [span] if len(self.open_items) < OPEN_MAX else []
            return
        exit_index = NO_ANSWER if span.exit_index is None else span.exit_index
        class_index = NO_ANSWER if span.class_index is None else span.class_index
        outcome = self.outcomes.number((span.status, span.reason))
        key = self._keys.key(span.item)
        answerer = self.answerers.number(span.worker or span.item.source)  # 0: here
        self.items.add(key, span.begin_us, span.end_us, outcome, exit_index, class_index, answerer)
        self.tags.append(span.tag)

    def _add_stage(self, span: StageSpan) -> None:
        batch, count = len(self.batches), len(span.items)
        self.batches.add(span.part, span.stage, span.begin_us, span.end_us, count, int(span.ok))
        for item in span.items:
            self.members.add(self._keys.key(item), batch)

    def _add_transfer(self, span: TransferSpan) -> None:
        peer, verdict = self.peers.number(span.peer), self.verdicts.number(span.verdict)
        key = self._keys.key(span.item)
        self.transfers.add(key, span.stage, span.begin_us, span.end_us, peer, verdict)

    def _add_result(self, span: ResultSpan) -> None:
        self.results.add(span.begin_us, span.end_us, self.peers.number(span.peer))

    def _add_arrival(self, span: Arrival) -> None:
        peer = self.peers.number(span.peer)
        self.arrivals.add(self._keys.key(span.item), span.stage, span.at_us, peer)

    def _add_instant(self, instant: Instant) -> None:
        """Nothing: incidents tell the same, as the core counts it."""
