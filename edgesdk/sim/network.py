"""The links of a world: built from its description, and what can happen to them."""

from random import Random
from typing import Callable, Dict, List, Optional, Tuple

from ..core.messages import CONTROL, DATA, Envelope
from .events import Scheduler
from .lanes import HIGH_WATER_MARK, Channel, ChaosLane, Lane, Parcel, TcpLane, Token, Way
from .spec import Link, Scenario

REPAIRED_US_MAX = 15_000_000  # TCP and ZMTP give a connection up that is silent for longer
SEEN_GONE_US = 200_000  # from the end of a process until its neighbours see that
RECONNECT_US = 100_000  # until a neighbour that has started again is connected


class Direction:
    """One direction of a link: two lanes, and the faults that it suffers."""

    def __init__(self, way: Way, lanes: Dict[str, Lane], scheduler: Scheduler) -> None:
        self.way = way
        self.lanes = lanes
        self._scheduler = scheduler
        self._losses = [way.loss]
        self._divisors: List[float] = []
        self._cut_count = 0
        self._cut_us = 0  # when the first of the cuts began

    def send(self, lane: str, envelope: Envelope, token: Optional[Token]) -> None:
        """Hand a message over."""
        self.lanes[lane].send(envelope, token)

    def close(self) -> None:
        """Forget what is not yet under way."""
        for lane in self.lanes.values():
            lane.discard("closed")

    def reset(self, cause: str = "reset") -> None:
        """The connection breaks: what has not arrived is lost."""
        for lane in self.lanes.values():
            lane.reset(cause)

    def cut(self) -> None:
        """Nothing arrives until as many `heal`."""
        if not self._cut_count:
            self._cut_us = self._scheduler.now_us
        self._cut_count += 1
        self.block()

    def heal(self) -> None:
        """One cut is over. TCP repairs what it held up, unless it has given up meanwhile."""
        self._cut_count -= 1
        lasted_us = self._scheduler.now_us - self._cut_us
        if not self._cut_count and lasted_us > REPAIRED_US_MAX:
            self.reset("cut")
        self.unblock(self.way.repair_us)

    def block(self) -> None:
        """Hold up (TCP) or lose (chaos) what would arrive."""
        for lane in self.lanes.values():
            lane.block()

    def unblock(self, after_us: int) -> None:
        """One cause of `block` is over."""
        for lane in self.lanes.values():
            lane.unblock(after_us)

    def add_loss(self, share: float) -> None:
        """Lose this share of the messages, besides the others."""
        self._losses.append(share)
        self._update()

    def end_loss(self, share: float) -> None:
        """Take one `add_loss` back."""
        self._losses.remove(share)
        self._update()

    def divide_rate(self, divisor: float) -> None:
        """Divide the rate, besides other divisions."""
        self._divisors.append(divisor)
        self._update()

    def end_divide_rate(self, divisor: float) -> None:
        """Take one `divide_rate` back."""
        self._divisors.remove(divisor)
        self._update()

    def _update(self) -> None:
        kept = divisor = 1.0
        for share in self._losses:
            kept *= 1.0 - share
        for each in self._divisors:
            divisor *= each
        self.way.loss = 1.0 - kept
        self.way.rate_divisor = divisor
        self.way.update()


class Network:
    """All directions, by the names of both ends.

    `stream(purpose)` makes the generator of one direction. `high_water_mark`: see `lanes`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        scenario: Scenario,
        stream: Callable[[str], Random],
        high_water_mark: int = HIGH_WATER_MARK,
    ) -> None:
        self._scheduler = scheduler
        self._scenario = scenario
        self._stream = stream
        self._high_water_mark = high_water_mark
        self._ids = {node.name: index + 1 for index, node in enumerate(scenario.nodes)}
        self._media = {
            medium.name: Channel(scheduler, medium.bytes_per_s) for medium in scenario.media
        }
        self._is_connection = scenario.mode == "tcp"
        self._lose: Dict[str, Callable[[int], None]] = {}
        self._down: Dict[str, int] = {}  # counts how often a process went, and in TCP mode came
        self.directions: Dict[Tuple[str, str], Direction] = {}
        self._outlets: Dict[str, Dict[int, Direction]] = {name: {} for name in self._ids}
        self._towards: Dict[str, List[Direction]] = {name: [] for name in self._ids}
        for link in scenario.links:
            self._add(link, link.first, link.second)
            self._add(link, link.second, link.first)

    def connect(
        self,
        name: str,
        receive: Callable[[Lane, Parcel], None],
        lose: Callable[[int], None] = lambda peer: None,
    ) -> None:
        """`receive` is called with whatever arrives at node `name`, and its lane; `lose` with the
        worker id of a neighbour whose process is gone, when that is seen."""
        self._lose[name] = lose
        for direction in self.towards(name):
            for lane in direction.lanes.values():
                lane.receive = receive

    def worker_id(self, name: str) -> int:
        """What node `name` is called on the wire."""
        return self._ids[name]

    def outlets(self, name: str) -> Dict[int, Direction]:
        """The directions that lead away from node `name`, by worker id."""
        return self._outlets[name]

    def towards(self, name: str) -> List[Direction]:
        """The directions that lead to node `name`."""
        return self._towards[name]

    def take_down(self, name: str) -> None:
        """The process at node `name` is not there: what it had to read is lost, what comes from
        now on waits for another one (TCP) or is lost (chaos)."""
        for direction in self.outlets(name).values():
            direction.reset("crash")
        for direction in self.towards(name):
            direction.reset("crash")
            for lane in direction.lanes.values():
                lane.way.count_lost("crash", lane.unread_count)
                lane.unread_count = 0
            direction.block()
        self._down[name] = self._down.get(name, 0) + 1
        now_us = self._scheduler.now_us
        if now_us:  # it was there
            self._scheduler.at(now_us + SEEN_GONE_US, self._see_gone, (name, self._down[name]))

    def bring_up(self, name: str) -> None:
        """A process has started at node `name`. At the beginning of time all are connected."""
        after_us = RECONNECT_US if self._scheduler.now_us else 0
        if self._is_connection:
            self._down[name] = self._down.get(name, 0) + 1
        for direction in self.towards(name):
            direction.unblock(after_us)

    def _see_gone(self, seen: Tuple[str, int]) -> None:
        """Connections to a process that is gone are refused. In chaos mode this may be said of one
        that has started again meanwhile."""
        name, down = seen
        if self._down[name] == down:
            nodes = self._scenario.nodes
            for other in sorted(nodes[peer - 1].name for peer in self._outlets[name]):
                self._lose[other](self._ids[name])

    def _add(self, link: Link, origin: str, target: str) -> None:
        name = "{}->{}".format(origin, target)
        way = Way(name, link, self._stream("net:" + name), self._high_water_mark)
        lanes = {lane: self._new_lane(lane, way, link, origin) for lane in (CONTROL, DATA)}
        direction = Direction(way, lanes, self._scheduler)
        self.directions[(origin, target)] = direction
        self._outlets[origin][self._ids[target]] = direction
        self._towards[target].append(direction)

    def _new_lane(self, lane: str, way: Way, link: Link, origin: str) -> Lane:
        if link.medium is None:
            channel = Channel(self._scheduler, link.bytes_per_s)
        else:
            channel = self._media[link.medium]
        kind = TcpLane if self._scenario.mode == "tcp" else ChaosLane
        feature_bytes = tuple(part.feature_bytes for part in self._scenario.model.parts)
        return kind(self._scheduler, way, channel, lane, self._ids[origin], feature_bytes)
