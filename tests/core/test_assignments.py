"""Stages that move: who may say so, in which order, and what becomes of tasks meanwhile."""

import pytest
from rig import MODEL, PLAN, answered, counter, ready, sent, until

from edgesdk.core.events import LoadStages, MessageReceived, StagesLoaded
from edgesdk.core.messages import Assign, Assigned, Envelope
from edgesdk.core.offload import LITERAL, Offloading
from edgesdk.core.replanning import Replanning, Seat, Work

assert MODEL != PLAN
EVERY = (0, 1, 2)
HELD = {1: ((0, 0),), 2: ((0, 1),), 3: ((0, 2),)}
LOAD_US = 200_000


def options(count=3, **changes):
    seats = tuple(
        Seat(w, "w{}".format(w), EVERY, tuple(o for o in range(1, count + 1) if o != w))
        for w in range(1, count + 1)
    )
    found = Replanning(1, 500_000, 0.15, 2, work=(Work(1000.0, 1e6),) * 3, seats=seats)
    return found._replace(**changes)


def make(replanning=None, **changes):
    """Three workers with a stage each, 1 the coordinator; `rig.cannot` load these stages."""
    rig = ready(3, stages=HELD, replanning=replanning or options(), **changes)
    rig.cannot = {}
    return rig


@pytest.fixture(autouse=True)
def loading(monkeypatch):
    """Workers load as long as LOAD_US, if there is anything new."""
    from rig import Rig

    def load(rig, worker, action, event, features):
        failure = "no file" if set(action.stages) & set(rig.cannot.get(worker, ())) else ""
        generation = rig.generation[worker]

        def loaded():
            if rig.generation[worker] == generation:
                rig.handle(worker, StagesLoaded(action.stages, failure))

        is_new = set(action.stages) - rig.cores[worker]._output.held
        rig.at(LOAD_US if is_new else 1000, loaded)

    monkeypatch.setattr(Rig, "_LoadStages", load, raising=False)
    monkeypatch.setattr(Rig, "_KeepStages", lambda *_: None, raising=False)


def held(rig, worker):
    return tuple(stage for _, stage in sorted(rig.cores[worker]._output.held))


def known(rig, worker, of):
    """What `worker` believes that `of` holds."""
    return tuple(stage for _, stage in sorted(rig.cores[worker].neighbours[of].stages))


def tell(rig, sender, receiver, message):
    """A message from `sender`, as if it had sent it now."""
    peer = rig.cores[sender].neighbours[receiver]
    envelope = Envelope(peer.my_session, peer.their_session, message)
    rig.handle(receiver, MessageReceived(sender, envelope))


def slow(rig, slow_worker):
    """That worker computes ten times as long from now on."""
    run_stage = rig._RunStage

    def as_slow(worker, action, event, features):
        usual = rig.stage_us
        rig.stage_us = 10 * usual if worker == slow_worker else usual
        run_stage(worker, action, event, features)
        rig.stage_us = usual

    rig._RunStage = as_slow


class TestWhoFollows:
    def test_the_coordinator_is_followed_and_everybody_hears_of_it(self):
        rig = make()
        tell(rig, 1, 2, Assign(1, ((0, 1), (0, 2))))
        assert held(rig, 2) == (1,)  # not before it is loaded
        rig.run(0.3)
        assert held(rig, 2) == (1, 2)
        assert known(rig, 1, 2) == known(rig, 3, 2) == (1, 2)

    @pytest.mark.parametrize("stages", [((0, 3),), ((1, 0),), ((0, 65535),)])
    def test_stages_that_there_are_not_are_refused(self, stages):
        rig = make()
        tell(rig, 1, 2, Assign(1, stages))
        rig.run(0.3)
        assert held(rig, 2) == (1,) and counter(rig, "assignments_refused") == 1

    def test_nobody_else_is(self):
        rig = make()
        tell(rig, 3, 2, Assign(1, ((0, 0),)))
        rig.run(0.3)
        assert held(rig, 2) == (1,) and counter(rig, "assignments_refused") == 1

    def test_nobody_at_all_where_stages_do_not_move(self):
        rig = ready(3, stages=HELD)
        tell(rig, 1, 2, Assign(1, ((0, 0),)))
        rig.run(0.3)
        assert held(rig, 2) == (1,) and counter(rig, "assignments_refused") == 1

    def test_an_older_one_that_comes_late_changes_nothing(self):
        rig = make()
        tell(rig, 1, 2, Assign(5, ((0, 0), (0, 1))))
        tell(rig, 1, 2, Assign(4, ((0, 2),)))
        rig.run(0.5)
        assert held(rig, 2) == (0, 1)

    def test_the_newest_counts_whatever_is_being_loaded(self):
        rig = make()
        tell(rig, 1, 2, Assign(1, ((0, 0),)))
        rig.run(0.1)
        tell(rig, 1, 2, Assign(2, ((0, 2),)))
        rig.run(0.5)
        assert held(rig, 2) == (2,)
        assert rig.cores[2]._source.metrics.counters["stages_changed"] == 1

    def test_the_same_one_again_loads_nothing(self):
        rig = make()
        loads = []
        handle = rig.cores[2].handle

        def watched(event, now_us):
            actions = handle(event, now_us)
            loads.extend(action for action in actions if isinstance(action, LoadStages))
            return actions

        rig.cores[2].handle = watched
        for number in range(1, 6):
            tell(rig, 1, 2, Assign(number, ((0, 0), (0, 1))))
            rig.run(0.1)
        assert len(loads) == 1 and held(rig, 2) == (0, 1)

    def test_news_that_is_lost_is_told_again(self):
        rig = make()
        rig.copies = lambda source, target, message: not isinstance(message, Assigned)
        tell(rig, 1, 2, Assign(1, ((0, 0), (0, 1))))
        rig.run(0.3)
        assert (held(rig, 2), known(rig, 1, 2)) == ((0, 1), (1,))
        rig.copies = lambda *_: 1
        rig.run(0.6)
        assert known(rig, 1, 2) == known(rig, 3, 2) == (0, 1)

    def test_what_a_neighbour_holds_is_not_set_back_by_old_news(self):
        rig = make()
        tell(rig, 2, 3, Assigned(2, ((0, 0),)))
        tell(rig, 2, 3, Assigned(1, ((0, 1),)))
        assert known(rig, 3, 2) == (0,)


