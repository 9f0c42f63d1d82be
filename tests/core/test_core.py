"""What becomes of every item, whatever happens to messages and workers."""

import math
from random import Random

import pytest
from by_hand import STAGES
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rig import Rig, answered, chain, counter, ready, sent, until, workers_of

from edgesdk.core.events import Leave, MessageReceived
from edgesdk.core.exchange import FAILURES_MAX
from edgesdk.core.guests import GUESTS_MAX
from edgesdk.core.messages import WINDOW, Ack, Bye, CancelTask, Load, Progress, ResultMessage, Task
from edgesdk.core.offload import Offloading
from edgesdk.core.peer import SILENT_US
from edgesdk.core.reports import CREDIT_MAX
from edgesdk.core.tasks import PATHS_MAX


class TestEnsembles:
    @pytest.mark.parametrize("count", [2, 3])
    def test_parts_travel_independently(self, count):
        rig = ready(count, part_count=2)
        rig.submit(1, *range(40))
        rig.run(10)
        assert sorted(action.item for _, action in rig.classified) == list(range(40))
        assert {action.features for _, action in rig.classified} == {(b"part 0", b"part 1")}
        assert answered(rig, (1, 40))
        assert {message.part for message in sent(rig, Task)} == {0, 1}
        assert rig.repeated() == 0 and counter(rig, "leases_expired") == 0

    def test_each_part_where_it_is_held(self):
        stages = {1: tuple((p, s) for p in (0, 1) for s in range(3)), 2: tuple(STAGES)}
        rig = ready(2, part_count=2, stages=stages)
        rig.submit(1, *range(40))
        rig.run(10)
        assert len(rig.classified) == 40
        assert {message.part for message in sent(rig, Task)} == {0}

    def test_every_part_is_gathered_although_workers_die(self):
        rig = ready(3, part_count=2)
        rig.submit(1, *range(40))
        rig.at(20_000, lambda: rig.kill(2))
        rig.run(30)
        assert answered(rig, (1, 40))
        assert {action.features for _, action in rig.classified} == {(b"part 0", b"part 1")}

    @pytest.mark.parametrize("whose", [{1}, {1, 2}])
    def test_a_part_that_fails_everywhere_degrades_the_answer(self, whose):
        rig = ready(2, part_count=2)
        rig.fails = lambda worker, item, stage: stage == 1 and worker in whose
        rig.submit(1, *range(10))
        rig.run(30)
        assert len([o for _, o in rig.outcomes]) == 10
        reasons = {outcome.reason for _, outcome in rig.outcomes}
        assert reasons <= {"degraded", "final", "stage_failed", "threshold"}


class TestLossAndDuplication:
    @pytest.mark.parametrize("seed", range(6))
    def test_everything_is_answered_once_on_a_bad_wire(self, seed):
        rng = Random(seed)
        rig = ready(3, seed=seed)
        rig.copies = lambda *_: rng.choice((0, 1, 1, 1, 1, 2))
        rig.submit(1, *range(40))
        rig.submit(2, *range(20))
        rig.run(40)
        assert answered(rig, (1, 40), (2, 20))

    @pytest.mark.parametrize("kind", [Ack, ResultMessage, Progress, CancelTask, Load, Task])
    def test_half_of_a_kind_may_be_lost(self, kind):
        rng = Random(1)
        rig = ready(2)
        rig.copies = lambda a, b, m: int(not isinstance(m, kind) or rng.random() < 0.5)
        rig.submit(1, *range(40))
        rig.run(40)
        assert answered(rig, (1, 40))
        # A lease may be over before a result that is lost again and again.
        assert rig.repeated() == 0 or kind is ResultMessage

    def test_old_messages_that_come_again_change_nothing(self):
        rig = ready(2)
        rng, late = Random(2), []
        deliver = rig.handle

        def handle(worker, event, features=None):
            deliver(worker, event, features)
            if isinstance(event, MessageReceived):
                late.append((worker, event, features))
                again = rng.choice(late)
                deliver(*again)

        rig.handle = handle
        rig.submit(1, *range(40))
        rig.run(10)
        assert answered(rig, (1, 40)) and rig.repeated() == 0

    def test_one_direction_lost_long_enough_ends_the_acquaintance_on_both_sides(self):
        rig = ready(2)
        rig.copies = lambda source, target, message: int(source == 1)
        rig.run(2 * SILENT_US / 1e6 + 1)
        peers = [core._neighbours.peers[3 - worker] for worker, core in rig.cores.items()]
        assert [peer.state for peer in peers] == ["greeting"] * 2
        rig.submit(1, *range(20))
        rig.run(5)
        assert answered(rig, (1, 20)) and workers_of(rig) == {1}
        rig.copies = lambda *_: 1
        rig.run(5)
        assert [peer.state for peer in peers] == ["up"] * 2

    def test_a_short_silence_loses_nothing(self):
        rig = ready(2)
        rig.submit(1, *range(60))
        rig.run(0.1)
        rig.copies = lambda *_: 0
        rig.run(1)
        rig.copies = lambda *_: 1
        rig.run(20)
        assert answered(rig, (1, 60))
        assert counter(rig, "sessions_lost.silent") == 0


