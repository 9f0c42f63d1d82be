"""The worker: from an event to actions."""

import math

import pytest
from helpers import Core, only, stage_run
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgesdk.core.events import (
    Answer,
    Cancel,
    CancelTimer,
    Classified,
    Classify,
    Deliver,
    Release,
    RunStage,
    Scores,
    SetTimer,
    Shutdown,
    StageDone,
    StageFailed,
    Submit,
    Timer,
)
from edgesdk.core.exits import CosineDifference, FinalExit, FixedExit, MaxProbability, RandomExit


class TestAnItemsWay:
    def test_a_submitted_item_runs_its_first_stage(self):
        core = Core()
        assert core.submit(7) == [RunStage(0, 0, (7,), True)]

    def test_it_leaves_at_the_first_exit_good_enough(self):
        core = Core()
        run = stage_run(core.submit(7))
        run = stage_run(core.done(run, 0.8))  # not above the threshold
        assert run == RunStage(0, 1, (7,), True)
        deliver, release = core.done(run, 0.81)
        assert release == Release(7)
        outcome = deliver.outcome
        assert (outcome.item, outcome.tag, outcome.status) == (7, "tag-7", "result")
        assert (outcome.reason, outcome.answer.exit_index) == ("threshold", 1)
        assert outcome.answer.scores.max_probability == 0.81

    def test_the_final_exit_answers_whatever_the_scores(self):
        core = Core()
        run = stage_run(core.submit(7))
        run = stage_run(core.done(run, 0.1))
        run = stage_run(core.done(run, 0.1))
        outcome = only(Deliver, core.done(run, 0.1)).outcome
        assert (outcome.reason, outcome.answer.exit_index) == ("final", 2)

    def test_latency_counts_from_the_submission_not_from_its_handling(self):
        core = Core(FixedExit(0))
        actions = core.handle(Submit((7,), (None,), core.now_us - 500), after_us=0)
        assert only(Deliver, core.done(stage_run(actions), 0.1)).outcome.latency_us == 510

    def test_heads_that_nobody_reads_are_not_evaluated(self):
        core = Core(FinalExit())
        run = stage_run(core.submit(7))
        seen = [run.evaluate]
        while core.worker._running:
            actions = core.done(run, 0.9)
            if actions and isinstance(actions[-1], RunStage):
                run = actions[-1]
                seen.append(run.evaluate)
        assert seen == [False, False, True]

    def test_forced_exits_say_so(self):
        core = Core(FixedExit(1))
        run = stage_run(core.done(stage_run(core.submit(7))))
        assert only(Deliver, core.done(run, 0.2)).outcome.reason == "forced"

    def test_a_merged_plan_names_the_trained_exit(self):
        core = Core(MaxProbability([1.0, 0.8, 0.0]), exits=(1, 2))
        outcome = only(Deliver, core.done(stage_run(core.submit(7)), 0.9)).outcome
        assert outcome.answer.exit_index == 1

    def test_cosine_difference_evaluates_the_baseline(self):
        core = Core(CosineDifference([1, math.inf, 1]))
        run = stage_run(core.submit(7))
        assert run.evaluate
        assert not stage_run(core.done(run, 0.9, difference=1.0)).evaluate


class TestBatches:
    def test_items_submitted_together_form_one_batch(self):
        assert stage_run(Core().submit(1, 2, 3)).items == (1, 2, 3)

    def test_one_batch_at_a_time(self):
        core = Core()
        core.submit(1)
        assert core.submit(2) == []

    def test_every_item_leaves_at_its_own_exit_and_the_rest_goes_on(self):
        core = Core()
        run = stage_run(core.submit(1, 2, 3))
        run = stage_run(core.done(run, 0.9, 0.1, 0.1))
        assert run == RunStage(0, 1, (2, 3), True)
        run = stage_run(core.done(run, 0.1, 0.9))
        assert run == RunStage(0, 2, (2,), True)
        core.done(run, 0.1)
        assert [(o.item, o.answer.exit_index) for o in core.outcomes] == [(1, 0), (3, 1), (2, 2)]

    def test_no_larger_than_allowed(self):
        core = Core(max_batch=2)
        assert stage_run(core.submit(1, 2, 3)).items == (1, 2)

    def test_the_queue_is_first_in_first_out(self):
        # Algorithm 1: the next task of an item enters the queue behind what waits already.
        core = Core(max_batch=1)
        run = stage_run(core.submit(1, 2))
        ran = []
        while True:
            ran.append((run.items[0], run.stage))
            actions = core.done(run, 0.1)
            if not (actions and isinstance(actions[-1], RunStage)):
                break
            run = actions[-1]
        assert ran == [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]

    def test_those_at_the_same_stage_join_the_head_of_the_queue(self):
        core = Core(max_batch=4)
        run = stage_run(core.submit(1, 2))
        core.submit(3)
        run = stage_run(core.done(run, 0.1))  # 3 is at the head now, alone at stage 0
        assert run == RunStage(0, 0, (3,), True)
        core.submit(4)
        run = stage_run(core.done(run, 0.1))
        assert run == RunStage(0, 1, (1, 2, 3), True)

    def test_a_head_is_evaluated_if_anyone_in_the_batch_reads_it(self):
        core = Core(RandomExit(), seed=1)
        run = stage_run(core.submit(*range(20)))
        drawn = [core.worker._running[item].policy_state for item in run.items]
        assert run.evaluate and len(set(drawn)) == 3
        core.done(run, 0.9)
        assert [o.item for o in core.outcomes] == [i for i in run.items if drawn[i] == 0]


