"""A worker among neighbours: MDI-Exit's input and output queue, and what travels between workers.

A task that did not leave enters the input queue I_n or the output queue O_n (Algorithm 1, lines
7-13); after every event the head of O_n is offered to each neighbour (Algorithm 2). A task is in
one place: I_n, the running batch, O_n, on the way to a neighbour, or, if the item is ours, away
under a lease. An item's features stay with whoever answers for the task until the next one does.

Names of items: ours from 0, as the application numbers them; tasks of others below WAKE, in the
order in which they came.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import neighbours as nb
from .admission import NO_ADMISSION, Admission, AdmissionControl
from .agenda import Agenda
from .assignments import Assignments
from .disturbance import Disturb, undisturbed
from .events import (
    WAKE,
    Action,
    Answer,
    Event,
    Leave,
    MessageReceived,
    PeerFound,
    PeerGone,
    PeerLost,
    Release,
    SetTimer,
    Shutdown,
    StageDone,
    StagesLoaded,
    Timer,
)
from .exchange import Exchange
from .exits import ExitPolicy
from .guests import Guests, deadline_passed
from .leases import LEASE
from .link import DELAY_WEIGHT
from .missing import Missing
from .offload import DEFAULT_OFFLOADING, Offloading, check_offloading
from .output_queue import OutputQueue
from .peer import Peer
from .replanning import Replanning
from .source import Source
from .spec import Plan
from .tasks import FleetTask, Queues
from .worker import DEFAULT_MAX_BATCH, Task, Worker

ADMISSION, PART = "admission", "part"
OVERDUE = "no result came in time, and no sign of life"
PASSING_US_MAX = 5_000_000  # that who leaves waits for results which have no other way back


class FleetWorker(Worker, Queues):
    """Turns events into actions, as `Worker` does, and knows neighbours.

    `identity.stages` are those that it holds, until `replanning` moves them. `offloading` and
    `admission`: constants of the paper, and switches beyond it. Raises ConfigError for wrong ones.
    """

    def __init__(
        self,
        identity: nb.Identity,
        plans: Sequence[Plan],
        policy: ExitPolicy,
        source: Source,
        max_batch: int = DEFAULT_MAX_BATCH,
        offloading: Offloading = DEFAULT_OFFLOADING,
        admission: Admission = NO_ADMISSION,
        disturb: Disturb = undisturbed,
        replanning: Optional[Replanning] = None,
    ) -> None:
        super().__init__(plans, policy, source, max_batch)
        self.identity = identity
        self._agenda = Agenda()
        self._admission = AdmissionControl(admission)
        self._output = OutputQueue(
            check_offloading(offloading), frozenset(identity.stages), source.rng
        )
        self._exchange = Exchange(
            identity, self, source, policy, self._admission, self._agenda, disturb
        )
        self._neighbours = self._exchange.neighbours
        self._missing = Missing(
            [(part, stage) for part, plan in enumerate(plans) for stage in range(len(plan.stages))]
        )
        self._assignments = Assignments(
            replanning, plans, self, self._output, self._exchange, source.metrics
        )
        self._guests = self._exchange.guests
        self._delay_us = 0.0  # Gamma_n
        self._started_us = 0  # when the running batch began
        self._entered_count = 0  # tasks that entered a queue
        self._turn = 0  # which neighbour is asked first
        self._wake_us: Optional[int] = None  # when the timer outside rings
        self._length = 0  # of I_n after the last event
        self._entered_duties = 0  # in the agenda, when the timer was set
        self._admitted_count = 0  # items, as of the last round of admission
        self._admitted_us = 0  # the round in which it had grown
        self._part_us = 0  # when a worker that leaves waits no longer
        if self._admission.period_us is not None:
            self._agenda.put((ADMISSION, 0), 0)  # with the first event
        self._handlers.update(
            {
                PeerFound: lambda event, *rest: self._neighbours.found(*event, *rest),
                PeerGone: lambda event, *rest: self._neighbours.gone(event.peer, *rest),
                PeerLost: lambda event, *rest: self._neighbours.lost(event.peer, *rest),
                StagesLoaded: self._assignments.on_loaded,
                MessageReceived: self._exchange.receive,
                Leave: self._on_leave,
            }
        )

    @property
    def output_length(self) -> int:
        """O_n: tasks in the output queue."""
        return len(self._output)

    def queue_counts(self) -> Dict[str, int]:
        """See `Worker.queue_counts`."""
        return dict(super().queue_counts(), leaving_count=len(self._output))

    @property
    def neighbours(self) -> Dict[int, Peer]:
        """What is known of every neighbour, by its id; to be read only."""
        return self._neighbours.peers

    @property
    def guests(self) -> Guests:
        """Tasks of others that are here; to be read only."""
        return self._guests

    @property
    def path_count(self) -> int:
        """Ways back for results that are remembered."""
        return self._exchange.path_count

    @property
    def is_drained(self) -> bool:
        """Whether nothing of others is left here, and nothing of ours is with others."""
        return self._exchange.is_drained

    @property
    def has_parted(self) -> bool:
        """Whether this worker has left, and said so to everybody."""
        return self._neighbours.is_leaving and not self._neighbours.peers

    def whereabouts(self) -> Dict[str, List[Tuple[int, int]]]:
        """(item, part) of every task, by the place where it is: "input", "running", "output",
        "sent" (a task of others on its way), "away" (one of ours) and "ended" (a part whose item
        waits for others). For checks and for people."""
        return {
            "input": list(self._queue),
            "running": [(task.item, task.part) for task in self._running.values()],
            "output": [(task.item, task.part) for task in self._output],
            "sent": [(task.item, task.part) for task in self._guests.tasks() if task.sent],
            "away": list(self._exchange.leases),
            "ended": self._source.ended_parts(),
        }

    def handle(self, event: Event, now_us: int) -> List[Action]:
        """What is to be done about `event`, in order."""
        actions: List[Action] = []
        self._handlers[event.__class__](event, now_us, actions)
        if self._output:
            if self._missing:
                self._give_up_parts(now_us, actions)
            self._offload(now_us, actions)
        if not self._running:
            self._run_next(now_us, actions)
        self._clear_up(now_us, actions)
        return actions

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
                self._exchange.send_task(task, peer, now_us, actions)

    def _run_next(self, now_us: int, actions: List[Action]) -> None:
        """Compute the head of I_n, or of O_n if that has waited longer."""
        if self._guests:
            self._drop_expired(now_us)
        if self._output:
            head = next(iter(self._queue.values()), None)
            assert head is None or isinstance(head, FleetTask)
            task = self._output.for_ourselves(head)
            if task is not None:
                key = (task.item, task.part)
                self._queue[key] = task
                self._queue.move_to_end(key, last=False)
        if self._queue:
            self._started_us = now_us
            actions.append(self._next_batch())

    def _clear_up(self, now_us: int, actions: List[Action]) -> None:
        """What follows from the changes of this event: releases, cancellations, the next timer."""
        released = self._guests.released
        if released:
            actions += [Release(name) for name in released]
            released.clear()
        exchange = self._exchange
        if exchange.cancelled:
            exchange.flush(actions)
        is_done = self._neighbours.is_leaving and self._neighbours.peers and self.is_drained
        if is_done and (not self.path_count or now_us >= self._part_us):
            self._neighbours.part(actions)
        length = len(self._queue)
        if length != self._length:
            self._length = length
            self._neighbours.queue_changed(length, now_us)
        if self._wake_us is None or self._agenda.entered_count != self._entered_duties:
            self._entered_duties = self._agenda.entered_count
            next_us = self._agenda.next_us()
            if next_us is not None and (self._wake_us is None or next_us < self._wake_us):
                self._wake_us = next_us
                actions.append(SetTimer(WAKE, next_us))

    def _on_timer(self, event: Timer, now_us: int, actions: List[Action]) -> None:
        if event.item != WAKE:
            super()._on_timer(event, now_us, actions)
            return
        self._wake_us = None
        for what, whom in self._agenda.due(now_us):
            if what is LEASE:
                self._exchange.start_again(whom, OVERDUE, now_us, actions)
            elif what is ADMISSION:
                self._adapt(now_us, actions)
            elif what is PART:
                pass  # what was waited for will not come; `_clear_up` sees that
            else:
                if what is nb.HEARTBEAT:
                    self._look_around(now_us, actions)
                self._neighbours.on_duty(what, whom, now_us, actions)

    def _adapt(self, now_us: int, actions: List[Action]) -> None:
        """Algorithm 3 or 4."""
        admitted_count = self._source.metrics.admitted_count
        if admitted_count != self._admitted_count:
            self._admitted_count, self._admitted_us = admitted_count, now_us
        queued_count = len(self._queue) + len(self._output)
        actions.append(self._admission.step(queued_count, now_us - self._admitted_us))
        assert self._admission.period_us is not None
        self._agenda.put((ADMISSION, 0), now_us + self._admission.period_us)

    def _look_around(self, now_us: int, actions: List[Action]) -> None:
        for task in self._output.stranded(self._neighbours.shared_stages):
            assert task.guest is not None
            self._exchange.return_stranded(task, task.guest, now_us, actions)
        self._exchange.look_around(now_us, actions)
        self._assignments.look_around(self._delay_us, now_us, actions)
        if self._source.part_count > 1:
            self._missing.look(self._output.held | self._neighbours.shared_stages, now_us)

    def _give_up_parts(self, now_us: int, actions: List[Action]) -> None:
        for task in self._output.orphans(self._neighbours.shared_stages):
            item, part = task.item, task.part
            if self._missing.is_given_up(task.needs, now_us):
                self.withdraw(item, part)
                detail = "no worker holds part {}".format(part)
                self._source.fail_part(item, part, "attempts", detail, now_us, actions)

    def _on_leave(self, event: Leave, now_us: int, actions: List[Action]) -> None:
        self._part_us = now_us + PASSING_US_MAX
        self._agenda.put((PART, 0), self._part_us)
        self._neighbours.leave(actions)

    def _on_stage_done(self, event: StageDone, now_us: int, actions: List[Action]) -> None:
        taken_us = (now_us - self._started_us) / len(event.items)
        weight = DELAY_WEIGHT if self._delay_us else 1.0
        self._delay_us += (taken_us - self._delay_us) * weight
        self._source.metrics.add("tasks_computed", len(event.items))
        super()._on_stage_done(event, now_us, actions)

    def _on_shutdown(self, event: Shutdown, now_us: int, actions: List[Action]) -> None:
        items = self._source.open_items()
        super()._on_shutdown(event, now_us, actions)
        for item in items:
            self._remove_tasks(item)
        self._exchange.drop_guests()

    # --- where tasks go ---

    def _new_task(self, item: int, part: int, policy_state: Any) -> FleetTask:
        return FleetTask(item, part, 0, policy_state)

    def _enter(self, task: Task) -> None:
        """Algorithm 1, lines 7-13."""
        assert isinstance(task, FleetTask)
        self._number(task)
        stays = task.stays and self.holds(*task.needs)
        if not stays and self._output.takes(task, len(self._queue), self._neighbours.shared_stages):
            self._output.put(task)
        else:
            self._queue[(task.item, task.part)] = task

    def _number(self, task: FleetTask) -> None:
        self._entered_count += 1
        task.entered = self._entered_count

    def holds(self, part: int, stage: int) -> bool:
        """See `Queues.holds`."""
        return (part, stage) in self._output.held

    def place(self, task: FleetTask) -> None:
        """See `Queues.place`."""
        self._number(task)
        if task.needs in self._output.held:
            self._queue[(task.item, task.part)] = task
        else:
            self._output.put(task)

    def tasks(self) -> List[FleetTask]:
        """See `Queues.tasks`."""
        queued = [task for task in self._queue.values() if isinstance(task, FleetTask)]
        return queued + list(self._output)

    def withdraw(self, item: int, part: int) -> None:
        """See `Queues.withdraw`."""
        self._queue.pop((item, part), None)
        self._output.remove((item, part))

    def load(self) -> Tuple[int, int]:
        """See `Queues.load`."""
        return len(self._queue), int(self._delay_us)

    # --- tasks that end here ---

    def _begin(self, task: Task) -> None:
        assert isinstance(task, FleetTask)
        if task.guest is None:
            super()._begin(task)

    def _is_wanted(self, task: Task) -> bool:
        assert isinstance(task, FleetTask)
        return super()._is_wanted(task) if task.guest is None else task.item in self._guests

    def _note(self, task: Task, answer: Answer) -> None:
        assert isinstance(task, FleetTask)
        if task.guest is None:
            super()._note(task, answer)

    def _leaves(self, task: Task, answer: Answer) -> bool:
        assert isinstance(task, FleetTask)
        threshold = task.threshold_or(self._admission.threshold)
        if threshold == threshold:  # Algorithm 4: T_e^k = T_e for all k
            return answer.scores.max_probability > threshold
        return super()._leaves(task, answer)

    def _evaluate(self, batch: List[Task], part: int, stage: int) -> bool:
        for task in batch:
            assert isinstance(task, FleetTask)
            threshold = task.threshold_or(self._admission.threshold)
            if threshold == threshold:  # Algorithm 4 asks at every exit
                return self._exits[part][stage] is not None
        return super()._evaluate(batch, part, stage)

    def _leave(
        self, task: Task, answer: Answer, reason: str, now_us: int, actions: List[Action]
    ) -> None:
        assert isinstance(task, FleetTask)
        if task.guest is None:
            super()._leave(task, answer, reason, now_us, actions)
            self._exchange.cancel(task.item, task.part)
        else:
            self._exchange.send_result(task, reason, answer, "", now_us, actions)

    def _fail(
        self, task: Task, reason: str, detail: str, now_us: int, actions: List[Action]
    ) -> None:
        assert isinstance(task, FleetTask)
        if task.guest is None:
            super()._fail(task, reason, detail, now_us, actions)
        else:
            self._exchange.send_result(task, reason, None, detail, now_us, actions)

    def _drop_expired(self, now_us: int) -> None:
        """Nobody waits for the answer of a task whose deadline has passed; the source knows."""
        while self._queue:
            key, task = next(iter(self._queue.items()))
            assert isinstance(task, FleetTask)
            if not deadline_passed(task, now_us):
                return
            self._source.metrics.add("tasks_expired")
            del self._queue[key]
            self._guests.forget(task.item)

    def _remove_tasks(self, item: int) -> None:
        """Nothing more of an item of ours is wanted, wherever it is."""
        for part in range(len(self._plans)):
            self.withdraw(item, part)
            self._exchange.cancel(item, part)
