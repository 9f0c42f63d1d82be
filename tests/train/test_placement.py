"""Where exits go: every choice against all that could have been chosen, on small cases."""

import math
import random
from itertools import combinations

import pytest

from edgesdk.errors import ConfigError
from edgesdk.train.cutting.segments import Point, Points
from edgesdk.train.placement import (
    PATTERNS,
    Candidate,
    by_benefit,
    by_share,
    equal_tasks,
    pattern,
)

SEEDS = range(40)


def drawn_points(seed, count_max=7):
    draw = random.Random(seed)
    costs = sorted(draw.sample(range(1, 60), draw.randint(1, count_max)))
    points = tuple(Point(f"p{index}", cost, (1,)) for index, cost in enumerate(costs))
    return Points(points, 60)


def subsets(names, sizes):
    return [chosen for size in sizes for chosen in combinations(names, size)]


class TestShares:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_each_share_gets_the_point_nearest_to_it(self, seed):
        points = drawn_points(seed)
        for share in (0.1, 0.35, 0.5, 0.95):
            (name,) = by_share(points, [share])
            distances = {p.name: abs(p.multiply_adds - share * 60) for p in points.points}
            assert distances[name] == min(distances.values())

    def test_as_sdn_places_them(self):
        points = Points(tuple(Point(str(c), c, (1,)) for c in range(5, 100, 10)), 100)
        assert by_share(points, (0.15, 0.3, 0.45, 0.6)) == ("15", "25", "45", "55")

    def test_two_exits_at_one_point_are_refused(self):
        points = Points((Point("a", 10, (1,)), Point("b", 90, (1,))), 100)
        with pytest.raises(ConfigError, match=r"\[0.1, 0.2\] put two exits behind 'a'"):
            by_share(points, [0.1, 0.2])

    @pytest.mark.parametrize(
        "shares", [[], [0.0, 0.5], [0.5, 1.0], [0.5, 0.4], [math.nan], [0.3] * 2]
    )
    def test_shares_rise_between_0_and_1(self, shares):
        with pytest.raises(ConfigError, match="expected rising numbers between 0 and 1"):
            by_share(drawn_points(0), shares)

    def test_more_exits_than_points(self):
        points = Points((Point("a", 10, (1,)),), 100)
        with pytest.raises(ConfigError, match="found 2 exits to place, expected 0 to 1"):
            by_share(points, [0.1, 0.9])


class TestPatterns:
    @pytest.mark.parametrize("name", PATTERNS)
    @pytest.mark.parametrize("count", range(1, 8))
    def test_shares_rise_between_0_and_1(self, name, count):
        shares = pattern(name, count)
        assert len(shares) == count
        assert all(a < b for a, b in zip((0, *shares), (*shares, 1)))

    def test_what_their_names_promise(self):
        assert pattern("linear", 3) == (0.25, 0.5, 0.75)
        assert pattern("quadratic", 3) == (0.0625, 0.25, 0.5625)
        assert pattern("pareto", 2) == pytest.approx((0.2, 0.2 + 0.8 * 0.2))
        assert pattern("fine", 2) == pytest.approx((0.05, 0.05 + 0.95 * 0.05))
        golden = (*pattern("golden", 4), 1.0)
        ratio = (1 + math.sqrt(5)) / 2
        assert [b / a for a, b in zip(golden, golden[1:])] == pytest.approx([ratio] * 4)

    @pytest.mark.parametrize(("name", "count"), [("cubic", 3), ("linear", 0)])
    def test_others_are_refused(self, name, count):
        with pytest.raises(
            ConfigError, match=rf"found '{name}' with {count} exits, expected one of"
        ):
            pattern(name, count)


class TestEqualTasks:
    @staticmethod
    def squares(points, chosen):
        costs = {p.name: p.multiply_adds for p in points.points}
        ends = [0, *(costs[name] for name in chosen), points.multiply_adds]
        return sum((b - a) ** 2 for a, b in zip(ends, ends[1:]))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_no_other_choice_is_more_equal(self, seed):
        points = drawn_points(seed)
        names = [p.name for p in points.points]
        for tasks in range(1, len(names) + 2):
            chosen = equal_tasks(points, tasks)
            assert len(chosen) == tasks - 1 and list(chosen) == sorted(chosen)
            best = min(self.squares(points, c) for c in subsets(names, [tasks - 1]))
            assert self.squares(points, chosen) == best

    @pytest.mark.parametrize("tasks", [0, 9])
    def test_more_tasks_than_points(self, tasks):
        with pytest.raises(ConfigError, match=rf"found {tasks - 1} exits to place, expected 0 to "):
            equal_tasks(drawn_points(3), tasks)


class TestBenefit:
    @staticmethod
    def drawn(seed):
        draw = random.Random(seed)
        points = drawn_points(seed, 6).points
        shares = sorted(draw.uniform(0, 1) for _ in points)
        candidates = [
            Candidate(p.name, p.multiply_adds, draw.randint(0, 12), share, draw.uniform(0.5, 1))
            for p, share in zip(points, shares)
        ]
        return candidates, Candidate("final", 60, draw.randint(0, 5), 1.0, draw.uniform(0.8, 1))

    @staticmethod
    def cost_of_an_image(candidates, final, chosen, price):
        """Image by image: of 1000 images, image i is sure from the first exit whose share reaches
        it, as the docstring has it."""
        exits = [c for c in candidates if c.name in chosen] + [final._replace(leaves=1.0)]
        total, heads, left = 0.0, 0, 0.0
        for step in exits:
            heads += step.head_multiply_adds
            here = step.leaves - left
            total += here * (step.multiply_adds + heads)
            total += price * 100 * here * (1 - step.accuracy)
            left = step.leaves
        return total

    @pytest.mark.parametrize("most", [None, 0, 1, 2])
    @pytest.mark.parametrize("price", [0.0, 0.5])
    @pytest.mark.parametrize("seed", SEEDS)
    def test_no_other_choice_is_cheaper(self, seed, price, most):
        candidates, final = self.drawn(seed)
        chosen = by_benefit(candidates, final, most, price)
        names = [c.name for c in candidates]
        sizes = range(min(len(names), len(names) if most is None else most) + 1)
        assert len(chosen) in sizes
        best = min(
            self.cost_of_an_image(candidates, final, c, price) for c in subsets(names, sizes)
        )
        found = self.cost_of_an_image(candidates, final, chosen, price)
        assert found == pytest.approx(best, rel=1e-12)

    def test_an_exit_that_nobody_leaves_at_is_not_kept(self):
        final = Candidate("final", 100, 1, 1.0)
        assert by_benefit([Candidate("a", 50, 1, 0.0)], final) == ()
        assert by_benefit([Candidate("a", 50, 1, 0.5)], final) == ("a",)

    def test_accuracy_has_a_price(self):
        wrong = Candidate("a", 50, 1, 0.5, accuracy=0.9)
        final = Candidate("final", 100, 1, 1.0)
        assert by_benefit([wrong], final, price_per_point=4.0) == ("a",)  # 25 - 1 saved, 5 points
        assert by_benefit([wrong], final, price_per_point=6.0) == ()

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ((10, 0.5), (5, 0.6)),
            ((10, 0.5), (20, 0.4)),
            ((10, -0.1), (20, 0.4)),
            ((10, 0.5), (20, 1.1)),
        ],
    )
    def test_candidates_are_in_order(self, first, second):
        candidates = [Candidate(str(cost), cost, 1, leaves) for cost, leaves in (first, second)]
        with pytest.raises(ConfigError, match="candidates: found"):
            by_benefit(candidates, Candidate("final", 100, 1, 1.0))
