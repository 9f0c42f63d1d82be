"""Stages that move while the fleet works: who says so, who follows, and in which order.

The coordinator says Assign, again with every heartbeat, until the worker shows that it holds these
stages. A worker gets the stages ready first; from then on it holds them, and says Assigned to all
its neighbours, again with every heartbeat. Tasks that wait for a stage that is gone are placed
anew, as if they had just come.

Nobody lets go of a stage before whoever shall hold it has it: until then the coordinator asks for
both.
"""

from typing import Collection, Dict, FrozenSet, List, Optional, Sequence, Tuple

from .events import Action, KeepStages, LoadStages, StagesLoaded
from .exchange import Exchange
from .messages import Assign, Assigned
from .metrics import Metrics
from .output_queue import OutputQueue
from .peer import UP, Peer
from .replanning import Move, Replanner, Replanning, Seen, reach_of
from .spec import Plan
from .tasks import Queues

Stages = FrozenSet[Tuple[int, int]]  # (part, stage)


class Assignments:
    """The stages of one worker, and, at the coordinator, those of the fleet. `queues` is the
    worker itself; `output` knows what it holds."""

    def __init__(
        self,
        replanning: Optional[Replanning],
        plans: Sequence[Plan],
        queues: Queues,
        output: OutputQueue,
        exchange: Exchange,
        metrics: Metrics,
    ) -> None:
        self._options = replanning
        self._plans = plans
        self._queues = queues
        self._output = output
        self._neighbours = neighbours = exchange.neighbours
        self._metrics = metrics
        self._wanted: Stages = output.held  # held, being loaded, or found impossible to load
        self._change_count = 0  # of the stages held here
        self._latest = (0, 0)  # the coordinator's epoch, and the number of its last Assign
        self._replanner: Optional[Replanner] = None
        if replanning is not None and replanning.coordinator == neighbours.identity.worker:
            self._replanner = Replanner(replanning)
        self._target: Dict[int, FrozenSet[int]] = {}  # what each worker shall hold in the end
        self._asked_count = 0
        self._look_us = 0
        exchange.hand_on(Assign, self.on_assign)
        exchange.hand_on(Assigned, self.on_assigned)

    # --- every worker -------------------------------------------------------------------------

    def on_assign(self, peer: Peer, message: Assign, now_us: int, actions: List[Action]) -> None:
        """Somebody says which stages are to be held here; only the coordinator may."""
        reason = self._why_not(peer, message)
        if reason:
            self._metrics.incident("assignments_refused", peer.worker, None, reason)
            return
        epoch = 0 if peer.greeting is None else peer.greeting.epoch
        if epoch != self._latest[0] or message.number > self._latest[1]:
            self._latest = (epoch, message.number)
            self._take(frozenset(message.stages), actions)

    def on_assigned(
        self, peer: Peer, message: Assigned, now_us: int, actions: List[Action]
    ) -> None:
        """A neighbour holds other stages than when it greeted."""
        if message.number > peer.assigned_number:
            peer.assigned_number = message.number
            peer.stages = frozenset(message.stages)
            self._neighbours.refresh()

    def on_loaded(self, event: StagesLoaded, now_us: int, actions: List[Action]) -> None:
        """The stages that were asked for are ready, or cannot be had."""
        stages = frozenset(event.stages)
        if stages != self._wanted:
            return  # others were asked for since
        if event.failure:
            self._metrics.incident("assignments_failed", None, None, event.failure)
            return
        before = self._output.held
        self._change_count += 1
        self._metrics.incident(
            "stages_changed", None, None, "{}, before {}".format(_text(stages), _text(before))
        )
        self._neighbours.identity = self._neighbours.identity._replace(stages=event.stages)
        self._output.held = stages
        for task in self._queues.tasks():
            if task.needs in before ^ stages:
                self._queues.withdraw(task.item, task.part)
                self._queues.place(task)
        actions.append(KeepStages(event.stages))
        self._tell_all(actions)

    def look_around(self, delay_us: float, now_us: int, actions: List[Action]) -> None:
        """Once a heartbeat. `delay_us`: our own Gamma."""
        if self._change_count:
            self._tell_all(actions)
        if self._replanner is not None and not self._neighbours.is_leaving:
            seen = self._seen(delay_us)
            if now_us >= self._look_us:
                self._look(self._replanner, seen, now_us)
            self._ask(seen, actions)

    def _why_not(self, peer: Peer, message: Assign) -> str:
        if self._options is None or peer.worker != self._options.coordinator:
            return "found an assignment, expected none from there"
        if not self._there_are(message.stages):
            return "found the stages {}, expected some of the plan's".format(message.stages)
        return ""

    def _there_are(self, stages: Sequence[Tuple[int, int]]) -> bool:
        plans = self._plans
        return all(part < len(plans) and stage < len(plans[part].stages) for part, stage in stages)

    def _take(self, stages: Stages, actions: List[Action]) -> None:
        if stages != self._wanted:
            self._wanted = stages
            actions.append(LoadStages(tuple(sorted(stages))))

    def _tell_all(self, actions: List[Action]) -> None:
        message = Assigned(self._change_count, self._neighbours.identity.stages)
        for peer in self._neighbours.peers.values():
            if peer.is_connected:
                self._neighbours.send(peer, message, actions)

    # --- the coordinator ----------------------------------------------------------------------

    def _seen(self, delay_us: float) -> List[Seen]:
        """Ourselves, and the neighbours that are up."""
        assert self._options is not None
        seated = {seat.worker for seat in self._options.seats}
        seen = [Seen(self._options.coordinator, _numbers(self._output.held), delay_us)]
        for worker, peer in sorted(self._neighbours.peers.items()):
            if peer.state is UP and worker in seated:
                small_us = (peer.control_round_trip_us or 0.0) / 2
                task_us = None if peer.link.round_trip_us is None else peer.link_delay_us
                stages, gamma_us = _numbers(peer.stages), float(peer.delay_us)
                seen.append(Seen(worker, stages, gamma_us, small_us, task_us))
        return seen

    def _look(self, replanner: Replanner, seen: List[Seen], now_us: int) -> None:
        self._look_us = now_us + replanner.options.period_us
        if not replanner.is_resting(now_us):
            self._give_up(replanner, seen)
        exit_counts = self._metrics.exit_counts  # of our own items
        reach = reach_of(self._plans[0], exit_counts)
        move = replanner.look(seen, reach, sum(exit_counts), now_us)
        if move is not None:
            self._target = {worker: frozenset(to) for worker, to in move.after.items()}
            self._metrics.incident("placements_changed", None, None, self._story(move))

    def _give_up(self, replanner: Replanner, seen: List[Seen]) -> None:
        """Who still lacks what it should hold cannot load it: it is left as it is."""
        for each in seen:
            lacking = self._target.get(each.worker, frozenset()) - each.stages
            if lacking:
                detail = "does not hold " + _list(lacking)
                self._metrics.incident("assignments_given_up", each.worker, None, detail)
                replanner.exclude(each.worker, lacking)
                self._target = {}

    def _ask(self, seen: List[Seen], actions: List[Action]) -> None:
        """Ask everybody for what the target says, and for what others do not hold yet."""
        holders = {worker: stages for worker, stages, *_ in seen}
        ready = {
            stage
            for worker, stages in self._target.items()
            for stage in stages & holders.get(worker, frozenset())
        }
        for worker, target in self._target.items():
            held = holders.get(worker)
            if held is None:
                continue  # it is not there
            wanted = target | (held - ready)
            places = tuple((0, stage) for stage in sorted(wanted))
            if worker == self._neighbours.identity.worker:
                self._take(frozenset(places), actions)
            elif wanted != held:
                self._asked_count += 1
                message = Assign(self._asked_count, places)
                self._neighbours.send(self._neighbours.peers[worker], message, actions)

    def _story(self, move: Move) -> str:
        assert self._options is not None
        names = {seat.worker: seat.name for seat in self._options.seats}
        before, after = [
            "; ".join("{} {}".format(names[each], _list(of[each])) for each in of)
            for of in (move.before, move.after)
        ]
        why = "a stage is nobody's" if move.gain is None else "saves {:.0%}".format(move.gain)
        return "{}: from {} to {}".format(why, before, after)


def _numbers(stages: Stages) -> FrozenSet[int]:
    return frozenset(stage for _, stage in stages)


def _text(stages: Stages) -> str:
    return "stages " + _list(_numbers(stages))


def _list(stages: Collection[int]) -> str:
    return ", ".join(map(str, sorted(stages))) or "none"
