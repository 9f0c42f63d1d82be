"""A node: what happens to it, what its core asks for, and what features it holds meanwhile."""

import pytest
from sim_worlds import SECOND, Forward, PingPong, Recorder, Toy, load, local, model, pair, run, task

from edgesdk.core.events import (
    WAKE,
    CancelTimer,
    CloseLink,
    Deliver,
    Keep,
    MessageReceived,
    OpenLink,
    Outcome,
    PeerFound,
    Release,
    RunStage,
    Send,
    SetTimer,
    StageDone,
    StageFailed,
    Timer,
)
from edgesdk.core.messages import CONTROL, DATA, ItemId
from edgesdk.sim.simulator import Simulator
from edgesdk.sim.spec import Fault, Node, Workload

ONE = Workload("a", "trace", times_us=(0,))
END = Outcome(0, None, "expired", "deadline", None, 0)


def scripted(**answers):
    """A toy whose handlers give a list of actions, whatever the event says."""
    return type(
        "Scripted",
        (Toy,),
        {name: (lambda self, event, now_us, a=actions: a) for name, actions in answers.items()},
    )


def watch(scenario, worker, **options):
    """Simulate; gives what was seen and the simulator."""
    recorder = Recorder()
    simulator = Simulator(scenario, 1, recorder, new_worker=worker, **options)
    simulator.run(linger_us=10 * SECOND)
    return recorder, simulator


class TestComputing:
    def stage_done(self, scenario, items=(0,), stage=0, evaluate=True):
        """(time, event) of the end of one stage, which ends the run."""
        times = tuple(range(len(items)))
        workload = ONE._replace(times_us=times)

        class Once(Toy):
            def on_Submit(self, event, now_us):
                return [RunStage(0, stage, items, evaluate)] if event.items[0] == items[-1] else []

            def on_StageDone(self, event, now_us):
                return [Deliver(END) for _ in items] + [Release(item) for item in items]

        recorder, _ = watch(scenario._replace(workloads=(workload,)), Once)
        ((now_us, event),) = recorder.at("a", StageDone)
        return now_us - times[-1], event

    def test_a_stage_takes_its_time(self):
        took_us, event = self.stage_done(local(model=model((1500, 10, 10))))
        assert took_us == 1500
        assert event[:3] == (0, 0, (0,))

    def test_a_fast_node_is_faster(self):
        world = local(model=model((1500, 10, 10)), nodes=(Node("a", speed=3.0),))
        assert self.stage_done(world)[0] == 500

    def test_every_further_item_of_a_batch_takes_its_share(self):
        world = local(model=model((1000, 10, 10), batch_share=0.25))
        assert self.stage_done(world, items=(0, 1, 2))[0] == 1500

    def test_items_get_the_scores_of_the_images_in_turn(self):
        world = local()
        (easy,), (hard,) = [image.scores for image in world.model.images]
        _, event = self.stage_done(world, items=(0, 1, 2))
        assert event.scores == [easy[0], hard[0], easy[0]]

    def test_a_head_that_is_not_wanted_gives_no_scores(self):
        assert self.stage_done(local(), evaluate=False)[1].scores is None

    def test_two_stages_at_once_are_a_mistake_of_the_core(self):
        twice = scripted(on_Submit=[RunStage(0, 0, (0,), True)] * 2)
        with pytest.raises(AssertionError, match=r"a: RunStage.* during "):
            run(local(ONE), new_worker=twice)

    def test_so_is_a_stage_that_the_node_does_not_hold(self):
        world = local(ONE, nodes=(Node("a", stages=(1, 2)),))
        with pytest.raises(AssertionError, match="a does not hold the stage"):
            run(world, new_worker=scripted(on_Submit=[RunStage(0, 0, (0,), True)]))

    def test_and_an_action_that_nobody_knows(self):
        with pytest.raises(KeyError, match="Timer"):
            run(local(ONE), new_worker=scripted(on_Submit=[Timer(0)]))


