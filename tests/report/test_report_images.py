"""Numbers of images: outcomes, exits, latencies, intervals, and where the time went."""

import pytest
from recorded_runs import MS, SHELF, item, pair, recording, run_of, stage

from edgesdk.report import images as im
from edgesdk.report.labels import Labels
from edgesdk.report.stays import stays_of


def images(run):
    return im.images_of(run, [stays_of(each) for each in run.recordings])


def one(*spans, **more):
    return run_of(recording(spans), **more)


def lost(number, begin_ms, end_ms, status="expired", reason="deadline"):
    return item(number, begin_ms, end_ms, None, status=status, reason=reason)


class TestOutcomes:
    def test_answers_come_first_then_the_most(self):
        spans = [lost(0, 0, 1), item(1, 0, 2), lost(2, 0, 3, "failed", "closed"), lost(3, 0, 4)]
        rows = im.outcome_rows(images(one(*spans)), 2)
        assert rows == [
            ("result", "threshold", 1),
            ("expired", "deadline", 2),
            ("failed", "closed", 1),
            ("open", "", 2),
        ]

    def test_of_several_workers_are_added(self):
        run = run_of(
            recording([item(0, 0, 1)]), recording([item(0, 0, 1)], worker=SHELF, name="other")
        )
        assert im.outcome_rows(images(run), 0) == [("result", "threshold", 2)]


class TestLatency:
    def test_is_by_nearest_rank(self):
        run = one(*[item(n, 0, n + 1) for n in range(100)])
        found = im.latency_of(images(run).latency_us)
        assert (found.p50_us, found.p95_us, found.p99_us) == (50 * MS, 95 * MS, 99 * MS)
        assert (found.answer_count, found.max_us, found.mean_us) == (100, 100 * MS, 50.5 * MS)

    def test_of_nothing_is_nothing(self):
        assert im.latency_of(images(one()).latency_us) is None

    def test_counts_per_second_from_the_first_in_to_the_last_answer(self):
        run = one(item(0, 100, 200), item(1, 150, 600), lost(2, 0, 900))
        assert im.per_s(images(run), run) == pytest.approx(2 / 0.5)


class TestExits:
    def test_have_shares_accuracy_and_latency(self):
        labels = Labels({"0": 3, "1": 3, "2": 8})
        spans = [item(0, 0, 1), item(1, 0, 3, class_index=4), item(2, 0, 9, 2, 8), item(3, 0, 2)]
        rows = im.exit_rows(images(one(*spans, labels=labels)))
        assert [row[:4] for row in rows] == [(0, 3, 2, 1), (2, 1, 1, 1)]
        assert rows[0].latency.p50_us == 2 * MS

    def test_nothing_is_right_without_labels(self):
        (row,) = im.exit_rows(images(one(item(0, 0, 1))))
        assert (row.labelled_count, row.right_count) == (0, 0)


class TestIntervals:
    def test_have_every_image_once(self):
        spans = [item(n, n, n + 5, n % 3) for n in range(200)] + [lost(900, 0, 77)]
        width_us, rows = im.intervals_of(images(one(*spans)))
        assert width_us == 5 * MS and len(rows) <= im.INTERVALS + 2
        assert sum(sum(row.exit_counts.values()) for row in rows) == 200
        assert [row.unanswered_count for row in rows if row.begin_us == 75 * MS] == [1]
        assert [row.begin_us for row in rows] == [5 * MS * n for n in range(len(rows))]

    def test_an_interval_in_which_nothing_ends_is_there(self):
        _, rows = im.intervals_of(images(one(item(0, 0, 1), item(1, 0, 1000))))
        assert rows[5].p50_us is None and rows[5].exit_counts == {}

    @pytest.mark.parametrize(
        ("about", "nice"), [(0, 1000), (1001, 2000), (2001, 5000), (7e5, 1_000_000)]
    )
    def test_are_of_a_nice_length(self, about, nice):
        assert im.nice_us(about) == nice


class TestSpent:
    def test_is_told_from_both_sides(self):
        run = pair()
        found = images(run)
        by_number = {row.number: row for row in im.slowest(found, run)}
        assert by_number[0].spent == (20 * MS, 10 * MS, 0, 0, 0)
        # Sent at 30, there at 40, computed from 50 to 80, its result here at 105.
        assert by_number[1].spent == (20 * MS, 5 * MS, 30 * MS, 10 * MS, 35 * MS)
        assert by_number[2].spent == (30 * MS, 5 * MS, 0, 0, 0)

    def test_adds_up_to_the_latency(self):
        found = images(pair())
        assert (found.spent.sum(axis=1) == found.latency_us).all()

    def test_what_was_computed_twice_is_no_longer_than_it_was_away(self):
        run = pair()
        shelf = run.recordings[1]
        shelf.add(stage(1, 100, 400, 1))
        found = images(run)
        assert (found.spent.sum(axis=1) == found.latency_us).all() and (found.spent >= 0).all()

    def test_of_the_slow_ones_are_the_slowest_twentieth(self):
        run = one(*[item(n, 0, n + 1) for n in range(40)])
        assert sum(im.mean_spent(images(run), slow_only=True)) == 39.5 * MS
        assert sum(im.mean_spent(images(run))) == 20.5 * MS
        assert im.mean_spent(images(one(lost(0, 0, 1)))) is None


class TestTables:
    def test_the_slowest_come_first_and_are_few(self):
        run = one(*[item(n, 0, n + 1) for n in range(30)])
        rows = im.slowest(images(run), run)
        assert [row.number for row in rows] == list(range(29, 9, -1))

    def test_failures_come_first_then_what_is_open_then_expired(self):
        spans = [
            lost(0, 0, 5),
            lost(1, 0, 9, "failed", "stage_failed"),
            item(2, 4, 50, None, status="open", reason=""),
        ]
        incidents = [("failed.stage_failed", None, 1, "stage 2: it broke")]
        run = run_of(recording(spans, incidents=incidents))
        rows = im.unanswered(images(run), run)
        assert [(row.number, row.status, row.detail) for row in rows] == [
            (1, "failed", "stage 2: it broke"),
            (2, "open", ""),
            (0, "expired", ""),
        ]
        assert rows[1].spent is None and rows[1].latency_us == 46 * MS

    def test_tell_tags_and_labels(self):
        run = one(item(0, 0, 5, tag="a.png"), labels=Labels({"a.png": 7}))
        (row,) = im.slowest(images(run), run)
        assert (row.tag, row.answer, row.label, row.exit_index) == ("a.png", 3, 7, 0)
