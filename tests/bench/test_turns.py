"""Calls timed in turns: everybody gets every group, and what is made of the times."""

import numpy as np
import pytest

from edgesdk.bench import turns
from edgesdk.bench.turns import Times, clock


def quiet(text):
    pass


def test_everyone_gets_every_group_in_turns():
    seen = []
    calls = [lambda group: seen.append(("a", group)), lambda group: seen.append(("b", group))]
    one, two = clock(calls, list(range(40)), 1, 1e-9, quiet)
    assert one.us.shape == two.us.shape == (turns.ROUNDS_MIN, 40)
    assert {group for name, group in seen if name == "b"} == set(range(40))
    changes = sum(before[0] != after[0] for before, after in zip(seen, seen[1:]))
    assert changes >= 2 * turns.ROUNDS_MIN


def test_the_first_call_of_a_turn_is_not_timed():
    seen = []
    (found,) = clock([seen.append], [["x"] * 32, ["y"] * 32], 32, 1e-9, quiet)
    assert len(seen) == turns.ROUNDS_MIN * 4  # turns of one group, each group twice
    assert found.us.shape == (turns.ROUNDS_MIN, 2)


def test_the_fastest_time_of_every_group_counts():
    times = Times(np.array([[100.0, 900.0], [300.0, 200.0]]), 10)
    assert times.mean_us == 15.0
    assert times.fastest_us(0.95) == 200.0


def test_ratios_are_of_rounds_so_one_bad_round_changes_nothing():
    ours = Times(np.array([[1.0, 1.0], [50.0, 50.0], [1.0, 1.0]]), 1)
    theirs = Times(np.array([[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]), 1)
    found = ours.faster_than(theirs)
    assert found.value == pytest.approx(2.0)
    assert found.low == pytest.approx(0.04)
