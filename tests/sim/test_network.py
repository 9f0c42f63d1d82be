"""Links: how long messages take, in which order they come, and when they are lost."""

import pytest
from sim_worlds import SECOND, load, pair, task

from edgesdk.core.messages import CONTROL, DATA, ItemId
from edgesdk.sim.events import Scheduler
from edgesdk.sim.lanes import HIGH_WATER_MARK
from edgesdk.sim.network import RECONNECT_US, Network
from edgesdk.sim.spec import Link, Medium, Node
from edgesdk.sim.world import stream

ITEM = ItemId(1, 1, 0)


class Wire:
    """A network whose nodes only note what arrives: (time, number), by receiving node."""

    def __init__(self, scenario, seed=1, **options):
        self.scheduler = Scheduler()
        self.network = Network(
            self.scheduler, scenario, lambda purpose: stream(seed, purpose), **options
        )
        self.seen = {node.name: [] for node in scenario.nodes}
        self.reads = True
        for node in scenario.nodes:
            self.network.connect(node.name, lambda *args, n=node.name: self._note(n, *args))

    def _note(self, name, lane, parcel):
        message = parcel.envelope.message
        number = getattr(message, "report", None)
        self.seen[name].append(
            (self.scheduler.now_us, message.item.number if number is None else number)
        )
        if self.reads:
            lane.unread_count -= 1

    def at(self, at_us, call, *arguments):
        """Do something at a time."""
        self.scheduler.at(at_us, lambda _: call(*arguments))

    def send(self, number, lane=CONTROL, way=("a", "b")):
        """Send a Load on the control lane, a Task with features on the other."""
        if lane is DATA:
            item = ItemId(1, 1, number)
            self.network.directions[way].send(DATA, task(item), (item, 0))
        else:
            self.network.directions[way].send(CONTROL, load(number), None)

    def run(self):
        """Let everything happen; gives what came to b."""
        self.scheduler.run()
        return self.seen["b"]

    def lost(self, way=("a", "b")):
        """Messages lost by cause."""
        return self.network.directions[way].way.lost


def numbers(seen):
    return [number for _, number in seen]


class TestTime:
    def test_a_message_takes_the_delay(self):
        wire = Wire(pair(delay_us=700))
        wire.at(100, wire.send, 1)
        assert wire.run() == [(800, 1)]

    def test_the_bytes_take_their_time_one_message_after_the_other(self):
        wire = Wire(pair(delay_us=700, bytes_per_s=1e6))
        for number in (1, 2, 3):
            wire.send(number, DATA)  # 64 + 1000 bytes
        assert wire.run() == [(1064 + 700, 1), (2128 + 700, 2), (3192 + 700, 3)]

    def test_a_small_message_never_waits_behind_features(self):
        wire = Wire(pair(delay_us=700, bytes_per_s=1e6))
        for number in (1, 2):
            wire.send(number, DATA)
        wire.send(3)
        assert wire.run()[0] == (100 + 700, 3)

    def test_both_directions_are_independent(self):
        wire = Wire(pair(delay_us=700, bytes_per_s=1e6))
        wire.send(1, DATA)
        wire.send(2, DATA, ("b", "a"))
        wire.run()
        assert wire.seen == {"a": [(1764, 2)], "b": [(1764, 1)]}

    def test_jitter_is_exponential_with_its_mean(self):
        wire = Wire(pair(mode="chaos", delay_us=1000, jitter_us=500))
        for number in range(4000):
            wire.at(number * 100, wire.send, number)
        delays = [now_us - number * 100 - 1000 for now_us, number in wire.run()]
        assert min(delays) >= 0
        assert sum(delays) / len(delays) == pytest.approx(500, rel=0.06)
        above = sum(delay > 500 for delay in delays) / len(delays)
        assert above == pytest.approx(0.368, abs=0.03)

    def test_a_lower_rate_counts_for_what_is_not_yet_under_way(self):
        wire = Wire(pair(delay_us=0, bytes_per_s=1e6))
        for number in (1, 2, 3):
            wire.send(number, DATA)
        direction = wire.network.directions[("a", "b")]
        wire.at(500, direction.divide_rate, 10.0)
        wire.at(5000, direction.end_divide_rate, 10.0)
        assert wire.run() == [(1064, 1), (1064 + 10640, 2), (2128 + 10640, 3)]


class TestMedium:
    def world(self):
        links = (
            Link("a", "b", (), delay_us=0, medium="air"),
            Link("c", "d", (), delay_us=0, medium="air"),
        )
        nodes = tuple(Node(name) for name in "abcd")
        return pair()._replace(nodes=nodes, links=links, media=(Medium("air", 1e6),))

    def test_two_links_of_one_medium_have_half_the_rate_each(self):
        wire = Wire(self.world())
        for number in range(10):
            wire.send(number, DATA)
            wire.send(number, DATA, ("c", "d"))
        wire.run()
        assert wire.seen["b"][-1] == (19 * 1064, 9)
        assert wire.seen["d"][-1] == (20 * 1064, 9)

    def test_a_small_message_waits_for_one_message_at_most(self):
        wire = Wire(self.world())
        for number in range(10):
            wire.send(number, DATA)
        wire.send(99, CONTROL, ("c", "d"))
        wire.run()
        assert wire.seen["d"] == [(1064 + 100, 99)]

    def test_what_one_link_forgets_makes_room_for_the_other(self):
        wire = Wire(self.world())
        for number in range(10):
            wire.send(number, DATA)
        wire.send(99, DATA, ("c", "d"))
        wire.at(500, wire.network.directions[("a", "b")].close)
        wire.run()
        assert wire.seen == {"a": [], "b": [(1064, 0)], "c": [], "d": [(2128, 99)]}
        assert wire.lost() == {"closed": 9}


