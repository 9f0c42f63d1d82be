"""O_n: tasks that wait for a neighbour (MDI-Exit Algorithm 1, lines 7-13, and Algorithm 2)."""

from collections import OrderedDict
from random import Random
from typing import FrozenSet, Iterator, List, Optional, Set, Tuple

from .messages import HOPS_MAX
from .offload import INPUT_QUEUE, Offloading, offload_probability, queue_for
from .peer import Peer
from .tasks import FleetTask

Key = Tuple[int, int]  # (item, part)


class OutputQueue:
    """First in, first out; `held` are the (part, stage) pairs that this worker can compute."""

    def __init__(self, options: Offloading, held: FrozenSet[Tuple[int, int]], rng: Random) -> None:
        self.options = options
        self.held = held
        self._rng = rng
        self._tasks: "OrderedDict[Key, FleetTask]" = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[FleetTask]:
        return iter(self._tasks.values())

    def put(self, task: FleetTask) -> None:
        """At the tail."""
        self._tasks[(task.item, task.part)] = task

    def remove(self, key: Key) -> None:
        """Take a task out, if it is there."""
        self._tasks.pop(key, None)

    def takes(self, task: FleetTask, input_length: int, shared: Set[Tuple[int, int]]) -> bool:
        """Whether a new task enters here instead of I_n. `shared`: the (part, stage) pairs that
        some live neighbour can compute."""
        if task.needs not in self.held:
            return True
        if task.stage == 0 and not self.options.offload_inputs:
            return False
        if task.hop >= HOPS_MAX or (self.options.keep_unshared and task.needs not in shared):
            return False
        limit = self.options.output_queue_max
        return queue_for(input_length, len(self._tasks), limit) is not INPUT_QUEUE

    def for_ourselves(self, before: Optional[FleetTask]) -> Optional[FleetTask]:
        """Take out the first task that we can compute, if it has waited longer than `before`, the
        head of I_n (`Offloading.serve_output`)."""
        if self.options.serve_output:
            for key, task in self._tasks.items():
                if before is not None and before.entered < task.entered:
                    return None
                if task.needs in self.held:
                    del self._tasks[key]
                    return task
        return None

    def for_neighbour(self, peer: Peer, input_length: int, delay_us: float) -> Optional[FleetTask]:
        """Algorithm 2: take out the task that goes to `peer` now, or None. Its head of line is the
        first task that it can compute."""
        for task in self._tasks.values():
            if task.needs in peer.stages and task.hop < HOPS_MAX:
                break
        else:
            return None
        if not self._draw(task, peer, input_length, delay_us):
            return None
        del self._tasks[(task.item, task.part)]
        return task

    def orphans(self, shared: Set[Tuple[int, int]]) -> List[FleetTask]:
        """Tasks of ours that can be computed neither here nor at a live neighbour."""
        return [
            task
            for task in self._tasks.values()
            if task.guest is None and task.needs not in self.held and task.needs not in shared
        ]

    def stranded(self, shared: Set[Tuple[int, int]]) -> Iterator[FleetTask]:
        """Take out the tasks of others that nobody can compute from here
        (`Offloading.return_stranded`)."""
        if self.options.return_stranded:
            for key, task in list(self._tasks.items()):
                may_go = task.needs in shared and task.hop < HOPS_MAX
                if task.guest and task.needs not in self.held and not may_go:
                    del self._tasks[key]
                    yield task

    def _draw(self, task: FleetTask, peer: Peer, input_length: int, delay_us: float) -> bool:
        """One draw for each task, neighbour and report of that neighbour."""
        if task.needs not in self.held:
            return True  # there is nothing to compare with
        probability = offload_probability(
            len(self._tasks),
            input_length,
            delay_us,
            peer.queue_length,
            peer.delay_us,
            peer.link_delay_us,
        )
        if probability >= 1.0:
            return True
        if probability <= 0.0 or task.drawn.get(peer.worker) == peer.report:
            return False
        if self._rng.random() < probability:
            return True
        task.drawn[peer.worker] = peer.report
        return False