class TestDeath:
    def loaded(self, count=2, **options):
        """Workers of which the second has accepted tasks that wait in its queue."""
        rig = ready(count, stage_us=20_000, **options)
        rig.submit(1, *range(60))
        until(rig, lambda: len(rig.cores[2]._guests) >= (2 if count == 2 else 1))
        return rig

    def test_of_a_worker_with_tasks_in_its_queue_costs_time_and_nothing_else(self):
        rig = self.loaded()
        assert rig.cores[1]._exchange.leases.accepted_by(2)
        rig.kill(2)
        rig.run(30)
        assert answered(rig, (1, 60))

    def test_and_restart_at_once(self):
        rig = self.loaded()
        rig.kill(2)
        rig.start(2)
        rig.run(20)
        assert answered(rig, (1, 60))
        assert counter(rig, "sessions_lost.started_again") == 1

    def test_of_all_but_the_source(self):
        rig = self.loaded(4)
        for worker in (2, 3, 4):
            rig.kill(worker)
        rig.run(30)
        assert answered(rig, (1, 60))

    def test_of_the_source_leaves_nothing_behind(self):
        rig = self.loaded(3)
        rig.kill(1)
        rig.run(30)
        assert rig.outcomes == []
        assert all(not rig.held[worker] for worker in (2, 3))

    def test_a_source_that_starts_again_gets_no_results_of_before(self):
        rig = self.loaded()
        rig.kill(1)
        before = len(rig.outcomes)
        rig.start(1)
        rig.run(20)
        assert len(rig.outcomes) == before
        assert counter(rig, "results_unrouted") > 0

    def test_of_a_worker_that_was_passed_the_task_by_another(self):
        rig = Rig(3, stage_us=20_000, pairs=chain(3))
        rig.run(1.5)
        rig.submit(1, *range(80))
        until(rig, lambda: len(rig.cores[3]._guests))
        rig.kill(3)
        rig.run(60)
        assert answered(rig, (1, 80))


class TestLeaving:
    def leave(self, rig, worker=2):
        rig.submit(1, *range(60))
        until(rig, lambda: len(rig.cores[worker]._guests) >= (2 if len(rig.cores) == 2 else 1))
        rig.handle(worker, Leave())

    def test_under_load_repeats_nothing(self):
        for count in (2, 3):
            rig = ready(count, stage_us=20_000)
            self.leave(rig)
            rig.run(30)
            assert answered(rig, (1, 60)) and rig.repeated() == 0
            assert counter(rig, "leases_expired") == 0
            assert rig.cores[2].is_drained and not rig.cores[2]._neighbours.peers

    def test_ends_with_the_last_word_after_the_last_result(self):
        rig = ready(2, stage_us=20_000)
        self.leave(rig)
        rig.run(30)
        words = [m for source, _, m in rig.sent if source == 2 and not isinstance(m, (Load, Ack))]
        assert words[-1] == Bye(True) and words.count(Bye(True)) == 1
        assert isinstance(words[-2], ResultMessage)

    @pytest.mark.parametrize("lost", [[Bye(False)], [Bye(True)], [Bye(False), Bye(True)]])
    def test_a_lost_bye_loses_no_item(self, lost):
        rig = ready(2, stage_us=20_000)
        rig.copies = lambda source, target, message: int(message not in lost)
        self.leave(rig)
        rig.run(30)
        assert answered(rig, (1, 60))

    def test_several_may_leave(self):
        rig = ready(4, stage_us=20_000)
        self.leave(rig)
        for worker in (3, 4):
            rig.handle(worker, Leave())
        rig.run(30)
        assert answered(rig, (1, 60)) and rig.repeated() == 0

    def test_a_worker_that_left_may_come_back(self):
        rig = ready(2, stage_us=20_000)
        self.leave(rig)
        rig.run(10)
        rig.kill(2)
        rig.start(2)
        rig.run(2)
        rig.submit(1, *range(60, 120))
        rig.run(20)
        assert answered(rig, (1, 120))
        assert any(worker == 2 and item[2] >= 60 for worker, item, _ in rig.ran)

    def test_a_source_that_leaves_still_answers_its_items(self):
        rig = ready(2, stage_us=20_000)
        rig.submit(1, *range(60))
        rig.run(0.2)
        rig.handle(1, Leave())
        rig.run(60)
        assert answered(rig, (1, 60))


