"""Executes tasks: one input queue, one batch at a time. This is where an event becomes actions.

The queue is first in, first out; what an item does next after an exit enters it at the tail
(MDI-Exit Algorithm 1, lines 2-9, without neighbours: every task stays in the input queue).
A batch is the head of the queue and those behind it that need the same stage.

`core/fleet.py` has the worker among neighbours: it overrides where tasks go and come from, and
none of what happens to a task here.
"""

from collections import OrderedDict
from typing import Any, Callable, Dict, List, Sequence, Tuple, Type

from .events import (
    Action,
    Answer,
    Cancel,
    Classified,
    Event,
    RunStage,
    Shutdown,
    StageDone,
    StageFailed,
    Submit,
    Timer,
)
from .exits import ExitPolicy
from .source import CANCEL, SUPERSEDE, Source
from .spec import Plan

DEFAULT_MAX_BATCH = 32  # larger batches gain little on a CPU and hold every item longer


class Task:
    """One stage of one part for one item: MDI-Exit's tau_k(d)."""

    __slots__ = ("item", "part", "policy_state", "stage")

    def __init__(self, item: int, part: int, stage: int, policy_state: Any) -> None:
        self.item = item
        self.part = part
        self.stage = stage
        self.policy_state = policy_state


class Worker:
    """Turns events into actions; `handle` is the only way in.

    `plans` holds one plan per part. `source` owns the items; `policy` decides who leaves.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        policy: ExitPolicy,
        source: Source,
        max_batch: int = DEFAULT_MAX_BATCH,
    ) -> None:
        self._plans = plans
        self._exits = [tuple(stage.exit_index for stage in plan.stages) for plan in plans]
        self._policy = policy
        self._source = source
        self._max_batch = max_batch
        self._queue: "OrderedDict[Tuple[int, int], Task]" = OrderedDict()  # by (item, part)
        self._running: Dict[int, Task] = {}  # the batch that runs, by item
        self._handlers: Dict[Type[Any], Callable[..., None]] = {
            Submit: self._on_submit,
            Cancel: self._on_cancel,
            StageDone: self._on_stage_done,
            StageFailed: self._on_stage_failed,
            Classified: self._on_classified,
            Timer: self._on_timer,
            Shutdown: self._on_shutdown,
        }

    @property
    def queue_length(self) -> int:
        """I_n: tasks in the input queue."""
        return len(self._queue)

    def queue_counts(self) -> Dict[str, int]:
        """Tasks that wait here (I_n), those that may leave (O_n), and those that run."""
        return {
            "waiting_count": len(self._queue),
            "leaving_count": 0,
            "running_count": len(self._running),
        }

    def handle(self, event: Event, now_us: int) -> List[Action]:
        """What is to be done about `event`, in order."""
        actions: List[Action] = []
        self._handlers[event.__class__](event, now_us, actions)
        if self._queue and not self._running:
            actions.append(self._next_batch())
        return actions

    def _on_submit(self, event: Submit, now_us: int, actions: List[Action]) -> None:
        if event.latest:
            for item in self._source.waiting():
                self._drop(item, SUPERSEDE, now_us, actions)
        self._source.admit(event, actions)
        for item in event.items:
            for part, plan in enumerate(self._plans):
                state = self._policy.start(plan.exit_indices, self._source.rng)
                self._enter(self._new_task(item, part, state))

    def _on_cancel(self, event: Cancel, now_us: int, actions: List[Action]) -> None:
        self._drop(event.item, CANCEL, now_us, actions)

    def _on_timer(self, event: Timer, now_us: int, actions: List[Action]) -> None:
        if self._source.is_open(event.item):
            self._source.on_deadline(event.item, now_us, actions)
            if not self._source.is_open(event.item):  # or it is removed when it is classified
                self._remove_tasks(event.item)

    def _on_stage_done(self, event: StageDone, now_us: int, actions: List[Action]) -> None:
        exits = self._exits[event.part]
        exit_index, is_final = exits[event.stage], event.stage == len(exits) - 1
        for position, item in enumerate(event.items):
            task = self._running.pop(item)
            if not self._is_wanted(task):  # its deadline passed, or it was answered elsewhere
                self._source.metrics.dropped_answers += 1
            elif event.scores is None or exit_index is None:
                self._continue(task)
            else:
                feature = event.features[position] if event.features else b""
                answer = Answer(exit_index, event.scores[position], feature)
                self._after_exit(task, answer, is_final, now_us, actions)

    def _after_exit(
        self, task: Task, answer: Answer, is_final: bool, now_us: int, actions: List[Action]
    ) -> None:
        """Algorithm 1, lines 4-13: leave, or go on to the next stage."""
        leaves, reason = is_final, "final"
        if not is_final:
            leaves = self._leaves(task, answer)
            reason = self._policy.reason
        if not leaves:
            self._note(task, answer)
            self._continue(task)
        elif answer.scores.max_probability != answer.scores.max_probability:
            detail = "the network gave NaN at exit {}".format(answer.exit_index)
            self._fail(task, "not_finite", detail, now_us, actions)
        else:
            self._leave(task, answer, reason, now_us, actions)

    def _leaves(self, task: Task, answer: Answer) -> bool:
        """Algorithm 1, line 5, by whatever policy there is."""
        leaves, task.policy_state = self._policy.step(
            answer.exit_index, answer.scores, task.policy_state
        )
        return leaves

    def _leave(
        self, task: Task, answer: Answer, reason: str, now_us: int, actions: List[Action]
    ) -> None:
        self._source.leave(task.item, task.part, answer, reason, now_us, actions)

    def _fail(
        self, task: Task, reason: str, detail: str, now_us: int, actions: List[Action]
    ) -> None:
        self._source.fail_part(task.item, task.part, reason, detail, now_us, actions)
        if not self._source.is_open(task.item):
            self._remove_tasks(task.item)

    def _on_stage_failed(self, event: StageFailed, now_us: int, actions: List[Action]) -> None:
        for item in event.items:
            task = self._running.pop(item)
            if self._is_wanted(task):
                self._fail(task, "stage_failed", event.reason, now_us, actions)

    def _on_classified(self, event: Classified, now_us: int, actions: List[Action]) -> None:
        if self._source.is_open(event.item):  # it may have been shut down
            self._source.classified(event.item, event.scores, now_us, actions)
            self._remove_tasks(event.item)

    def _on_shutdown(self, event: Shutdown, now_us: int, actions: List[Action]) -> None:
        self._queue.clear()
        for item in self._source.open_items():
            self._source.fail(item, event.reason, event.detail, now_us, actions)

    def _new_task(self, item: int, part: int, policy_state: Any) -> Task:
        return Task(item, part, 0, policy_state)

    def _begin(self, task: Task) -> None:
        """The first stage of an item runs: it can no longer be dropped."""
        self._source.start(task.item)

    def _is_wanted(self, task: Task) -> bool:
        return self._source.is_wanted(task.item, task.part)

    def _note(self, task: Task, answer: Answer) -> None:
        self._source.note(task.item, task.part, answer)

    def _continue(self, task: Task) -> None:
        task.stage += 1
        self._enter(task)

    def _enter(self, task: Task) -> None:
        self._queue[(task.item, task.part)] = task

    def _drop(self, item: int, event: str, now_us: int, actions: List[Action]) -> None:
        if self._source.drop_waiting(item, event, now_us, actions):
            self._remove_tasks(item)

    def _remove_tasks(self, item: int) -> None:
        for part in range(len(self._plans)):
            self._queue.pop((item, part), None)

    def _next_batch(self) -> RunStage:
        """The head of the queue, and others behind it at the same stage."""
        batch = self._take_batch()
        part, stage = batch[0].part, batch[0].stage
        for task in batch:
            if stage == 0:
                self._begin(task)
            self._running[task.item] = task
        items = tuple([task.item for task in batch])
        return RunStage(part, stage, items, self._evaluate(batch, part, stage))

    def _take_batch(self) -> List[Task]:
        if len(self._queue) == 1:  # the common case on a device that keeps up
            return [self._queue.popitem()[1]]
        head = next(iter(self._queue.values()))
        batch = []
        for task in self._queue.values():
            if task.stage == head.stage and task.part == head.part:
                batch.append(task)
                if len(batch) == self._max_batch:
                    break
        for task in batch:
            del self._queue[(task.item, task.part)]
        return batch

    def _evaluate(self, batch: List[Task], part: int, stage: int) -> bool:
        """Whether anyone in `batch` wants the head behind this stage computed."""
        exits = self._exits[part]
        exit_index = exits[stage]
        if exit_index is None or stage == len(exits) - 1:
            return exit_index is not None
        evaluates = self._policy.evaluates
        if len(batch) == 1:  # a generator costs more than the question
            return evaluates(exit_index, batch[0].policy_state)
        return any(evaluates(exit_index, task.policy_state) for task in batch)
