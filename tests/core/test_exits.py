"""The exit policies: when an item leaves, and which policies fit which networks."""

import math
from random import Random

import pytest

from edgesdk.core.events import Scores
from edgesdk.core.exits import (
    DISTREE_DIFFERENCE,
    DISTREE_SIMILARITY,
    POLICIES,
    CosineDifference,
    Entropy,
    ExitPolicy,
    FinalExit,
    FixedExit,
    Margin,
    MaxProbability,
    NeighbourSimilarity,
    Patience,
    RandomExit,
    make_policy,
)
from edgesdk.errors import ConfigError

SEVEN = tuple(range(7))
NAN = math.nan


def scores(class_index=0, max_probability=0.5, margin=0.2, entropy=0.7, **demanded):
    return Scores(class_index, max_probability, margin, entropy, **demanded)


def first_exit_left(policy, sequence, exit_indices=None):
    """The index of the first exit that lets an item with these scores go, or None."""
    exit_indices = exit_indices or tuple(range(len(sequence)))
    state = policy.start(exit_indices, Random(0))
    for exit_index, found in zip(exit_indices, sequence):
        leaves, state = policy.step(exit_index, found, state)
        if leaves:
            return exit_index
    return None


class TestThresholdsOnOneNumber:
    @pytest.mark.parametrize(
        ("policy", "below", "at", "above"),
        [
            (MaxProbability(0.8), 0.79, 0.8, 0.81),
            (Margin(0.8), 0.79, 0.8, 0.81),
        ],
    )
    def test_leaves_strictly_above(self, policy, below, at, above):
        field = policy.kind
        left = [first_exit_left(policy, [scores(**{field: v})]) for v in (below, at, above)]
        assert left == [None, None, 0]

    def test_entropy_leaves_strictly_below(self):
        policy = Entropy(0.5)
        left = [first_exit_left(policy, [scores(entropy=v)]) for v in (0.51, 0.5, 0.49)]
        assert left == [None, None, 0]

    def test_entropy_as_a_share_of_the_largest_possible(self):
        policy = Entropy(0.5, class_count=10)
        limit = 0.5 * math.log(10)
        assert first_exit_left(policy, [scores(entropy=limit * 1.001)]) is None
        assert first_exit_left(policy, [scores(entropy=limit * 0.999)]) == 0

    def test_each_exit_has_its_own_threshold(self):
        policy = MaxProbability([0.9, 0.6, 0.3])
        assert first_exit_left(policy, [scores(max_probability=0.7)] * 3) == 1
        assert first_exit_left(policy, [scores(max_probability=0.5)] * 3) == 2

    @pytest.mark.parametrize(
        "policy", [MaxProbability(0.0), Margin(0.0), Entropy(9.0), CosineDifference(0.0)]
    )
    def test_nan_never_leaves(self, policy):
        nothing = scores(max_probability=NAN, margin=NAN, entropy=NAN, difference=NAN)
        assert first_exit_left(policy, [nothing] * 7) is None

    def test_a_probability_of_one_does_not_exceed_a_threshold_of_one(self):
        assert first_exit_left(MaxProbability(1.0), [scores(max_probability=1.0)]) is None


class TestExitsThatAreOff:
    @pytest.mark.parametrize(
        ("policy", "evaluated"),
        [
            (FinalExit(), []),
            (FixedExit(2), [2]),
            (MaxProbability([1.0, 0.9, 1.0, 0.5, 1.0, 1.0, 0.0]), [1, 3, 6]),
            (Margin([1.0, 0.9, 1.0, 0.5, 1.0, 1.0, 0.0]), [1, 3, 6]),
            (Entropy([0.0, 0.1, 0.0, 0.0, 0.2, 0.0, 0.0]), [1, 4]),
            (CosineDifference([1, math.inf, 1.1, math.inf, 1.2, math.inf, 1]), [0, 2, 4, 6]),
            (NeighbourSimilarity([1.0] * 6), list(SEVEN)),  # each is compared with its neighbour
            (Patience(2), list(SEVEN)),  # each counts
        ],
    )
    def test_their_heads_are_not_computed(self, policy, evaluated):
        state = policy.start(SEVEN, Random(0))
        assert [i for i in SEVEN if policy.evaluates(i, state)] == evaluated