class TestDeadlines:
    def test_a_timer_is_set_and_cancelled(self):
        core = Core(FixedExit(0))
        actions = core.submit(7, deadline_us=9000)
        assert actions[0] == SetTimer(7, 9000)
        assert CancelTimer(7) in core.done(stage_run(actions), 0.5)

    def test_without_an_answer_the_item_expires(self):
        core = Core()
        core.submit(7, deadline_us=2000, best_at_deadline=True)
        outcome = only(Deliver, core.handle(Timer(7))).outcome
        assert (outcome.status, outcome.reason, outcome.answer) == ("expired", "deadline", None)

    def test_the_best_answer_known_is_the_latest_exit(self):
        core = Core()
        run = stage_run(core.submit(7, deadline_us=2000, best_at_deadline=True))
        run = stage_run(core.done(run, 0.3))
        core.done(run, 0.2)
        outcome = only(Deliver, core.handle(Timer(7))).outcome
        assert (outcome.status, outcome.reason) == ("result", "deadline")
        assert outcome.answer.exit_index == 1

    def test_unless_it_is_not_wanted(self):
        core = Core()
        core.done(stage_run(core.submit(7, deadline_us=2000)), 0.3)
        assert only(Deliver, core.handle(Timer(7))).outcome.status == "expired"

    def test_a_waiting_item_leaves_the_queue(self):
        core = Core(max_batch=1)
        run = stage_run(core.submit(1))
        core.submit(2, deadline_us=2000)
        core.handle(Timer(2))
        assert core.worker.queue_length == 0
        assert stage_run(core.done(run, 0.1)).items == (1,)

    def test_what_a_stage_gives_too_late_is_counted_and_dropped(self):
        core = Core()
        run = stage_run(core.submit(7, deadline_us=2000))
        core.handle(Timer(7))
        assert core.done(run, 0.99) == []
        assert core.metrics.dropped_answers == 1
        assert len(core.outcomes) == 1

    def test_a_timer_that_rings_after_the_end_is_ignored(self):
        core = Core(FixedExit(0))
        core.done(stage_run(core.submit(7, deadline_us=2000)), 0.5)
        assert core.handle(Timer(7)) == []


class TestCancelAndLatest:
    def test_a_waiting_item_can_be_cancelled(self):
        core = Core()
        core.submit(1)
        core.submit(2)
        outcome = only(Deliver, core.handle(Cancel(2))).outcome
        assert (outcome.item, outcome.status, outcome.reason) == (2, "failed", "cancelled")
        assert core.worker.queue_length == 0

    def test_a_running_item_cannot(self):
        core = Core()
        run = stage_run(core.submit(1))
        assert core.handle(Cancel(1)) == []
        assert only(Deliver, core.done(run, 0.9)).outcome.status == "result"

    def test_nor_one_that_has_ended_or_never_was(self):
        assert Core().handle(Cancel(99)) == []

    def test_latest_expires_what_waits_and_nothing_that_runs(self):
        core = Core()
        core.submit(1)
        core.submit(2, 3)
        actions = core.submit(4, latest=True)
        ended = [(a.outcome.item, a.outcome.reason) for a in actions if isinstance(a, Deliver)]
        assert ended == [(2, "superseded"), (3, "superseded")]
        assert core.worker.queue_length == 1


