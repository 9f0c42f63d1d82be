"""What travels between workers, and comes back."""

import math

import pytest
from by_hand import NAN, STAGES, ByHand, said

from edgesdk.core.admission import Admission
from edgesdk.core.events import (
    Answer,
    Cancel,
    Classified,
    Classify,
    Keep,
    Leave,
    PeerLost,
    Release,
    RunStage,
    Scores,
    StageFailed,
    Timer,
)
from edgesdk.core.exchange import ATTEMPTS_MAX, FAILURES_MAX
from edgesdk.core.exits import MaxProbability, Patience
from edgesdk.core.guests import GUESTS_MAX
from edgesdk.core.leases import LEASE_US_MIN
from edgesdk.core.messages import (
    HOPS_MAX,
    Ack,
    Bye,
    CancelTask,
    ItemId,
    Progress,
    ResultMessage,
    Task,
)
from edgesdk.core.offload import Offloading
from edgesdk.core.peer import HEARTBEAT_US

ANSWER = Answer(1, Scores(3, 0.9, 0.8, 0.1))


def run_of(actions):
    """The stage that begins to run."""
    (found,) = [action for action in actions if isinstance(action, RunStage)]
    return found


def away(**options):
    """Item 0 waits for worker 2's verdict on stage 1; item 1 runs, item 2 waits."""
    hand = ByHand(**options)
    hand.meet(2, delay_us=1)
    actions = hand.done(run_of(hand.submit(0, 1, 2)))
    assert [task.item.number for task in said(Task, actions, 2)] == [0]
    return hand


def guest(**options):
    """A task of worker 9 has come from worker 2 and runs."""
    hand = ByHand(**options)
    hand.meet(2)
    return hand, run_of(hand.send_task(2, 5, stage=2))


class TestTasksThatCome:
    def test_are_kept_under_a_name_of_their_own_and_run(self):
        hand = ByHand()
        hand.meet(2)
        actions = hand.send_task(2, 5)
        assert actions[:2] == [Keep(-2), RunStage(0, 1, (-2,), True)]
        assert hand.counter("tasks_received") == 1

    def verdict(self, hand, **options):
        hand.send_task(2, 5, **options)
        ack = said(Ack, hand.wake(after_us=5_000))[-1]
        return "accepted" if ack.accepted else "refused" if ack.refused else None

    def test_are_accepted_into_the_queue(self):
        hand = ByHand()
        hand.meet(2)
        assert self.verdict(hand) == "accepted"

    def test_are_refused_if_their_stage_is_not_held(self):
        hand = ByHand(stages=STAGES[:1])
        hand.meet(2)
        assert self.verdict(hand) == "refused"
        assert len(hand.core._guests) == 0

    def test_are_refused_without_room(self):
        hand = ByHand()
        hand.meet(2)
        for number in range(GUESTS_MAX):
            hand.send_task(2, number, oldest=number + 1)
        assert len(hand.core._guests) == GUESTS_MAX
        assert self.verdict(hand, oldest=GUESTS_MAX + 1) == "refused"

    def test_are_refused_by_a_worker_that_leaves(self):
        hand, _ = guest()
        hand.handle(Leave())
        hand.send_task(2, 6)
        (ack,) = said(Ack, hand.wake(after_us=5_000))
        assert (ack.accepted, ack.refused, ack.task_limit) == (0b01, 0b10, 0)

    def test_are_dropped_without_a_word_when_their_deadline_passes(self):
        hand, run = guest()
        hand.send_task(2, 6, deadline_us=900)
        actions = hand.done(run, after_us=900)
        assert hand.counter("tasks_expired") == 1 and Release(-3) in actions
        assert [result.item.number for result in said(ResultMessage, actions)] == [5]

    def test_and_not_before(self):
        hand, run = guest()
        hand.send_task(2, 6, deadline_us=901)
        assert run_of(hand.done(run, after_us=900)).items == (-3,)

    def test_continue_with_the_policys_state(self):
        hand = ByHand(policy=Patience(2))
        hand.meet(2)
        run = run_of(hand.send_task(2, 5, stage=1, policy_state=(1, 1)))
        (result,) = said(ResultMessage, hand.done(run))  # class 1 again: twice is enough
        assert result.answer.exit_index == 1

    def test_continue_with_the_threshold_of_their_source(self):
        # Algorithm 4: T_e travels with the task, and holds at every exit.
        for threshold, leaves in ((0.6, True), (0.7, False), (NAN, False)):
            hand = ByHand(policy=MaxProbability(0.9))
            hand.meet(2)
            run = run_of(hand.send_task(2, 5, stage=1, threshold=threshold))
            assert bool(said(ResultMessage, hand.done(run, 0.7))) is leaves


