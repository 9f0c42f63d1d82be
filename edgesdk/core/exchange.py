"""What travels between workers, and comes back: tasks, results, progress, cancellations.

A task that was sent is the sender's until it was accepted. Then, if the item is ours, it is away
under a lease; a task of others is the next worker's, and here only the way back is remembered.
"""

from typing import Any, Callable, Dict, List, Optional, Tuple

from . import neighbours as nb
from .admission import AdmissionControl
from .agenda import Agenda
from .disturbance import REFUSE_TASK, Disturb, undisturbed
from .events import Action, Answer, Keep, MessageReceived
from .exits import ExitPolicy
from .guests import GUESTS_MAX, Guests, opened
from .leases import Leases
from .link import Settled
from .messages import HOPS_MAX, CancelTask, ItemId, Progress, ResultMessage, clipped
from .messages import Task as TaskMessage
from .metrics import Metrics
from .peer import Peer
from .source import Source
from .tasks import FleetTask, Guest, Paths, Queues

ATTEMPTS_MAX = 10  # then the item fails: something about it stops every worker
FAILURES_MAX = 3  # of a stage elsewhere, before the item fails
FAILED = "stage_failed"


class Exchange(nb.Host):
    """Everything about tasks that concerns neighbours, for the worker with these `queues`."""

    def __init__(
        self,
        identity: nb.Identity,
        queues: Queues,
        source: Source,
        policy: ExitPolicy,
        admission: AdmissionControl,
        agenda: Agenda,
        disturb: Disturb = undisturbed,
    ) -> None:
        self.guests = Guests()
        self.leases = Leases(agenda, disturb)
        self._disturb = disturb
        self._identity = identity
        self._queues = queues
        self._source = source
        self._policy = policy
        self._admission = admission
        self._metrics: Metrics = source.metrics
        self._paths = Paths()
        self.cancelled: List[Tuple[int, CancelTask]] = []
        self.neighbours = nb.Neighbours(identity, self, agenda, self._metrics, source.rng, disturb)
        self._receivers: Dict[type, Callable[..., None]] = {
            TaskMessage: self._on_task,
            ResultMessage: self._on_result,
            Progress: self._on_progress,
            CancelTask: self._on_cancel_task,
        }

    def hand_on(self, kind: type, receiver: Callable[..., None]) -> None:
        """Messages of `kind` are for somebody else, who is told peer, message, now_us, actions."""
        self._receivers[kind] = receiver

    @property
    def path_count(self) -> int:
        """Ways back for results that are remembered."""
        return len(self._paths)

    @property
    def is_drained(self) -> bool:
        """Whether nothing of others is left here, and nothing of ours is with others."""
        return not (self.guests or self.leases or self.neighbours.unsettled_count)

    def report(self) -> Tuple[int, int, int]:
        """See `Reported.report`."""
        return self._queues.load() + (GUESTS_MAX - len(self.guests),)

    def receive(self, event: MessageReceived, now_us: int, actions: List[Action]) -> None:
        """Take a message of a neighbour."""
        peer = self.neighbours.receive(event, now_us, actions)
        if peer is not None:
            message = event.envelope.message
            self._receivers[message.__class__](peer, message, now_us, actions)

    def look_around(self, now_us: int, actions: List[Action]) -> None:
        """Once a heartbeat: lease times, guests, and news for the sources whose tasks are here."""
        self.leases.set_latency(self._metrics.latency.percentile(0.99))
        self._drop(self.guests.overdue(now_us))
        for origin, message in self.guests.progress(self._identity.worker):
            peer = self.neighbours.connected(message.source) or self.neighbours.connected(origin)
            if peer is not None:
                self.neighbours.send(peer, message, actions)

    def flush(self, actions: List[Action]) -> None:
        """Send the cancellations of this event."""
        for worker, message in self.cancelled:
            peer = self.neighbours.connected(worker)
            if peer is not None:
                self.neighbours.send(peer, message, actions)
        self.cancelled.clear()

    # --- tasks that come ---

    def _on_task(
        self, peer: Peer, message: TaskMessage, now_us: int, actions: List[Action]
    ) -> None:
        if peer.link.receive(message.seq, message.oldest, now_us):
            peer.promised_count = max(0, peer.promised_count - 1)
            if self._is_ours(message.item):
                peer.link.judge(message.seq, True)
                self._on_returned(message, actions)
            elif self._has_room_for(message):
                peer.link.judge(message.seq, True)
                task = self.guests.admit(message, peer.worker, self._policy, now_us)
                actions.append(Keep(task.item))
                self._metrics.add("tasks_received")
                peer.received_count += 1
                self._queues.place(task)
            else:
                peer.link.judge(message.seq, False)
        self.neighbours.acknowledge(peer, now_us, actions)

    def _has_room_for(self, message: TaskMessage) -> bool:
        return (
            self._queues.holds(message.part, message.stage)
            and len(self.guests) < GUESTS_MAX
            and not self.neighbours.is_leaving
            and not self._disturb(REFUSE_TASK)
        )

    def _on_returned(self, message: TaskMessage, actions: List[Action]) -> None:
        """A task of ours has come back, further on than when it went, unless it is wanted no more
        or was started again meanwhile."""
        key = (message.item.number, message.part)
        lease = self.leases.pop(key)
        if lease is None:
            return
        self._unsend(lease.task)
        task = opened(message, key[0], self._policy)
        task.attempt = lease.task.attempt
        actions.append(Keep(key[0]))
        self._queues.place(task)

    # --- tasks that go ---

    def send_task(self, task: FleetTask, peer: Peer, now_us: int, actions: List[Action]) -> None:
        """Send a task that is in no queue to `peer`."""
        guest = task.guest
        if guest is None:
            item_id = self._id(task.item)
            deadline_us = self._source.deadline_us(task.item)
            if task.stage == 0:
                self._source.start(task.item)
        else:
            item_id, deadline_us = guest.item, guest.deadline_us
            if self.neighbours.connected(guest.item.source) is None:
                # Now, for the result may be here before the Ack.
                self._paths.remember(guest.item, task.part, guest.origin)
        message = TaskMessage(
            seq=0,
            oldest=0,
            item=item_id,
            part=task.part,
            stage=task.stage,
            attempt=task.attempt,
            hop=task.hop + 1,
            deadline_us=0 if deadline_us is None else max(1, deadline_us - now_us),
            threshold=task.threshold_or(self._admission.threshold),
            policy_state=self._policy.pack(task.policy_state),
        )
        task.drawn.clear()
        self._metrics.add("tasks_sent")
        peer.sent_count += 1
        seq = self.neighbours.send_settled(peer, message, task, now_us, actions, task.item)
        task.sent = (peer.worker, seq)
        if guest is None:
            self.leases.sent(task, peer.worker)

    def return_stranded(
        self, task: FleetTask, guest: Guest, now_us: int, actions: List[Action]
    ) -> None:
        """A task of others that nobody can compute from here goes back to where it came from; if
        that is gone, or would refuse it for ever, its source starts it again."""
        origin = self.neighbours.connected(guest.origin)
        takes_it = origin is not None and (
            origin.worker == guest.item.source or task.needs in origin.stages
        )
        if origin is None or not takes_it or task.hop >= HOPS_MAX:
            self.guests.forget(task.item)
        elif origin.link.has_room:
            self.send_task(task, origin, now_us, actions)
        else:
            self._queues.place(task)

    def on_settled(self, settled: Settled, now_us: int, actions: List[Action]) -> None:
        """See `Host.on_settled`."""
        for task in settled.accepted:
            if isinstance(task, FleetTask):
                task.sent = None
                self.leases.accepted((task.item, task.part), now_us)
                self.guests.forget(task.item)  # one of others is the next worker's now
        for task in settled.refused:
            if isinstance(task, FleetTask):
                self._metrics.incident("tasks_refused", task.sent and task.sent[0], task.item)
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
            for key in self.leases.accepted_by(peer.worker):
                self.start_again(key, "its worker is gone", now_us, actions)

    def start_again(
        self, key: Tuple[int, int], why: str, now_us: int, actions: List[Action]
    ) -> None:
        """A lease is over: go on from the features that stayed here."""
        lease = self.leases.pop(key)
        if lease is not None:
            self._metrics.incident("leases_expired", lease.peer, lease.task.item, why)
            self._unsend(lease.task)  # its failure may be here before its Ack
            lease.task.attempt += 1
            self._take_back(lease.task, now_us, actions)

    def cancel(self, item: int, part: int, answered: Optional[int] = None) -> None:
        """A part of an item of ours is wanted no more: tell whoever has it, unless that was attempt
        `answered`. A CancelTask ends every part, so the item must have its outcome."""
        lease = self.leases.pop((item, part))
        if lease is not None:
            self._unsend(lease.task)
            if lease.task.attempt != answered and not self._source.is_open(item):
                self.cancelled.append((lease.peer, CancelTask(self._id(item))))

    def _take_back(self, task: FleetTask, now_us: int, actions: List[Action]) -> None:
        """A task that was sent is ours to place again."""
        task.sent = None
        if task.guest is not None:
            if task.item in self.guests:  # it may have been cancelled
                self._queues.place(task)
            return
        self.leases.pop((task.item, task.part))
        if not self._source.is_open(task.item):
            return
        if task.attempt > ATTEMPTS_MAX:
            detail = "{} attempts came to nothing".format(task.attempt)
            self._fail(task.item, task.part, "attempts", detail, now_us, actions)
        else:
            self._queues.place(task)

    def _unsend(self, task: FleetTask) -> None:
        """Stop repeating a task that is on its way."""
        if task.sent is not None:
            worker, seq = task.sent
            peer = self.neighbours.connected(worker)
            if peer is not None:
                peer.link.forget(seq)
            task.sent = None

    def _is_ours(self, item: ItemId) -> bool:
        return item[:2] == self._identity[:2]

    def _id(self, item: int) -> ItemId:
        return ItemId(self._identity.worker, self._identity.epoch, item)

    # --- results, progress, cancellations ---

    def send_result(
        self,
        task: FleetTask,
        reason: str,
        answer: Optional[Answer],
        detail: str,
        now_us: int,
        actions: List[Action],
    ) -> None:
        """A task of others has ended here."""
        guest = task.guest
        assert guest is not None
        self._paths.remember(guest.item, task.part, guest.origin)
        self.guests.forget(task.item)
        result = ResultMessage(
            seq=0,
            oldest=0,
            item=guest.item,
            part=task.part,
            attempt=task.attempt,
            hop=0,
            reason=reason,
            answer=answer,
            detail=clipped(detail),
            worker=self._identity.worker,
        )
        self._route_result(result, now_us, actions)

    def _route_result(self, message: ResultMessage, now_us: int, actions: List[Action]) -> None:
        """Straight to the source if it is a neighbour, else the way the task came."""
        origin = self._paths.pop(message.item, message.part)
        peer = self.neighbours.connected(message.item.source)
        if peer is None and origin is not None:
            peer = self.neighbours.connected(origin)
        if peer is None or message.hop >= HOPS_MAX or not peer.link.has_room:
            self._metrics.add("results_unrouted")  # the source's lease covers it
            return
        onward = message._replace(hop=message.hop + 1)
        self.neighbours.send_settled(peer, onward, onward, now_us, actions)

    def _on_result(
        self, peer: Peer, message: ResultMessage, now_us: int, actions: List[Action]
    ) -> None:
        if peer.link.receive(message.seq, message.oldest, now_us):
            peer.link.judge(message.seq, True)
            if self._is_ours(message.item):
                self._take_result(peer, message, now_us, actions)
            else:
                self._route_result(message, now_us, actions)
        self.neighbours.acknowledge(peer, now_us, actions)

    def _take_result(
        self, peer: Peer, message: ResultMessage, now_us: int, actions: List[Action]
    ) -> None:
        """First result wins: an item that is not open has had one."""
        item, part = message.item.number, message.part
        if not self._source.is_open(item):
            self._metrics.incident("results_late", peer.worker, item)
        elif message.answer is not None:
            peer.answered_count += 1
            self._source.leave(
                item, part, message.answer, message.reason, now_us, actions, message.worker
            )
            self._queues.withdraw(item, part)
            self.cancel(item, part, answered=message.attempt)
        elif message.reason == FAILED and message.attempt + 1 < FAILURES_MAX:
            self.leases.let_stay((item, part))
            self.start_again((item, part), message.detail, now_us, actions)
        else:
            self._fail(item, part, message.reason, message.detail, now_us, actions)

    def _fail(
        self, item: int, part: int, reason: str, detail: str, now_us: int, actions: List[Action]
    ) -> None:
        """A part of an item of ours fails; if that ends the item, no part is wanted any more."""
        self._source.fail_part(item, part, reason, detail, now_us, actions)
        is_over = not self._source.is_open(item)
        for each in range(self._source.part_count) if is_over else (part,):
            self._queues.withdraw(item, each)
            self.cancel(item, each)

    def _on_progress(
        self, peer: Peer, message: Progress, now_us: int, actions: List[Action]
    ) -> None:
        if (message.source, message.epoch) == self._identity[:2]:
            self.leases.renew(message.items, now_us)
        elif message.hop < HOPS_MAX:
            onward = self.neighbours.connected(message.source) or self._way_back(message)
            if onward is not None:
                news = message._replace(hop=message.hop + 1)
                self.neighbours.send(onward, news, actions)

    def _way_back(self, message: Progress) -> Optional[Peer]:
        """The neighbour that the first of the items known here came from."""
        for number, part in message.items:
            origin = self._paths.get(ItemId(message.source, message.epoch, number), part)
            if origin is not None:
                return self.neighbours.connected(origin)
        return None

    def _on_cancel_task(
        self, peer: Peer, message: CancelTask, now_us: int, actions: List[Action]
    ) -> None:
        """Drop what has not begun; what runs ends by itself and finds nobody who wants it."""
        self._drop(self.guests.of_item(message.item))

    def _drop(self, guests: List[FleetTask]) -> None:
        for task in guests:
            self._queues.withdraw(task.item, task.part)
            self._unsend(task)
            self.guests.forget(task.item)

    def drop_guests(self) -> None:
        """No task of others will be computed here any more."""
        self._drop(self.guests.tasks())
