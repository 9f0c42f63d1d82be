"""Reports: what is counted, what leaves the warm-up out, and the bound."""

import json

import pytest
from worlds import world

from edgesdk.core.metrics import Histogram
from edgesdk.sim import report
from edgesdk.sim.recorder import Ended
from edgesdk.sim.report import Run, summarise
from edgesdk.sim.scenario import parse_scenario
from edgesdk.sim.totals import DirectionTotals, NodeTotals, SourceTotals, Totals

MS = 1000


def ended(at_s, exit_index=0, right=True, ms=10, source="a", status="result"):
    index = exit_index if status == "result" else None
    return Ended(source, int(at_s * 1e6), status, "threshold", index, right, ms * MS)


def run(items=(), submitted=None, **changes):
    """Ten seconds of two nodes, of which two are warm-up."""
    scenario = parse_scenario(world(**changes), "")
    sources = []
    for name in sorted({workload.source for workload in scenario.workloads}):
        count = sum(item.source == name for item in items)
        submitted_count = count if submitted is None else submitted
        sources.append(
            SourceTotals(
                name, submitted_count, 0, submitted_count - count, 1, {}, (), Histogram(), 0, 0
            )
        )
    nodes = (
        NodeTotals("a", 9, 30, 4_000_000, 5, 0, {}),
        NodeTotals("b", 9, 8, 1_000_000, 2, 0, {}),
    )
    directions = (
        DirectionTotals("a->b", {"Task": 5, "Ack": 3}, {"Task": 2_400_000, "Ack": 100_000}, {}),
        DirectionTotals("b->a", {"Result": 8}, {"Result": 800}, {"crash": 2}),
    )
    totals = Totals("pair", 7, 10_000_000, 9, tuple(sources), nodes, directions, "")
    return Run(scenario, totals, list(items))


class TestCounts:
    def test_every_end_of_the_whole_run(self):
        items = [ended(1), ended(3), ended(4, status="expired"), ended(5, status="failed")]
        (source,) = summarise(run(items, submitted=6)).sources
        assert source.admitted_count == 6
        assert (source.result_count, source.expired_count, source.failed_count) == (2, 1, 1)
        assert (source.open_count, source.lost_count) == (2, 1)

    def test_of_each_source_and_of_all(self):
        workloads = [{"source": s, "kind": "periodic", "rate_hz": 1} for s in "ab"]
        items = [ended(3), ended(4, source="b"), ended(5, source="b", right=False)]
        found = summarise(run(items, workload=workloads))
        assert [s.result_count for s in found.sources] == [1, 2]
        assert found.total.result_count == 3
        assert [s.accuracy for s in found.sources] == [1.0, 0.5]
        assert found.total.accuracy == pytest.approx(2 / 3)


class TestAfterTheWarmUp:
    def test_rate_and_accuracy_of_what_ends_then(self):
        items = [ended(1, right=False)] * 10 + [ended(3), ended(4, right=False), ended(9)]
        (source,) = summarise(run(items)).sources
        assert source.items_per_s == pytest.approx(3 / 8)
        assert source.accuracy == pytest.approx(2 / 3)

    def test_the_warm_up_may_be_chosen(self):
        items = [ended(1), ended(3)]
        (source,) = summarise(run(items), warmup_us=0).sources
        assert source.items_per_s == pytest.approx(0.2)

    def test_what_ends_after_the_end_is_no_rate(self):
        (source,) = summarise(run([ended(3), ended(12)])).sources
        assert source.items_per_s == pytest.approx(1 / 8)

    def test_a_workload_that_ends_counts_until_its_last_item(self):
        workload = [{"source": "a", "kind": "periodic", "rate_hz": 2, "item_count": 6}]
        items = [ended(2 + k / 2) for k in range(1, 7)]
        (source,) = summarise(run(items, workload=workload)).sources
        assert source.items_per_s == pytest.approx(6 / 3)

    def test_percentiles_are_of_answers(self):
        items = [ended(3, ms=k) for k in range(1, 101)] + [ended(3, ms=9999, status="expired")]
        (source,) = summarise(run(items)).sources
        assert (source.p50_us, source.p95_us, source.p99_us) == (50 * MS, 95 * MS, 99 * MS)

    def test_shares_of_the_exits(self):
        items = [ended(3, 0), ended(3, 0), ended(3, 0), ended(3, 2)]
        (source,) = summarise(run(items)).sources
        assert source.exit_shares == {0: 0.75, 2: 0.25}

    def test_without_answers_there_is_nothing_to_say(self):
        (source,) = summarise(run([ended(3, status="failed")])).sources
        assert (source.items_per_s, source.accuracy, source.p50_us) == (0.0, None, None)
        assert source.bound_per_s is None


class TestForPeople:
    def test_a_row_for_each_and_one_for_all_if_there_are_several(self):
        one = summarise(run([ended(3)]))
        assert [row[0] for row in report.source_rows(one)] == ["a"]
        workloads = [{"source": s, "kind": "periodic", "rate_hz": 1} for s in "ab"]
        two = summarise(run([ended(3)], workload=workloads))
        assert [row[0] for row in report.source_rows(two)] == ["a", "b", "all"]

    def test_rows_have_a_cell_for_each_column(self):
        found = summarise(run([ended(3)]))
        for header, rows in (
            (report.source_header(found), report.source_rows(found)),
            (report.exit_header(found), report.exit_rows(found)),
            (report.WORKER_HEADER, report.worker_rows(found)),
            (report.LINK_HEADER, report.link_rows(found)),
        ):
            assert rows and all(len(row) == len(header) for row in rows)

    def test_shares_are_of_the_duration(self):
        link = [{"between": ["a", "b"], "rate_mbit_s": 40}]
        found = summarise(run([ended(3)], link=link))
        assert [row[1] for row in report.worker_rows(found)] == ["40.0 %", "10.0 %"]
        assert report.link_rows(found)[0] == ("a->b", "8", "0", "2.50", "5.0 %")

    def test_a_medium_is_used_by_all_of_its_links(self):
        link = [{"between": ["a", "b"], "medium": "wifi"}]
        medium = [{"name": "wifi", "rate_mbit_s": 20.0064}]
        rows = report.link_rows(summarise(run([ended(3)], link=link, medium=medium)))
        assert [row[-1] for row in rows] == ["-", "-", "10.0 %"]
        assert rows[-1][:4] == ("wifi", "16", "2", "2.50")

    def test_what_is_not_known_is_a_dash(self):
        found = summarise(run())
        assert report.link_rows(found)[1][-1] == "-"
        assert report.source_rows(found)[0][-5:] == ("-",) * 5
        assert report.percent(float("nan")) == "-"


class TestForPrograms:
    def test_figures_are_plain_and_have_units(self):
        found = report.figures(summarise(run([ended(3), ended(4, 2)])))
        json.dumps(found, allow_nan=False)
        value = {name: (number, unit) for name, number, unit in found}
        assert value["a: throughput"] == (pytest.approx(0.25), "items/s")
        assert value["a: left at exit 2"] == (0.5, "share")
        assert value["a: latency p50"] == (10_000, "us")
        assert value["a->b: bytes"] == (2_500_000, "bytes")
        assert value["b: busy"] == (0.1, "share")

    def test_names_occur_once(self):
        names = [name for name, _, _ in report.figures(summarise(run([ended(3)])))]
        assert len(set(names)) == len(names)

    def test_what_is_not_known_is_left_out(self):
        names = [name for name, _, _ in report.figures(summarise(run()))]
        assert "a: accuracy" not in names and "a->b: utilised" not in names
