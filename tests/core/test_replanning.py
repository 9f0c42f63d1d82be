"""When stages should move: what is learnt, what is gained, and how long nothing happens."""

import pytest

from edgesdk.core.placement import LATENCY
from edgesdk.core.replanning import (
    ANSWERS_MIN,
    CELLS_MAX,
    REST_ROUNDS,
    RETURN_ROUNDS,
    Replanner,
    Replanning,
    Seat,
    Seen,
    Work,
    check_replanning,
    reach_of,
)
from edgesdk.core.spec import Plan, Stage
from edgesdk.errors import ConfigError

A, B, C = 1, 2, 3
STAGES = range(4)
PERIOD_US = 1_000_000
EQUAL = (Work(1000.0, 100.0),) * 4
MESH = tuple(
    Seat(worker, name, tuple(STAGES), tuple(w for w in (A, B, C) if w != worker))
    for worker, name in ((A, "a"), (B, "b"), (C, "c"))
)
OPTIONS = Replanning(A, PERIOD_US, 0.15, 3, work=EQUAL, seats=MESH)
ALL = (1.0,) * 4


class World:
    """Workers with stages, and how long a task takes at each; looked at once a period."""

    def __init__(self, options=OPTIONS, **changes):
        self.replanner = Replanner(options)
        self.now_us = 0
        self.held = {A: {0}, B: {1, 2}, C: {3}}
        self.delay_us = {A: 1000.0, B: 1000.0, C: 1000.0}
        self.small_us = 100.0
        self.task_us = {}
        self.reach = ALL
        self.answer_count = 100
        self.__dict__.update(changes)

    def look(self):
        """One look; a move is carried out at once."""
        self.now_us += PERIOD_US
        seen = [
            Seen(w, frozenset(self.held[w]), self.delay_us[w], self.small_us, self.task_us.get(w))
            for w in sorted(self.held)
        ]
        move = self.replanner.look(seen, self.reach, self.answer_count, self.now_us)
        if move is not None:
            self.held = {worker: set(stages) for worker, stages in move.after.items()}
        return move

    def looks(self, count):
        """The moves of so many looks, None for each without."""
        return [self.look() for _ in range(count)]

    def settle(self):
        """Enough looks that what is seen is known."""
        assert self.looks(REST_ROUNDS) == [None] * REST_ROUNDS
        return self


def balanced(**changes):
    """Four equal stages on three equal workers: nothing is better for throughput."""
    return World(**changes).settle()


class TestKeep:
    def test_a_placement_than_which_none_is_better(self):
        assert set(balanced().looks(20)) == {None}

    def test_what_is_better_by_less_than_the_gain(self):
        world = World(OPTIONS._replace(gain=0.6)).settle()
        world.delay_us[B] = 2000.0  # without it, half
        assert set(world.looks(20)) == {None}

    def test_while_it_is_not_known_how_fast_they_are(self):
        world = World(delay_us={A: 0.0, B: 0.0, C: 0.0}, held={A: {0, 1, 2, 3}, B: set(), C: set()})
        assert set(world.looks(20)) == {None}

    def test_while_the_others_are_still_starting(self):
        world = World(held={A: {0}})
        assert set(world.looks(REST_ROUNDS + 2)) == {None}
        world.held.update({B: {1, 2}, C: {3}})
        assert set(world.looks(20)) == {None}

    def test_while_too_few_images_were_answered(self):
        world = balanced(answer_count=ANSWERS_MIN - 1)
        world.delay_us[B] = 5000.0
        assert set(world.looks(20)) == {None}
        world.answer_count = ANSWERS_MIN
        assert world.looks(3)[-1] is not None

    def test_what_several_hold_already_is_not_moved(self):
        world = balanced(held={A: set(STAGES), B: set(STAGES), C: set(STAGES)})
        world.delay_us[B] = 5000.0
        assert set(world.looks(20)) == {None}


class TestMove:
    def test_away_from_a_worker_that_has_become_slow(self):
        world = balanced()
        world.delay_us[B] = 5000.0
        first, second, third = world.looks(3)
        assert (first, second) == (None, None)
        assert third.before == {A: (0,), B: (1, 2), C: (3,)}
        assert third.after[B] == () and sorted(third.after[A] + third.after[C]) == [0, 1, 2, 3]
        assert third.gain == pytest.approx(1 - 200.0 / 1000.0, abs=0.02)  # of 2 stages at 5000

    def test_not_if_it_was_slow_for_two_looks_only(self):
        world = balanced()
        for _ in range(5):
            world.delay_us[B] = 5000.0
            assert world.looks(2) == [None, None]
            world.delay_us[B] = 1000.0
            assert world.look() is None

    def test_what_a_dead_worker_held_whatever_is_known(self):
        world = World(answer_count=0, delay_us={A: 0.0, B: 0.0, C: 0.0}).settle()
        del world.held[B]
        moves = world.looks(3)
        assert moves[:2] == [None, None]
        assert sorted(moves[2].after[A] + moves[2].after[C]) == [0, 1, 2, 3]
        assert moves[2].gain is None and B not in moves[2].after

    def test_across_a_link_that_has_become_slow_is_not_gone(self):
        """Features of 1 MB to B took 10 ms and take 1 s: what B had is computed elsewhere."""
        seats = (MESH[0], MESH[1]._replace(may_hold=(2, 3)))
        work = (Work(1e6, 100.0),) * 4
        options = OPTIONS._replace(work=work, seats=seats, objective=LATENCY)
        world = World(options, held={A: {0, 1}, B: {2, 3}}, task_us={B: 10_000.0})
        world.delay_us = {A: 100_000.0, B: 10_000.0}
        assert world.looks(10) == [None] * 10
        world.task_us[B] = 1_000_000.0
        assert world.looks(3)[-1].after == {A: (0, 1, 2, 3), B: ()}

    def test_only_to_who_may_hold_and_is_a_neighbour(self):
        a, b, c = MESH
        for seats in (
            (a, b, c._replace(may_hold=(3,))),
            (a._replace(targets=(B,)), b, c._replace(may_hold=(3,), targets=())),
        ):
            world = World(OPTIONS._replace(seats=seats)).settle()
            world.delay_us[B] = 50_000.0
            move = world.looks(3)[-1]
            assert set(move.after[C]) <= {3}

    def test_never_to_who_could_not_take_it(self):
        world = balanced()
        world.replanner.exclude(A, frozenset({1, 2}))
        world.replanner.exclude(C, frozenset({1, 2}))
        world.delay_us[B] = 5000.0
        assert set(world.looks(20)) == {None}
        del world.held[B]  # those who were excluded are there, and are not asked
        assert set(world.looks(5)) == {None}

    def test_a_stage_that_few_images_reach_weighs_little(self):
        world = balanced(reach=(1.0, 0.01, 0.01, 0.01))
        world.delay_us[B] = 5000.0
        assert set(world.looks(20)) == {None}


