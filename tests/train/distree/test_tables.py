"""Table I, Table II and Fig. 3 as numbers: by hand, and against what the paper prints."""

import numpy as np
import pytest

from edgesdk import FinalExit, FixedExit
from edgesdk.errors import ConfigError
from edgesdk.features import Features
from edgesdk.outcomes import Replay
from edgesdk.train.counting import Costs
from edgesdk.train.distree import paper, tables
from edgesdk.train.ensembles.students import build_ensemble

COSTS = [Costs((10, 20, 40), (1, 2, 4)), Costs((5, 5), (3, 3))]


def features(count=40, classes=2, depths=(3, 2), size=4):
    random = np.random.default_rng(1)
    return Features(
        "2xtiny",
        "tiny",
        np.full(count, "test"),
        (np.arange(count) % classes).astype(np.int32),
        random.normal(size=(classes, size * len(depths))).astype(np.float32),
        random.normal(size=classes).astype(np.float32),
        random.normal(size=(len(depths), size)).astype(np.float32),
        tuple(random.normal(size=(count, m, size)).astype(np.float32) for m in depths),
    )


class TestCharged:
    replays = (
        Replay(np.array([0, 2]), np.array([[True, False, False], [True, False, True]])),
        Replay(np.array([1, 0]), np.array([[True, True], [True, False]])),
    )

    def test_the_paper_charges_the_backbone_and_one_exit(self):
        found = tables.charged(self.replays, COSTS)
        assert found.own.tolist() == [(10 + 1 + 5 + 5 + 3) / 2, (70 + 4 + 5 + 3) / 2]

    def test_beside_it_all_exits_that_were_evaluated(self):
        found = tables.charged(self.replays, COSTS)
        assert found.passed.tolist() == [(10 + 1 + 10 + 3 + 3) / 2, (70 + 1 + 4 + 5 + 3) / 2]
        with_views = tables.charged(self.replays, COSTS, view=100)
        assert (with_views.passed - found.passed).tolist() == [(100 + 200) / 2, (200 + 100) / 2]
        assert with_views.own.tolist() == found.own.tolist()

    def test_latency_follows_the_student_that_computes_longest(self):
        found = tables.charged(self.replays, COSTS)
        assert found.slowest.tolist() == [10 + 3 + 3, 70 + 1 + 4]


class TestDraws:
    labels = np.repeat([0, 1, 2], 12)

    def test_have_so_many_of_each_class_and_none_twice(self):
        draws = tables.stratified_draws(self.labels, 10, 5, seed=0)
        assert draws.shape == (5, 30)
        for draw in draws:
            assert len(set(draw.tolist())) == 30
            assert np.bincount(self.labels[draw]).tolist() == [10, 10, 10]
        assert len({tuple(sorted(draw.tolist())) for draw in draws}) == 5

    def test_are_the_seeds(self):
        one, same, other = (tables.stratified_draws(self.labels, 10, 5, s) for s in (0, 0, 1))
        assert np.array_equal(one, same) and not np.array_equal(one, other)

    def test_a_class_of_too_few_images_is_refused(self):
        with pytest.raises(ConfigError, match="found 9 images of a class, expected at least 10"):
            tables.stratified_draws(np.repeat([0, 1], [9, 20]), 10, 5, 0)


class TestRows:
    def test_accuracies_and_shares_are_those_of_where_students_leave(self):
        test = features()
        rows = tables.policy_rows(test, {"final": FinalExit(), "first": FixedExit(0)}, COSTS)
        for name, exits in (("final", (2, 1)), ("first", (0, 0))):
            row = rows[name]
            parts = [test.students[i][:, exits[i]] for i in (0, 1)]
            logits = np.concatenate(parts, axis=1) @ test.weight.T + test.bias
            right = logits.argmax(axis=1) == test.label
            assert row.accuracy == right.mean()
            assert [share[j] for share, j in zip(row.exit_shares, exits)] == [1, 1]
        assert rows["final"].multiply_adds.own == (74 + 13) / 2
        assert tables.saved(rows["first"], rows["final"])[0] == 1 - (11 + 8) / (74 + 13)

    def test_a_draw_of_everything_is_the_split_itself(self):
        test = features(count=20)
        row = tables.policy_rows(test, {"final": FinalExit()}, COSTS)["final"]
        assert (row.drawn_accuracy, row.drawn_deviation) == (row.accuracy, 0)

    def test_nobody_beats_the_oracle_and_nobody_may_be_it(self):
        test = features()
        policies = {"final": FinalExit(), "first": FixedExit(0)}
        rows = tables.policy_rows(test, policies, COSTS)
        assert all(rows["oracle"].accuracy >= row.accuracy for row in rows.values())
        assert tables.best_within(rows, 100.0) == "first"
        assert tables.best_within(rows, -101.0) is None


def test_quartiles_are_of_what_has_a_value():
    nan, inf = np.nan, np.inf
    values = np.array([[1.0, nan, 3.0], [2.0, nan, inf], [3.0, nan, nan], [4.0, nan, inf]])
    low, middle, high = tables.quartiles(values)
    assert (low[0], middle[0], high[0]) == (1, 2, 3)
    assert np.isnan(middle[1])
    assert (low[2], middle[2], high[2]) == (3, inf, inf)


@pytest.fixture(scope="module")
def counted():
    ensemble = build_ensemble("wrn16_1", 10, 3, (7, 7), 0)
    return tables.table_one(ensemble.parts[0], (3, 32, 32))


class TestTheStudent:
    def test_has_the_backbone_of_table_one(self, counted):
        for found, printed in zip(counted.table_one.segments, paper.BACKBONE_M):
            digits = len(str(printed).split(".")[1])
            assert round(found / 1e6, digits) == printed

    def test_has_its_exits_within_three_percent(self, counted):
        for found, printed in zip(counted.table_one.exits, paper.EXIT_M):
            assert found / 1e6 == pytest.approx(printed, rel=0.03)

    def test_has_its_parameters_within_two_percent(self, counted):
        assert counted.parameters == pytest.approx(paper.PARAMETERS, rel=0.02)
        assert counted.parameters_last_exit == pytest.approx(paper.PARAMETERS_LAST_EXIT, rel=0.02)

    def test_random_exits_are_charged_as_printed(self, counted):
        """17.10 M of Table II: backbone and own exit, all exits alike. It is no draw of ours."""
        segments, exits = counted.table_one
        own = np.cumsum(segments) + exits
        assert own.mean() / 1e6 == pytest.approx(17.10, rel=0.01)
        assert own[-1] / 1e6 == pytest.approx(34.26, rel=0.001)
