"""What happened between two status documents: rates, shares, percentiles, restarts."""

import json

import pytest
from documents import link, status

from edgesdk.top.rows import (
    RESTARTED,
    SILENT,
    UP,
    Change,
    WorkerRow,
    input_w,
    link_rows,
    percentile_of,
    totals,
    worker_row,
)


def row_of(before, after, seconds=2.0):
    return worker_row("it", Change(before, after, seconds))


class TestAWorker:
    def test_rates_are_those_between_the_documents(self):
        before = status(10, exits=(100, 50), computed=400, busy_s=3.0, tasks_sent=7)
        after = status(12, exits=(130, 60), computed=500, busy_s=4.5, tasks_sent=7)
        row = row_of(before, after)
        assert (row.state, row.uptime_s) == (UP, 12.0)
        assert (row.answers_per_s, row.exit_counts) == (20.0, (30, 10))
        assert row.all_exit_counts == (130, 60)
        assert (row.computed_per_s, row.busy_share) == (50.0, 0.75)
        assert (row.sent_per_s, row.received_per_s) == (0.0, 0.0)

    def test_the_workers_own_clock_counts(self):
        """An answer that travelled for half a second makes no rate wrong."""
        row = row_of(status(10, exits=(0, 5)), status(12, exits=(0, 15)), seconds=2.5)
        assert row.answers_per_s == 5.0

    def test_a_first_answer_has_no_rates(self):
        row = row_of(None, status(exits=(3, 4), latency={100.0: 7}, waiting=2, leaving=1))
        assert row.answers_per_s is None and row.p50_us is None and row.exit_counts == ()
        assert row.computed_per_s is None and row.busy_share is None and row.cpu_share is None
        assert (row.waiting_count, row.leaving_count) == (2, 1)
        assert row.all_exit_counts == (3, 4)

    def test_latencies_are_those_of_the_interval(self):
        before = status(10, exits=(50, 0), latency={100.0: 50})
        after = status(12, exits=(150, 0), latency={100.0: 144, 900.0: 6})
        row = row_of(before, after)
        assert (row.p50_us, row.p95_us) == (100.0, 900.0)

    def test_without_answers_there_is_no_latency(self):
        same = {"exits": (5, 0), "latency": {100.0: 5}}
        row = row_of(status(10, **same), status(12, **same))
        assert (row.answers_per_s, row.p50_us, row.p95_us) == (0.0, None, None)

    def test_a_worker_that_no_image_came_from_has_no_answers(self):
        row = row_of(status(10, computed=4), status(12, computed=8))
        assert row.answers_per_s is None and row.in_flight_count is None
        assert row.computed_per_s == 2.0

    def test_a_stage_that_is_longer_than_the_interval_is_no_more_than_all_of_it(self):
        assert row_of(status(10), status(12, busy_s=5.0)).busy_share == 1.0

    def test_the_board(self):
        board = {"temperature_c": {"CPU": 41.5, "GPU": 43.0}, "resident_bytes": 5, "cpu_us": 10**6}
        later = dict(board, cpu_us=2 * 10**6, power_w={"VDD_IN": 5.0, "VDD_SOC": 2.0})
        row = row_of(status(10, board=board), status(12, board=later))
        assert (row.temperature_c, row.power_w) == (43.0, 5.0)
        assert (row.resident_bytes, row.cpu_share) == (5, 0.5)

    def test_a_board_that_tells_nothing(self):
        row = row_of(status(10), status(12))
        assert (row.temperature_c, row.power_w, row.resident_bytes) == (None, None, None)
        assert row.cpu_share is None

    def test_numbers_that_are_none_are_not_known(self):
        after = status(12, board={"temperature_c": {"a": "hot", "b": None}, "resident_bytes": "x"})
        after["queue"] = {"waiting_count": float("nan"), "leaving_count": []}
        row = row_of(status(10), after)
        assert (row.temperature_c, row.resident_bytes) == (None, None)
        assert (row.waiting_count, row.leaving_count) == (None, None)

    def test_it_can_be_said_in_json(self):
        row = row_of(status(10), status(12))
        assert json.loads(json.dumps(row._asdict()))["name"] == "it"


