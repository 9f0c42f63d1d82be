"""Numbers of workers, stages, links and queues."""

import pytest
from recorded_runs import MS, SHELF, came, item, pair, recording, run_of, sent, stage

from edgesdk.report import work
from edgesdk.report.recording import Keys
from edgesdk.report.stays import stays_of


def stage_rows(run):
    return work.stage_rows(run, [stays_of(each) for each in run.recordings])


class TestWorkers:
    def test_count_what_each_did(self):
        robot, shelf = work.worker_rows(pair())
        assert (robot.admitted_count, robot.answer_count, robot.sent_count) == (3, 2, 1)
        assert (robot.batch_count, robot.item_count, robot.busy_us) == (3, 4, 50 * MS)
        assert robot.busy_share == pytest.approx(0.05)
        assert (shelf.guest_count, shelf.answer_count, shelf.busy_us) == (1, 1, 30 * MS)
        assert shelf.busy_share == pytest.approx(0.06)

    def test_an_item_that_comes_back_is_no_guest(self):
        (row,) = work.worker_rows(run_of(recording([came(0, 2, 5), item(0, 0, 9)])))
        assert row.guest_count == 0

    def test_a_worker_that_did_nothing(self):
        (row,) = work.worker_rows(run_of(recording([])))
        assert (row.busy_us, row.busy_share, row.item_count) == (0, 0.0, 0)


class TestStages:
    def test_have_times_sizes_and_waits(self):
        first, second, third = stage_rows(pair())
        assert first[:5] == ("robot", 0, 0, 0, 2)
        assert (first.item_count, first.sizes, first.busy_us) == (3, {1: 1, 2: 1}, 30 * MS)
        assert (first.waited_p50_us, first.waited_p95_us) == (5 * MS, 10 * MS)
        assert (second.stage, second.busy_us, second.waited_p50_us) == (1, 20 * MS, 5 * MS)
        assert (third.worker, third.waited_p50_us) == ("shelf", 10 * MS)

    def test_add_up_to_the_time_that_a_worker_was_busy(self):
        run = pair()
        for row in work.worker_rows(run):
            of_worker = [each for each in stage_rows(run) if each.worker == row.name]
            assert sum(each.busy_us for each in of_worker) == row.busy_us
            assert sum(each.item_count for each in of_worker) == row.item_count

    def test_failures_are_counted(self):
        (row,) = stage_rows(run_of(recording([stage(0, 0, 5, 0, ok=False), stage(0, 6, 7, 0)])))
        assert (row.failed_count, row.batch_count) == (1, 2)


class TestLinks:
    def test_have_verdicts_and_times(self):
        (row,) = work.link_rows(pair())
        assert row[:6] == ("robot", "shelf", 1, 1, 0, 0)
        assert (row.settled_p50_us, row.one_way_p50_us) == (15 * MS, 10 * MS)
        assert row.feature_bytes is None

    def test_count_what_was_refused_repeated_and_never_settled(self):
        spans = [sent(0, 1, 0, 5, "refused"), sent(0, 1, 6, 9), sent(1, 1, 9, 12, "open")]
        incidents = [("retransmissions", SHELF, 0, "no verdict yet")] * 120
        (row,) = work.link_rows(run_of(recording(spans, incidents=incidents)))
        assert (row.task_count, row.accepted_count) == (3, 1)
        assert (row.refused_count, row.unsettled_count, row.repeated_count) == (1, 1, 120)

    def test_nothing_is_said_of_the_way_where_clocks_are_not_known(self):
        run = pair()
        run.recordings[1].made.note["clock"] = "another"
        run = run_of(*run.recordings)
        (row,) = work.link_rows(run)
        assert row.one_way_p50_us is None and not run.is_aligned

    def test_nor_of_a_task_that_came_twice(self):
        run = pair()
        run.recordings[1].add(came(1, 1, 300))
        (row,) = work.link_rows(run)
        assert row.one_way_p50_us is None

    def test_nor_of_one_that_was_sent_twice_and_came_once(self):
        run = pair()
        run.recordings[0].add(sent(1, 1, 10, 20, "refused"))
        (row,) = work.link_rows(run)
        assert row.one_way_p50_us is None and row.task_count == 2

    def test_bytes_are_those_of_the_stages_inputs(self):
        (row,) = work.link_rows(pair()._replace(feature_bytes=(100, 256)))
        assert row.feature_bytes == 256

    def test_a_neighbour_without_a_trace_has_its_number(self):
        run = run_of(recording([sent(0, 1, 0, 5)]))
        assert work.link_rows(run)[0].receiver == "{:016x}".format(SHELF)


def test_queues_are_on_the_axis_of_the_run():
    keys = Keys()
    run = run_of(
        recording([], keys=keys, samples=[(10, 1), (20, 3)], begin_us=10 * MS),
        recording([], SHELF, "shelf", keys, samples=[(40, 2), (41, 0)], begin_us=40 * MS),
    )
    robot, shelf = work.queue_curves(run)
    assert (robot.waiting[0].at_us, shelf.waiting[0].at_us) == (0, 30 * MS)
    assert (robot.waiting[0].mean, shelf.waiting[0].mean) == (1, 2)
