"""What must hold in every simulation, whatever goes wrong in it: checked from outside the core.

    outcomes      an admitted item ends once, with an answer that is the network's, from where the
                  policy lets it leave; of an ensemble, with that of the students that were there
    places        every live task is in exactly one place, and features are held for just these;
                  of an ensemble's item, every part has a task or has ended
    limits        no queue, window or table is above its limit
    credit        tasks are promised room only within bounds, and only to neighbours that are there
    rest          when all items have ended and nothing more happens, nothing is left anywhere

A check that fails raises `Violation`. An exception of the core itself is one too.
"""

from random import Random
from typing import Dict, List, Optional, Set, Tuple

from ..core.events import WAKE, Action, Classify, Deliver, Event, Outcome, Submit
from ..core.fleet import FleetWorker
from ..core.guests import GUESTS_MAX
from ..core.leases import RENEWED_US_MAX
from ..core.messages import WINDOW
from ..core.tasks import PATHS_MAX
from ..features import answer
from .body import Body
from .gathering import exits_of
from .simulator import Simulator
from .spec import Scenario
from .world import Observer

QUICK_DELAY_US = 1_000
QUICK_ROUND_TRIP_US = 15_000  # the delay twice, its tail, and the wait for an acknowledgement
Exits = Tuple[Optional[int], ...]  # of the parts of an item, None where one is missing
MISTAKES = ("leases_expired", "sessions_lost.not_answering", "degraded")


class Violation(AssertionError):
    """Something that must never happen has happened."""


