"""Faults: where they may be, what they need."""

import pytest
from worlds import world

from edgesdk.errors import ConfigError
from edgesdk.sim.scenario import parse_scenario
from edgesdk.sim.spec import Fault


def read(*faults, **changes):
    return parse_scenario(world(fault=list(faults), **changes), "").faults


def refusal(fault, **changes):
    with pytest.raises(ConfigError) as caught:
        read(fault, **changes)
    return str(caught.value)


def test_they_come_in_microseconds():
    crash = {"kind": "crash", "where": "b", "at_s": 1.5, "duration_s": 2}
    slow = {"kind": "slow", "where": "a", "at_s": 0, "factor": 3}
    assert read(crash, slow) == (
        Fault("crash", "b", 1_500_000, 2_000_000),
        Fault("slow", "a", 0, None, 3.0),
    )


@pytest.mark.parametrize("where", ["a-b", "b-a", "a->b", "b->a"])
def test_a_cut_is_one_way_or_both(where):
    assert read({"kind": "cut", "where": where, "at_s": 1})[0].where == where


@pytest.mark.parametrize(
    ("fault", "begins", "says"),
    [
        ({"kind": "flood"}, "fault[0].kind: found 'flood'", "one of crash, leave, pause"),
        ({"where": "z"}, "fault[0].where: found 'z'", "one of a, b"),
        ({"where": "a-b"}, "fault[0].where: found 'a-b'", "one of a, b"),
        ({"kind": "cut", "where": "a"}, "fault[0].where: found 'a'", "a-b"),
        ({"kind": "reset", "where": "a->b"}, "fault[0].where: found 'a->b'", "a-b"),
        ({"at_s": -1}, "fault[0].at_s: found -1", "from 0"),
        ({"at_s": 10}, "fault[0].at_s: found 10", "before the scenario ends"),
        ({"duration_s": 0}, "fault[0].duration_s: found 0", "above 0"),
        ({"factor": 2}, "fault[0].factor: found 2", "no factor for crash"),
        ({"kind": "slow"}, "fault[0].factor: missing", ""),
        ({"kind": "slow", "factor": 0.5}, "fault[0].factor: found 0.5", "from 1"),
        ({"kind": "fail", "factor": 2}, "fault[0].factor: found 2", "from 0 to 1"),
        ({"kind": "loss", "where": "a-b", "factor": 1}, "fault[0].kind: found 'loss'", "chaos"),
    ],
)
def test_mistakes(fault, begins, says):
    message = refusal(dict({"kind": "crash", "where": "b", "at_s": 1}, **fault))
    assert message.startswith(begins) and says in message


class TestBeforeItHeals:
    def test_what_lasts_ends(self):
        pause = {"kind": "pause", "where": "b", "at_s": 1}
        assert "duration_s" in refusal(pause, heal_s=5)
        assert "an end before heal_s, 5 s" in refusal(dict(pause, duration_s=9), heal_s=5)
        assert read(dict(pause, duration_s=4), heal_s=5)

    def test_but_the_dead_may_stay_dead(self):
        assert read({"kind": "crash", "where": "b", "at_s": 1}, heal_s=5)
