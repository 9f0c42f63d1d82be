"""O_n: which task enters it, and which goes to whom."""

from random import Random

import pytest

from edgesdk.core.messages import HOPS_MAX, ItemId
from edgesdk.core.offload import DEFAULT_OFFLOADING, LITERAL, Offloading
from edgesdk.core.output_queue import OutputQueue
from edgesdk.core.peer import Peer
from edgesdk.core.tasks import FleetTask, Guest

STAGES = frozenset([(0, 0), (0, 1), (0, 2)])


class Drawn(Random):
    """Draws what it is told, and counts."""

    def __init__(self, value):
        super().__init__(0)
        self.value, self.count = value, 0

    def random(self):
        self.count += 1
        return self.value


def task(item=1, stage=1, hop=0, guest=False):
    found = FleetTask(item, 0, stage, None)
    found.hop = hop
    if guest:
        found.guest = Guest(ItemId(9, 1, item), 3, None, 10**9)
    return found


def queue(*tasks, **options):
    rng = options.pop("rng", Drawn(0.0))
    held = options.pop("held", STAGES)
    found = OutputQueue(Offloading(**options), held, rng)
    for one in tasks:
        found.put(one)
    return found


def peer(queue_length=0, delay_us=10_000, stages=STAGES, report=1):
    found = Peer(2, True, Random(0))
    found.stages = stages
    found.report, found.queue_length, found.delay_us = report, queue_length, delay_us
    return found


class TestWhatEnters:
    def test_algorithm_1_decides(self):
        found = queue(output_queue_max=1)
        assert not found.takes(task(), 0, STAGES)
        assert found.takes(task(), 1, STAGES)
        found.put(task(1))
        assert found.takes(task(3), 1, STAGES)  # O_n is not above T_O
        found.put(task(2))
        assert not found.takes(task(3), 1, STAGES)

    def test_a_stage_that_is_not_held_always_does(self):
        assert queue(held=frozenset([(0, 0)])).takes(task(stage=1), 0, set())

    def test_an_input_does_only_if_it_is_asked_for(self):
        assert not queue().takes(task(stage=0), 9, STAGES)
        assert queue(offload_inputs=True).takes(task(stage=0), 9, STAGES)

    def test_what_nobody_else_can_compute_stays(self):
        assert not queue().takes(task(), 9, {(0, 2)})
        assert OutputQueue(LITERAL, STAGES, Drawn(0)).takes(task(), 9, {(0, 2)})

    def test_what_has_travelled_enough_stays(self):
        assert queue().takes(task(hop=HOPS_MAX - 1), 9, STAGES)
        assert not queue().takes(task(hop=HOPS_MAX), 9, STAGES)


class TestForOurselves:
    def test_the_first_task_that_we_can_compute_comes_back(self):
        found = queue(task(1, stage=2), task(2), task(3), held=frozenset([(0, 1)]))
        assert found.for_ourselves(None).item == 2
        assert [one.item for one in found] == [1, 3]

    def test_none_if_there_is_none(self):
        assert queue(task(stage=2), held=frozenset([(0, 1)])).for_ourselves(None) is None

    def test_not_while_something_in_the_input_queue_has_waited_longer(self):
        found = queue(task(1))
        (waiting,), head = list(found), task(9)
        waiting.entered, head.entered = 5, 4
        assert found.for_ourselves(head) is None
        head.entered = 6
        assert found.for_ourselves(head).item == 1

    def test_never_when_taken_literally(self):
        found = OutputQueue(LITERAL, STAGES, Drawn(0))
        found.put(task())
        assert found.for_ourselves(None) is None