class TestFeatures:
    def test_a_stage_needs_its_own_input(self):
        skips = scripted(on_Submit=[RunStage(0, 1, (0,), True)])
        with pytest.raises(AssertionError, match=r"RunStage.* with features .*, 0\)"):
            run(local(ONE), new_worker=skips)

    def test_what_was_released_is_gone(self):
        forgets = scripted(on_Submit=[Release(0), RunStage(0, 0, (0,), True)])
        with pytest.raises(AssertionError, match=r"RunStage.* with features None"):
            run(local(ONE), new_worker=forgets)

    def test_after_a_stage_they_are_the_input_of_the_next(self):
        _, simulator = watch(
            local(ONE), scripted(on_Submit=[RunStage(0, 0, (0,), True)], on_StageDone=[])
        )
        (body,) = simulator.bodies
        assert body.held == {(0, 0): (ItemId(1, body.epoch, 0), 0, 1)}

    def test_what_was_released_meanwhile_stays_gone(self):
        releases = scripted(
            on_Submit=[RunStage(0, 0, (0,), True), SetTimer(WAKE, 10)],
            on_Timer=[Release(0)],
            on_StageDone=[],
        )
        _, simulator = watch(local(ONE), releases)
        assert simulator.bodies[0].held == {}

    def test_a_task_is_sent_with_the_features_it_asks_to_compute(self):
        for envelope in (task(ItemId(1, 9, 0)), task(ItemId(1, 9, 0), stage=1)):
            sends = scripted(on_Submit=[Send(2, DATA, envelope, 0)])
            with pytest.raises(AssertionError, match=r"a: Send.* with features"):
                run(pair((ONE,)), new_worker=sends)

    def test_and_never_without(self):
        sends = scripted(on_Submit=[Send(2, DATA, task(ItemId(1, 9, 0)), None)])
        with pytest.raises(AssertionError, match="without features"):
            run(pair((ONE,)), new_worker=sends)

    def test_what_is_kept_is_what_was_sent_and_the_sender_still_has_it(self):
        class Keeper(Forward):
            def on_MessageReceived(self, event, now_us):
                return [Keep(-7)]

            def on_Submit(self, event, now_us):
                return super().on_Submit(event, now_us)[:1]

        _, simulator = watch(pair((ONE,)), Keeper)
        a, b = simulator.bodies
        assert a.held == {(0, 0): (ItemId(1, a.epoch, 0), 0, 0)}
        assert b.held == {(-7, 0): a.held[(0, 0)]}

    def test_a_bottleneck_takes_time_at_both_ends(self):
        coded = model()._replace(
            parts=(model().parts[0]._replace(encode_us=(100, 0, 0), decode_us=(300, 0, 0)),)
        )
        nodes = (Node("a", speed=2.0), Node("b"))
        world = pair((ONE._replace(times_us=(0, 0)),), nodes, model=coded, delay_us=500)
        recorder, simulator = watch(world, Forward)
        arrived = [now_us for now_us, _ in recorder.at("b", MessageReceived)]
        ended = [now_us for now_us, _ in recorder.at("b", StageDone)]
        assert arrived == [550, 550], "100 us of encoding at speed 2, and the way"
        assert ended == [550 + 1300, 550 + 1300 + 1300], "both were decoded before their stage"
        assert simulator.bodies[0].busy_us == 0, "nothing runs there that could pay for encoding"

    def test_what_is_not_kept_is_dropped(self):
        class Drops(Forward):
            def on_MessageReceived(self, event, now_us):
                return []

        _, simulator = watch(pair((ONE,)), Drops)
        assert [body.held for body in simulator.bodies] == [{}, {}]

    def test_only_what_has_come_can_be_kept(self):
        with pytest.raises(AssertionError, match="no features have come"):
            run(local(ONE), new_worker=scripted(on_Submit=[Keep(-2)]))

    def test_none_are_leaked_or_invented_under_losses_and_doubles(self):
        kinds = {"loss": 0.1, "duplication": 0.1, "reordering": 0.1}
        workload = Workload("a", "poisson", rate_hz=400.0, item_count=300)
        _, simulator = watch(pair((workload,), mode="chaos", **kinds), Patient)
        assert [len(body.held) for body in simulator.bodies] == [0, 0]
        assert simulator.bodies[1].stage_run_count > 200


class Patient(Forward):
    """Takes a task twice if it comes twice, under another name."""

    def on_MessageReceived(self, event, now_us):
        name = -2 - (event.envelope.message.item.number << 20) - int(self.rng.getrandbits(20))
        self.waiting.append(name)
        return [Keep(name)] + ([self._next()] if len(self.waiting) == 1 else [])


