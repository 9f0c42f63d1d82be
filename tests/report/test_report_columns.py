"""Rows of numbers, and values over time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.errors import ConfigError
from edgesdk.report.columns import MOMENTS_MAX, Columns, Curve


class TestColumns:
    def test_gives_arrays_by_name(self):
        columns = Columns("a", "b")
        columns.add(1, -2)
        columns.add(3, 2**63 - 1)
        assert columns.arrays()["a"].tolist() == [1, 3]
        assert columns.arrays()["b"].dtype == np.int64
        assert (len(columns), columns.value("b", 0)) == (2, -2)

    def test_without_rows_has_empty_arrays(self):
        assert Columns("a").arrays()["a"].shape == (0,)

    @pytest.mark.parametrize("value", [2**63, 1.5, "x"])
    def test_refuses_what_no_worker_writes(self, value):
        with pytest.raises(ConfigError, match="expected whole numbers of 64 bits"):
            Columns("a").add(value)


def curve_of(points):
    curve = Curve()
    for at_us, value in points:
        curve.tell(at_us, value)
    return curve


class TestCurve:
    def test_is_a_mean_over_time(self):
        curve = curve_of([(0, 2), (250, 6), (500, 0), (1000, 0)])
        (first, *_) = curve.moments()
        assert (first.at_us, first.mean, first.largest) == (0, 2.0, 6)

    def test_knows_no_value_before_the_first(self):
        assert Curve().moments() == []
        assert curve_of([(7, 3)]).moments() == [(7, 3, 3)]

    @given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 50)), min_size=1, max_size=60))
    def test_keeps_the_sum_however_long_it_gets(self, steps):
        at_us, points, total = 10**9, [], 0
        for gap_us, value in steps:
            total += points[-1][1] * gap_us if points else 0
            at_us += gap_us if points else 0
            points.append((at_us, value))
        moments = curve_of(points).moments()
        assert len(moments) <= MOMENTS_MAX
        ends = [moment.at_us for moment in moments[1:]] + [at_us]
        found = sum(m.mean * (end - m.at_us) for m, end in zip(moments, ends))
        assert found == pytest.approx(total, abs=1e-3 + 1e-9 * total)
        assert max(m.largest for m in moments) == max(value for _, value in points)