class TestTcp:
    def test_each_lane_keeps_its_order_whatever_happens(self):
        wire = Wire(pair(jitter_us=5000, loss=0.2, duplication=0.2, reordering=0.2))
        for number in range(300):
            wire.at(number * 100, wire.send, number)
            wire.at(number * 100, wire.send, 1000 + number, DATA)
        seen = numbers(wire.run())
        assert [n for n in seen if n < 1000] == list(range(300))
        assert [n for n in seen if n >= 1000] == list(range(1000, 1300))
        assert wire.lost() == {}

    def test_a_lost_packet_costs_time(self):
        wire = Wire(pair(delay_us=700, loss=1.0))
        wire.send(1)
        assert wire.run() == [(200_700, 1)]

    def test_on_a_long_way_it_costs_two_round_trips(self):
        wire = Wire(pair(delay_us=100_000, loss=1.0))
        wire.send(1)
        assert wire.run() == [(500_000, 1)]

    def test_beyond_the_high_water_mark_messages_are_lost_silently(self):
        wire = Wire(pair(), high_water_mark=8)
        for number in range(10):
            wire.send(number, DATA)
        wire.send(99)  # the other lane has room
        assert sorted(numbers(wire.run())) == [*range(8), 99]
        assert wire.lost() == {"high_water": 2}

    def test_what_a_receiver_does_not_read_counts(self):
        wire = Wire(pair(), high_water_mark=8)
        wire.reads = False
        for number in range(10):
            wire.at(number * SECOND, wire.send, number, DATA)
        assert numbers(wire.run()) == list(range(8))

    def test_the_high_water_mark_is_out_of_reach_for_credits(self):
        wire = Wire(pair())
        for number in range(HIGH_WATER_MARK + 1):
            wire.send(number, DATA)
        assert len(wire.run()) == HIGH_WATER_MARK == 1024

    def test_a_reset_loses_all_that_is_queued_and_under_way(self):
        wire = Wire(pair(delay_us=5000, bytes_per_s=1e6))
        wire.send(1)
        for number in (2, 3, 4):
            wire.send(number, DATA)
        direction = wire.network.directions[("a", "b")]
        wire.at(1500, direction.reset)  # one arrives at 6064, one is half sent, one waits
        wire.at(2000, wire.send, 5)
        assert wire.run() == [(7100, 5)]
        assert wire.lost() == {"reset": 4}
        assert all(lane.unread_count == 0 for lane in direction.lanes.values())

    def test_closing_forgets_only_what_is_not_yet_under_way(self):
        wire = Wire(pair(delay_us=5000, bytes_per_s=1e6))
        for number in (1, 2, 3):
            wire.send(number, DATA)
        wire.at(1500, wire.network.directions[("a", "b")].close)
        assert numbers(wire.run()) == [1, 2]
        assert wire.lost() == {"closed": 1}


class TestCut:
    def cut(self, wire, begin_us, end_us):
        direction = wire.network.directions[("a", "b")]
        wire.at(begin_us, direction.cut)
        wire.at(end_us, direction.heal)

    def test_a_short_one_delays_in_order(self):
        wire = Wire(pair(delay_us=1000))
        self.cut(wire, 500, SECOND)
        wire.send(1)  # under way when the cut begins
        wire.at(600_000, wire.send, 2)
        wire.at(SECOND - 500, wire.send, 3)  # would arrive after the heal
        wire.at(SECOND + 100, wire.send, 4)
        wire.at(SECOND + 300_000, wire.send, 5)
        repaired_us = SECOND + 200_000
        assert wire.run() == [(repaired_us, n) for n in (1, 2, 3, 4)] + [(SECOND + 301_000, 5)]
        assert wire.lost() == {}

    def test_a_long_one_breaks_the_connection(self):
        wire = Wire(pair(delay_us=1000))
        self.cut(wire, 0, 15 * SECOND + 1)
        wire.at(SECOND, wire.send, 1)
        wire.at(16 * SECOND, wire.send, 2)
        assert numbers(wire.run()) == [2]
        assert wire.lost() == {"cut": 1}

    def test_fifteen_seconds_are_still_repaired(self):
        wire = Wire(pair(delay_us=1000))
        self.cut(wire, 0, 15 * SECOND)
        wire.at(SECOND, wire.send, 1)
        assert numbers(wire.run()) == [1]

    def test_the_other_direction_goes_on(self):
        wire = Wire(pair(delay_us=1000))
        self.cut(wire, 0, SECOND)
        wire.at(500, wire.send, 1, CONTROL, ("b", "a"))
        wire.run()
        assert wire.seen["a"] == [(1500, 1)]

    def test_of_two_overlapping_ones_the_last_heals(self):
        wire = Wire(pair(delay_us=1000))
        self.cut(wire, 0, 2 * SECOND)
        self.cut(wire, SECOND, 3 * SECOND)
        wire.at(500, wire.send, 1)
        assert wire.run() == [(3_200_000, 1)]

    def test_one_that_begins_again_before_the_repair_holds_on(self):
        wire = Wire(pair(delay_us=1000))
        self.cut(wire, 0, SECOND)
        self.cut(wire, SECOND + 100, 2 * SECOND)
        wire.at(500, wire.send, 1)
        assert wire.run() == [(2_200_000, 1)]

    def test_in_chaos_everything_is_lost(self):
        wire = Wire(pair(mode="chaos", delay_us=1000))
        self.cut(wire, 500, SECOND)
        for number, at_us in enumerate((0, 600, SECOND - 500, SECOND)):
            wire.at(at_us, wire.send, number)
        assert numbers(wire.run()) == [3]
        assert wire.lost() == {"cut": 3}


