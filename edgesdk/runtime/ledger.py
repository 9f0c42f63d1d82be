"""Who waits for which item: every item that is opened here is closed exactly once."""

import threading
from collections import deque
from concurrent.futures import Future
from itertools import count
from typing import Callable, Deque, Dict, List, Mapping, Optional, Sequence, Tuple

from ..core.events import Admit, Cancel, Outcome
from ..errors import Failed
from ..results import AnyOutcome, Result, to_public
from ..streams import Gate
from .executor import Executor
from .loop import Owner


class Waiter:
    """Gets the outcomes of one or more items."""

    def on_started(self) -> None:
        """The first stage of an item begins: it can no longer be cancelled."""

    def deliver(self, item: int, outcome: AnyOutcome) -> Optional[Callable[[], None]]:
        """Store `outcome`. What is returned is called later, where user code may run."""
        raise NotImplementedError


class Batch(Waiter):
    """Collects the outcomes of one `infer` call, in the order of its images."""

    def __init__(self) -> None:
        self._outcomes: Dict[int, AnyOutcome] = {}
        self.expected_count = 0

    def deliver(self, item: int, outcome: AnyOutcome) -> None:
        """See `Waiter.deliver`."""
        self._outcomes[item] = outcome

    def is_complete(self) -> bool:
        """Whether every image has its outcome."""
        return len(self._outcomes) == self.expected_count

    def outcomes(self) -> List[AnyOutcome]:
        """In the order of submission, for items are numbered in it."""
        return [self._outcomes[item] for item in sorted(self._outcomes)]


class ItemFuture(Waiter, Future):
    """The outcome of one submitted item. `cancel` works until its first stage begins."""

    def __init__(self, post: Callable[[Cancel], None]) -> None:
        super().__init__()
        self._post = post
        self._notified = False
        self.item = -1

    def on_started(self) -> None:
        """See `Waiter.on_started`."""
        if not self._notified:
            self._notified = True
            self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Give the item up; False if it runs or has ended."""
        cancelled = super().cancel()
        if cancelled:
            self._post(Cancel(self.item))
        return cancelled

    def deliver(self, item: int, outcome: AnyOutcome) -> Callable[[], None]:
        """See `Waiter.deliver`."""

        def resolve() -> None:
            self.on_started()  # an item can end without ever having begun
            if self.cancelled():
                return
            if isinstance(outcome, Result):
                self.set_result(outcome)
            else:
                self.set_exception(outcome)

        return resolve


class Ledger:
    """Numbers items, bounds how many are open, and knows the waiter of each. Thread-safe."""

    def __init__(self, open_count_max: int) -> None:
        self.open_count_max = open_count_max
        self._numbers = count()
        self._waiters: Dict[int, Waiter] = {}
        self._reserved_count = 0
        self._changed = threading.Condition()

    def reserve(self, item_count: int, block: bool = True) -> bool:
        """Room for `item_count` items. Waits for it, or returns False without `block`."""
        with self._changed:
            while self._reserved_count + item_count > self.open_count_max:
                if not block:
                    return False
                self._changed.wait()
            self._reserved_count += item_count
            return True

    def cancel_reservation(self, item_count: int) -> None:
        """Give back room that will not be used."""
        with self._changed:
            self._reserved_count -= item_count
            self._changed.notify_all()

    def open(self, item_count: int, waiter: Waiter) -> Tuple[int, ...]:
        """Numbers of `item_count` new items, for which room was reserved."""
        with self._changed:
            items = tuple([next(self._numbers) for _ in range(item_count)])
            for item in items:
                self._waiters[item] = waiter
            return items

    def waiter(self, item: int) -> Waiter:
        """Who waits for an open item."""
        return self._waiters[item]

    def close(self, item: int) -> Optional[Waiter]:
        """End `item`; its waiter, or None if it had ended before."""
        with self._changed:
            waiter = self._waiters.pop(item, None)
            if waiter is not None:
                self._reserved_count -= 1
                self._changed.notify_all()
            return waiter

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until every item has ended; False if that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiters, timeout_s)

    def open_items(self) -> List[int]:
        """Every open item."""
        with self._changed:
            return list(self._waiters)


class Recorder(Owner):
    """Brings outcomes from the loop to those who wait for them."""

    def __init__(
        self, ledger: Ledger, executor: Executor, labels: Sequence[str], names: Mapping[int, str]
    ) -> None:
        self._ledger = ledger
        self._executor = executor
        self._labels = labels
        self._names = names  # of workers, by id; 0 is this one
        self.gate = Gate()
        self._callbacks: Deque[Callable[[], None]] = deque()

    def on_started(self, items: Tuple[int, ...]) -> None:
        """See `Owner.on_started`."""
        for item in items:
            if item >= 0:  # of others nobody here waits for one
                self._ledger.waiter(item).on_started()

    def on_outcome(self, outcome: Outcome) -> None:
        """See `Owner.on_outcome`."""
        answer, logits = outcome.answer, None
        if answer is not None:
            logits = self._executor.logits(outcome.item, answer.exit_index)
        self._resolve(outcome.item, to_public(outcome, self._labels, self._name(outcome), logits))

    def on_shutdown(self, detail: str) -> None:
        """See `Owner.on_shutdown`."""
        for item in self._ledger.open_items():
            self._resolve(item, Failed("item {}: {}".format(item, detail), item, reason="closed"))

    def on_admit(self, action: Admit) -> None:
        """See `Owner.on_admit`."""
        self.gate.on_admit(action)

    def run_callbacks(self) -> None:
        """See `Owner.run_callbacks`."""
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:  # another thread took it
                return
            callback()

    def _name(self, outcome: Outcome) -> str:
        worker = outcome.worker
        return self._names.get(worker) or "{:016x}".format(worker)

    def _resolve(self, item: int, outcome: AnyOutcome) -> None:
        waiter = self._ledger.close(item)
        callback = waiter.deliver(item, outcome) if waiter is not None else None
        if callback is not None:
            self._callbacks.append(callback)
