"""Tasks of others that are here, each under a name of its own."""

from typing import Dict, Iterator, List, Optional, Tuple

from .events import WAKE
from .exits import ExitPolicy
from .leases import RENEWED_US_MAX
from .messages import ITEMS_MAX, ItemId, Progress
from .messages import Task as TaskMessage
from .tasks import FleetTask, Guest

GUESTS_MAX = ITEMS_MAX  # held at once: bounds their features, and a Progress names them all
STAY_US_MAX = RENEWED_US_MAX + 5_000_000  # by then the source has started them again


class Guests:
    """By name; names go down from WAKE, so none is ever used again. `released` lists the names
    whose features are not needed any more, for whoever empties it."""

    def __init__(self) -> None:
        self._tasks: Dict[int, FleetTask] = {}
        self._next_name = WAKE - 1
        self.released: List[int] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: int) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[int]:
        return iter(self._tasks)

    def admit(
        self, message: TaskMessage, origin: int, policy: ExitPolicy, now_us: int
    ) -> FleetTask:
        """A task has come from the neighbour `origin`."""
        task = opened(message, self._next_name, policy)
        deadline_us = now_us + message.deadline_us if message.deadline_us else None
        task.guest = Guest(message.item, origin, deadline_us, now_us + STAY_US_MAX)
        self._tasks[task.item] = task
        self._next_name -= 1
        return task

    def forget(self, name: int) -> None:
        """It has left, was passed on, or nobody wants it any more."""
        if self._tasks.pop(name, None) is not None:
            self.released.append(name)

    def tasks(self) -> List[FleetTask]:
        """All of them."""
        return list(self._tasks.values())

    def overdue(self, now_us: int) -> List[FleetTask]:
        """Those that nobody waits for any more, whatever keeps them here."""
        return [t for t in self._tasks.values() if t.guest and now_us >= t.guest.forgotten_us]

    def of_item(self, item: ItemId) -> List[FleetTask]:
        """The tasks of one item."""
        return [t for t in self._tasks.values() if t.guest is not None and t.guest.item == item]

    def progress(self, worker: int) -> Iterator[Tuple[int, Progress]]:
        """For every source the news that `worker` holds tasks of it, with the neighbour that the
        first of them came from."""
        by_source: Dict[Tuple[int, int], List[FleetTask]] = {}
        for task in self._tasks.values():
            if task.guest is not None:
                by_source.setdefault(task.guest.item[:2], []).append(task)
        for (source, epoch), tasks in by_source.items():
            items = [(t.guest.item.number, t.part) for t in tasks if t.guest is not None]
            first = tasks[0].guest
            if first is not None:
                yield first.origin, Progress(source, epoch, 1, worker, tuple(items))


def opened(message: TaskMessage, name: int, policy: ExitPolicy) -> FleetTask:
    """The task that a message brings, under `name`."""
    task = FleetTask(name, message.part, message.stage, policy.unpack(message.policy_state))
    task.attempt, task.hop = message.attempt, message.hop
    task.threshold = message.threshold
    return task


def deadline_passed(task: Optional[FleetTask], now_us: int) -> bool:
    """Whether nobody waits for a task of others any more."""
    guest = None if task is None else task.guest
    return guest is not None and guest.deadline_us is not None and now_us >= guest.deadline_us
