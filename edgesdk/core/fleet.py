"""A worker among neighbours: MDI-Exit's input and output queue, and what travels between workers.

A task that did not leave enters the input queue I_n or the output queue O_n (Algorithm 1, lines
7-13); after every event the head of O_n is offered to each neighbour (Algorithm 2). A task is in
one place: I_n, the running batch, O_n, on the way to a neighbour, or, if the item is ours, away
under a lease. An item's features stay with whoever answers for the task until the next one does.

Names of items: ours from 0, as the application numbers them; tasks of others below WAKE, in the
order in which they came.
"""

from random import Random
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from . import neighbours as nb
from .admission import NO_ADMISSION, Admission, AdmissionControl
from .agenda import Agenda
from .events import (
    WAKE,
    Action,
    Answer,
    Event,
    Keep,
    Leave,
    MessageReceived,
    PeerFound,
    PeerGone,
    Release,
    SetTimer,
    StageDone,
    Timer,
)
from .exits import ExitPolicy
from .leases import LEASE, Leases
from .link import DELAY_WEIGHT
from .messages import HOPS_MAX, ITEMS_MAX, CancelTask, ItemId, Progress, ResultMessage
from .messages import Task as TaskMessage
from .offload import DEFAULT_OFFLOADING, Offloading, check_offloading
from .output_queue import OutputQueue
from .peer import Peer
from .source import Source
from .spec import Plan
from .tasks import FleetTask, Foreign, Paths
from .worker import DEFAULT_MAX_BATCH, Task, Worker

FOREIGN_MAX = ITEMS_MAX  # tasks of others held at once: bounds their features, and a Progress
ATTEMPTS_MAX = 10  # then the item fails: something about it stops every worker
FAILURES_MAX = 3  # of a stage elsewhere, before the item fails
ADMISSION = "admission"
FAILED = "stage_failed"