class TestChains:
    """Workers in a line: the source is nobody's neighbour but the next one's."""

    def test_results_come_back_along_the_way(self):
        stages = {worker: ((0, worker - 1),) for worker in (1, 2, 3)}
        rig = ready(3, pairs=chain(3), stages=stages)
        rig.submit(1, *range(40))
        rig.run(10)
        assert answered(rig, (1, 40)) and rig.repeated() == 0

    @pytest.mark.parametrize("stage_us", [100, 5_000])
    def test_of_four_where_nobody_at_the_end_knows_the_source(self, stage_us):
        stages = {1: (), 2: ((0, 0),), 3: ((0, 1),), 4: ((0, 2),)}
        inputs = Offloading(offload_inputs=True)
        rig = ready(4, pairs=chain(4), stages=stages, stage_us=stage_us, offloading=inputs)
        rig.submit(1, *range(60))
        rig.run(20)
        assert answered(rig, (1, 60)) and rig.repeated() == 0
        assert counter(rig, "results_unrouted") == 0

    def test_news_of_tasks_far_away_keep_their_leases(self):
        stages = {worker: ((0, worker - 1),) for worker in (1, 2, 3)}
        rig = ready(3, pairs=chain(3), stages=stages, stage_us=1_500_000)
        rig.submit(1, *range(3))
        rig.run(30)
        assert answered(rig, (1, 3)) and rig.repeated() == 0
        assert counter(rig, "leases_expired") == 0

    def test_a_directed_ring(self):
        ring = {(1, 2), (2, 3), (3, 1)}
        rig = Rig(3)
        rig.pairs = None
        for core in rig.cores.values():
            for peer in core._neighbours.peers.values():
                peer.may_offload = (core.identity.worker, peer.worker) in ring
            core._neighbours.refresh()
        rig.run(1.5)
        rig.submit(1, *range(60))
        rig.run(10)
        assert answered(rig, (1, 60)) and rig.repeated() == 0
        went = {(source, target) for source, target, m in rig.sent if isinstance(m, Task)}
        assert went <= ring


class TestFailures:
    def test_a_stage_that_fails_elsewhere_is_tried_again(self):
        rig = ready(2)
        rig.fails = lambda worker, item, stage: worker == 2 and stage == 1
        rig.submit(1, *range(30))
        rig.run(10)
        assert answered(rig, (1, 30))

    def test_a_stage_that_fails_everywhere_fails_the_item(self):
        rig = ready(2)
        rig.fails = lambda worker, item, stage: stage == 1
        rig.submit(1, *range(30))
        rig.run(10)
        assert answered(rig, (1, 30), status="failed")
        tries = {}
        for _, item, stage in rig.ran:
            tries[(item, stage)] = tries.get((item, stage), 0) + 1
        assert max(tries.values()) <= FAILURES_MAX

    def test_nan_elsewhere_fails_at_once(self):
        rig = ready(2)
        rig.scores = lambda worker, item, stage: math.nan if stage == 2 else 0.5
        rig.submit(1, *range(30))
        rig.run(10)
        assert answered(rig, (1, 30), status="failed")
        assert {outcome.reason for _, outcome in rig.outcomes} == {"not_finite"}
        assert rig.repeated() == 0

    def test_deadlines_hold_wherever_the_task_is(self):
        rig = ready(2, stage_us=20_000)
        rig.submit(1, *range(60), deadline_us=rig.now_us + 400_000)
        rig.run(10)
        found = sorted(outcome.item for _, outcome in rig.outcomes)
        assert found == list(range(60))
        assert {outcome.status for _, outcome in rig.outcomes} == {"result", "expired"}
        assert all(outcome.latency_us <= 400_000 for _, outcome in rig.outcomes)
        assert all(not core._guests for core in rig.cores.values())