class TestFailures:
    def test_a_failed_stage_fails_its_batch_and_nobody_else(self):
        core = Core(max_batch=2)
        run = stage_run(core.submit(1, 2, 3))
        actions = core.handle(StageFailed(0, 0, run.items, "out of memory"))
        failed = [a.outcome for a in actions if isinstance(a, Deliver)]
        assert [(o.item, o.status, o.reason) for o in failed] == [
            (1, "failed", "stage_failed"),
            (2, "failed", "stage_failed"),
        ]
        assert "out of memory" in failed[0].detail
        assert stage_run(actions).items == (3,)

    def test_nan_goes_on_and_fails_at_the_final_exit(self):
        core = Core()
        run = stage_run(core.submit(7))
        run = stage_run(core.done(run, math.nan))
        run = stage_run(core.done(run, math.nan))
        outcome = only(Deliver, core.done(run, math.nan)).outcome
        assert (outcome.status, outcome.reason) == ("failed", "not_finite")
        assert "NaN at exit 2" in outcome.detail

    def test_nan_is_no_answer_at_a_forced_exit(self):
        core = Core(FixedExit(0))
        assert only(Deliver, core.done(stage_run(core.submit(7)), math.nan)).outcome.status == (
            "failed"
        )

    def test_shutdown_fails_everything_that_is_open(self):
        core = Core()
        core.submit(1)
        core.submit(2)
        core.handle(Shutdown("closed", "the pipeline was closed"))
        assert [(o.item, o.reason) for o in core.outcomes] == [(1, "closed"), (2, "closed")]
        assert core.worker.queue_length == 0

    def test_submitting_an_item_twice_is_our_own_bug(self):
        core = Core()
        core.submit(1)
        with pytest.raises(AssertionError, match="item 1 was admitted twice"):
            core.submit(1)


SURE = Scores(3, 0.9, 0.8, 0.1)


class TestEnsembles:
    def test_every_part_runs_and_one_answer_is_gathered(self):
        core = Core(part_count=2)
        run = stage_run(core.submit(7))
        assert (run.part, run.stage) == (0, 0)
        run = stage_run(core.done(run, 0.9, b"f0"))
        assert (run.part, run.stage) == (1, 0)
        assert core.done(run, 0.9, b"f1") == [Classify(7, (b"f0", b"f1"))]
        ended = core.handle(Classified(7, SURE))
        assert [type(action) for action in ended] == [Deliver, Release]
        outcome = ended[0].outcome
        assert (outcome.status, outcome.reason) == ("result", "threshold")
        assert outcome.answer == Answer(0, SURE)
        assert core.worker.queue_length == 0

    def test_each_part_leaves_by_itself(self):
        core = Core(part_count=2)
        run = stage_run(core.submit(7))
        run = stage_run(core.done(run, 0.9))
        run = stage_run(core.done(run, 0.1))
        assert (run.part, run.stage) == (1, 1)

    def test_a_missing_part_degrades_the_answer_at_the_deadline(self):
        core = Core(part_count=2)
        run = stage_run(core.submit(7, deadline_us=2000, best_at_deadline=True))
        core.done(run, 0.9, b"f0")
        assert only(Classify, core.handle(Timer(7))) == Classify(7, (b"f0", None))
        outcome = only(Deliver, core.handle(Classified(7, SURE))).outcome
        assert (outcome.status, outcome.reason) == ("result", "degraded")

    def test_a_part_that_fails_degrades_the_answer_and_one_that_is_left_makes_it(self):
        core = Core(part_count=2)
        run = stage_run(core.submit(7))
        run = stage_run(core.handle(StageFailed(0, 0, (7,), "it broke")))
        assert (run.part, run.stage) == (1, 0)
        assert core.done(run, 0.9, b"f1") == [Classify(7, (None, b"f1"))]
        assert only(Deliver, core.handle(Classified(7, SURE))).outcome.reason == "degraded"

    def test_with_every_part_failed_so_is_the_item(self):
        core = Core(part_count=2)
        core.submit(7)
        core.handle(StageFailed(0, 0, (7,), "it broke"))
        outcome = only(Deliver, core.handle(StageFailed(1, 0, (7,), "this too"))).outcome
        assert (outcome.status, outcome.reason, outcome.detail) == (
            "failed",
            "stage_failed",
            "this too",
        )

    def test_its_exit_is_that_of_the_deepest_part(self):
        core = Core(part_count=2)
        run = stage_run(core.submit(7))
        run = stage_run(core.done(run, 0.1, b"f0"))  # part 0 goes on behind part 1
        run = stage_run(core.done(run, 0.9, b"f1"))
        assert (run.part, run.stage) == (0, 1)
        core.done(run, 0.9, b"F0")
        assert only(Deliver, core.handle(Classified(7, SURE))).outcome.answer.exit_index == 1

    def test_a_classifier_that_gives_nan_fails_the_item(self):
        core = Core(part_count=2)
        core.done(stage_run(core.done(stage_run(core.submit(7)), 0.9)), 0.9)
        nan = Scores(0, math.nan, math.nan, math.nan)
        outcome = only(Deliver, core.handle(Classified(7, nan))).outcome
        assert (outcome.status, outcome.reason) == ("failed", "not_finite")

    def test_what_comes_while_it_is_classified_changes_nothing(self):
        core = Core(part_count=2)
        run = stage_run(core.submit(7, deadline_us=2000, best_at_deadline=True))
        run = stage_run(core.done(run, 0.9, b"f0"))
        assert only(Classify, core.handle(Timer(7))).features == (b"f0", None)
        assert core.done(run, 0.9, b"f1") == []  # part 1 has left too late
        assert only(Deliver, core.handle(Classified(7, SURE))).outcome.reason == "degraded"

    def test_shutdown_ends_it_and_what_is_classified_then_is_nobodys(self):
        core = Core(part_count=2)
        core.done(stage_run(core.done(stage_run(core.submit(7)), 0.9)), 0.9)
        core.handle(Shutdown("closed", "the pipeline was closed"))
        assert [outcome.reason for outcome in core.outcomes] == ["closed"]
        assert core.handle(Classified(7, SURE)) == []