class Fleet(Worker, nb.Host):
    """Turns events into actions, as `Worker` does, and knows neighbours.

    `identity.stages` are the stages that it holds. `offloading` and `admission` hold the constants
    of the paper and the switches for what goes beyond it.
    """

    def __init__(
        self,
        identity: nb.Identity,
        plans: Sequence[Plan],
        policy: ExitPolicy,
        source: Source,
        rng: Random,
        max_batch: int = DEFAULT_MAX_BATCH,
        offloading: Offloading = DEFAULT_OFFLOADING,
        admission: Admission = NO_ADMISSION,
    ) -> None:
        super().__init__(plans, policy, source, max_batch)
        self.identity = identity
        self._metrics = source.metrics
        self._agenda = Agenda()
        self._neighbours = nb.Neighbours(identity, self, self._agenda, self._metrics, rng)
        self._output = OutputQueue(check_offloading(offloading), frozenset(identity.stages), rng)
        self._leases = Leases(self._agenda)
        self._foreign: Dict[int, FleetTask] = {}  # tasks of others that are here, by name
        self._paths = Paths()
        self._admission = AdmissionControl(admission)
        self._next_name = WAKE - 1
        self._released: List[int] = []  # names whose features are not needed any more
        self._cancelled: List[Tuple[int, CancelTask]] = []
        self._delay_us = 0.0  # Gamma_n
        self._started_us = 0  # when the running batch began
        self._turn = 0  # which neighbour is asked first
        self._wake_us: Optional[int] = None  # when the timer outside rings
        self._has_begun = self._is_leaving = False
        self._handlers.update(
            {
                PeerFound: self._on_peer_found,
                PeerGone: self._on_peer_gone,
                MessageReceived: self._on_message,
                Leave: self._on_leave,
            }
        )
        self._receivers: Dict[type, Callable[..., None]] = {
            TaskMessage: self._on_task,
            ResultMessage: self._on_result,
            Progress: self._on_progress,
            CancelTask: self._on_cancel_task,
        }

    @property
    def output_length(self) -> int:
        """O_n: tasks in the output queue."""
        return len(self._output)

    @property
    def is_drained(self) -> bool:
        """Whether nothing of others is left here, and nothing waits to be acknowledged."""
        return not self._foreign and not self._neighbours.unsettled_count

    def handle(self, event: Event, now_us: int) -> List[Action]:
        """What is to be done about `event`, in order."""
        actions: List[Action] = []
        if not self._has_begun:
            self._begin(now_us)
        self._handlers[event.__class__](event, now_us, actions)
        if self._output:
            self._offload(now_us, actions)
        if not self._running:
            self._run_next(now_us, actions)
        self._clear_up(now_us, actions)
        return actions

    def _begin(self, now_us: int) -> None:
        self._has_begun = True
        self._agenda.put((nb.HEARTBEAT, 0), now_us + nb.HEARTBEAT_US)
        if self._admission.period_us is not None:
            self._agenda.put((ADMISSION, 0), now_us)

    def _offload(self, now_us: int, actions: List[Action]) -> None:
        """Algorithm 2 for every neighbour, beginning with another one each time."""
        targets = self._neighbours.targets
        self._turn += 1
        for index in range(len(targets)):
            peer = targets[(self._turn + index) % len(targets)]
            while self._output and peer.takes_tasks(now_us):
                task = self._output.for_neighbour(peer, len(self._queue), self._delay_us)
                if task is None:
                    break
                self._send_task(task, peer, now_us, actions)

    def _run_next(self, now_us: int, actions: List[Action]) -> None:
        """Compute the head of I_n; an idle worker takes one back from O_n."""
        self._drop_expired(now_us)
        if not self._queue and self._output:
            task = self._output.for_ourselves()
            if task is not None:
                self._queue[(task.item, task.part)] = task
        if self._queue:
            self._started_us = now_us
            actions.append(self._next_batch())

    def _clear_up(self, now_us: int, actions: List[Action]) -> None:
        """What follows from the changes of this event: releases, cancellations, the next timer."""
        if self._released:
            actions += [Release(name) for name in self._released]
            self._released = []
        if self._cancelled:
            for worker, message in self._cancelled:
                peer = self._neighbours.connected(worker)
                if peer is not None:
                    self._neighbours.send(peer, message, actions)
            self._cancelled = []
        if self._is_leaving and self.is_drained and self._neighbours.peers:
            self._neighbours.part(actions)
        self._neighbours.queue_changed(now_us)
        next_us = self._agenda.next_us()
        if next_us is not None and (self._wake_us is None or next_us < self._wake_us):
            self._wake_us = next_us
            actions.append(SetTimer(WAKE, next_us))

    # --- events ---

    def _on_timer(self, event: Timer, now_us: int, actions: List[Action]) -> None:
        if event.item != WAKE:
            super()._on_timer(event, now_us, actions)
            return
        self._wake_us = None
        for what, whom in self._agenda.due(now_us):
            if what is LEASE:
                self._start_again(whom, now_us, actions)
            elif what is ADMISSION:
                actions.append(self._admission.step(len(self._queue) + len(self._output)))
                assert self._admission.period_us is not None
                self._agenda.put((ADMISSION, 0), now_us + self._admission.period_us)
            else:
                if what is nb.HEARTBEAT:
                    self._look_around(now_us, actions)
                self._neighbours.on_duty(what, whom, now_us, actions)

    def _look_around(self, now_us: int, actions: List[Action]) -> None:
        """Once a heartbeat: lease times, tasks that nobody can take, news for their sources."""
        self._leases.set_latency(self._metrics.latency.percentile(0.99))
        for task in self._output.stranded(self._neighbours.shared_stages):
            assert task.foreign is not None
            origin = self._neighbours.connected(task.foreign.origin)
            if origin is not None and origin.link.has_room:
                self._send_task(task, origin, now_us, actions)
            else:
                self._forget_foreign(task.item)
        self._send_progress(actions)

    def _on_peer_found(self, event: PeerFound, now_us: int, actions: List[Action]) -> None:
        self._neighbours.found(event.peer, event.offload, now_us, actions)

    def _on_peer_gone(self, event: PeerGone, now_us: int, actions: List[Action]) -> None:
        self._neighbours.gone(event.peer, now_us, actions)

    def _on_leave(self, event: Leave, now_us: int, actions: List[Action]) -> None:
        self._is_leaving = True
        self._neighbours.leave(actions)

    def _on_message(self, event: MessageReceived, now_us: int, actions: List[Action]) -> None:
        peer = self._neighbours.receive(event, now_us, actions)
        if peer is not None:
            message = event.envelope.message
            self._receivers[message.__class__](peer, message, now_us, actions)

    def _on_stage_done(self, event: StageDone, now_us: int, actions: List[Action]) -> None:
        taken_us = (now_us - self._started_us) / len(event.items)
        weight = DELAY_WEIGHT if self._delay_us else 1.0
        self._delay_us += (taken_us - self._delay_us) * weight
        super()._on_stage_done(event, now_us, actions)

    # --- tasks that come ---

    def _new_task(self, item: int, part: int, policy_state: Any) -> FleetTask:
        return FleetTask(item, part, 0, policy_state)

    def _enter(self, task: Task) -> None:
        assert isinstance(task, FleetTask)
        if self._output.takes(task, len(self._queue), self._neighbours.shared_stages):
            self._output.put(task)
        else:
            self._queue[(task.item, task.part)] = task

    def _on_task(
        self, peer: Peer, message: TaskMessage, now_us: int, actions: List[Action]
    ) -> None:
        if peer.link.receive(message.seq, message.oldest, now_us):
            is_ours = message.item[:2] == self.identity[:2]
            accepted = is_ours or self._has_room_for(message)
            peer.link.judge(message.seq, accepted)
            peer.promised_count = max(0, peer.promised_count - 1)
            if is_ours:
                self._on_returned(message, actions)
            elif accepted:
                self._accept(peer, message, now_us, actions)
        self._neighbours.acknowledge(peer, now_us, actions)

    def _has_room_for(self, message: TaskMessage) -> bool:
        return (
            (message.part, message.stage) in self._output.held
            and len(self._foreign) < FOREIGN_MAX
            and not self._is_leaving
        )

    def _accept(self, peer: Peer, message: TaskMessage, now_us: int, actions: List[Action]) -> None:
        """A task of others is ours to bring on: it enters I_m."""
        name = self._next_name
        self._next_name -= 1
        task = self._opened(message, name)
        deadline_us = now_us + message.deadline_us if message.deadline_us else None
        task.foreign = Foreign(message.item, peer.worker, deadline_us)
        self._foreign[name] = task
        self._queue[(name, message.part)] = task
        self._metrics.add("tasks_received")
        actions.append(Keep(name))

    def _opened(self, message: TaskMessage, name: int) -> FleetTask:
        state = self._policy.unpack(message.policy_state)
        task = FleetTask(name, message.part, message.stage, state)
        task.attempt, task.hop = message.attempt, message.hop
        task.threshold = message.threshold
        return task

    def _on_returned(self, message: TaskMessage, actions: List[Action]) -> None:
        """A task of ours has come back, further on than when it went, unless it is wanted no more
        or was started again meanwhile."""
        key = (message.item.number, message.part)
        lease = self._leases.pop(key)
        if lease is None:
            return
        peer = self._neighbours.connected(lease.peer)
        if peer is not None and lease.seq is not None:
            self._neighbours.forget(peer, lease.seq)
        task = self._opened(message, key[0])
        task.attempt = lease.task.attempt
        actions.append(Keep(key[0]))
        if task.needs in self._output.held:
            self._queue[key] = task
        else:
            self._output.put(task)

    # --- tasks that go ---

    def _send_task(self, task: FleetTask, peer: Peer, now_us: int, actions: List[Action]) -> None:
        foreign = task.foreign
        if foreign is None:
            item_id = ItemId(self.identity.worker, self.identity.epoch, task.item)
            deadline_us = self._source.deadline_us(task.item)
            threshold = self._admission.threshold
            if task.stage == 0:
                self._source.start(task.item)
        else:
            item_id, deadline_us, threshold = foreign.item, foreign.deadline_us, task.threshold
        message = TaskMessage(
            0,
            0,
            item_id,
            task.part,
            task.stage,
            task.attempt,
            task.hop + 1,
            0 if deadline_us is None else max(1, deadline_us - now_us),
            threshold,
            self._policy.pack(task.policy_state),
        )
        task.drawn.clear()
        self._metrics.add("tasks_sent")
        seq = self._neighbours.send_settled(peer, message, task, now_us, actions, task.item)
        if foreign is None:
            self._leases.sent(task, peer.worker, seq)

    def on_settled(
        self,
        peer: Peer,
        accepted: List[Any],
        refused: List[Any],
        now_us: int,
        actions: List[Action],
    ) -> None:
        """See `Host.on_settled`."""
        for task in accepted:
            if isinstance(task, FleetTask):
                if task.foreign is None:
                    self._leases.accepted((task.item, task.part), now_us)
                else:
                    self._pass_on(task, task.foreign)
        for task in refused:
            if isinstance(task, FleetTask):
                self._metrics.add("tasks_refused")
                self._take_back(task, now_us, actions)

    def on_lost(
        self, peer: Peer, payloads: List[Any], has_left: bool, now_us: int, actions: List[Action]
    ) -> None:
        """See `Host.on_lost`."""
        for payload in payloads:
            if isinstance(payload, FleetTask):
                payload.attempt += 1
                self._take_back(payload, now_us, actions)
            else:
                self._route_result(payload, now_us, actions)
        if not has_left:
            for key in self._leases.accepted_by(peer.worker):
                self._start_again(key, now_us, actions)

    def _pass_on(self, task: FleetTask, foreign: Foreign) -> None:
        """A task of others is the next worker's now; its result may have to come back this way."""
        self._forget_foreign(task.item)
        if self._neighbours.connected(foreign.item.source) is None:
            self._paths.remember(foreign.item, task.part, foreign.origin)

    def _take_back(self, task: FleetTask, now_us: int, actions: List[Action]) -> None:
        """A task that was sent is ours to place again; it has waited long enough for I_n."""
        key = (task.item, task.part)
        if task.foreign is None:
            self._leases.pop(key)
            if not self._source.is_open(task.item):
                return
            if task.attempt > ATTEMPTS_MAX:
                detail = "{} attempts came to nothing".format(task.attempt)
                self._fail(task, "attempts", detail, now_us, actions)
                return
        elif task.item not in self._foreign:  # cancelled meanwhile
            return
        if task.needs in self._output.held:
            self._queue[key] = task
        else:
            self._output.put(task)

    def _start_again(self, key: Tuple[int, int], now_us: int, actions: List[Action]) -> None:
        lease = self._leases.pop(key)
        if lease is not None:
            self._metrics.add("leases_expired")
            lease.task.attempt += 1
            self._take_back(lease.task, now_us, actions)

    # --- tasks that end here ---

    def _is_wanted(self, task: Task) -> bool:
        if task.item > WAKE:
            return self._source.is_open(task.item)
        return task.item in self._foreign

    def _note(self, task: Task, answer: Answer) -> None:
        if task.item > WAKE:
            self._source.note(task.item, task.part, answer)

    def _leaves(self, task: Task, answer: Answer) -> bool:
        assert isinstance(task, FleetTask)
        threshold = self._admission.threshold if task.foreign is None else task.threshold
        if threshold == threshold:  # Algorithm 4: T_e^k = T_e for all k
            return answer.scores.max_probability > threshold
        return super()._leaves(task, answer)

    def _evaluate(self, batch: List[Task], part: int, stage: int) -> bool:
        for task in batch:
            assert isinstance(task, FleetTask)
            own = self._admission.threshold if task.foreign is None else task.threshold
            if own == own:
                return self._exits[part][stage] is not None
        return super()._evaluate(batch, part, stage)

    def _leave(
        self, task: Task, answer: Answer, reason: str, now_us: int, actions: List[Action]
    ) -> None:
        assert isinstance(task, FleetTask)
        if task.foreign is None:
            super()._leave(task, answer, reason, now_us, actions)
            self._remove_task(task.item, task.part)
        else:
            self._send_result(task, reason, answer, "", now_us, actions)

    def _fail(
        self, task: Task, reason: str, detail: str, now_us: int, actions: List[Action]
    ) -> None:
        assert isinstance(task, FleetTask)
        if task.foreign is None:
            super()._fail(task, reason, detail, now_us, actions)
        else:
            self._send_result(task, reason, None, detail, now_us, actions)

    def _drop_expired(self, now_us: int) -> None:
        """Nobody waits for the answer of a task whose deadline has passed; the source knows."""
        while self._queue:
            task = next(iter(self._queue.values()))
            assert isinstance(task, FleetTask)
            foreign = task.foreign
            if foreign is None or foreign.deadline_us is None or now_us < foreign.deadline_us:
                return
            self._metrics.add("tasks_expired")
            del self._queue[(task.item, task.part)]
            self._forget_foreign(task.item)

    def _forget_foreign(self, name: int) -> None:
        if self._foreign.pop(name, None) is not None:
            self._released.append(name)

    def _remove_tasks(self, item: int) -> None:
        for part in range(len(self._plans)):
            self._remove_task(item, part)

    def _remove_task(self, item: int, part: int) -> None:
        """Nothing more of this part of an item of ours is wanted, wherever it is."""
        key = (item, part)
        self._queue.pop(key, None)
        self._output.remove(key)
        lease = self._leases.pop(key)
        if lease is not None:
            peer = self._neighbours.connected(lease.peer)
            if peer is not None and lease.seq is not None:
                self._neighbours.forget(peer, lease.seq)
            item_id = ItemId(self.identity.worker, self.identity.epoch, item)
            self._cancelled.append((lease.peer, CancelTask(item_id)))

    # --- results, progress, cancellations ---

    def _send_result(
        self,
        task: FleetTask,
        reason: str,
        answer: Optional[Answer],
        detail: str,
        now_us: int,
        actions: List[Action],
    ) -> None:
        foreign = task.foreign
        assert foreign is not None
        self._paths.remember(foreign.item, task.part, foreign.origin)
        self._forget_foreign(task.item)
        result = ResultMessage(
            0, 0, foreign.item, task.part, task.attempt, 0, reason, answer, detail
        )
        self._route_result(result, now_us, actions)

    def _route_result(self, message: ResultMessage, now_us: int, actions: List[Action]) -> None:
        """Straight to the source if it is a neighbour, else the way the task came."""
        origin = self._paths.pop(message.item, message.part)
        peer = self._neighbours.connected(message.item.source)
        if peer is None and origin is not None:
            peer = self._neighbours.connected(origin)
        if peer is None or message.hop >= HOPS_MAX or not peer.link.has_room:
            self._metrics.add("results_unrouted")  # the source's lease covers it
            return
        onward = message._replace(hop=message.hop + 1)
        self._neighbours.send_settled(peer, onward, onward, now_us, actions)

    def _on_result(
        self, peer: Peer, message: ResultMessage, now_us: int, actions: List[Action]
    ) -> None:
        if peer.link.receive(message.seq, message.oldest, now_us):
            peer.link.judge(message.seq, True)
            if message.item[:2] == self.identity[:2]:
                self._take_result(message, now_us, actions)
            else:
                self._route_result(message, now_us, actions)
        self._neighbours.acknowledge(peer, now_us, actions)

    def _take_result(self, message: ResultMessage, now_us: int, actions: List[Action]) -> None:
        """First result wins: an item that is not open has had one."""
        item, part = message.item.number, message.part
        if not self._source.is_open(item):
            self._metrics.add("results_late")
        elif message.answer is not None:
            self._source.leave(item, part, message.answer, message.reason, now_us, actions)
            self._remove_task(item, part)
        elif message.reason == FAILED and message.attempt + 1 < FAILURES_MAX:
            self._start_again((item, part), now_us, actions)
        else:
            self._source.fail(item, message.reason, message.detail, now_us, actions)
            self._remove_tasks(item)

    def _send_progress(self, actions: List[Action]) -> None:
        """Tell every source which of its tasks are here."""
        by_source: Dict[Tuple[int, int], List[FleetTask]] = {}
        for task in self._foreign.values():
            assert task.foreign is not None
            by_source.setdefault(task.foreign.item[:2], []).append(task)
        for (source, epoch), tasks in by_source.items():
            assert tasks[0].foreign is not None
            peer = self._neighbours.connected(source)
            if peer is None:
                peer = self._neighbours.connected(tasks[0].foreign.origin)
            if peer is not None:
                items = [(task.foreign.item.number, task.part) for task in tasks if task.foreign]
                worker = self.identity.worker
                message = Progress(source, epoch, 1, worker, tuple(items[:ITEMS_MAX]))
                self._neighbours.send(peer, message, actions)

    def _on_progress(
        self, peer: Peer, message: Progress, now_us: int, actions: List[Action]
    ) -> None:
        if (message.source, message.epoch) == self.identity[:2]:
            self._leases.renew(message.items, now_us)

    def _on_cancel_task(
        self, peer: Peer, message: CancelTask, now_us: int, actions: List[Action]
    ) -> None:
        """Drop what has not begun; what runs ends by itself and finds nobody who wants it."""
        for task in list(self._foreign.values()):
            if task.foreign is not None and task.foreign.item == message.item:
                self._queue.pop((task.item, task.part), None)
                self._output.remove((task.item, task.part))
                self._forget_foreign(task.item)

    def report(self) -> Tuple[int, int, int]:
        """See `Reported.report`."""
        return len(self._queue), int(self._delay_us), FOREIGN_MAX - len(self._foreign)
