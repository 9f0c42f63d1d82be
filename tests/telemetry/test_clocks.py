"""Clocks that differ by known amounts are laid over each other, as well as is said."""

from random import Random

import pytest

from edgesdk.core.events import MessageReceived, Scores, Timer
from edgesdk.core.exits import MaxProbability
from edgesdk.core.messages import Envelope, Greeting, Hello, Load, Welcome
from edgesdk.sim.clock import Clock
from edgesdk.sim.simulator import Simulator
from edgesdk.sim.spec import Image, Link, Model, Node, Part, Scenario, Workload
from edgesdk.sim.world import Observer
from edgesdk.telemetry.clocks import GOOD, Offset, Readings, align, offset_between

US, THEM = (1, 10), (2, 20)
MINUTE = 60_000_000


def exchanged(theirs, delays, seconds=60, every_us=500_000, seed=1):
    """What both sides read in `seconds`, by our clock, which is true, and `theirs`.
    `delays(rng)` gives how long a message takes, there and back."""
    rng = Random(seed)
    ours, other = Readings(), Readings()
    for true_us in range(0, seconds * 1_000_000, every_us):
        there_us, back_us = delays(rng)
        came_us = theirs.local_us(true_us + there_us)
        ours.sent.setdefault(THEM, []).append((true_us, came_us))
        other.heard.setdefault(US, []).append((true_us, came_us))
        left_us = theirs.local_us(true_us + 250_000)
        ours.heard.setdefault(THEM, []).append((left_us, true_us + 250_000 + back_us))
    return ours, other


def error_us(offset, theirs, seconds=60):
    """The worst there is between the first message and the last."""
    return max(
        abs(offset.at(true_us) - (theirs.local_us(true_us) - true_us))
        for true_us in range(0, seconds * 1_000_000, 100_000)
    )


class TestAPair:
    def test_equal_ways_give_the_offset_itself(self):
        theirs = Clock(123_456, 0.0)
        found = offset_between(*exchanged(theirs, lambda rng: (700, 700)), US, THEM)
        assert error_us(found, theirs) <= 1
        assert found.uncertainty_us == 700

    def test_unequal_ways_are_covered_by_the_uncertainty(self):
        theirs = Clock(-5_000_000, 0.0)
        found = offset_between(*exchanged(theirs, lambda rng: (2_000, 100)), US, THEM)
        assert found.uncertainty_us == 1_050
        assert 940 < error_us(found, theirs) <= 1_050

    @pytest.mark.parametrize("drift_ppm", [-80.0, -3.0, 0.0, 50.0, 200.0])
    @pytest.mark.parametrize("seconds", [5, 60, 1000])
    def test_drift_and_jitter(self, drift_ppm, seconds):
        theirs = Clock(10**9, drift_ppm)

        def delays(rng):
            return 300 + int(rng.expovariate(1e-3)), 300 + int(rng.expovariate(1e-3))

        found = offset_between(*exchanged(theirs, delays, seconds), US, THEM)
        assert error_us(found, theirs, seconds) <= found.uncertainty_us < 2_500

    def test_a_time_when_the_link_was_busy_does_not_count(self):
        theirs = Clock(77, 20.0)
        count = [0]

        def delays(rng):
            count[0] += 1
            return (300, 300) if count[0] < 60 else (50_000 + rng.randrange(9_000), 300)

        found = offset_between(*exchanged(theirs, delays), US, THEM)
        assert error_us(found, theirs) <= found.uncertainty_us <= GOOD * 301

    def test_the_trace_of_one_side_is_enough(self):
        theirs = Clock(5_000, 10.0)
        ours, _ = exchanged(theirs, lambda rng: (200, 200))
        found = offset_between(ours, Readings(), US, THEM)
        assert error_us(found, theirs) <= 2
        back = offset_between(Readings(), ours, THEM, US)
        assert back.at(5_000.0) == pytest.approx(-5_000, abs=5)

    def test_one_direction_is_not(self):
        _, other = exchanged(Clock(0, 0.0), lambda rng: (1, 1))
        assert offset_between(Readings(), other, US, THEM) is None
        assert offset_between(Readings(), Readings(), US, THEM) is None

    def test_both_directions_in_different_windows(self):
        ours = Readings()
        ours.sent[THEM] = [(0, 1_100)]
        ours.heard[THEM] = [(MINUTE + 1_000, MINUTE + 100)]
        found = offset_between(ours, Readings(), US, THEM)
        assert (found.at(0), found.uncertainty_us) == (1_000, 100)

    def test_seen_from_there(self):
        offset = Offset(((0.0, 100.0), (1000.0, 150.0)), 0.05, 7.0)
        back = offset.seen_from_there()
        for time_us in (-500.0, 0.0, 300.0, 1000.0, 4000.0):
            there_us = time_us + offset.at(time_us)
            assert there_us + back.at(there_us) == pytest.approx(time_us)


