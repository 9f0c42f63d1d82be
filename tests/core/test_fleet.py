"""Workers among neighbours: the queues of Algorithms 1 and 2, and who takes what."""

import pytest
from by_hand import ByHand, said
from rig import Rig, answered, ready, sent, workers_of

from edgesdk.core.admission import Admission
from edgesdk.core.events import (
    Admit,
    RunStage,
    Send,
    Shutdown,
    Timer,
)
from edgesdk.core.exits import FixedExit, MaxProbability, Patience
from edgesdk.core.guests import GUESTS_MAX
from edgesdk.core.messages import CancelTask, Hello, Progress, Task
from edgesdk.core.offload import LITERAL, Offloading
from edgesdk.core.peer import FRESH_US
from edgesdk.errors import ConfigError


def run_of(actions):
    (found,) = [action for action in actions if isinstance(action, RunStage)]
    return found


class TestAlgorithm1:
    def test_an_image_enters_its_sources_own_input_queue(self):
        hand = ByHand()
        hand.meet(2)
        hand.submit(0, 1, 2)
        assert (hand.core.queue_length, hand.core.output_length) == (2, 0)

    def test_a_received_task_enters_the_input_queue(self):
        hand = ByHand()
        hand.meet(2)
        hand.send_task(2, 5)
        hand.send_task(2, 6)
        assert (hand.core.queue_length, hand.core.output_length) == (1, 0)

    def test_line_8_looks_at_the_queue_without_its_head(self):
        hand = ByHand(offloading=LITERAL)
        hand.meet(2, task_limit=0)
        run = run_of(hand.done(run_of(hand.submit(0, 1))))  # 1 waited, so 0 enters O_n
        assert (run.items, hand.core.queue_length, hand.core.output_length) == ((1,), 0, 1)
        run = run_of(hand.done(run))  # nobody waits, so 1 enters I_n
        assert (run.items, run.stage, hand.core.output_length) == ((1,), 1, 1)

    def test_what_has_waited_longest_is_computed_whichever_queue_it_is_in(self):
        hand = ByHand()
        hand.meet(2, task_limit=0)
        run = run_of(hand.done(run_of(hand.submit(0, 1))))
        run = run_of(hand.done(run))  # 0 entered O_n before 1 entered I_n
        assert (run.items, run.stage, hand.core.output_length) == ((0,), 1, 0)

    def test_t_o_keeps_new_tasks_here(self):
        hand = ByHand(offloading=Offloading(output_queue_max=0))
        hand.meet(2, task_limit=0)
        run = run_of(hand.submit(0, 1, 2, 3))
        for _ in range(2):
            run = run_of(hand.done(run))
        assert hand.core.output_length == 1  # O_n > T_O is strict: one may wait

    def test_gamma_is_smoothed_per_task(self):
        hand = ByHand(max_batch=4)
        hand.done(run_of(hand.submit(0, 1)), after_us=8_000)
        assert hand.core.load()[1] == 4_000
        hand.done(run_of(hand.actions[-1:]), after_us=24_000)
        assert hand.core.load()[1] == 4_000 + (12_000 - 4_000) // 8

    def test_an_idle_worker_takes_its_own_output_back(self):
        hand = ByHand()
        hand.meet(2, task_limit=0)
        run = run_of(hand.submit(0, 1))
        ran = []
        while True:
            ran.append((run.items[0], run.stage))
            runs = [action for action in hand.done(run) if isinstance(action, RunStage)]
            if not runs:
                break
            run = runs[0]
        assert len(ran) == 6 and len(hand.outcomes) == 2


