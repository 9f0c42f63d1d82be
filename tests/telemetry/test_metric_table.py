"""The table from stats() to Prometheus: nothing is forgotten, and what each row means."""

import itertools
import re
from pathlib import Path

import pytest
from known_stats import DOCUMENT, document, matches, numbers

from edgesdk.telemetry.metric_table import (
    BOUNDS_US,
    COUNTER,
    DERIVED,
    GAUGE,
    INFO_LABELS,
    METRICS,
    folded,
    info_values,
    markdown,
)

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "metrics.md"


def samples(name, stats):
    (metric,) = [each for each in METRICS if each.name == "edgesdk_" + name]
    return dict(metric.samples(stats))


class TestNames:
    def test_follow_the_conventions_of_prometheus(self):
        for metric in METRICS:
            assert re.fullmatch("edgesdk(_[a-z]+)+", metric.name), metric.name
            assert metric.name.endswith("_total") == (metric.kind == COUNTER), metric.name
            if metric.unit != "1":
                assert metric.name.replace("_total", "").endswith(metric.unit), metric.name

    def test_occur_once(self):
        names = [metric.name for metric in METRICS]
        assert len(set(names)) == len(names)

    def test_times_are_in_seconds_and_nothing_else_is(self):
        for metric in METRICS:
            is_time = "_us" in metric.path or metric.path == "latency"
            assert (metric.unit == "seconds") == is_time, metric.name

    def test_everything_is_explained(self):
        helps = [metric.help for metric in METRICS]
        assert all(len(text) > 12 for text in helps) and len(set(helps)) == len(helps)


def test_no_number_of_a_document_is_forgotten():
    patterns = [metric.path for metric in METRICS] + [path for path, _ in DERIVED]
    for path, _ in numbers(DOCUMENT):
        found = [pattern for pattern in patterns if matches(path, pattern) is not None]
        assert len(found) == 1, "{}: in {} rows of the table".format(".".join(path), len(found))


def test_every_row_finds_something_in_the_document():
    for metric in METRICS:
        if metric.kind in (COUNTER, GAUGE):
            assert metric.samples(DOCUMENT), metric.name


class TestSamples:
    def test_of_one_number(self):
        assert samples("admitted_items_total", DOCUMENT) == {(): 1200.0}
        assert samples("uptime_seconds", DOCUMENT) == {(): 61.5}

    def test_of_a_table_are_named_by_its_keys(self):
        assert samples("events_total", DOCUMENT) == {
            ("tasks_sent",): 90,
            ("tasks_computed",): 1290,
            ("sessions_lost.silent",): 1,
        }
        assert samples("board_power_watts", DOCUMENT) == {("POM_5V_IN",): 4.75}

    def test_of_outcomes_by_status_and_reason(self):
        assert samples("items_total", DOCUMENT) == {
            ("result", "threshold"): 1100,
            ("result", "final"): 90,
            ("expired", "deadline"): 5,
            ("failed", ""): 2,
        }

    def test_of_a_list_are_counted_from_0(self):
        assert samples("exits_total", DOCUMENT) == {("0",): 1000, ("1",): 100, ("2",): 90}

    def test_of_stages_are_named_by_their_number_not_by_their_place(self):
        assert samples("stage_busy_seconds_total", DOCUMENT) == {
            ("0", "0"): 0.48,
            ("0", "2"): 0.077,
        }

    def test_of_queues_without_what_all_have(self):
        found = {("waiting",): 7, ("leaving",): 2, ("running",): 32}
        assert samples("queue_tasks", DOCUMENT) == found

    def test_of_neighbours(self):
        assert samples("neighbour_up", DOCUMENT) == {("robot-2",): 1, ("nano.kitchen",): 0}
        assert samples("neighbour_silence_seconds", DOCUMENT) == {("robot-2",): 0.13}

    @pytest.mark.parametrize("state", ["greeting", "leaving", "absent"])
    def test_only_who_is_up_is_up(self, state):
        assert samples("neighbour_up", {"neighbours": {"a": {"state": state}}}) == {("a",): 0}

    @pytest.mark.parametrize("stats", [{}, {"pace": None, "board": {}, "neighbours": {}}])
    def test_of_what_a_document_lacks_there_are_none(self, stats):
        for metric in METRICS:
            if metric.kind in (COUNTER, GAUGE):
                assert metric.samples(stats) == []


class TestHistogram:
    def test_bounds_are_1_2_5_from_100_us_to_100_s(self):
        assert BOUNDS_US[:4] == (100, 200, 500, 1000) and BOUNDS_US[-2:] == (5 * 10**7, 10**8)
        assert {str(bound)[0] for bound in BOUNDS_US} == {"1", "2", "5"}

    def test_a_bucket_counts_from_the_first_bound_that_holds_all_of_it(self):
        found = dict(folded(DOCUMENT["latency"]["buckets"]))
        assert [found[bound] for bound in (1e-4, 2e-4, 5e-4, 1e-3)] == [30, 60, 60, 1160]
        assert [found[bound] for bound in (5e-3, 1e-2, 100.0)] == [1160, 1189, 1189]
        assert found[float("inf")] == 1190

    def test_counts_never_fall_as_more_is_counted(self):
        """Prometheus takes a count that falls for a restart."""
        fine, before = {}, [0] * (len(BOUNDS_US) + 1)
        for upper_us in itertools.islice(itertools.cycle([50.0, 99.9, 104.0, 3e5, 3e8]), 50):
            fine[upper_us] = fine.get(upper_us, 0) + 1
            counts = [count for _, count in folded(sorted(fine.items()))]
            assert all(now >= then for now, then in zip(counts, before))
            assert counts == sorted(counts)
            before = counts

    def test_of_nothing(self):
        assert {count for _, count in folded([])} == {0}


class TestInfo:
    def test_says_what_runs(self):
        found = dict(zip(INFO_LABELS, info_values(DOCUMENT, "1.2.3")))
        assert found == {
            "worker": "robot-1",
            "model_id": "b400ebf7b68c4021",
            "plan": "full",
            "policy": "max_probability thresholds=[0.7, 0.8, 0.0]",
            "backend": "onnxruntime",
            "kernels": "native",
            "version": "1.2.3",
        }

    def test_is_empty_where_nothing_is_known(self):
        assert set(info_values({}, "")) == {""}
        assert "final" in info_values(document(policy={"kind": "final"}), "")


def test_the_page_is_made_from_the_table():
    """`python -c "from edgesdk.telemetry.metric_table import markdown; print(markdown())"`."""
    assert markdown() in PAGE.read_text("utf-8"), "docs/metrics.md is not current"


def test_the_page_has_every_metric_and_every_other_number():
    for metric in METRICS:
        assert "| `{}` | {} |".format(metric.name, metric.kind) in markdown()
    for path, query in DERIVED:
        assert "| `{}` | `{}` |".format(path, query) in markdown()