class TestResultsThatGo:
    def test_say_what_the_exit_said_and_release_the_features(self):
        hand, run = guest()
        actions = hand.done(run, 0.7)
        (result,) = said(ResultMessage, actions, 2)
        assert (result.item, result.reason, result.attempt) == (ItemId(9, 1, 5), "final", 0)
        assert result.answer == Answer(2, Scores(1, 0.7, 0.1, 0.1))
        assert Release(-2) in actions

    def test_go_straight_to_a_source_that_is_a_neighbour(self):
        hand = ByHand()
        hand.meet(2)
        hand.meet(9)
        run = run_of(hand.send_task(2, 5, stage=2))
        assert len(said(ResultMessage, hand.done(run), 9)) == 1

    def test_go_the_way_the_task_came_otherwise(self):
        hand = ByHand()
        hand.meet(2)
        hand.meet(3)
        run = run_of(hand.send_task(2, 5, stage=2))
        assert len(said(ResultMessage, hand.done(run), 2)) == 1

    def test_are_passed_on_by_those_between(self):
        hand = ByHand(stages=STAGES[:2])
        hand.meet(2)
        hand.meet(3, delay_us=1)
        run = run_of(hand.send_task(2, 5, stage=1))
        (sent,) = said(Task, hand.done(run), 3)
        # The result of a quick stage is here before the Ack.
        result = {"item": sent.item, "hop": 1}
        (onward,) = said(ResultMessage, hand.send_result(3, 5, ANSWER, **result), 2)
        assert (onward.item, onward.hop, onward.answer) == (sent.item, 2, ANSWER)

    def test_do_not_travel_for_ever(self):
        hand = ByHand()
        hand.meet(2)
        hand.meet(9)
        item = ItemId(9, 1, 5)
        assert said(ResultMessage, hand.send_result(2, 5, ANSWER, item=item, hop=HOPS_MAX)) == []
        assert hand.counter("results_unrouted") == 1

    def test_of_a_source_that_started_again_end_there(self):
        hand = ByHand()
        hand.meet(2)
        item = ItemId(1, 6, 5)  # ours, of an earlier epoch
        hand.send_result(2, 5, ANSWER, item=item)
        assert hand.outcomes == [] and hand.counter("results_unrouted") == 1

    def test_a_stage_that_failed_says_why(self):
        hand, run = guest()
        (result,) = said(ResultMessage, hand.handle(StageFailed(0, 2, run.items, "no memory")))
        assert (result.reason, result.answer, result.detail) == ("stage_failed", None, "no memory")

    def test_nan_at_the_final_exit_is_a_failure(self):
        hand, run = guest()
        (result,) = said(ResultMessage, hand.done(run, math.nan))
        assert (result.reason, result.answer) == ("not_finite", None)