class EveryItemHasOneOutcome(RuleBasedStateMachine):
    """Three workers and an adversary who holds every message: he delivers, doubles and loses them
    in any order, breaks and kills workers, starts them again and lets time pass."""

    def __init__(self):
        super().__init__()
        self.wire = []
        self.submitted = {}  # (worker, epoch) -> how many items
        self.left, self.broken = set(), set()

    @initialize(pairs=st.sampled_from([None, chain(3)]))
    def begin(self, pairs):
        self.rig = Rig(3, stage_us=3_000, pairs=pairs)
        self.rig.scores = lambda worker, item, stage: 0.9 if item[2] % 3 == stage else 0.1
        self.rig.fails = lambda worker, item, stage: worker in self.broken
        self.rig.deliver = self.hold
        self.is_held = False
        self.rig.run(1.5)
        self.is_held = True

    def hold(self, call):
        if self.is_held:
            self.wire.append(call)
        else:
            self.rig.at(self.rig.delay_us, call)

    def alive(self):
        return sorted(set(self.rig.cores) - self.left)

    @precondition(lambda self: self.alive())
    @rule(data=st.data(), count=st.integers(1, 12), deadline=st.booleans())
    def submit(self, data, count, deadline):
        worker = data.draw(st.sampled_from(self.alive()))
        key = (worker, self.rig.cores[worker].identity.epoch)
        first = self.submitted.get(key, 0)
        self.submitted[key] = first + count
        deadline_us = self.rig.now_us + 50_000 if deadline else None
        self.rig.submit(worker, *range(first, first + count), deadline_us=deadline_us)

    @precondition(lambda self: self.wire)
    @rule(count=st.integers(1, 40))
    def deliver(self, count):
        for call in self.wire[:count]:
            call()
        del self.wire[:count]

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), what=st.sampled_from(["early", "double", "lose"]))
    def disturb(self, data, what):
        index = data.draw(st.integers(0, len(self.wire) - 1))
        call = self.wire[index] if what == "double" else self.wire.pop(index)
        if what != "lose":
            call()

    @rule(milliseconds=st.sampled_from([1, 4, 20, 100, 700, 3100]))
    def tick(self, milliseconds):
        self.rig.run(milliseconds / 1000)

    @rule(seconds=st.sampled_from([0.05, 0.5]))
    def calm(self, seconds):
        self.deliver_all()
        self.is_held = False
        self.rig.run(seconds)
        self.is_held = True

    def deliver_all(self):
        while self.wire:
            self.wire.pop(0)()

    @rule(worker=st.integers(1, 3), breaks=st.booleans())
    def change(self, worker, breaks):
        (self.broken.add if breaks else self.broken.discard)(worker)

    @precondition(lambda self: len(self.rig.cores) > 1)
    @rule(data=st.data())
    def kill(self, data):
        worker = data.draw(st.sampled_from(sorted(self.rig.cores)))
        self.rig.kill(worker)
        self.left.discard(worker)

    @precondition(lambda self: len(self.rig.cores) < 3)
    @rule(data=st.data())
    def restart(self, data):
        worker = data.draw(st.sampled_from(sorted({1, 2, 3} - set(self.rig.cores))))
        self.rig.start(worker)

    @precondition(lambda self: len(self.alive()) > 1)
    @rule(data=st.data())
    def leave(self, data):
        worker = data.draw(st.sampled_from(self.alive()))
        self.left.add(worker)
        self.rig.handle(worker, Leave())

    @invariant()
    def nothing_ends_twice_and_nothing_ends_that_was_not_admitted(self):
        ended = self.rig.ended
        assert len(ended) == len(set(ended))
        for worker, epoch, item in ended:
            assert item < self.submitted[(worker, epoch)]

    @invariant()
    def every_table_has_its_limit(self):
        # That every task is in one place is checked by the rig after each event.
        for core in self.rig.cores.values():
            peers = core._neighbours.peers
            promised = sum(peer.promised_count for peer in peers.values())
            assert promised + len(core._guests) <= GUESTS_MAX
            assert len(core._exchange._paths) <= PATHS_MAX
            assert len(peers) <= 2
            for peer in peers.values():
                assert len(peer.link.unsettled) <= WINDOW
                assert peer.link.held_verdict_count <= WINDOW
                assert peer.link.task_count <= CREDIT_MAX
            # Three of its own, and greet, ack, repeat for each neighbour there ever was.
            assert len(core._agenda) <= 3 + 3 * 2 + len(core._exchange.leases)

    def teardown(self):
        """The adversary rests: every item of a worker that lives has its outcome."""
        self.deliver_all()
        self.is_held = False
        self.rig.run(60)
        ended = set(self.rig.ended)
        for worker, core in self.rig.cores.items():
            count = self.submitted.get((worker, core.identity.epoch), 0)
            missing = {(worker, core.identity.epoch, n) for n in range(count)} - ended
            assert not missing, missing
            assert len(core._guests) == 0


TestEveryItemHasOneOutcome = EveryItemHasOneOutcome.TestCase
TestEveryItemHasOneOutcome.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