class TestHysteresis:
    def test_after_a_move_nothing_moves_for_a_while(self):
        world = balanced()
        world.delay_us[B] = 5000.0
        assert world.looks(3)[-1] is not None
        world.delay_us.update({A: 20_000.0, C: 1000.0})  # and now A
        assert world.looks(REST_ROUNDS - 1) == [None] * (REST_ROUNDS - 1)
        assert world.replanner.is_resting(world.now_us)
        assert any(world.looks(5))

    def test_nothing_else_is_sought_while_what_was_chosen_is_loaded(self):
        world = balanced()
        del world.held[B]
        world.looks(2)
        now = dict(world.held)
        assert world.look() is not None
        world.held = now  # it takes its time
        assert world.looks(REST_ROUNDS - 1) == [None] * (REST_ROUNDS - 1)

    def test_but_a_stage_that_nobody_holds_does_not_wait(self):
        world = balanced()
        world.delay_us[B] = 5000.0
        assert world.looks(3)[-1] is not None
        del world.held[C]
        assert world.looks(3)[-1] is not None

    def test_no_stage_goes_back_soon(self):
        """B, the faster one of two, becomes slow, keeps a stage, and is fast again by that."""
        options = OPTIONS._replace(seats=MESH[:2])
        world = World(options, held={A: {0}, B: {1, 2, 3}}, delay_us={A: 1000.0, B: 333.0})
        world.settle()
        world.delay_us[B] = 3000.0
        assert world.looks(3)[-1].after == {A: (0, 1, 2), B: (3,)}
        world.look()
        world.delay_us[B] = 333.0
        for _ in range(RETURN_ROUNDS - 1):
            world.look()
            assert not world.held[B] & {1, 2}
        world.looks(5)
        assert len(world.held[B]) == 3

    def test_workers_that_change_speed_at_every_look_move_seldom(self):
        world = balanced()
        moves = 0
        for turn in range(200):
            world.delay_us[B] = 5000.0 if turn % 2 else 900.0
            moves += world.look() is not None
        assert moves == 0


class TestWhatIsLearnt:
    def test_gamma_of_stages_before_a_change_says_nothing_of_those_after(self):
        """B had a cheap stage and gets dear ones: its Gamma is of the cheap one for a while."""
        work = (Work(0.0, 100.0), Work(0.0, 100.0), Work(0.0, 1000.0), Work(0.0, 1000.0))
        world = World(OPTIONS._replace(work=work), held={A: {0, 2}, B: {1}, C: {3}})
        world.delay_us = {A: 550.0, B: 100.0, C: 1000.0}
        world.look()
        world.look()
        assert world.replanner._known[B].speed == 1.0
        world.held[B] = {1, 2}
        world.held[A] = {0}
        world.look()  # other stages than before
        world.look()  # the same, but it has computed nothing since
        assert world.replanner._known[B].speed == 1.0
        world.delay_us[B] = 1100.0
        world.look()
        assert world.replanner._known[B].speed == pytest.approx(0.5)

    def test_who_was_away_is_known_anew(self):
        world = balanced()
        held = world.held.pop(C)
        world.look()
        world.held[C] = held
        world.delay_us[C] = 0.0
        world.look()
        assert world.replanner._known[C].speed is None

    def test_the_rate_of_a_link_follows_from_the_bytes_that_went(self):
        world = balanced(task_us={B: 1100.0})
        world.look()
        assert world.replanner._known[B].bytes_per_s == pytest.approx(1000.0 / 1000e-6)


def test_reach_is_who_has_not_left_yet():
    plan = Plan("p", (Stage(0, 0, 0, ""), Stage(1, 1, None, ""), Stage(2, 2, 2, "")))
    assert reach_of(plan, [30, 0, 10]) == (1.0, 0.25, 0.25)
    assert reach_of(plan, [0, 0, 0]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"period_us": 0}, "replanning.period_us: found 0, expected above 0"),
        ({"gain": 0.0}, "replanning.gain: found 0.0, expected a share"),
        ({"gain": 1.0}, "replanning.gain: found 1.0, expected a share"),
        ({"rounds": 0}, "replanning.rounds: found 0, expected at least 1"),
        ({"objective": "energy"}, "found energy, expected latency or throughput"),
        ({"work": EQUAL * 20}, "found 80 stages and 3 workers, expected at most"),
    ],
)
def test_what_means_nothing_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_replanning(OPTIONS._replace(**changes))
    assert len(EQUAL * 20) * 9 > CELLS_MAX