class TestForANeighbour:
    def test_the_head_goes(self):
        found = queue(task(1), task(2))
        assert found.for_neighbour(peer(), 9, 10_000.0).item == 1
        assert [one.item for one in found] == [2]

    def test_the_head_for_it_is_the_first_task_that_it_can_compute(self):
        found = queue(task(1, stage=2), task(2, stage=1))
        assert found.for_neighbour(peer(stages=frozenset([(0, 1)])), 9, 10_000.0).item == 2

    def test_nothing_it_cannot_compute_and_nothing_that_travelled_enough(self):
        found = queue(task(1, stage=2), task(2, hop=HOPS_MAX))
        assert found.for_neighbour(peer(stages=frozenset([(0, 1)])), 9, 10_000.0) is None

    def test_a_task_that_we_cannot_compute_goes_without_comparing(self):
        rng = Drawn(0.99)
        found = queue(task(), held=frozenset(), rng=rng)
        assert found.for_neighbour(peer(queue_length=50), 0, 0.0) is not None
        assert rng.count == 0

    def test_certainty_draws_nothing(self):
        rng = Drawn(0.99)
        assert queue(task(), rng=rng).for_neighbour(peer(), 1, 10_000.0) is not None
        assert queue(task(), rng=rng).for_neighbour(peer(), 0, 10_000.0) is None
        assert rng.count == 0

    def even_chance(self, value, count=1):
        """Queues such that the probability is 1 * 10 ms / 1 * 20 ms = 0.5."""
        rng = Drawn(value)
        tasks = [task(item) for item in range(2, 2 + count + 1)]
        return queue(*tasks, rng=rng), peer(queue_length=1, delay_us=20_000), rng

    def test_a_draw_below_the_probability_wins(self):
        found, neighbour, _ = self.even_chance(0.49)
        assert found.for_neighbour(neighbour, 1, 10_000.0).item == 2
        found, neighbour, _ = self.even_chance(0.5)
        assert found.for_neighbour(neighbour, 1, 10_000.0) is None

    def test_one_draw_for_a_task_a_neighbour_and_its_report(self):
        found, neighbour, rng = self.even_chance(0.9)
        for _ in range(5):
            assert found.for_neighbour(neighbour, 1, 10_000.0) is None
        assert rng.count == 1

    def test_the_next_report_is_another_chance(self):
        found, neighbour, rng = self.even_chance(0.9)
        found.for_neighbour(neighbour, 1, 10_000.0)
        neighbour.report += 1
        rng.value = 0.1
        assert found.for_neighbour(neighbour, 1, 10_000.0) is not None
        assert rng.count == 2

    def test_so_is_another_neighbour(self):
        found, neighbour, rng = self.even_chance(0.9)
        found.for_neighbour(neighbour, 1, 10_000.0)
        other = peer(queue_length=1, delay_us=20_000)
        other.worker = 3
        found.for_neighbour(other, 1, 10_000.0)
        assert rng.count == 2

    def test_certainty_overrules_a_draw_that_was_lost(self):
        found, neighbour, _ = self.even_chance(0.9)
        assert found.for_neighbour(neighbour, 1, 10_000.0) is None
        assert found.for_neighbour(neighbour, 3, 10_000.0) is not None


class TestStranded:
    def strand(self, *tasks, **options):
        found = queue(*tasks, held=frozenset([(0, 1)]), **options)
        return [one.item for one in found.stranded({(0, 2)})], len(found)

    def test_tasks_of_others_that_nobody_here_can_compute(self):
        assert self.strand(task(1, stage=0, guest=True)) == ([1], 0)

    def test_not_ours_not_what_we_hold_not_what_a_neighbour_holds(self):
        mine, held = task(1, stage=0), task(2, stage=1, guest=True)
        shared = task(3, stage=2, guest=True)
        assert self.strand(mine, held, shared) == ([], 3)

    def test_what_has_travelled_enough_is_stranded_too(self):
        assert self.strand(task(1, stage=2, hop=HOPS_MAX, guest=True)) == ([1], 0)

    def test_not_when_taken_literally(self):
        assert self.strand(task(1, stage=0, guest=True), return_stranded=False) == ([], 1)


def test_a_task_can_be_withdrawn():
    found = queue(task(1), task(2))
    found.remove((1, 0))
    found.remove((7, 0))
    assert [one.item for one in found] == [2]


@pytest.mark.parametrize("count", [0, 3])
def test_its_length_is_o_n(count):
    assert len(queue(*[task(item) for item in range(count)])) == count
    assert queue().options == DEFAULT_OFFLOADING
