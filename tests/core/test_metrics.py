"""Counters and the histogram behind `Pipeline.stats()`."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.core.events import Answer, Outcome, Scores
from edgesdk.core.metrics import Histogram, Metrics, percentile


class TestPercentile:
    def test_is_the_nearest_rank(self):
        values = [10, 20, 30, 40]
        assert [percentile(values, share) for share in (0, 0.25, 0.26, 0.5, 0.95, 1)] == [
            10,
            10,
            20,
            20,
            40,
            40,
        ]

    @given(st.lists(st.integers(0, 10**7), min_size=1), st.floats(0.01, 1))
    def test_at_least_that_share_does_not_exceed_it(self, values, share):
        found = percentile(sorted(values), share)
        assert sum(value <= found for value in values) >= share * len(values) - 1e-6


class TestHistogram:
    def test_empty(self):
        summary = Histogram().summary()
        assert summary["count"] == 0
        assert math.isnan(summary["p50_us"]) and math.isnan(summary["mean_us"])

    @given(st.lists(st.integers(1, 10**9), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
    def test_percentiles_are_within_a_bucket(self, values, share):
        histogram = Histogram()
        for value in values:
            histogram.add(value)
        exact = percentile(sorted(values), share)
        # A bucket spans a factor of exp(1/25), about 4 percent.
        assert exact * (1 - 1e-9) <= histogram.percentile(share) <= exact * math.exp(1 / 25) + 1e-6

    def test_count_mean_and_largest_are_exact(self):
        histogram = Histogram()
        for value in (0, 100, 200):
            histogram.add(value)
        summary = histogram.summary()
        assert (summary["count"], summary["mean_us"], summary["max_us"]) == (3, 100, 200)

    def test_memory_is_bounded_by_the_range_not_by_the_count(self):
        histogram = Histogram()
        for value in range(1, 100_000):
            histogram.add(value)
        assert len(histogram._counts) <= 25 * math.log(100_000) + 1


class TestMetrics:
    def outcome(self, status="result", reason="threshold", exit_index=1):
        answer = Answer(exit_index, Scores(0, 0.9, 0.8, 0.1)) if status == "result" else None
        return Outcome(0, None, status, reason, answer, 1000)

    def test_counts_ends_by_status_and_reason(self):
        metrics = Metrics(3)
        metrics.admitted_count = 4
        for outcome in (
            self.outcome(),
            self.outcome(exit_index=2, reason="final"),
            self.outcome("expired", "deadline"),
        ):
            metrics.on_outcome(outcome)
        found = metrics.snapshot()
        assert found["ended"] == {
            "result.threshold": 1,
            "result.final": 1,
            "expired.deadline": 1,
        }
        assert found["exit_counts"] == [0, 1, 1]
        assert found["in_flight_count"] == 1

    @pytest.mark.parametrize("status", ["expired", "failed"])
    def test_only_answers_have_a_latency(self, status):
        metrics = Metrics(3)
        metrics.on_outcome(self.outcome(status, "x"))
        assert metrics.snapshot()["latency"]["count"] == 0

    def test_what_happens_between_workers_is_counted_by_name(self):
        metrics = Metrics(3)
        metrics.add("tasks_sent")
        metrics.add("tasks_sent", 2)
        metrics.add("results_late")
        assert metrics.snapshot()["counters"] == {"tasks_sent": 3, "results_late": 1}

    def test_a_snapshot_does_not_change(self):
        metrics = Metrics(3)
        metrics.add("tasks_sent")
        before = metrics.snapshot()
        metrics.add("tasks_sent")
        assert before["counters"] == {"tasks_sent": 1}
