"""Networks that fail: stages that raise, never end, say NaN, or take the process with them."""

import pytest
from fleet import Fleet

from edgesdk.core import leases


@pytest.fixture
def short_leases(monkeypatch):
    """Nobody is believed for longer than 3 s to be still computing."""
    monkeypatch.setattr(leases, "RENEWED_US_MAX", 3_000_000)


def test_a_stage_that_raises_everywhere(tmp_path, busy):
    odd = {"a": "raises=1", "b": "raises=1"}
    with Fleet(tmp_path, busy, 16, odd=odd) as fleet:
        fleet.start()
        fleet.submit(64)
        fleet.settle(may_fail=True)
        # Those that leave at exit 0 never come to stage 1.
        leaves_early = sum(expected[4] == 0 for expected in fleet.expected)
        assert len(fleet.failed) == 64 - leaves_early
        assert {error.reason for error in fleet.failed} == {"stage_failed"}
        assert "this stage is broken" in str(fleet.failed[0])
        assert fleet.lost() == {}


def test_a_stage_that_raises_on_one_worker(tmp_path, busy):
    with Fleet(tmp_path, busy, 16, odd={"a": "raises=0"}) as fleet:
        fleet.start()
        fleet.submit(100)
        fleet.settle(may_fail=True)
        print("failed", len(fleet.failed), fleet.counters())


def test_heads_that_say_nan(tmp_path, busy):
    with Fleet(tmp_path, busy, 16, odd={"a": "gives_nan", "b": "gives_nan"}) as fleet:
        fleet.start()
        fleet.submit(20)
        fleet.settle(may_fail=True)
        print(fleet.failed[0])
        assert len(fleet.failed) == 20


def test_a_stage_that_never_ends(tmp_path, busy, short_leases):
    with Fleet(tmp_path, busy, 16, odd={"a": "hangs=0 forgets=4"}) as fleet:
        fleet.start()
        fleet.submit(100)
        print("settled after", fleet.settle(25), fleet.counters())
        fleet.process("a").terminate()
        print("status", fleet.process("a").wait(30), fleet.process("a").said)


def test_an_image_that_raises_everywhere(tmp_path, busy):
    with Fleet(tmp_path, busy, 16, odd={"a": "chokes", "b": "chokes"}) as fleet:
        fleet.start()
        fleet.submit(64)
        fleet.settle(may_fail=True)
        print("failed", len(fleet.failed), fleet.counters())


def test_an_image_that_ends_processes(tmp_path, busy):
    with Fleet(tmp_path, busy, 16, odd={"a": "crashes", "b": "crashes"}) as fleet:
        fleet.start()
        fleet.submit(64)
        for _ in range(14):
            for n in "ab":
                if not fleet.process(n).is_running:
                    fleet.restart(n)
            import time

            time.sleep(0.7)
            print(fleet.done_count(), fleet.counters())
        fleet.settle(may_fail=True)
        print("failed", len(fleet.failed), fleet.counters(), fleet.failed)
