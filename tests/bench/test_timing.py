"""Timing in turns, pinning, and what is said about the machine."""

import json
import math
import os
from random import Random

import pytest

from edgesdk.bench import timing


@pytest.fixture
def own_cores():
    """Puts back the cores this process may use."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot pin processes")
    cores = os.sched_getaffinity(0)
    yield cores
    os.sched_setaffinity(0, cores)


def test_calls_take_turns():
    seen = []
    timing.interleaved([lambda: seen.append("a"), lambda: seen.append("b")], seconds=0.001)
    changes = sum(1 for before, after in zip(seen, seen[1:]) if before != after)
    # warming up gives three changes, and every round but the first gives two
    assert changes >= 3 + 2 * (timing.ROUNDS_MIN - 1)


def test_every_call_is_timed_in_order():
    times = timing.interleaved([int, lambda: sum(range(20000))], seconds=0.001)
    assert len(times) == 2
    for each in times:
        assert 0 < each.min_us <= each.median_us
    assert times[0].min_us < times[1].min_us


def test_a_slow_call_still_gets_its_rounds():
    count = [0]

    def slow():
        count[0] += 1
        sum(range(100000))

    timing.interleaved([slow], seconds=1e-9)
    assert count[0] >= timing.ROUNDS_MIN


def test_what_a_call_raises_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        timing.interleaved([lambda: 1 // 0], seconds=0.001)


class TestIntervals:
    def test_of_a_median_are_two_ranks(self):
        found = timing.median_of(list(range(101)))
        assert found == (50, 40, 60)  # 0.98 * sqrt(101), up: 10 ranks
        assert timing.median_of([3.0]) == (3.0, 3.0, 3.0)
        assert timing.median_of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)

    def test_of_a_ratio_of_means_hold_the_truth_as_often_as_they_say(self):
        rng, held = Random(0), 0
        for _ in range(400):
            theirs = [rng.uniform(1, 3) for _ in range(50)]
            ours = [0.5 * each * rng.uniform(0.8, 1.2) for each in theirs]
            found = timing.ratio_of_means(ours, theirs)
            held += found.low <= 0.5 <= found.high
        assert 0.91 < held / 400 < 0.98

    def test_what_slows_both_of_a_pair_widens_nothing(self):
        theirs = [1.0, 1.0, 9.0, 1.0]
        found = timing.ratio_of_means([0.5 * each for each in theirs], theirs)
        assert found == pytest.approx((0.5, 0.5, 0.5))
        apart = timing.ratio_of_means([0.5, 0.5, 0.5, 4.5], theirs)
        assert apart.value == pytest.approx(0.5) and apart.high > 1

    def test_one_pair_says_nothing_of_its_error(self):
        value, low, high = timing.ratio_of_means([1.0], [2.0])
        assert value == 0.5 and math.isnan(low) and math.isnan(high)


def test_pinning_keeps_the_last_cores(own_cores):
    assert timing.pin(1) == [max(own_cores)]
    assert os.sched_getaffinity(0) == {max(own_cores)}


def test_more_threads_than_cores_means_all_cores(own_cores):
    assert timing.pin(len(own_cores) + 5) == sorted(own_cores)


def test_where_nothing_can_be_pinned(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert timing.pin(1) is None


def test_conditions_are_plain_json():
    found = json.loads(json.dumps(timing.conditions(3)))
    assert sorted(found) == ["board", "clocks", "cpu", "power_mode", "threads"]
    assert found["threads"] == 3
    assert found["cpu"]


def test_boards_are_told_apart_by_name_where_their_processors_are_not():
    cpu = "ARMv8 Processor rev 1 (v8l)"
    assert timing.device_name({"cpu": cpu, "board": "NVIDIA Jetson Nano"}) == "NVIDIA Jetson Nano"
    assert timing.device_name({"cpu": cpu, "board": None}) == cpu


def test_an_unreadable_file_is_no_condition(tmp_path):
    assert timing._cpu_name(str(tmp_path / "missing")) is None
    (tmp_path / "cpuinfo").write_text("flags\t: a b\nmodel name\t: Some CPU: v2\n")
    assert timing._cpu_name(str(tmp_path / "cpuinfo")) == "Some CPU: v2"
    (tmp_path / "cpuinfo").write_text("flags\t: a b\n")
    assert timing._cpu_name(str(tmp_path / "cpuinfo")) is None