class TestForcedExits:
    def test_final_never_leaves_early(self):
        assert first_exit_left(FinalExit(), [scores(max_probability=1.0)] * 7) is None

    def test_fixed_leaves_whatever_the_scores(self):
        assert first_exit_left(FixedExit(3), [scores(max_probability=NAN)] * 7) == 3

    def test_fixed_must_be_an_exit_of_the_plan(self):
        with pytest.raises(ConfigError, match=r"exit_index 3 is not among the plan's exits \[0, 6"):
            FixedExit(3).check(7, (0, 6))

    def test_random_draws_each_exit_of_the_plan_about_equally_often(self):
        policy, rng, exits = RandomExit(), Random(5), (1, 3, 6)
        drawn = [policy.start(exits, rng) for _ in range(3000)]
        assert set(drawn) == set(exits)
        # Binomial: 1,000 expected, standard deviation 26.
        assert all(900 < drawn.count(index) < 1100 for index in exits)

    def test_random_leaves_at_the_exit_drawn_and_computes_no_other_head(self):
        policy = RandomExit()
        for seed in range(20):
            state = policy.start(SEVEN, Random(seed))
            assert [i for i in SEVEN if policy.step(i, scores(), state)[0]] == [state]
            assert [i for i in SEVEN if policy.evaluates(i, state)] == [state]

    def test_the_same_seed_draws_the_same_exits(self):
        draws = [[RandomExit().start(SEVEN, Random(9)) for _ in range(5)] for _ in range(2)]
        assert draws[0] == draws[1]


class TestPatience:
    def left(self, thresholds, labels):
        return first_exit_left(Patience(thresholds), [scores(label) for label in labels])

    def test_counts_equal_consecutive_predictions(self):
        assert self.left(2, [4, 7, 7, 7]) == 2
        assert self.left(3, [4, 7, 7, 7]) == 3
        assert self.left(3, [7, 7, 4, 7, 7]) is None

    def test_one_leaves_at_the_first_exit(self):
        assert self.left(1, [4, 7]) == 0

    def test_per_exit(self):
        assert self.left([9, 9, 2, 9], [1, 1, 1, 1]) == 2

    def test_nan_breaks_the_run(self):
        run = [scores(1), scores(1, max_probability=NAN), scores(1), scores(1)]
        assert first_exit_left(Patience(2), run) == 3

    @pytest.mark.parametrize("wrong", [0, 1.5, -1])
    def test_must_be_a_whole_number_from_one(self, wrong):
        with pytest.raises(ConfigError, match=r"whole number|at least 1"):
            Patience(wrong)


class TestDistrEE:
    def test_defaults_are_those_of_the_paper(self):
        assert CosineDifference().thresholds == DISTREE_DIFFERENCE
        assert NeighbourSimilarity().thresholds == DISTREE_SIMILARITY
        CosineDifference().check(7, SEVEN)
        NeighbourSimilarity().check(7, SEVEN)

    def test_the_first_exit_is_the_baseline_and_never_lets_go(self):
        # In float32, eq. 6 of a vector with itself is often a little above t_1 = 1.
        assert first_exit_left(CosineDifference(), [scores(difference=1.0000001)]) is None
        assert first_exit_left(CosineDifference(0.0), [scores(difference=math.inf)]) is None

    def test_leaves_strictly_above(self):
        found = [scores(difference=d) for d in (1.0, 1.12, 1.15)]
        assert first_exit_left(CosineDifference([1.0, 1.12, 1.14]), found) == 2

    def test_an_output_at_a_right_angle_leaves(self):
        found = [scores(difference=1.0), scores(difference=math.inf)]
        assert first_exit_left(CosineDifference(), found) == 1

    def test_needs_the_first_exit(self):
        with pytest.raises(ConfigError, match="compares with exit 0"):
            CosineDifference([1, 1.1, 1.2]).check(3, (1, 2))

    def test_similarity_is_first_possible_at_the_second_exit(self):
        policy = NeighbourSimilarity([0.97, 0.98])
        found = [scores(similarity=0.99), scores(similarity=0.97), scores(similarity=0.99)]
        assert first_exit_left(policy, found) == 2

    def test_similarity_takes_one_threshold_less(self):
        with pytest.raises(ConfigError, match="found 7 thresholds, expected 6 for 7 exits"):
            NeighbourSimilarity([0.97] * 7).check(7, SEVEN)

    def test_similarity_needs_every_exit(self):
        with pytest.raises(ConfigError, match="compares neighbouring exits"):
            NeighbourSimilarity([1.0, 0.97]).check(3, (0, 2))

    def test_they_ask_for_what_they_read(self):
        assert CosineDifference.needs == ("difference",)
        assert NeighbourSimilarity.needs == ("similarity",)
        assert all(
            not p.needs for k, p in POLICIES.items() if k not in ("difference", "similarity")
        )


