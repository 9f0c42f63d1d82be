"""Who waits for which item: opened once, closed once, never more than allowed."""

import threading
import time

import pytest

from edgesdk.core.events import Cancel
from edgesdk.errors import Expired
from edgesdk.results import Result
from edgesdk.runtime.ledger import Batch, ItemFuture, Ledger


def result(item=0):
    return Result(item, None, "a", 0, 0.9, 0.8, 0.1, 1, "threshold", False, 10, "local")


class TestLedger:
    def test_items_are_numbered_in_order(self):
        ledger = Ledger(8)
        ledger.reserve(3)
        assert ledger.open(2, Batch()) == (0, 1)
        assert ledger.open(1, Batch()) == (2,)

    def test_an_item_closes_once(self):
        ledger, waiter = Ledger(8), Batch()
        ledger.reserve(1)
        ledger.open(1, waiter)
        assert ledger.waiter(0) is waiter
        assert ledger.close(0) is waiter
        assert ledger.close(0) is None

    def test_room_is_bounded_and_comes_back(self):
        ledger = Ledger(2)
        assert ledger.reserve(2, block=False)
        assert not ledger.reserve(1, block=False)
        ledger.open(2, Batch())
        ledger.close(0)
        assert ledger.reserve(1, block=False)
        assert not ledger.reserve(1, block=False)
        ledger.cancel_reservation(1)
        assert ledger.reserve(1, block=False)

    def test_a_blocked_reservation_waits_for_room(self):
        ledger = Ledger(1)
        ledger.reserve(1)
        ledger.open(1, Batch())
        entered = []
        thread = threading.Thread(target=lambda: entered.append(ledger.reserve(1)))
        thread.start()
        time.sleep(0.02)
        assert entered == []
        ledger.close(0)
        thread.join(5)
        assert entered == [True]

    def test_knows_what_is_open(self):
        ledger = Ledger(8)
        ledger.reserve(3)
        ledger.open(3, Batch())
        ledger.close(1)
        assert ledger.open_items() == [0, 2]


class TestBatch:
    def test_is_complete_with_its_last_outcome_and_keeps_the_order(self):
        batch = Batch()
        batch.expected_count = 2
        batch.deliver(5, result(5))
        assert not batch.is_complete()
        batch.deliver(4, Expired("late", 4))
        assert batch.is_complete()
        assert [outcome.item for outcome in batch.outcomes()] == [4, 5]


class TestItemFuture:
    def test_resolves_to_a_result(self):
        future = ItemFuture(None)
        future.on_started()
        future.deliver(0, result())()
        assert future.result(0).label == "a"

    def test_or_raises(self):
        future = ItemFuture(None)
        future.deliver(0, Expired("late", 0))()
        with pytest.raises(Expired, match="late"):
            future.result(0)

    def test_cancels_only_until_its_first_stage_begins(self):
        posted = []
        waiting, running = ItemFuture(posted.append), ItemFuture(posted.append)
        waiting.item, running.item = 3, 4
        running.on_started()
        assert waiting.cancel() and not running.cancel()
        assert posted == [Cancel(3)]

    def test_an_outcome_after_cancelling_is_not_an_error(self):
        future = ItemFuture(lambda event: None)
        future.cancel()
        future.deliver(0, result())()
        assert future.cancelled()
        second = ItemFuture(lambda event: None)
        second.cancel()
        second.on_started()  # it had entered a batch at that very moment
        second.deliver(0, result())()
        assert second.cancelled()
