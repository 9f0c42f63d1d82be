"""What one trace told, in columns: as little as the report needs of every image and stage."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..core_spec import CoreSpec
from ..errors import ConfigError
from ..telemetry.spans import Arrival, Instant, ItemKey, ItemSpan, StageSpan, TransferSpan
from .columns import Columns, Curve

NUMBER_BITS = 40  # of an item, in its key: two years at 16,000 a second
SOURCES_MAX = 1 << (63 - NUMBER_BITS)
INSTANTS_MAX = 100  # kept of each name; the rest is counted
NO_ANSWER = -1  # in the columns of exits and classes


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

    `difference`: a sentence where a core does something else today, or nothing. `raised`: what the
    core raised, or nothing. `counters`: what the algorithms counted.
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
    raised: str
    counters: Dict[str, int]


class Recording:
    """One process of a worker. Columns: one row for each item, batch, item in a batch, transfer
    and arrival. Times are those of the worker's own clock."""

    def __init__(self, keys: Keys) -> None:
        self.made: Optional[Made] = None
        self.items = Columns("key", "begin", "end", "outcome", "exit", "class")
        self.tags: List[Any] = []  # of the items
        self.details: Dict[int, str] = {}  # by key: why an item failed, in words
        self.batches = Columns("part", "stage", "begin", "end", "count", "ok")
        self.members = Columns("key", "batch")
        self.transfers = Columns("key", "stage", "begin", "end", "peer", "verdict")
        self.arrivals = Columns("key", "stage", "at", "peer")
        self.outcomes = Names()  # (status, reason)
        self.peers = Names()
        self.verdicts = Names()
        self.instants: Dict[str, List[Instant]] = {}
        self.instant_counts: Dict[str, int] = {}
        self.admitted_count = 0
        self.waiting = Curve()  # tasks in I_n
        self.leaving = Curve()  # tasks in O_n
        self._keys = keys

    def add(self, span: Any) -> None:
        """A span, arrival or instant that the tracker found. Raises ConfigError for numbers that
        no worker writes."""
        self._ADDERS[span.__class__](self, span)

    def sample(self, now_us: int, waiting_count: int, leaving_count: int) -> None:
        """How long the queues are from now on."""
        self.waiting.tell(now_us, waiting_count)
        self.leaving.tell(now_us, leaving_count)

    def _add_item(self, span: ItemSpan) -> None:
        exit_index = NO_ANSWER if span.exit_index is None else span.exit_index
        class_index = NO_ANSWER if span.class_index is None else span.class_index
        outcome = self.outcomes.number((span.status, span.reason))
        key = self._keys.key(span.item)
        self.items.add(key, span.begin_us, span.end_us, outcome, exit_index, class_index)
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

    def _add_arrival(self, span: Arrival) -> None:
        peer = self.peers.number(span.peer)
        self.arrivals.add(self._keys.key(span.item), span.stage, span.at_us, peer)

    def _add_instant(self, instant: Instant) -> None:
        kept = self.instants.setdefault(instant.name, [])
        if len(kept) < INSTANTS_MAX:
            kept.append(instant)
        self.instant_counts[instant.name] = self.instant_counts.get(instant.name, 0) + 1

    _ADDERS = {
        ItemSpan: _add_item,
        StageSpan: _add_stage,
        TransferSpan: _add_transfer,
        Arrival: _add_arrival,
        Instant: _add_instant,
    }