class TestAlgorithm2:
    def offered(self, queue_length, delay_us, waiting=3, **options):
        """The tasks that worker 2 gets when the first of `waiting` + 1 images ends a stage of
        10 ms: I_n = waiting - 1, O_n = 1."""
        hand = ByHand(**options)
        hand.meet(2, queue_length=queue_length, delay_us=delay_us)
        run = run_of(hand.submit(*range(waiting + 1)))
        return hand, said(Task, hand.done(run, after_us=10_000), 2)

    def test_a_shorter_delay_there_offloads(self):
        assert len(self.offered(queue_length=0, delay_us=99)[1]) == 1

    def test_o_n_must_exceed_i_m(self):
        assert self.offered(queue_length=1, delay_us=99)[1] == []

    def test_own_sends_count_into_i_m(self):
        hand = ByHand(max_batch=4)
        hand.meet(2, delay_us=1)
        hand.meet(3, delay_us=1)
        run = run_of(hand.submit(*range(8)))
        actions = hand.done(run, after_us=40_000)
        # O_n = 4: one to a neighbour (3 > 1?), one to the other, ... until O_n <= I_m for both.
        counts = [len(said(Task, actions, worker)) for worker in (2, 3)]
        assert sorted(counts) == [1, 2]  # 4 > 0, 3 > 1; then 2 > 0; then 1 > 1 is false
        assert hand.core.output_length == 1

    def test_the_neighbour_asked_first_changes(self):
        first = []
        for turns in (0, 1):
            hand = ByHand()
            hand.core._turn = turns
            hand.meet(2, delay_us=1)
            hand.meet(3, delay_us=1)
            actions = hand.done(run_of(hand.submit(0, 1, 2)))
            first += [action.peer for action in actions if isinstance(action, Send)]
        assert sorted(first) == [2, 3]

    def test_a_stale_report_stops_offloading(self):
        hand = ByHand()
        hand.meet(2, delay_us=1)
        run = run_of(hand.submit(0, 1, 2))
        for _ in range(4):  # it is heard, but says nothing new of its queue
            hand.handle(Timer(99), after_us=FRESH_US // 4)
            hand.tell(2, Progress(1, 7, 1, 2, ()))
        assert said(Task, hand.done(run, after_us=0)) == []
        assert len(said(Task, hand.report(2, delay_us=1))) == 1

    def test_credit_is_the_limit(self):
        hand = ByHand(max_batch=4)
        hand.meet(2, delay_us=1, task_limit=1)
        assert len(said(Task, hand.done(run_of(hand.submit(*range(8))), after_us=40_000))) == 1

    def test_only_stages_that_the_neighbour_holds_go_there(self):
        hand = ByHand()
        hand.meet(2, stages=((0, 2),), delay_us=1)
        assert said(Task, hand.done(run_of(hand.submit(0, 1, 2)))) == []
        assert hand.core.output_length == 0  # keep_unshared

    def test_the_input_itself_goes_only_if_asked_for(self):
        for wanted in (False, True):
            hand = ByHand(offloading=Offloading(offload_inputs=wanted))
            hand.meet(2, delay_us=0)
            hand.done(run_of(hand.submit(0)))
            actions = hand.submit(1, 2, 3) + hand.submit(4)
            assert bool([t for t in said(Task, actions) if t.stage == 0]) is wanted


class TestTakenLiterally:
    """What the two algorithms do without our extensions (each has a switch)."""

    def burst(self, **options):
        rig = ready(2, stage_us=20_000, **options)
        rig.submit(1, *range(200))
        rig.run(20)  # three times what it takes
        return rig

    def test_a_burst_strands_tasks_in_the_output_queue(self):
        rig = self.burst(offloading=LITERAL)
        stranded = sum(core.output_length for core in rig.cores.values())
        assert stranded > 0 and len(rig.outcomes) == 200 - stranded
        for core in rig.cores.values():  # for ever: nobody has anything to do
            assert core.queue_length == 0 and not core._running

    def test_with_the_defaults_none_is(self):
        assert answered(self.burst(), (1, 200))


class TestSharedWork:
    def test_a_burst_is_shared_and_everything_is_computed_once(self):
        rig = ready(3)
        rig.submit(1, *range(100))
        rig.run(10)
        assert answered(rig, (1, 100))
        assert workers_of(rig) == {1, 2, 3} and rig.repeated() == 0

    def test_several_sources_share_workers(self):
        rig = ready(3)
        rig.submit(1, *range(40))
        rig.submit(2, *range(40))
        rig.run(10)
        assert answered(rig, (1, 40), (2, 40)) and rig.repeated() == 0

    def test_a_pipeline_of_workers_that_hold_one_stage_each(self):
        stages = {worker: ((0, worker - 1),) for worker in (1, 2, 3)}
        rig = ready(3, stages=stages)
        rig.submit(1, *range(40))
        rig.run(10)
        assert answered(rig, (1, 40)) and rig.repeated() == 0
        assert {(worker, stage) for worker, _, stage in rig.ran} == {(1, 0), (2, 1), (3, 2)}

    def test_guests_and_promises_never_exceed_the_room(self):
        rig = ready(5, stage_us=30_000)
        for worker in (1, 2, 3, 4):
            rig.submit(worker, *range(60))
        for _ in range(400):
            rig.run(0.02)
            for core in rig.cores.values():
                peers = core._neighbours.peers.values()
                promised = sum(peer.promised_count for peer in peers)
                assert promised + len(core._guests) <= GUESTS_MAX
        rig.run(60)
        assert answered(rig, (1, 60), (2, 60), (3, 60), (4, 60))

    def test_the_way_of_an_exit_policys_state(self):
        rig = ready(2, policy=Patience(2))
        rig.submit(1, *range(40))
        rig.run(10)
        assert answered(rig, (1, 40))
        assert {outcome.answer.exit_index for _, outcome in rig.outcomes} == {1}
        assert any(message.policy_state == (1, 1) for message in sent(rig, Task))

    def test_algorithm_4s_threshold_holds_wherever_the_task_is(self):
        # The policy itself would never let anybody leave at 0.6.
        options = {"admission": Admission(kind="threshold", threshold=0.5, zeta=0.01)}
        rig = ready(2, policy=MaxProbability(1.0), **options)
        rig.scores = lambda worker, item, stage: 0.6 if worker == 2 else 0.1
        rig.cores[1]._admission.threshold = 0.55
        rig.submit(1, *range(40))
        rig.run(0.3)  # before it adapts
        assert {o.reason for _, o in rig.outcomes if o.answer.exit_index == 1} == {"threshold"}
        assert {round(message.threshold, 2) for message in sent(rig, Task)} == {0.55}


class TestShutdown:
    def test_nothing_of_an_ended_item_is_offered_to_a_neighbour(self):
        hand = ByHand()
        hand.meet(2, task_limit=0)
        hand.done(run_of(hand.submit(0, 1, 2)))
        hand.report(2, queue_length=5, delay_us=1)  # credit, but O_n is not above I_m
        assert hand.core.output_length == 1
        hand.core._neighbours.peers[2].queue_length = 0
        actions = hand.handle(Shutdown("closed", "why"))
        assert said(Task, actions) == []
        assert [o.reason for o in hand.outcomes] == ["closed"] * 3
        assert hand.core.output_length == 0

    def test_neighbours_need_not_go_on(self):
        hand = ByHand()
        hand.meet(2, delay_us=1)
        hand.done(run_of(hand.submit(0, 1, 2)))
        hand.settle(2, 1)
        assert len(said(CancelTask, hand.handle(Shutdown("closed", "why")), 2)) == 1
        assert len(hand.core._exchange.leases) == 0

    def test_tasks_of_others_are_their_sources_again(self):
        hand = ByHand()
        hand.meet(2)
        hand.send_task(2, 5)
        hand.send_task(2, 6)
        hand.handle(Shutdown("closed", "why"))
        assert len(hand.core._guests) == 0 == hand.core.queue_length


class TestAdmission:
    def admits(self, rig):
        return [(at_us, action) for at_us, action in rig.admits]

    def test_the_first_step_announces_the_second_adapts(self):
        rig = Rig(1, admission=Admission(kind="rate"))
        for item in range(3):
            rig.submit(1, item)
            rig.run(0.4)
        times, found = zip(*rig.admits)
        assert found == (Admit(100_000, None), Admit(80_000, None), Admit(64_000, None))
        assert [later - times[0] for later in times] == [0, 500_000, 1_000_000]

    @pytest.mark.parametrize("kind", ["rate", "threshold"])
    def test_short_queues_say_nothing_while_nothing_is_handed_in(self, kind):
        rig = Rig(1, admission=Admission(kind=kind))
        rig.submit(1, 0)
        rig.run(0.9)
        before = rig.admits[-1][1]
        rig.run(30)
        assert {admit for _, admit in rig.admits[2:]} == {before}
        rig.submit(1, 1)
        rig.run(0.6)
        assert rig.admits[-1][1] != before

    def test_long_queues_slow_the_source_down(self):
        rig = Rig(1, stage_us=50_000, admission=Admission(kind="rate"))
        rig.submit(1, *range(60))
        rig.run(0.6)
        assert rig.admits[-1][1] == Admit(120_000, None)

    def test_or_lower_its_threshold(self):
        rig = Rig(1, stage_us=50_000, admission=Admission(kind="threshold"))
        rig.submit(1, *range(60))
        rig.run(0.6)
        assert rig.admits[-1][1].threshold == pytest.approx(0.64)
        rig.scores = lambda worker, item, stage: 0.7
        rig.run(0.2)
        assert {outcome.answer.exit_index for _, outcome in rig.outcomes} == {0}

    def test_wrong_constants_are_refused(self):
        for wrong in (
            {"admission": Admission(kind="rate", alpha=0.0)},
            {"offloading": Offloading(output_queue_max=-1)},
        ):
            with pytest.raises(ConfigError, match="found"):
                ByHand(**wrong)


def test_a_worker_without_neighbours_is_a_worker():
    rig = Rig(1, policy=FixedExit(1))
    rig.submit(1, *range(5))
    rig.run(1)
    assert answered(rig, (1, 5))
    assert sent(rig, Hello) == [] and rig.repeated() == 0