class TestFit:
    @pytest.mark.parametrize("kind", ["max_probability", "margin", "entropy", "difference"])
    def test_wrong_number_of_thresholds(self, kind):
        with pytest.raises(ConfigError, match="found 2 thresholds, expected 7"):
            make_policy({"kind": kind, "thresholds": [0.5, 0.5]}).check(7, SEVEN)

    def test_one_threshold_serves_any_number_of_exits(self):
        for count in (1, 2, 7):
            MaxProbability(0.5).check(count, tuple(range(count)))

    def test_an_exit_that_the_plan_lacks_must_be_off(self):
        MaxProbability([1.0, 0.9, 0.0]).check(3, (1, 2))
        with pytest.raises(ConfigError, match=r"leaves at exit 0, but the plan only has exits \[1"):
            MaxProbability([0.9, 0.9, 0.0]).check(3, (1, 2))

    @pytest.mark.parametrize("wrong", [NAN, 10**400, [0.5, NAN], [0.5, "x"], [True], [None]])
    def test_thresholds_are_numbers(self, wrong):
        with pytest.raises(ConfigError, match="is not a number"):
            MaxProbability(wrong)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: FixedExit(math.inf),
            lambda: FixedExit(1.5),
            lambda: FixedExit(-1),
            lambda: FixedExit(True),
            lambda: Entropy(0.5, class_count=math.inf),
            lambda: Entropy(0.5, class_count=1),
            lambda: Patience(-math.inf),
            lambda: Patience(NAN),
        ],
    )
    def test_counts_are_whole_numbers(self, make):
        with pytest.raises(ConfigError, match=r"expected (a whole number|at least)|not a number"):
            make()


class TestManifestForm:
    @pytest.mark.parametrize(
        "policy",
        [
            FinalExit(),
            FixedExit(3),
            RandomExit(),
            MaxProbability(0.9),
            MaxProbability([0.9, 0.8]),
            Margin([0.5, 0.5]),
            Entropy([0.3, 0.2], class_count=10),
            Patience([2, 3]),
            CosineDifference(),
            NeighbourSimilarity(),
        ],
        ids=repr,
    )
    def test_a_policy_describes_itself(self, policy):
        again = make_policy(policy.describe())
        assert type(again) is type(policy)
        assert again.describe() == policy.describe()

    def test_unknown_kind(self):
        with pytest.raises(ConfigError, match=r"policies\.x\.kind: found 'best', expected one of"):
            make_policy({"kind": "best"}, "policies.x")

    def test_missing_and_unknown_parameters(self):
        with pytest.raises(ConfigError, match="does not take these parameters: none"):
            make_policy({"kind": "max_probability"})
        with pytest.raises(ConfigError, match="does not take these parameters: threshold"):
            make_policy({"kind": "final", "threshold": 3})


class TestStatesThatTravel:
    @pytest.mark.parametrize(
        "policy",
        [
            FinalExit(),
            FixedExit(3),
            RandomExit(),
            MaxProbability(0.9),
            Margin(0.9),
            Entropy(0.1),
            Patience(9),
            CosineDifference(),
            NeighbourSimilarity(),
        ],
        ids=repr,
    )
    def test_every_state_is_two_int32(self, policy):
        state = policy.start(SEVEN, Random(5))
        for exit_index, class_index in enumerate((3, 3, 9, 9, 9, 9)):
            packed = policy.pack(state)
            assert len(packed) == 2
            assert all(isinstance(n, int) and -(2**31) <= n < 2**31 for n in packed)
            assert policy.unpack(packed) == state
            _, state = policy.step(exit_index, scores(class_index=class_index), state)

    def test_every_policy_is_in_that_list(self):
        assert len(POLICIES) == 9

    def test_a_run_goes_on_elsewhere(self):
        policy = Patience(3)
        _, state = policy.step(0, scores(class_index=4), policy.start(SEVEN, Random(0)))
        _, state = policy.step(1, scores(class_index=4), state)
        leaves, _ = policy.step(2, scores(class_index=4), policy.unpack(policy.pack(state)))
        assert leaves

    def test_an_own_policy_travels_without_a_state(self):
        assert ExitPolicy().unpack(ExitPolicy().pack("anything")) is None


def test_an_own_policy_is_one_method():
    class SureAndDeep(ExitPolicy):
        """Leave from exit 1 on, when the top class is three times as likely as the rest."""

        def step(self, exit_index, found, state):
            return exit_index >= 1 and found.max_probability > 0.75, state

    assert first_exit_left(SureAndDeep(), [scores(max_probability=0.8)] * 3) == 1
    assert repr(SureAndDeep()) == "SureAndDeep()"
