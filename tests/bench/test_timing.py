"""Timing in turns, pinning, and what is said about the machine."""

import json
import os

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
    assert sorted(found) == ["cpu", "power_mode", "threads"]
    assert found["threads"] == 3
    assert found["cpu"]


def test_an_unreadable_file_is_no_condition(tmp_path):
    assert timing._content(str(tmp_path / "missing")) is None
    (tmp_path / "cpuinfo").write_text("flags\t: a b\nmodel name\t: Some CPU: v2\n")
    assert timing._field_of(str(tmp_path / "cpuinfo"), "model name") == "Some CPU: v2"
    assert timing._field_of(str(tmp_path / "cpuinfo"), "Hardware") is None
