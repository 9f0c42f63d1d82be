"""Columns: numbers as short text, what fits where, order."""

import pytest
from documents import link, status

from edgesdk.top.columns import (
    WORKERS,
    age_text,
    bar,
    count_text,
    duration_text,
    exits_grid,
    links_grid,
    plain_lines,
    workers_grid,
)
from edgesdk.top.history import History


def picture(count=3):
    history = History(["robot-{}".format(number) for number in range(count)])
    for seconds in (10, 12):
        answers = {}
        for number in range(count - 1):
            exits = (seconds * (number + 1), 5 * seconds) if number else (0, 0)
            neighbours = {"robot-9": link(sent_count=seconds * number)}
            answers["robot-{}".format(number)] = status(
                seconds, exits, {1000.0: sum(exits)}, neighbours, computed=seconds * 10
            )
        history.add(answers, float(seconds), 0.0)
    return history.picture()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.04, "0.0"),
        (0.4, "0.4"),
        (3, "3"),
        (3.25, "3.2"),
        (9.96, "10"),
        (31.4, "31"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (12_345, "12k"),
        (999_999, "1.0M"),
        (204_353_536, "204M"),
        (7.5e9, "7.5G"),
        (2e12, "2T"),
    ],
)
def test_counts_have_three_digits(value, text):
    assert count_text(value) == text


@pytest.mark.parametrize(
    ("value_us", "text"),
    [(None, "-"), (0, "0us"), (850, "850us"), (999.6, "1.0ms"), (1900, "1.9ms"), (9960, "10ms")]
    + [(310_000, "310ms"), (999_600, "1.0s"), (2_100_000, "2.1s"), (21e7, "210s")],
)
def test_durations_have_a_unit(value_us, text):
    assert duration_text(value_us) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.4, "0s"), (99, "99s"), (100, "1m"), (6000, "1h"), (172_800, "2d")],
)
def test_ages(seconds, text):
    assert age_text(seconds) == text


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((), "-"),
        ((0, 0), "-"),
        ((1, 0), "0000000000"),
        ((50, 30, 20), "0000011122"),
        ((1, 1, 1), "0000111222"),
        ((999, 1), "0000000000"),
        ((0,) * 40 + (1,), "zzzzzzzzzz"),
    ],
)
def test_a_bar_has_ten_digits(counts, text):
    assert bar(counts) == text


class TestGrids:
    @pytest.mark.parametrize("width", [1, 10, 40, 80, 120, 300])
    def test_nothing_is_wider_than_the_terminal_but_the_first_column(self, width):
        for make in (workers_grid, links_grid, exits_grid):
            grid = make(picture(), width)
            longest = max(len(line) for line in plain_lines(grid))
            assert longest <= width or len(grid.headings) == 1

    def test_what_nobody_fills_gives_way_first(self):
        grid = workers_grid(picture(), 80)
        assert {"degC", "watt"} <= set(grid.hidden)
        assert {"worker", "state", "ans/s", "p95", "busy"} <= set(grid.headings)

    def test_a_wide_terminal_has_room_for_all(self):
        grid = workers_grid(picture(), 200)
        assert grid.headings == [column.heading for column in WORKERS] and grid.hidden == []

    def test_one_who_is_silent_has_a_row(self):
        grid = workers_grid(picture(), 200)
        assert grid.rows[2][:3] == ["robot-2", "silent", "-"]
        assert grid.totals[:2] == ["all", "2 of 3"]

    def test_the_first_order_is_that_of_the_file_and_the_next_begins_with_the_most(self):
        orders = [[row[0] for row in workers_grid(picture(), 200, n).rows] for n in (0, 1)]
        assert orders == [["robot-0", "robot-1", "robot-2"], ["robot-1", "robot-0", "robot-2"]]

    def test_after_all_columns_comes_the_first_again(self):
        grids = [workers_grid(picture(), 200, n) for n in range(40)]
        found = [grid.sorted_by for grid in grids]
        assert found[0] == 0 and 0 in found[1:] and len(set(found)) > 5

    def test_links(self):
        grid = links_grid(picture(), 200)
        assert grid.rows[1][:4] == ["robot-1", "robot-9", "up", "1"]
        assert grid.totals[3] == "1"

    def test_exits_now_and_since_the_start_of_workers_that_answer(self):
        rows = exits_grid(picture(), 200).rows
        assert rows == [
            ["robot-1", "now", "14", "29%", "71%"],
            ["", "since start", "84", "29%", "71%"],
        ]

    def test_long_names_are_cut(self):
        history = History(["x" * 64])
        history.add({}, 0.0, 0.0)
        assert workers_grid(history.picture(), 80).rows[0][0] == "x" * 18 + ".."

    def test_all_of_it_is_ascii(self):
        for make in (workers_grid, links_grid, exits_grid):
            "".join(plain_lines(make(picture(), 300))).encode("ascii")
