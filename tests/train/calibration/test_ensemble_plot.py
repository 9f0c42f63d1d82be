"""The picture of an ensemble's calibration, and the points in it."""

import numpy as np
import pytest
from calibration_cases import tiny_data
from ensemble_cases import costs_of, ensemble_at, random_features

from edgesdk.errors import EdgeError
from edgesdk.train.calibration import ensembles
from edgesdk.train.calibration.choice import Objective
from edgesdk.train.calibration.ensemble_plot import MARKS, draw, fronts, point_of
from edgesdk.train.calibration.ensembles import calibrate
from edgesdk.train.calibration.thresholds import kinds
from edgesdk.train.calibration.workflow import Request

DEPTHS = (7, 3)


@pytest.fixture
def result(tmp_path, monkeypatch):
    monkeypatch.setattr(ensembles, "_features", lambda *_: random_features(0, 100, DEPTHS))
    monkeypatch.setattr(ensembles, "student_costs", lambda _: costs_of(DEPTHS))
    request = Request(Objective(8.0), "multiply-adds", "calibrated", None, 1)
    return calibrate(ensemble_at(tmp_path), tiny_data(), request)


def test_chosen_policies_stand_where_the_table_says(result):
    for row in result.policies:
        assert point_of(row) == (row.test.mean_multiply_adds, row.test.accuracy)


def test_fronts_are_of_the_test_split_and_go_through_what_was_chosen(result):
    found = fronts(result)
    assert set(found) == set(kinds())
    for row in result.policies:
        point = point_of(row)
        near = [
            one
            for one in found[row.policy.kind]
            if one.accuracy == point.accuracy
            and one.multiply_adds == pytest.approx(point.multiply_adds)
        ]
        calibration = row.calibration
        beaten = any(
            one.accuracy >= calibration.accuracy
            and one.cost < calibration.mean_multiply_adds - 1e-6
            for one in result.tried[row.policy.kind]
        )
        assert near or beaten
    assert max(len(points) for points in found.values()) > 5


def test_the_oracle_is_not_beaten(result):
    best = point_of(result.others[-1])
    for points in fronts(result).values():
        assert all(point.accuracy <= best.accuracy for point in points)


def test_whatever_is_compared_with_has_a_mark_of_its_own(result):
    assert set(MARKS) == {row.name for row in result.others}
    assert len(set(MARKS.values())) == len(MARKS)


def test_the_picture_is_written(result, tmp_path):
    path = tmp_path / "new" / "plot.png"
    draw(result, str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


def test_everything_in_the_picture_is_named(result, tmp_path):
    draw(result, str(tmp_path / "plot.svg"))
    text = (tmp_path / "plot.svg").read_text()
    for name in (*kinds(), *MARKS, "one exit for all", "all at their last exit", "chosen"):
        assert f"<!-- {name} -->" in text


def test_a_format_nobody_knows_is_refused(result, tmp_path):
    with pytest.raises(EdgeError, match=r"plot\.xyz: the picture cannot be written .*\.png"):
        draw(result, str(tmp_path / "plot.xyz"))


def test_costs_are_those_of_the_shares(result):
    """A branch is one point: all students there, the shallow one at its last."""
    costs = costs_of(DEPTHS)
    for index, row in enumerate(result.branches):
        each = [
            own.spans[0, min(index, len(own.heads) - 1)] + own.heads[min(index, len(own.heads) - 1)]
            for own in costs
        ]
        assert point_of(row).multiply_adds == pytest.approx(np.mean(each))