class TestTimers:
    def rings(self, first, *later, **world):
        """Local times at which a timer rang; `first` are the actions at 0, `later` those of each
        ring."""

        seen = []

        class Ringing(Toy):
            def on_Submit(self, event, now_us):
                self.left = list(later)
                return first

            def on_Timer(self, event, now_us):
                seen.append((now_us, event.item))
                return self.left.pop(0) if self.left else []

        watch(local(ONE, **world), Ringing)
        return seen

    def test_one_rings_when_it_is_due(self):
        assert self.rings([SetTimer(WAKE, 500)]) == [(500, WAKE)]

    def test_one_of_the_past_rings_at_once(self):
        assert self.rings([SetTimer(3, 500)], [SetTimer(4, 20)]) == [(500, 3), (500, 4)]

    def test_a_later_wish_replaces_an_earlier_one(self):
        assert self.rings([SetTimer(3, 500), SetTimer(3, 900)]) == [(900, 3)]

    def test_an_earlier_one_too(self):
        assert self.rings([SetTimer(3, 900), SetTimer(3, 500)]) == [(500, 3)]

    def test_it_can_be_set_again_when_it_rings(self):
        again = [SetTimer(3, 900)]
        assert self.rings([SetTimer(3, 900), SetTimer(3, 500)], again) == [(500, 3), (900, 3)]

    def test_a_cancelled_one_is_silent(self):
        assert self.rings([SetTimer(3, 500), CancelTimer(3), CancelTimer(4)]) == []

    def test_a_cancelled_one_can_be_set_anew(self):
        actions = [SetTimer(3, 500), CancelTimer(3), SetTimer(3, 700)]
        assert self.rings(actions) == [(700, 3)]

    def test_wishes_that_move_on_leave_nothing_behind(self):
        _, simulator = watch(
            local(ONE), scripted(on_Submit=[SetTimer(WAKE, 10**9 + n) for n in range(1000)])
        )
        assert len(simulator.scheduler) < 10


class TestClock:
    def test_a_node_sees_its_own_time(self):
        world = local(
            Workload("a", "trace", times_us=(10 * SECOND,), deadline_us=500),
            nodes=(Node("a", drift_ppm=1000.0, clock_offset_us=7),),
        )
        recorder, _ = watch(world, scripted(on_Submit=[]))
        (event,) = [event for _, _, event in recorder.events if event != "start"]
        assert event.submitted_us == 7 + 10 * SECOND + 10_000
        assert event.deadline_us == event.submitted_us + 500

    @pytest.mark.parametrize("drift_ppm", [-1000.0, -1.5, 0.0, 1.5, 1000.0])
    def test_its_timers_ring_by_it(self, drift_ppm):
        seen = []

        class Rings(Toy):
            def on_Submit(self, event, now_us):
                self.due_us = now_us + 1_000_000
                return [SetTimer(WAKE, self.due_us)]

            def on_Timer(self, event, now_us):
                seen.append(now_us - self.due_us)
                return []

        node = Node("a", drift_ppm=drift_ppm, clock_offset_us=12_345)
        recorder, _ = watch(local(ONE, nodes=(node,)), Rings)
        assert seen in ([0], [1])
        ((now_us, _),) = recorder.at("a", Timer)
        assert now_us == pytest.approx(1_000_000 / (1 + drift_ppm / 1e6), abs=1)


class TestLinks:
    def test_a_worker_knows_its_neighbours_at_once(self):
        world = pair(offload=("b",))
        recorder, _ = watch(world, Toy)
        assert recorder.at("a", PeerFound) == [(0, PeerFound(2, False))]
        assert recorder.at("b", PeerFound) == [(0, PeerFound(1, True))]

    def test_messages_go_to_and_fro(self):
        recorder = Recorder()
        world = pair(delay_us=5000, duration_us=SECOND, heal_us=SECOND, grace_us=0, mode="chaos")
        run(
            world._replace(nodes=(Node("a", join_us=9), Node("b"))),
            1,
            observer=recorder,
            new_worker=PingPong,
        )
        a, b = recorder.messages("a"), recorder.messages("b")
        assert b[:2] == [(5009, 0), (15009, 2)]
        assert a[:2] == [(10009, 1), (20009, 3)]
        assert len(b) == 100

    def test_a_message_needs_an_open_link(self):
        sends = scripted(on_PeerFound=[Send(2, CONTROL, load(1))])
        with pytest.raises(AssertionError, match="without a link"):
            run(pair(), new_worker=sends)

    def test_a_closed_one_is_not_open(self):
        sends = scripted(on_PeerFound=[OpenLink(2), CloseLink(2), Send(2, CONTROL, load(1))])
        with pytest.raises(AssertionError, match="without a link"):
            run(pair(nodes=(Node("a"), Node("b", join_us=SECOND))), new_worker=sends)

    def test_there_are_links_to_neighbours_only(self):
        with pytest.raises(AssertionError, match=r"OpenLink.peer=3., which is no neighbour"):
            run(pair(), new_worker=scripted(on_PeerFound=[OpenLink(3)]))