class EveryItemHasOneOutcome(RuleBasedStateMachine):
    """Any sequence of events: nothing is lost, nothing ends twice, nothing is left behind."""

    def __init__(self):
        super().__init__()
        self.core = Core(MaxProbability([0.8, 0.8, 0.0]), max_batch=3)
        self.run = None
        self.admitted = []
        self.timers = set()

    def follow(self, actions):
        for action in actions:
            if isinstance(action, RunStage):
                assert self.run is None, "two batches at once"
                self.run = action
            elif isinstance(action, SetTimer):
                self.timers.add(action.item)
            elif isinstance(action, CancelTimer):
                self.timers.remove(action.item)

    @rule(
        count=st.integers(1, 5),
        latest=st.booleans(),
        deadline=st.booleans(),
        best=st.booleans(),
    )
    def submit(self, count, latest, deadline, best):
        items = tuple(range(len(self.admitted), len(self.admitted) + count))
        self.admitted += items
        deadline_us = self.core.now_us + 100 if deadline else None
        self.follow(
            self.core.submit(*items, latest=latest, deadline_us=deadline_us, best_at_deadline=best)
        )

    @precondition(lambda self: self.run)
    @rule(data=st.data())
    def stage_done(self, data):
        run, self.run = self.run, None
        values = st.sampled_from([0.1, 0.9, math.nan])
        scores = None
        if run.evaluate:
            scores = [Scores(0, data.draw(values), 0.1, 0.1) for _ in run.items]
        self.follow(self.core.handle(StageDone(run.part, run.stage, run.items, scores)))

    @precondition(lambda self: self.run)
    @rule()
    def stage_failed(self):
        run, self.run = self.run, None
        self.follow(self.core.handle(StageFailed(run.part, run.stage, run.items, "x")))

    @precondition(lambda self: self.timers)
    @rule(data=st.data())
    def timer(self, data):
        item = data.draw(st.sampled_from(sorted(self.timers)))
        self.timers.remove(item)
        self.follow(self.core.handle(Timer(item)))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def cancel(self, data):
        self.follow(self.core.handle(Cancel(data.draw(st.sampled_from(self.admitted)))))

    @invariant()
    def nothing_ends_twice(self):
        ended = [outcome.item for outcome in self.core.outcomes]
        assert len(ended) == len(set(ended))
        released = [a.item for a in self.core.actions if isinstance(a, Release)]
        assert released == ended

    @invariant()
    def there_is_work_while_items_are_open(self):
        open_count = len(self.admitted) - len(self.core.outcomes)
        assert self.core.worker.queue_length <= open_count
        assert open_count == 0 or self.run is not None
        assert self.core.metrics.snapshot()["in_flight_count"] == open_count

    def teardown(self):
        while self.run:
            self.stage_failed()
        assert sorted(outcome.item for outcome in self.core.outcomes) == self.admitted
        assert not self.timers


TestEveryItemHasOneOutcome = EveryItemHasOneOutcome.TestCase
TestEveryItemHasOneOutcome.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