class TestTasks:
    def test_none_is_lost_while_every_stage_moves_to_and_fro(self):
        for offloading in (Offloading(), LITERAL._replace(serve_output=True)):
            rig = make(options(rounds=10**6), offloading=offloading)
            turns = [((0, 0), (0, 1)), ((0, 1), (0, 2)), ((0, 0),), ((0, 2),), (), ((0, 1),)]
            for number in range(60):
                rig.submit(1, 2 * number, 2 * number + 1)
                for worker in (2, 3):
                    stages = turns[(number * (worker + 1)) % len(turns)]
                    tell(rig, 1, worker, Assign(number + 1, stages))
                rig.run(0.11)
            tell(rig, 1, 2, Assign(1000, ((0, 0), (0, 1), (0, 2))))
            rig.run(20)
            assert answered(rig, (1, 120))

    def test_what_waits_for_a_stage_that_goes_is_sent_on(self):
        rig = make(options(rounds=10**6), stage_us=20_000)
        slow(rig, 2)
        rig.submit(1, *range(6))
        until(rig, lambda: rig.cores[2].queue_length > 1)
        tell(rig, 1, 3, Assign(1, ((0, 1), (0, 2))))
        tell(rig, 1, 2, Assign(1, ()))
        rig.run(0.25)
        assert rig.cores[2].queue_length == 0 and held(rig, 2) == ()
        rig.run(10)
        assert answered(rig, (1, 6))
        ran_at_2 = [stage for worker, _, stage in rig.ran if worker == 2]
        assert 0 < len(ran_at_2) < 6


class TestTheCoordinator:
    def test_has_a_dead_workers_stage_taken_over(self):
        rig = make()
        rig.submit(1, *range(4))
        rig.run(0.2)
        rig.kill(3)
        rig.submit(1, *range(4, 8))
        until(rig, lambda: 2 in held(rig, 1) + held(rig, 2))
        rig.run(5)
        assert answered(rig, (1, 8))
        assert counter(rig, "placements_changed") == 1

    def test_nobody_lets_go_before_the_other_has_it(self):
        """3 is slow, and what takes its stage over needs its time."""
        rig = make()
        slow(rig, 3)
        handle, gaps = rig.handle, []

        def watched(worker, event, features=None):
            handle(worker, event, features)
            there = {stage for each in rig.cores for stage in held(rig, each)}
            gaps.append(there != set(EVERY))

        rig.handle = watched
        number = 0
        while held(rig, 3) and number < 600:
            rig.submit(1, number)
            number += 1
            rig.run(0.05)
        assert held(rig, 3) == ()
        rig.run(10)
        assert answered(rig, (1, number))
        assert not any(gaps)
        assert sent(rig, Assign) and sent(rig, Assigned)

    def test_says_it_again_until_it_is_heard(self):
        rig = make()
        lost = []

        def copies(source, target, message):
            if isinstance(message, (Assign, Assigned)) and len(lost) < 4:
                lost.append(message)
                return 0
            return 1

        rig.copies = copies
        rig.kill(3)
        until(rig, lambda: 2 in held(rig, 2) + held(rig, 1))
        rig.run(5)
        rig.submit(1, *range(4))
        rig.run(5)
        assert answered(rig, (1, 4))

    def test_gives_up_who_cannot_load(self):
        rig = make()
        rig.cannot = {1: ((0, 2),), 2: ((0, 2),)}
        rig.kill(3)
        rig.run(60)
        assert counter(rig, "assignments_failed") >= 1
        assert counter(rig, "assignments_given_up") >= 1
        assert (held(rig, 1), held(rig, 2)) == ((0,), (1,))
        rig.start(3)
        rig.submit(1, *range(4))
        rig.run(5)
        assert answered(rig, (1, 4))
