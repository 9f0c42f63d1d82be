"""Tasks that may travel, and what a worker remembers of tasks that have passed through."""

from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .messages import ItemId
from .worker import Task

PATHS_MAX = 4096  # ways back that are remembered: one for each task that was passed on
NOT_SET = float("nan")


class Guest(NamedTuple):
    """Whose a task of others is, which neighbour it came from, until when the item matters and
    until when this attempt of it does."""

    item: ItemId
    origin: int
    deadline_us: Optional[int]
    forgotten_us: int


class FleetTask(Task):
    """A task that may travel. `guest` is None for our own items. `threshold` is T_e of
    Algorithm 4 as it came with a task of others, NaN where the policy decides. `sent`: the
    neighbour and the number under which it is on its way, until that has given a verdict. `stays`:
    it has failed elsewhere, and is computed here from now on, where it can be."""

    __slots__ = ("attempt", "drawn", "entered", "guest", "hop", "sent", "stays", "threshold")

    def __init__(self, item: int, part: int, stage: int, policy_state: Any) -> None:
        super().__init__(item, part, stage, policy_state)
        self.attempt = 0
        self.hop = 0
        self.stays = False
        self.threshold = NOT_SET
        self.guest: Optional[Guest] = None
        self.sent: Optional[Tuple[int, int]] = None
        self.entered = 0  # a queue, as this worker counts
        self.drawn: Dict[int, int] = {}  # neighbour -> its report for which a draw was lost

    def threshold_or(self, own: float) -> float:
        """T_e that decides on this task: as it came along, or our `own` for our items."""
        return own if self.guest is None else self.threshold

    @property
    def needs(self) -> Tuple[int, int]:
        """The (part, stage) that a worker must hold to compute it."""
        return (self.part, self.stage)


class Paths:
    """The neighbour that a task of others came from first, so that a result finds its way back.

    The first one, not the latest: a task may pass a worker twice, and then two workers would each
    name the other.
    """

    def __init__(self) -> None:
        self._origins: "OrderedDict[Tuple[ItemId, int], int]" = OrderedDict()

    def __len__(self) -> int:
        return len(self._origins)

    def remember(self, item: ItemId, part: int, origin: int) -> None:
        """A task of `item` came from `origin`."""
        self._origins.setdefault((item, part), origin)
        if len(self._origins) > PATHS_MAX:
            self._origins.popitem(last=False)

    def get(self, item: ItemId, part: int) -> Optional[int]:
        """Where its result will go, or None."""
        return self._origins.get((item, part))

    def pop(self, item: ItemId, part: int) -> Optional[int]:
        """Where its result goes, or None if that is not known; it is asked once."""
        return self._origins.pop((item, part), None)


class Queues:
    """The worker whose tasks are exchanged, as far as this module needs it."""

    def load(self) -> Tuple[int, int]:
        """(I_n, Gamma_n in us)."""
        raise NotImplementedError

    def holds(self, part: int, stage: int) -> bool:
        """Whether a stage can be computed here."""
        raise NotImplementedError

    def place(self, task: FleetTask) -> None:
        """A task that came, or came back, enters I_n, or O_n if it cannot be computed here."""
        raise NotImplementedError

    def tasks(self) -> List[FleetTask]:
        """What waits in I_n, then in O_n."""
        raise NotImplementedError

    def withdraw(self, item: int, part: int) -> None:
        """Take a task out of the queues, if it is there."""
        raise NotImplementedError