class TestTasksThatGo:
    def test_carry_what_the_next_worker_needs(self):
        hand = ByHand(policy=Patience(9))
        hand.meet(2, delay_us=1)
        actions = hand.done(run_of(hand.submit(0, 1, 2, deadline_us=hand.now_us + 9_000)))
        (task,) = said(Task, actions)
        assert (task.item, task.part, task.stage) == (ItemId(1, 7, 0), 0, 1)
        assert (task.attempt, task.hop, task.deadline_us) == (0, 1, 8_000)
        assert task.policy_state == (1, 1) and math.isnan(task.threshold)

    def test_carry_the_threshold_of_algorithm_4(self):
        hand = away(admission=Admission(kind="threshold", threshold=0.7))
        assert [task.threshold for task in said(Task, hand.actions)] == [0.7]

    def test_of_others_keep_what_they_came_with(self):
        hand = ByHand(stages=STAGES[:2])
        hand.meet(2)
        hand.meet(3)
        options = {"attempt": 4, "hop": 3, "deadline_us": 9_000, "threshold": 0.7}
        (task,) = said(Task, hand.done(run_of(hand.send_task(2, 5, **options)), 0.6), 3)
        assert (task.item, task.stage, task.attempt, task.hop) == (ItemId(9, 1, 5), 2, 4, 4)
        assert (task.deadline_us, task.threshold) == (8_000, 0.7)

    def test_are_ours_until_they_are_accepted(self):
        hand = away()
        assert hand.core._exchange.leases.accepted_by(2) == []
        hand.settle(2, 1)
        assert hand.core._exchange.leases.accepted_by(2) == [(0, 0)]

    def test_come_back_if_they_are_refused_and_that_is_no_attempt(self):
        hand = away()
        hand.settle(2, 1, accepted=False, task_limit=0)
        assert hand.counter("tasks_refused") == 1
        assert [task.attempt for task in hand.core._queue.values() if task.item == 0] == [0]

    def test_of_others_are_forgotten_when_the_next_worker_has_them(self):
        hand = ByHand(stages=STAGES[:2])
        hand.meet(2)
        hand.meet(3)
        hand.done(run_of(hand.send_task(2, 5)))
        assert len(hand.core._guests) == 1
        assert Release(-2) in hand.settle(3, 1)
        assert len(hand.core._guests) == 0