class TestAProcessThatIsNotThere:
    def test_tcp_keeps_what_is_sent_to_it_until_it_is_back(self):
        wire = Wire(pair(delay_us=1000))
        wire.send(1)  # under way when it dies
        wire.at(500, wire.network.take_down, "b")
        wire.at(SECOND, wire.send, 2)
        wire.at(2 * SECOND, wire.network.bring_up, "b")
        assert wire.run() == [(2 * SECOND + RECONNECT_US, 2)]
        assert wire.lost() == {"crash": 1}

    def test_what_it_had_sent_is_lost_with_it(self):
        wire = Wire(pair(delay_us=1000))
        wire.send(1, CONTROL, ("b", "a"))
        wire.at(500, wire.network.take_down, "b")
        wire.run()
        assert wire.seen["a"] == []

    def test_what_it_had_not_read_makes_room(self):
        wire = Wire(pair(delay_us=1000), high_water_mark=1)
        wire.reads = False
        wire.send(1)
        wire.at(1500, wire.network.take_down, "b")
        wire.at(1600, wire.network.bring_up, "b")
        wire.at(SECOND, wire.send, 2)
        assert numbers(wire.run()) == [1, 2]
        assert wire.lost() == {"crash": 1}


class TestChaos:
    def test_a_share_of_the_messages_is_lost_and_the_rest_is_not(self):
        wire = Wire(pair(mode="chaos", loss=0.2))
        for number in range(5000):
            wire.at(number * 10, wire.send, number)
        assert 5000 - len(wire.run()) == wire.lost()["loss"] == pytest.approx(1000, rel=0.1)

    def test_a_share_comes_twice(self):
        wire = Wire(pair(mode="chaos", duplication=0.2))
        for number in range(5000):
            wire.at(number * 10, wire.send, number)
        seen = numbers(wire.run())
        assert len(seen) - 5000 == pytest.approx(1000, rel=0.1)
        assert set(seen) == set(range(5000))
        assert wire.network.directions[("a", "b")].lanes[CONTROL].unread_count == 0

    def test_a_share_is_overtaken(self):
        wire = Wire(pair(mode="chaos", reordering=0.2))
        for number in range(1000):
            wire.at(number * 10, wire.send, number)
        seen = numbers(wire.run())
        assert sorted(seen) == list(range(1000))
        delays = [now_us - number * 10 for now_us, number in wire.seen["b"]]
        assert sum(delay > 500 for delay in delays) == pytest.approx(200, rel=0.2)

    def test_losses_add_up_and_end(self):
        wire = Wire(pair(mode="chaos", loss=0.5))
        direction = wire.network.directions[("a", "b")]
        direction.add_loss(0.5)
        assert direction.way.loss == 0.75
        direction.end_loss(0.5)
        assert direction.way.loss == 0.5


class TestChance:
    def arrivals(self, **link):
        wire = Wire(pair(jitter_us=5000, **link), seed=7)
        for number in range(20):
            wire.at(number * 100_000, wire.send, number)
        return wire.run()

    def test_the_same_seed_gives_the_same_delays(self):
        assert self.arrivals() == self.arrivals()

    def test_a_second_link_changes_nothing_on_the_first(self):
        world = pair(jitter_us=5000)
        world = world._replace(
            nodes=(Node("c"), *world.nodes), links=(Link("c", "b", (), jitter_us=9), *world.links)
        )
        wire = Wire(world, seed=7)
        for number in range(20):
            wire.at(number * 100_000, wire.send, number)
            wire.at(number * 100_000, wire.send, 1000 + number, CONTROL, ("c", "b"))
        assert [entry for entry in wire.run() if entry[1] < 1000] == self.arrivals()

    def test_streams_have_names(self):
        draws = [stream(*key).random() for key in ((1, "a"), (1, "b"), (2, "a"), (1, "a"))]
        assert draws[0] == draws[3]
        assert len(set(draws)) == 3
