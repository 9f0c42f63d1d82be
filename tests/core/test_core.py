"""What becomes of every item, whatever happens to messages and workers."""

import math
from random import Random

import pytest
from by_hand import STAGES
from rig import Rig, answered, chain, counter, ready, sent, until, workers_of

from edgesdk.core.events import (
    Leave,
    MessageReceived,
)
from edgesdk.core.exchange import FAILURES_MAX
from edgesdk.core.messages import Ack, Bye, CancelTask, Load, Progress, ResultMessage, Task
from edgesdk.core.peer import SILENT_US


class TestEnsembles:
    def test_parts_travel_independently(self):
        rig = ready(3, part_count=2)
        rig.submit(1, *range(40))
        rig.run(10)
        assert sorted(action.item for _, action in rig.classified) == list(range(40))
        assert all(action.present_parts == (0, 1) for _, action in rig.classified)
        assert {message.part for message in sent(rig, Task)} == {0, 1}
        assert rig.repeated() == 0 and counter(rig, "leases_expired") == 0

    def test_each_part_where_it_is_held(self):
        stages = {1: tuple((p, s) for p in (0, 1) for s in range(3)), 2: tuple(STAGES)}
        rig = ready(2, part_count=2, stages=stages)
        rig.submit(1, *range(40))
        rig.run(10)
        assert len(rig.classified) == 40
        assert {message.part for message in sent(rig, Task)} == {0}


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
        stages = {1: ((0, 0),), 2: ((0, 0), (0, 1)), 3: ((0, 1), (0, 2)), 4: ((0, 2),)}
        pairs = chain(4)
        rig = ready(4, pairs=pairs, stages=stages, stage_us=stage_us)
        rig.submit(1, *range(60))
        rig.run(20)
        assert answered(rig, (1, 60)) and rig.repeated() == 0
        assert counter(rig, "results_unrouted") == 0

    def test_news_of_tasks_far_away_keep_their_leases(self):
        stages = {worker: ((0, worker - 1),) for worker in (1, 2, 3)}
        rig = ready(3, pairs=chain(3), stages=stages, stage_us=400_000)
        rig.submit(1, *range(8))
        rig.run(30)
        assert answered(rig, (1, 8)) and rig.repeated() == 0
        assert counter(rig, "leases_expired") == 0

    def test_a_directed_ring(self):
        ring = {(1, 2), (2, 3), (3, 1)}
        rig = Rig(3)
        rig.pairs = None
        for core in rig.cores.values():
            for peer in core._neighbours.peers.values():
                peer.may_offload = (core.identity.worker, peer.worker) in ring
            core._neighbours._refresh()
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
