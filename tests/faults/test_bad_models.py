"""Networks that fail: stages that raise, never end, say NaN, or take the process with them."""

import time

from fleet import Fleet

from edgesdk.core import exchange, leases


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
    """Three tries an item has, wherever they are; whoever fails at once is always free for more."""
    with Fleet(tmp_path, busy, 16, odd={"a": "raises=0"}) as fleet:
        fleet.start()
        fleet.submit(100)
        fleet.settle(may_fail=True)
        print("failed: {} of 100; {}".format(len(fleet.failed), fleet.counters()))
        assert len(fleet.failed) < 100
        assert {error.reason for error in fleet.failed} <= {"stage_failed"}
        assert fleet.lost() == {}


def test_heads_that_say_nan(tmp_path, busy):
    with Fleet(tmp_path, busy, 16, odd={"a": "gives_nan", "b": "gives_nan"}) as fleet:
        fleet.start()
        fleet.submit(20)
        fleet.settle(may_fail=True)
        assert len(fleet.failed) == 20
        assert all("NaN" in str(error) for error in fleet.failed)


def test_a_stage_that_never_ends(tmp_path, busy, monkeypatch):
    """The loop of that worker lives and says so; its tasks come back when that is no longer
    believed, others go on meanwhile, and it can still be told to leave."""
    monkeypatch.setattr(leases, "RENEWED_US_MAX", 2_000_000)
    with Fleet(tmp_path, busy, 16, odd={"a": "hangs=0 forgets=3"}, drain_s=1) as fleet:
        fleet.start()
        fleet.submit(100)
        fleet.wait_until_done(60, 10)
        took_s = fleet.settle(25)
        print("settled after {:.1f} s; {}".format(took_s, fleet.counters()))
        assert fleet.counters()["leases_expired"] > 0
        fleet.process("a").terminate()
        begin_s = time.monotonic()
        assert fleet.process("a").wait(10) == 0
        print("left after {:.1f} s".format(time.monotonic() - begin_s))


def test_an_image_that_raises_everywhere(tmp_path, busy):
    with Fleet(tmp_path, busy, 16, odd={"a": "chokes", "b": "chokes"}) as fleet:
        fleet.start()
        fleet.submit(64)
        fleet.settle(may_fail=True)
        # It and, for they share their tries, whoever was in a batch with it three times.
        assert 1 <= len(fleet.failed) < 16, fleet.failed
        assert {error.reason for error in fleet.failed} == {"stage_failed"}
        assert fleet.lost() == {}


def test_an_image_that_ends_processes(tmp_path, busy, monkeypatch):
    """Workers that are started again after each of their deaths: it fails in the end, after a
    limited number of them. Images that were in its company each time fail with it."""
    monkeypatch.setattr(exchange, "ATTEMPTS_MAX", 3)  # instead of 10, to be done sooner
    with Fleet(tmp_path, busy, 16, odd={"a": "crashes", "b": "crashes"}) as fleet:
        fleet.start()
        fleet.submit(64)
        restart_count = 0
        until_s = time.monotonic() + 60
        while fleet.done_count() < 64 and time.monotonic() < until_s:
            for name in ("a", "b"):
                if not fleet.process(name).is_running:
                    fleet.restart(name)
                    restart_count += 1
            time.sleep(0.02)
        fleet.settle(1.0, may_fail=True)
        print("{} deaths, {} images failed".format(restart_count, len(fleet.failed)))
        assert 1 <= restart_count <= 3 + 2
        assert fleet.failed
        assert {error.reason for error in fleet.failed} == {"attempts"}
