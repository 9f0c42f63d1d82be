"""The life of an item at the worker that owns it: admitted once, ended once.

Rule 1: everything that decides whether an item lives or has ended is in this file.
Rule 2: this file does not know how or where stages run.

    WAITING --start--> RUNNING --complete--> (result)
       |                  |----gather------> ANSWERING --complete, fail--> (result, failed)
       |                  |----fail--------> (failed)
       |                  `----deadline----> (result with the best answer, or expired)
       |--deadline, supersede--------------> (expired)
       `--cancel, fail---------------------> (failed)

An ensemble's item is ANSWERING while one answer is made of what its parts gave.
"""

from random import Random
from typing import Any, Dict, List, Optional, Tuple

from .events import (
    Action,
    Answer,
    CancelTimer,
    Classify,
    Deliver,
    Outcome,
    Release,
    Scores,
    SetTimer,
    Submit,
)
from .exits import ExitPolicy
from .gather import Gather, Gathered
from .metrics import Metrics

# States of an item. An ended item is no longer in the table.
WAITING = "waiting"  # its first task has not begun
RUNNING = "running"
ANSWERING = "answering"
ENDED = "ended"

START, GATHER, COMPLETE, FAIL, DEADLINE, SUPERSEDE, CANCEL = EVENTS = (
    "start",
    "gather",
    "complete",
    "fail",
    "deadline",
    "supersede",
    "cancel",
)

# What is not listed cannot happen: it would be our own bug.
TRANSITIONS = {
    WAITING: {
        START: RUNNING,
        FAIL: ENDED,  # the pipeline closes
        DEADLINE: ENDED,
        SUPERSEDE: ENDED,
        CANCEL: ENDED,
    },
    RUNNING: {
        START: RUNNING,  # another part, or the next stage
        GATHER: ANSWERING,
        COMPLETE: ENDED,
        FAIL: ENDED,
        DEADLINE: ENDED,
        SUPERSEDE: RUNNING,  # a newer frame replaces only frames that still wait
        CANCEL: RUNNING,  # too late: it is answered, and nobody listens
    },
    ANSWERING: {  # for the time of one small product: nothing hurries it
        START: ANSWERING,
        GATHER: ANSWERING,
        COMPLETE: ENDED,
        FAIL: ENDED,
        DEADLINE: ANSWERING,
        SUPERSEDE: ANSWERING,
        CANCEL: ANSWERING,
    },
}


class Item:
    """One admitted input that has no outcome yet."""

    __slots__ = (
        "best_at_deadline",
        "deadline_us",
        "gather",
        "gathered",
        "item",
        "state",
        "submitted_us",
        "tag",
    )

    def __init__(
        self,
        item: int,
        tag: Any,
        submitted_us: int,
        part_count: int,
        deadline_us: Optional[int],
        best_at_deadline: bool,
    ) -> None:
        self.item = item
        self.tag = tag
        self.submitted_us = submitted_us
        self.state = WAITING
        self.gather = Gather(part_count)
        self.gathered: Optional[Gathered] = None  # what is being classified
        self.deadline_us = deadline_us
        self.best_at_deadline = best_at_deadline


