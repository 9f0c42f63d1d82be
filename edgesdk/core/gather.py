"""The outcome rule of an item: when do the answers of its parts make one answer?

A plain network has one part, and its answer is the item's. An ensemble waits for every part; at
the deadline it makes do with the parts that are there.
"""

from typing import Dict, NamedTuple, Optional, Set, Tuple

from .events import Answer


class Gathered(NamedTuple):
    """`present_parts` answer, because of `reason`."""

    present_parts: Tuple[int, ...]
    reason: str


class Gather:
    """The answers of one item's parts, final and provisional."""

    __slots__ = ("_left", "_part_count", "answers")

    def __init__(self, part_count: int) -> None:
        self._part_count = part_count
        self.answers: Dict[int, Answer] = {}  # the latest of each part
        self._left: Set[int] = set()

    def note(self, part: int, answer: Answer) -> None:
        """An exit was evaluated and the item goes on: good enough only at the deadline."""
        self.answers[part] = answer

    def leave(self, part: int, answer: Answer, reason: str) -> Optional[Gathered]:
        """A part has left at an exit. The item is gathered when it was the last one.

        An ensemble reports the reason of the part that left last: it is what the item waited for.
        """
        if part in self._left:  # the answer of another attempt was faster
            return None
        self.answers[part] = answer
        self._left.add(part)
        if len(self._left) < self._part_count:
            return None
        return Gathered(tuple(range(self._part_count)), reason)

    def at_deadline(self) -> Optional[Gathered]:
        """What can be answered now: all parts ("deadline"), some ("degraded"), or nothing."""
        if not self.answers:
            return None
        present = tuple(sorted(self.answers))
        return Gathered(present, "deadline" if len(present) == self._part_count else "degraded")