class TestReadings:
    def greeting(self, epoch):
        return Greeting(2, epoch, b"m" * 16, b"p" * 16, ())

    def told(self, readings, now_us, message, session=5):
        readings.record(now_us, MessageReceived(2, Envelope(session, 9, message)))

    @pytest.mark.parametrize("kind", [Hello, Welcome])
    def test_a_load_tells_of_two_messages(self, kind):
        readings = Readings()
        self.told(readings, 1, kind(self.greeting(20)))
        self.told(readings, 1_000, Load(1, 0, 0, 8, 50_000))
        assert (readings.heard, readings.sent) == ({THEM: [(50_000, 1_000)]}, {})
        self.told(readings, 3_000, Load(2, 0, 0, 8, 52_000, 900, 300))
        assert readings.heard[THEM][1] == (52_000, 3_000)
        assert readings.sent == {THEM: [(900, 51_700)]}

    def test_of_the_process_that_greeted(self):
        readings = Readings()
        self.told(readings, 1, Hello(self.greeting(20)), session=5)
        self.told(readings, 2, Load(1, 0, 0, 8, 100), session=5)
        self.told(readings, 3, Hello(self.greeting(21)), session=6)
        self.told(readings, 4, Load(1, 0, 0, 8, 100), session=6)
        self.told(readings, 5, Load(1, 0, 0, 8, 100), session=7)  # of somebody unknown
        readings.record(6, Timer(0))
        assert readings.heard == {(2, 20): [(100, 2)], (2, 21): [(100, 4)]}


class TestAlign:
    def between(self, *pairs):
        """Readings in which `pairs` of (process, other, how far that is ahead, half a round trip)
        have exchanged one heartbeat."""
        readings = {}
        for us, them, ahead_us, way_us in pairs:
            ours = readings.setdefault(us, Readings())
            readings.setdefault(them, Readings())
            ours.sent[them] = [(0, ahead_us + way_us)]
            ours.heard[them] = [(ahead_us, way_us)]
        return readings

    def test_over_the_least_uncertain_pairs(self):
        a, b, c = (1, 1), (2, 1), (3, 1)
        found = align(self.between((a, b, 100, 10), (b, c, 1000, 20), (a, c, 7777, 500)), {})
        assert found[a].to_reference(5.0) == 5.0
        assert found[b].to_reference(105.0) == pytest.approx(0, abs=11)
        assert found[c].to_reference(1_100.0) == pytest.approx(0, abs=31)
        assert [found[p].uncertainty_us for p in (a, b, c)] == [0, 10, 30]
        assert {each.reference for each in found.values()} == {a}

    def test_who_cannot_be_reached_has_another_reference(self):
        a, b, c, d = (1, 1), (2, 1), (3, 1), (4, 1)
        found = align(self.between((a, b, 0, 5), (c, d, 9, 5)), {})
        assert [found[p].reference for p in (a, b, c, d)] == [a, a, c, c]

    def test_one_clock_needs_no_heartbeats(self):
        a, b, c = (1, 1), (2, 1), (3, 1)
        readings = self.between((a, b, 500, 100))
        readings[c] = Readings()
        found = align(readings, {a: "board", b: "board", c: ""})
        assert (found[b].to_reference(7.0), found[b].uncertainty_us) == (7.0, 0.0)
        assert found[c].reference == c


class Listening(Observer):
    """Reads along at every process of a world, by its own clock."""

    def __init__(self, scenario):
        self.clocks = {n.name: Clock(n.clock_offset_us, n.drift_ppm) for n in scenario.nodes}
        self.numbers = {n.name: 1 + i for i, n in enumerate(scenario.nodes)}
        self.readings, self.process, self.span_us = {}, {}, {}

    def on_start(self, node, epoch, now_us):
        self.process[node] = (self.numbers[node], epoch)
        self.readings[self.process[node]] = Readings()
        self.span_us[self.process[node]] = (node, now_us)

    def on_event(self, node, event, actions, now_us):
        self.end_us = now_us
        self.readings[self.process[node]].record(self.clocks[node].local_us(now_us), event)


def world(seed):
    """Four nodes in a row and one that is far off, each with a clock of its own; jitter, loss, and
    one that starts again."""
    rng = Random(seed)
    exits = (0, 1)
    images = (Image(3, ((Scores(3, 0.9, 0.8, 0.1),) * 2,)),)
    part = Part(exits, (4_000, 6_000), (3_000, 2_000))
    model = Model((part,), images, MaxProbability(0.95))
    nodes = tuple(
        Node(name, clock_offset_us=rng.randrange(10**9), drift_ppm=rng.uniform(-60, 60))
        for name in "abcd"
    )
    links = tuple(
        Link(*ends, ends, delay_us=rng.randrange(100, 5_000), jitter_us=rng.randrange(3_000))
        for ends in zip("abc", "bcd")
    )
    workload = Workload("a", "poisson", rate_hz=60.0, item_count=rng.choice((200, 3000)))
    return Scenario("clocks", model, nodes, links, (workload,), duration_us=60_000_000)


@pytest.mark.parametrize("seed", range(6))
def test_of_a_world(seed):
    scenario = world(seed)
    listening = Listening(scenario)
    Simulator(scenario, seed, observer=listening, trace=False).run(linger_us=5_000_000)
    found = align(listening.readings, {})
    reference = listening.process["a"]
    assert {each.reference for each in found.values()} == {reference}
    true_clock = listening.clocks["a"]
    for process, alignment in found.items():
        node, start_us = listening.span_us[process]
        clock = listening.clocks[node]
        for true_us in range(start_us, listening.end_us, 100_000):
            seen_us = alignment.to_reference(clock.local_us(true_us))
            assert abs(seen_us - true_clock.local_us(true_us)) <= alignment.uncertainty_us + 1
        assert process == reference or 50 < alignment.uncertainty_us < 20_000
