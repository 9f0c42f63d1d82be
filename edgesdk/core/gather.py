"""The outcome rule of an item: when do the answers of its parts make one answer?

A plain network has one part, and its answer is the item's. An ensemble waits for every part; at
the deadline, or where a part has failed, it makes do with the parts that are there.
"""

from typing import Dict, NamedTuple, Optional, Set, Tuple

from .events import Answer


class Gathered(NamedTuple):
    """`answers`, one per part, None where it is missing, make the item's, because of `reason`."""

    answers: Tuple[Optional[Answer], ...]
    reason: str


class Gather:
    """The answers of one item's parts, final and provisional. `ended`: the parts that have left, or
    failed; what another attempt of one says is too late. To be read only."""

    __slots__ = ("_answers", "_part_count", "_reason", "ended")

    def __init__(self, part_count: int) -> None:
        self._part_count = part_count
        self._answers: Dict[int, Answer] = {}  # the latest of each part
        self.ended: Set[int] = set()
        self._reason = ""  # of the part that left last: it is what the item waited for

    def note(self, part: int, answer: Answer) -> None:
        """An exit was evaluated and the item goes on: good enough only at the deadline."""
        if part not in self.ended:
            self._answers[part] = answer

    def leave(self, part: int, answer: Answer, reason: str) -> Optional[Gathered]:
        """A part has left at an exit. The item is gathered when it was the last one."""
        if part in self.ended:  # the answer of another attempt was faster
            return None
        self._answers[part] = answer
        self.ended.add(part)
        self._reason = reason
        return self._if_complete()

    def fail(self, part: int) -> Optional[Gathered]:
        """A part will not leave: what it has noted is no answer. Gathered, without it, if it was
        the last one and others have left. Nothing is left to wait for if it `is_lost`."""
        if part in self.ended:
            return None
        self._answers.pop(part, None)
        self.ended.add(part)
        return self._if_complete()

    @property
    def is_lost(self) -> bool:
        """Whether every part has failed."""
        return len(self.ended) == self._part_count and not self._answers

    def at_deadline(self) -> Optional[Gathered]:
        """What can be answered now: all parts ("deadline"), some ("degraded"), or nothing."""
        return self._gathered("deadline") if self._answers else None

    def _if_complete(self) -> Optional[Gathered]:
        if len(self.ended) < self._part_count or not self._answers:
            return None
        return self._gathered(self._reason)

    def _gathered(self, reason: str) -> Gathered:
        answers = tuple([self._answers.get(part) for part in range(self._part_count)])
        return Gathered(answers, "degraded" if None in answers else reason)