class Source:
    """The table of items in flight, and the one place where an item ends."""

    def __init__(self, policy: ExitPolicy, part_count: int, metrics: Metrics, rng: Random) -> None:
        self.policy = policy
        self.metrics = metrics
        self.rng = rng
        self.part_count = part_count
        self._items: Dict[int, Item] = {}

    def is_open(self, item: int) -> bool:
        """Whether `item` is admitted and has no outcome yet."""
        return item in self._items

    def is_wanted(self, item: int, part: int) -> bool:
        """Whether `item` waits for this part."""
        entry = self._items.get(item)
        return entry is not None and part not in entry.gather.ended

    def admit(self, event: Submit, actions: List[Action]) -> None:
        """Enter the items of `event` into the table."""
        for item, tag in zip(event.items, event.tags):
            if item in self._items:
                raise AssertionError("item {} was admitted twice".format(item))
            self._items[item] = Item(
                item,
                tag,
                event.submitted_us,
                self.part_count,
                event.deadline_us,
                event.best_at_deadline,
            )
            if event.deadline_us is not None:
                actions.append(SetTimer(item, event.deadline_us))
        self.metrics.admitted_count += len(event.items)

    def start(self, item: int) -> None:
        """A task of `item` begins to run."""
        self._move(self._items[item], START)

    def deadline_us(self, item: int) -> Optional[int]:
        """When an open item must be answered, or None."""
        return self._items[item].deadline_us

    def open_items(self) -> List[int]:
        """Every item without an outcome, oldest first."""
        return list(self._items)

    def ended_parts(self) -> List[Tuple[int, int]]:
        """(item, part) of the parts that have left, or failed, of open items."""
        return [(item, part) for item, entry in self._items.items() for part in entry.gather.ended]

    def waiting(self) -> List[int]:
        """The items whose first task has not begun."""
        return [item for item, entry in self._items.items() if entry.state is WAITING]

    def note(self, item: int, part: int, answer: Answer) -> None:
        """An exit was evaluated and the item goes on."""
        self._items[item].gather.note(part, answer)

    def leave(
        self,
        item: int,
        part: int,
        answer: Answer,
        reason: str,
        now_us: int,
        actions: List[Action],
        worker: int = 0,
    ) -> None:
        """A part of `item` leaves at an exit of `worker` (0: this one); the item ends when it is
        the last part."""
        entry = self._items[item]
        gathered = entry.gather.leave(part, answer, reason)
        if gathered is not None:
            self._answer(gathered, entry, now_us, actions, worker)

    def classified(self, item: int, scores: Scores, now_us: int, actions: List[Action]) -> None:
        """What an ensemble says, as one: the item ends. Its exit is the deepest of its parts'."""
        entry = self._items[item]
        assert entry.gathered is not None  # only what was asked for is told
        present = [answer for answer in entry.gathered.answers if answer is not None]
        answer = Answer(max(answer.exit_index for answer in present), scores)
        if scores.max_probability != scores.max_probability:
            detail = "the ensemble's classifier gave NaN"
            self.fail(item, "not_finite", detail, now_us, actions)
        else:
            self._move(entry, COMPLETE)
            self._end(entry, "result", entry.gathered.reason, answer, now_us, actions)

    def fail(self, item: int, reason: str, detail: str, now_us: int, actions: List[Action]) -> None:
        """`item` cannot be answered any more."""
        entry = self._items[item]
        self._move(entry, FAIL)
        self._end(entry, "failed", reason, None, now_us, actions, detail)

    def fail_part(
        self, item: int, part: int, reason: str, detail: str, now_us: int, actions: List[Action]
    ) -> None:
        """A part of `item` cannot be answered any more; without others, neither can the item."""
        entry = self._items[item]
        gathered = entry.gather.fail(part)
        if gathered is not None:
            self._answer(gathered, entry, now_us, actions)
        elif entry.gather.is_lost:
            self.fail(item, reason, detail, now_us, actions)

    def on_deadline(self, item: int, now_us: int, actions: List[Action]) -> None:
        """The deadline of `item` has passed: the best answer known, if wanted, or Expired."""
        entry = self._items[item]
        entry.deadline_us = None  # its timer has rung
        gathered = entry.gather.at_deadline() if entry.best_at_deadline else None
        if gathered is not None:
            self._answer(gathered, entry, now_us, actions)
        elif self._move(entry, DEADLINE) is ENDED:
            self._end(entry, "expired", DEADLINE, None, now_us, actions)

    def drop_waiting(self, item: int, event: str, now_us: int, actions: List[Action]) -> bool:
        """End `item` by SUPERSEDE or CANCEL if it still waits; True if it did."""
        entry = self._items.get(item)
        if entry is None or self._move(entry, event) is not ENDED:
            return False
        status, reason = {
            SUPERSEDE: ("expired", "superseded"),
            CANCEL: ("failed", "cancelled"),
        }[event]
        self._end(entry, status, reason, None, now_us, actions)
        return True

    def _move(self, entry: Item, event: str) -> str:
        entry.state = TRANSITIONS[entry.state][event]
        return entry.state

    def _answer(
        self,
        gathered: Gathered,
        entry: Item,
        now_us: int,
        actions: List[Action],
        worker: int = 0,
    ) -> None:
        """An item has what there will be: it ends, or an ensemble's is classified."""
        if entry.state is ANSWERING:
            return  # what came since is too late
        if self.part_count == 1:
            self._move(entry, COMPLETE)
            (answer,) = gathered.answers
            self._end(entry, "result", gathered.reason, answer, now_us, actions, "", worker)
            return
        self._move(entry, GATHER)
        entry.gathered = gathered
        features = tuple([answer and answer.feature for answer in gathered.answers])
        actions.append(Classify(entry.item, features))

    def _end(
        self,
        entry: Item,
        status: str,
        reason: str,
        answer: Optional[Answer],
        now_us: int,
        actions: List[Action],
        detail: str = "",
        worker: int = 0,
    ) -> None:
        self._forget(entry, actions)
        latency_us = now_us - entry.submitted_us
        outcome = Outcome(entry.item, entry.tag, status, reason, answer, latency_us, detail, worker)
        self.metrics.on_outcome(outcome)
        actions.append(Deliver(outcome))
        actions.append(Release(entry.item))

    def _forget(self, entry: Item, actions: List[Action]) -> None:
        del self._items[entry.item]
        if entry.deadline_us is not None:
            actions.append(CancelTimer(entry.item))