class TestARestart:
    """Counts since the start hold then, over the time since the start."""

    def expect_restarted(self, before, after, seconds):
        row = row_of(before, after, seconds)
        assert row.state == RESTARTED
        assert (row.answers_per_s, row.exit_counts) == (10.0, (15, 5))
        assert row.p50_us == 100.0

    def test_time_went_backwards(self):
        before = status(50, exits=(10, 4), latency={100.0: 14})
        self.expect_restarted(before, status(2, exits=(15, 5), latency={100.0: 20}), 5.0)

    def test_a_count_went_backwards(self):
        before = status(1, exits=(900, 0), latency={100.0: 900})
        self.expect_restarted(before, status(2, exits=(15, 5), latency={100.0: 20}), 1.0)

    def test_a_counter_went_backwards(self):
        before = status(1, exits=(10, 4), tasks_sent=5)
        after = status(2, exits=(15, 5), latency={100.0: 20}, tasks_sent=4)
        self.expect_restarted(before, after, 1.0)

    def test_it_was_silent_for_longer_than_it_has_run(self):
        before = status(1, exits=(10, 4), latency={100.0: 14})
        self.expect_restarted(before, status(2, exits=(15, 5), latency={100.0: 20}), 60.0)

    def test_one_that_paused_has_not_restarted(self):
        row = row_of(status(10, exits=(10, 0)), status(70, exits=(70, 0)), 60.0)
        assert (row.state, row.answers_per_s) == (UP, 1.0)


class TestLinks:
    def test_rates_of_a_link(self):
        before = status(10, neighbours={"b": link(sent_count=5, sent_bytes=1000)})
        after = status(12, neighbours={"b": link(sent_count=9, sent_bytes=5000)})
        (row,) = link_rows("a", Change(before, after, 2.0))
        assert (row.source, row.target, row.state) == ("a", "b", "up")
        assert (row.sent_per_s, row.bytes_per_s) == (2.0, 2000.0)
        assert (row.delay_us, row.link_delay_us, row.unsettled_count) == (900, 300.0, 1)
        assert row.round_trip_us == 90.0
        assert row.reason is None

    def test_what_a_lost_neighbour_said_is_of_no_use(self):
        after = status(neighbours={"b": link("greeting", lost_because="silent")})
        (row,) = link_rows("a", Change(None, after, 0.0))
        assert (row.state, row.reason) == ("greeting", "silent")
        assert (row.delay_us, row.link_delay_us, row.unsettled_count) == (None, None, None)
        assert row.round_trip_us is None


class TestTotals:
    def test_percentiles_are_those_of_all_answers_together(self):
        changes = [
            Change(status(10), status(12, exits=(90, 0), latency={100.0: 90}), 2.0),
            Change(status(10), status(12, exits=(4, 6), latency={700.0: 10}), 2.0),
        ]
        rows = [worker_row(name, change) for name, change in zip("ab", changes)]
        rows.append(WorkerRow("c", SILENT))
        links = link_rows("a", Change(None, status(neighbours={"b": link()}), 0.0))
        total = totals(rows, links, changes)
        assert (total.worker_count, total.up_count) == (3, 2)
        assert (total.answers_per_s, total.exit_counts) == (50.0, (94, 6))
        assert (total.p50_us, total.p95_us) == (100.0, 700.0)
        assert (total.bytes_per_s, total.power_w) == (None, None)

    def test_of_nobody(self):
        total = totals([], [], [])
        assert (total.worker_count, total.answers_per_s, total.exit_counts) == (0, None, ())

    @pytest.mark.parametrize(
        ("counts", "share", "expected"),
        [
            ({}, 0.5, None),
            ({10.0: 1}, 0.95, 10.0),
            ({20.0: 1, 10.0: 1}, 0.5, 10.0),
            ({10.0: 1, 20.0: 2}, 0.5, 20.0),
            ({10.0: 95, 20.0: 5}, 0.95, 10.0),
            ({10.0: 94, 20.0: 6}, 0.95, 20.0),
        ],
    )
    def test_nearest_rank(self, counts, share, expected):
        assert percentile_of(counts, share) == expected

    @pytest.mark.parametrize(
        ("rails", "watts"),
        [
            ({}, None),
            ({"POM_5V_IN": 2.4, "POM_5V_GPU": 0.1, "POM_5V_CPU": 0.6}, 2.4),
            ({"VDD_GPU_SOC": 4.0, "VIN_SYS_5V0": 3.0}, 7.0),
        ],
    )
    def test_the_rail_that_feeds_the_board_is_the_total(self, rails, watts):
        assert input_w(rails) == watts