class TestPause:
    def test_a_frozen_node_sees_everything_afterwards(self):
        times = tuple(n * SECOND for n in range(1, 6))
        workload = Workload("a", "trace", times_us=times)
        fault = Fault("pause", "b", 1_500_000, 3 * SECOND)
        recorder, _ = watch(pair((workload,), faults=(fault,)), Forward)
        seen = [now_us for now_us, _ in recorder.at("b", MessageReceived)]
        resumed_us = 4_500_000
        assert seen == [1_000_500, resumed_us, resumed_us, resumed_us, 5_000_500]

    def test_computations_that_end_and_timers_that_ring_meanwhile_are_seen_then(self):
        worker = scripted(
            on_Submit=[RunStage(0, 0, (0,), True), SetTimer(WAKE, 600)],
            on_StageDone=[],
            on_Timer=[],
        )
        fault = Fault("pause", "a", 500, SECOND)
        recorder, _ = watch(local(ONE, faults=(fault,)), worker)
        assert [now_us for now_us, _ in recorder.at("a", StageDone, Timer)] == [1_000_500] * 2

    def test_its_inbox_counts_as_unread(self):
        workload = Workload("a", "periodic", rate_hz=100.0, item_count=20)
        fault = Fault("pause", "b", 50_000, SECOND)
        recorder, simulator = watch(pair((workload,), faults=(fault,)), Forward, high_water_mark=8)
        assert simulator.totals().directions[0].lost == {"high_water": 7}
        assert len(recorder.at("b", MessageReceived)) == 13


class TestCrash:
    def test_it_voids_timers_and_computations(self):
        worker = scripted(on_Submit=[RunStage(0, 0, (0,), True), SetTimer(WAKE, 600)])
        recorder, simulator = watch(local(ONE, faults=(Fault("crash", "a", 500, 50),)), worker)
        assert recorder.at("a", StageDone, Timer) == []
        assert simulator.bodies[0].held == {}
        assert simulator.bodies[0].busy_us == 500

    def test_a_new_process_is_another_one(self):
        made = []

        class Kept(Toy):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                made.append(self)

        recorder, _ = watch(pair(faults=(Fault("crash", "b", 500, 50),)), Kept)
        _, before, after = made
        assert before.node == after.node
        assert before.epoch != after.epoch
        assert before.rng.random() != after.rng.random()
        assert recorder.at("b", str, PeerFound) == [
            (0, "start"),
            (0, PeerFound(1, True)),
            (500, "crash"),
            (550, "start"),
            (550, PeerFound(1, True)),
        ]

    def test_the_items_of_a_source_are_lost_with_it_and_counted(self):
        workload = Workload("a", "periodic", rate_hz=1000.0, item_count=10)
        totals = run(local(workload, faults=(Fault("crash", "a", 3500, 3000),)))
        (source,) = totals.sources
        ended = sum(source.ended.values())
        assert (source.submitted_count, source.missed_count) == (7, 3)
        assert source.lost_count == 7 - ended > 0
        assert source.open_count == 0

    def test_a_frozen_process_that_dies_leaves_no_frozen_one_behind(self):
        faults = (Fault("pause", "a", 100, 10 * SECOND), Fault("crash", "a", 200, 100))
        workload = Workload("a", "trace", times_us=(150, 1000))
        totals = run(local(workload, faults=faults))
        assert totals.sources[0].lost_count == 1
        assert totals.sources[0].answered_count == 1


def test_a_stage_that_fails_takes_its_time_and_says_so():
    worker = scripted(on_Submit=[RunStage(0, 0, (0,), True)], on_StageFailed=[])
    recorder, simulator = watch(local(ONE, faults=(Fault("fail", "a", 0, None, 1.0),)), worker)
    ((now_us, event),) = recorder.at("a", StageFailed)
    assert (now_us, event.items) == (1000, (0,))
    assert simulator.bodies[0].held[(0, 0)][2] == 0  # the features are as they were