class TestLeases:
    def accepted(self, **options):
        hand = away(**options)
        hand.settle(2, 1, task_limit=0)
        return hand

    def test_over_means_again_from_the_features_that_stayed(self):
        hand = self.accepted()
        hand.wake(after_us=LEASE_US_MIN)
        (task,) = [task for task in hand.core._queue.values() if task.item == 0]
        assert (task.stage, task.attempt) == (1, 1)
        assert hand.counter("leases_expired") == 1

    def test_are_renewed_by_news(self):
        hand = self.accepted()
        for _ in range(4):
            hand.tell(2, Progress(1, 7, 1, 2, ((0, 0),)))
            hand.wake(after_us=LEASE_US_MIN // 2)
        assert hand.counter("leases_expired") == 0

    def test_news_of_another_epoch_renew_nothing(self):
        hand = self.accepted()
        for _ in range(2):
            hand.tell(2, Progress(1, 6, 1, 2, ((0, 0),)))
            hand.wake(after_us=LEASE_US_MIN // 2)
        assert hand.counter("leases_expired") == 1

    def test_the_first_result_wins(self):
        hand = self.accepted()
        hand.wake(after_us=LEASE_US_MIN)  # attempt 1 waits here
        hand.send_result(2, 0, ANSWER)
        hand.send_result(2, 0, ANSWER, attempt=1)
        assert [(o.item, o.answer) for o in hand.outcomes] == [(0, ANSWER)]
        assert hand.counter("results_late") == 1
        assert 0 not in [task.item for task in hand.core._queue.values()]

    def test_a_result_after_the_deadline_is_counted_and_dropped(self):
        hand = self.accepted()
        hand.source._items[0].deadline_us = hand.now_us
        hand.handle(Timer(0))
        hand.send_result(2, 0, ANSWER)
        assert [o.status for o in hand.outcomes] == ["expired"]
        assert hand.counter("results_late") == 1

    def test_end_with_a_neighbour_that_dies(self):
        hand = self.accepted()
        for _ in range(7):
            hand.wake(after_us=HEARTBEAT_US)
            hand.core._exchange.leases.renew([(0, 0)], hand.now_us)  # as if another had it
        assert hand.counter("sessions_lost.silent") == 1
        assert len(hand.core._exchange.leases) == 0

    def test_go_on_after_a_neighbour_that_left_for_it_ended_what_it_had(self):
        hand = self.accepted()
        hand.tell(2, Bye(False))
        hand.tell(2, Bye(True))
        assert hand.core._exchange.leases.accepted_by(2) == [(0, 0)]

    def test_an_item_is_not_tried_for_ever(self):
        hand = self.accepted()
        hand.core._exchange.leases._leases[(0, 0)].task.attempt = ATTEMPTS_MAX
        hand.wake(after_us=LEASE_US_MIN)
        (outcome,) = hand.outcomes
        assert (outcome.item, outcome.status, outcome.reason) == (0, "failed", "attempts")
        assert outcome.detail == "11 attempts came to nothing"

    def test_a_part_that_is_late_is_cancelled_once_the_others_have_answered(self):
        hand = ByHand(part_count=2, stages=STAGES + tuple((1, s) for s in range(3)))
        hand.meet(2, stages=STAGES, delay_us=1)
        run = run_of(hand.submit(0, 1, deadline_us=hand.now_us + 50_000, best_at_deadline=True))
        run = run_of(hand.done(run))  # part 0 of item 0 goes to worker 2
        hand.settle(2, 1, task_limit=0)
        hand.done(run)
        assert (0, 0) in hand.core._exchange.leases
        (asked,) = [a for a in hand.handle(Timer(0)) if isinstance(a, Classify)]
        told = hand.handle(Classified(asked.item, Scores(1, 0.9, 0.8, 0.1)))
        assert said(CancelTask, told, 2) == [CancelTask(ItemId(1, 7, 0))]

    def test_a_part_that_runs_here_when_its_result_comes_changes_it_no_more(self):
        hand = ByHand(part_count=2, stages=STAGES + tuple((1, s) for s in range(3)))
        hand.meet(2, stages=STAGES, delay_us=1)
        run = run_of(hand.submit(0))
        assert (run.part, run.stage) == (0, 0)
        hand.send_result(2, 0, Answer(2, ANSWER.scores, b"far"))  # of an attempt before
        run = run_of(hand.done(run))  # it notes exit 0
        while run.part == 0:
            run = run_of(hand.done(run))
        assert (run.part, run.stage) == (1, 0)
        assert hand.metrics.dropped_answers == 1
        (asked,) = [a for a in hand.done(run, 0.9) if isinstance(a, Classify)]
        assert asked.features[0] == b"far"

    def test_a_part_that_was_tried_too_often_leaves_the_item_to_the_others(self):
        hand = ByHand(part_count=2, stages=STAGES + tuple((1, s) for s in range(3)))
        hand.meet(2, stages=STAGES, delay_us=1)
        run = run_of(hand.submit(0, 1))
        run = run_of(hand.done(run))  # part 0 of item 0 goes to worker 2
        hand.settle(2, 1, task_limit=0)
        hand.done(run)  # part 1 waits here again
        assert (0, 1) in hand.core._queue
        hand.core._exchange.leases._leases[(0, 0)].task.attempt = ATTEMPTS_MAX
        hand.wake(after_us=LEASE_US_MIN)
        assert hand.outcomes == [] and (0, 1) in hand.core._queue
        hand.core._source.fail_part(0, 1, "attempts", "why", 0, [])
        assert not hand.core._source.is_open(0)


class TestFailuresElsewhere:
    def fail(self, hand, reason="stage_failed", **options):
        return hand.send_result(2, 0, None, reason, detail="it broke", **options)

    def test_a_stage_is_tried_again(self):
        hand = away()
        hand.settle(2, 1, task_limit=0)
        self.fail(hand)
        (task,) = [task for task in hand.core._queue.values() if task.item == 0]
        assert task.attempt == 1 and hand.outcomes == []

    def test_so_it_is_if_the_failure_is_here_before_the_ack(self):
        hand = away()
        hand.report(2, task_limit=0)
        self.fail(hand)
        assert len(hand.core._neighbours.peers[2].link.unsettled) == 0
        hand.settle(2, 1, task_limit=0)
        assert len(hand.core._exchange.leases) == 0
        assert [task.item for task in hand.core._queue.values()].count(0) == 1

    def test_where_it_failed_once_it_never_goes_again(self):
        hand = away()
        hand.settle(2, 1, delay_us=1)
        before = len(hand.actions)
        self.fail(hand)
        hand.submit(3, 4, 5)
        while [task for task in hand.core._running.values() if task.guest is None]:
            hand.report(2, delay_us=1)  # near, fast and free: it gets what it may get
            hand.done([each for each in hand.actions if isinstance(each, RunStage)][-1])
        sent = [task.item.number for task in said(Task, hand.actions[before:], 2)]
        assert 0 not in sent and len(set(sent)) >= 3
        assert [(o.item, o.status) for o in hand.outcomes] == [(0, "result")]

    def test_but_only_so_often(self):
        hand = away()
        self.fail(hand, attempt=FAILURES_MAX - 1)
        (outcome,) = hand.outcomes
        assert (outcome.status, outcome.reason, outcome.detail) == (
            "failed",
            "stage_failed",
            "it broke",
        )

    def test_nan_would_be_nan_again(self):
        hand = away()
        self.fail(hand, reason="not_finite")
        assert [o.reason for o in hand.outcomes] == ["not_finite"]


class TestCancellation:
    def test_an_item_that_expires_is_cancelled_where_it_is(self):
        hand = away()
        hand.settle(2, 1)
        hand.source._items[0].deadline_us = hand.now_us
        assert said(CancelTask, hand.handle(Timer(0)), 2) == [CancelTask(ItemId(1, 7, 0))]

    def test_a_task_on_its_way_is_not_repeated_any_more(self):
        hand = away()
        hand.source._items[0].deadline_us = hand.now_us
        hand.handle(Timer(0))
        assert len(hand.core._neighbours.peers[2].link.unsettled) == 0

    def test_a_result_is_not_answered_with_a_cancellation(self):
        hand = away()
        hand.settle(2, 1)
        assert said(CancelTask, hand.send_result(2, 0, ANSWER)) == []

    def test_unless_another_attempt_is_still_away(self):
        hand = away()
        hand.settle(2, 1)
        hand.core._exchange.leases._leases[(0, 0)].task.attempt = 1
        assert len(said(CancelTask, hand.send_result(2, 0, ANSWER, attempt=0))) == 1

    def test_one_parts_result_does_not_cancel_the_other(self):
        hand = away(part_count=2, stages=STAGES + tuple((1, s) for s in range(3)))
        hand.settle(2, 1)
        hand.core._exchange.leases._leases[(0, 0)].task.attempt = 1
        assert said(CancelTask, hand.send_result(2, 0, ANSWER)) == []
        assert hand.source.is_open(0)

    def test_what_waits_here_is_dropped_what_runs_ends_by_itself(self):
        hand, run = guest()
        hand.send_task(2, 6)
        actions = hand.tell(2, CancelTask(ItemId(9, 1, 6)))
        assert Release(-3) in actions and hand.core.queue_length == 0
        hand.tell(2, CancelTask(ItemId(9, 1, 5)))
        assert said(ResultMessage, hand.done(run)) == []
        assert hand.metrics.dropped_answers == 1

    def test_what_is_on_its_way_is_not_repeated(self):
        hand = ByHand(stages=STAGES[:2])
        hand.meet(2)
        hand.meet(3)
        hand.done(run_of(hand.send_task(2, 5)))
        hand.tell(2, CancelTask(ItemId(9, 1, 5)))
        assert len(hand.core._neighbours.peers[3].link.unsettled) == 0

    def test_of_an_item_that_is_not_here_is_nothing(self):
        hand, _ = guest()
        assert hand.tell(2, CancelTask(ItemId(9, 1, 99))) == []

    def test_the_application_cannot_cancel_what_was_sent(self):
        hand = away()
        hand.handle(Cancel(0))
        assert hand.outcomes == []


class TestProgress:
    def test_sources_hear_that_their_items_are_here(self):
        hand, _ = guest()
        assert said(Progress, hand.wake(after_us=HEARTBEAT_US), 2) == [
            Progress(9, 1, 1, 1, ((5, 0),))
        ]

    def test_it_goes_straight_to_a_source_that_is_a_neighbour(self):
        hand, _ = guest()
        hand.meet(9)
        assert len(said(Progress, hand.wake(after_us=HEARTBEAT_US), 9)) == 1

    def test_it_is_passed_on_to_a_source_that_is_a_neighbour(self):
        hand = ByHand()
        hand.meet(2)
        hand.meet(9)
        news = Progress(9, 1, 1, 2, ((5, 0),))
        assert said(Progress, hand.tell(2, news)) == [news._replace(hop=2)]
        assert said(Progress, hand.tell(2, news._replace(hop=HOPS_MAX))) == []

    def test_or_the_way_the_task_came(self):
        hand = ByHand(stages=STAGES[:2])
        hand.meet(2)
        hand.meet(3)
        hand.done(run_of(hand.send_task(2, 5)))
        assert len(said(Progress, hand.tell(3, Progress(9, 1, 1, 3, ((5, 0),))), 2)) == 1
        assert said(Progress, hand.tell(3, Progress(9, 1, 1, 3, ((6, 0),)))) == []


class TestStrandedTasks:
    def stranded(self, source, **meets):
        """Stage 2 of a task of `source`, which came from worker 2, is not held by anybody here."""
        hand = ByHand(stages=STAGES[:2])
        hand.meet(2, **meets)
        hand.done(run_of(hand.send_task(2, 5, source=source)))
        return hand, hand.wake(after_us=HEARTBEAT_US)

    def test_go_back_to_their_source(self):
        _, actions = self.stranded(2, stages=STAGES[:1])
        (task,) = said(Task, actions, 2)
        assert (task.stage, task.hop) == (2, 2)

    def test_or_to_a_neighbour_they_came_from_that_holds_the_stage(self):
        _, actions = self.stranded(9, offload=False)
        assert len(said(Task, actions, 2)) == 1

    def test_are_dropped_if_nobody_would_take_them_back(self):
        # The source's lease covers them; they would stay among the guests for ever.
        hand, actions = self.stranded(9, stages=STAGES[:1])
        assert said(Task, actions) == [] and Release(-2) in actions
        assert len(hand.core._guests) == 0

    def test_stay_if_that_is_wanted(self):
        hand = ByHand(stages=STAGES[:2], offloading=Offloading(return_stranded=False))
        hand.meet(2, stages=STAGES[:1])
        hand.done(run_of(hand.send_task(2, 5, source=2)))
        assert said(Task, hand.wake(after_us=HEARTBEAT_US)) == []
        assert hand.core.output_length == 1

    def test_a_task_of_ours_that_comes_back_goes_on_where_it_got_to(self):
        hand = away()
        hand.settle(2, 1, task_limit=0)
        ours = {"item": ItemId(1, 7, 0), "stage": 2, "hop": 2}
        assert Keep(0) in hand.send_task(2, 0, **ours)
        (task,) = [task for task in hand.core._queue.values() if task.item == 0]
        assert (task.stage, task.hop, task.attempt) == (2, 2, 0)
        assert len(hand.core._exchange.leases) == 0

    def test_and_counts_its_attempts_as_its_source_did(self):
        hand = away()
        hand.settle(2, 1, task_limit=0)
        hand.core._exchange.leases._leases[(0, 0)].task.attempt = 3
        hand.send_task(2, 0, item=ItemId(1, 7, 0), stage=2, hop=2, attempt=1)
        assert [task.attempt for task in hand.core._queue.values() if task.item == 0] == [3]

    @pytest.mark.parametrize("number", [0, 99])
    def test_unless_it_was_started_again_meanwhile_or_never_was(self, number):
        hand = away()
        hand.settle(2, 1, task_limit=0)
        hand.wake(after_us=LEASE_US_MIN)
        ours = {"item": ItemId(1, 7, number), "stage": 2, "hop": 2}
        assert Keep(number) not in hand.send_task(2, number, **ours)
        assert len(hand.core._guests) == 0


class TestCounts:
    def counts(self, hand):
        known = hand.core.neighbours[2].describe(hand.now_us)
        return [known[name + "_count"] for name in ("sent", "received", "answered")]

    def test_what_went_to_a_neighbour_and_what_it_answered_first(self):
        hand = away()
        assert self.counts(hand) == [1, 0, 0]
        hand.send_result(2, 0, ANSWER)
        hand.send_result(2, 0, ANSWER, attempt=1)  # too late to count
        assert self.counts(hand) == [1, 0, 1]

    def test_what_came_from_a_neighbour_and_was_computed_here(self):
        hand, run = guest()
        assert (self.counts(hand), hand.counter("tasks_computed")) == ([0, 1, 0], 0)
        hand.done(run)
        assert (self.counts(hand), hand.counter("tasks_computed")) == ([0, 1, 0], 1)

    def test_they_outlive_the_session(self):
        hand = away()
        hand.handle(PeerLost(2))
        assert self.counts(hand) == [1, 0, 0]