class Checks(Observer):
    """Watches every process of a simulation."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._is_quick = _is_quick(scenario)
        self._has_deadlines = any(w.deadline_us is not None for w in scenario.workloads)
        decides = scenario.model.policy.kind != "random" and scenario.admission.kind != "threshold"
        self._has_one_answer = decides and not self._has_deadlines
        self._bodies: Dict[str, Body] = {}
        self._admitted: Dict[str, Set[int]] = {}  # without an outcome yet, by source
        self._ended: Dict[str, Set[int]] = {}
        self._gathered: Dict[str, Dict[int, Exits]] = {}  # of an ensemble's items, by source
        self.outcome_count = 0

    def watch(self, simulator: Simulator) -> None:
        """Look into the nodes of `simulator`, which has this as its observer, before it runs."""
        self._bodies = {body.name: body for body in simulator.bodies}

    def on_start(self, node: str, epoch: int, now_us: int) -> None:
        """A new process: what the old one had admitted died with it."""
        self._admitted[node], self._ended[node], self._gathered[node] = set(), set(), {}

    def on_crash(self, node: str, now_us: int) -> None:
        """See `Observer.on_crash`."""
        self.on_start(node, 0, now_us)

    def on_event(self, node: str, event: Event, actions: List[Action], now_us: int) -> None:
        """Check what the core at `node` has made of `event`."""
        body = self._bodies[node]
        if event.__class__ is Submit:
            self._admitted[node].update(event.items)
        for action in actions:
            if isinstance(action, Classify):
                image, features = body.image_of(action.item), self._scenario.model.features
                assert features is not None
                self._gathered[node][action.item] = exits_of(features, image, action.features)
            elif isinstance(action, Deliver):
                self._check_outcome(node, body, action)
        self._check_places(node, body, body.worker)
        self._check_limits(node, body.worker)
        if self._is_quick:
            self._check_round_trips(node, body.worker)

    def check_end(self) -> None:
        """After a run with a time of rest: everybody has an outcome, and nothing is left."""
        for node, admitted in self._admitted.items():
            body = self._bodies[node]
            if not body.is_up:
                continue
            if admitted:
                item = min(admitted)
                raise Violation(
                    "no liveness: item {} of {} has no outcome; it is {}".format(
                        item, node, self._holders(node, item)
                    )
                )
            if not body.hangs:
                self._check_rest(node, body)
        if _is_calm(self._scenario):
            self._check_calm()

    def _check_outcome(self, node: str, body: Body, action: Deliver) -> None:
        outcome = action.outcome
        item = outcome.item
        self.outcome_count += 1
        if item in self._ended[node]:
            raise Violation("{}: item {} has two outcomes".format(node, item))
        if item not in self._admitted[node]:
            raise Violation("{}: an outcome for item {}, never admitted".format(node, item))
        self._admitted[node].remove(item)
        self._ended[node].add(item)
        if outcome.answer is not None:
            self._check_answer(node, body.image_of(item), outcome)
        elif outcome.reason == "attempts" and body.node.parts is None:
            raise Violation("{}: item {} was given up: {}".format(node, item, outcome.detail))

    def _check_answer(self, node: str, image: int, outcome: Outcome) -> None:
        """The exit's own, or what the ensemble makes of the features that were there."""
        model, found = self._scenario.model, outcome.answer
        assert found is not None
        exits: Exits = (found.exit_index,)
        if model.features is None:
            expected = model.images[image].scores[0][found.exit_index]
        else:
            exits = self._gathered[node].pop(outcome.item)
            expected = answer(model.features, image, exits)
        deepest = max(exit_index for exit_index in exits if exit_index is not None)
        if found != (deepest, expected, b""):
            raise Violation(
                "{}: item {} has the answer of another image".format(node, outcome.item)
            )
        if self._has_one_answer:
            for part, exit_index in enumerate(exits):
                if exit_index not in (None, self._exit_of(image, part)):
                    raise Violation(
                        "{}: part {} of item {} left at exit {}, where its policy does not "
                        "let it".format(node, part, outcome.item, exit_index)
                    )
        if (None in exits) != (outcome.reason == "degraded"):
            raise Violation(
                "{}: item {} left at {}: {}".format(node, outcome.item, exits, outcome.reason)
            )

    def _exit_of(self, image: int, part: int) -> int:
        """Where the policy lets an image leave a part."""
        model = self._scenario.model
        indices, scores = model.parts[part].exit_indices, model.images[image].scores[part]
        state = model.policy.start(indices, Random(0))
        for exit_index in indices[:-1]:
            leaves, state = model.policy.step(exit_index, scores[exit_index], state)
            if leaves:
                return exit_index
        return indices[-1]

    def _check_places(self, node: str, body: Body, worker: FleetWorker) -> None:
        """Conservation of tasks, and of their features."""
        places = worker.whereabouts()
        found: Dict[Tuple[int, int], str] = {}
        for place, keys in places.items():
            for key in keys:
                if key in found and "running" not in (place, found[key]):
                    raise Violation(
                        "{}: task {} is in {} and {}".format(node, key, found[key], place)
                    )
                if found.get(key) is None or place != "running":
                    found[key] = place
        parts = range(len(self._scenario.model.parts))
        wanted = {(item, part) for item in self._admitted[node] for part in parts}
        wanted |= {(task.item, task.part) for task in worker.guests.tasks()}
        for key in wanted:
            if key not in found:
                raise Violation("{}: the task of item {}, part {}, is nowhere".format(node, *key))
        for key in found:
            if key not in wanted and key not in places["running"]:
                raise Violation("{}: a task of item {}, which has ended".format(node, key[0]))
        if set(body.held) != wanted:
            raise Violation(
                "{}: features are held for {}, wanted for {}".format(
                    node, sorted(body.held), sorted(wanted)
                )
            )
        timers = {item for item in body.timers if item > WAKE}
        if not timers <= self._admitted[node]:
            raise Violation("{}: a timer of item {}".format(node, timers - self._admitted[node]))

    def _check_limits(self, node: str, worker: FleetWorker) -> None:
        promised = 0
        for peer in worker.neighbours.values():
            promised += peer.promised_count
            if peer.promised_count and not peer.is_connected:
                raise Violation("{}: credit for {}, which is gone".format(node, peer.worker))
            for what, count in (
                ("unsettled", len(peer.link.unsettled)),
                ("verdicts", peer.link.held_verdict_count),
            ):
                if count > WINDOW:
                    raise Violation("{}: {} {} messages".format(node, count, what))
        for what, count, limit in (
            ("guests", len(worker.guests), GUESTS_MAX),
            ("ways back", worker.path_count, PATHS_MAX),
            ("tasks promised", promised, GUESTS_MAX),
        ):
            if count > limit:
                raise Violation("{}: {} {}, at most {}".format(node, count, what, limit))

    def _check_rest(self, node: str, body: Body) -> None:
        worker: FleetWorker = body.worker
        places = worker.whereabouts()
        if places["running"]:
            return  # a slow worker that could not be told in time that nobody waits
        for place, keys in places.items():
            if keys:
                raise Violation("{}: at rest, but {} holds {}".format(node, place, keys[:5]))
        for peer in worker.neighbours.values():
            if peer.link.unsettled:
                raise Violation(
                    "{}: at rest, but {} messages to {} wait for a verdict".format(
                        node, len(peer.link.unsettled), peer.worker
                    )
                )

    def _check_calm(self) -> None:
        """Where nothing went wrong, nobody was taken for dead and nothing was done twice."""
        for node, body in self._bodies.items():
            if body.metrics.latency.largest >= RENEWED_US_MAX:
                continue  # so slow that it looks like a stage that hangs
            counts = dict(body.metrics.counters)
            if body.node.parts is None and not self._has_deadlines:
                counts["degraded"] = body.metrics.ended.get("result.degraded", 0)
            for name in MISTAKES:
                if counts.get(name):
                    raise Violation("{}: {} {} in a calm world".format(node, counts[name], name))

    def _check_round_trips(self, node: str, worker: FleetWorker) -> None:
        for peer in worker.neighbours.values():
            round_trip_us = peer.link.round_trip_us
            if round_trip_us is not None and round_trip_us > QUICK_ROUND_TRIP_US:
                raise Violation(
                    "{}: a round trip of {:.0f} us to {}, where none takes {}".format(
                        node, round_trip_us, peer.worker, QUICK_ROUND_TRIP_US
                    )
                )

    def _holders(self, source: str, item: int) -> str:
        places = []
        for name, body in self._bodies.items():
            if body.is_up:
                places += self._places_at(name, body, source, item)
        return ", ".join(places) or "nowhere"

    def _places_at(self, name: str, body: Body, source: str, item: int) -> List[str]:
        whereabouts = body.worker.whereabouts()
        names: List[int] = [item] if name == source else []
        for task in body.worker.guests.tasks():
            origin = (self._bodies[source].worker_id, item)
            if (task.guest.item.source, task.guest.item.number) == origin:
                names.append(task.item)
        return [
            "{} at {}".format(place, name)
            for place, keys in whereabouts.items()
            for key in keys
            if key[0] in names
        ]


def _is_calm(scenario: Scenario) -> bool:
    """Whether nothing goes wrong, and whoever leaves cuts nobody off from results."""
    count = len(scenario.nodes)
    is_mesh = len(scenario.links) == count * (count - 1) // 2
    leaves = any(node.leave_us is not None for node in scenario.nodes)
    goes_wrong = scenario.faults or scenario.is_disturbed or scenario.mode != "tcp"
    return not goes_wrong and (is_mesh or not leaves)


def _is_quick(scenario: Scenario) -> bool:
    """Whether every message that arrives does so at once."""
    goes_wrong = scenario.faults or scenario.is_disturbed
    return not goes_wrong and all(
        link.delay_us <= QUICK_DELAY_US
        and link.jitter_us <= QUICK_DELAY_US
        and link.bytes_per_s is None
        and not link.reordering
        and (scenario.mode == "chaos" or not link.loss)  # over TCP a loss costs time
        for link in scenario.links
    )
