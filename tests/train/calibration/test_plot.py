"""The picture of a calibration, and the points in it."""

import numpy as np
import pytest
from calibration_cases import random_outcomes, tiny_data
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.errors import EdgeError
from edgesdk.train.calibration import workflow
from edgesdk.train.calibration.choice import Candidate, Objective
from edgesdk.train.calibration.costs import Costs, spans
from edgesdk.train.calibration.measuring import Measured
from edgesdk.train.calibration.plot import STYLES, draw, front, oracle, points
from edgesdk.train.calibration.thresholds import kinds
from edgesdk.train.calibration.workflow import Request, calibrate

TIMES = Costs("us", {(i, j): 100.0 * (j - i + 1) for i, j in spans(3)}, (1.0, 1.0, 1.0), 5, 2, 1, 1)


@pytest.fixture
def result(bundle, monkeypatch):
    conditions = {"backend": "onnxruntime", "threads": 1, "cpu": "synthetic"}
    monkeypatch.setattr(workflow, "measure", lambda *_: Measured(TIMES, conditions))
    return calibrate(
        bundle.path, tiny_data(), Request(Objective(2.0), "us", "calibrated", "onnxruntime", 1)
    )


def candidate(cost, accuracy):
    return Candidate(None, (0,), cost, accuracy, 0.0)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_nothing_on_the_front_is_beaten_and_everything_else_is(pairs):
    tried = [candidate(cost, accuracy) for cost, accuracy in pairs]
    kept = front(tried)
    for one in tried:
        beaten = any(o.cost <= one.cost and o.accuracy >= one.accuracy for o in kept)
        assert beaten
    for one in kept:
        assert not any(
            (o.cost <= one.cost and o.accuracy > one.accuracy)
            or (o.cost < one.cost and o.accuracy >= one.accuracy)
            for o in tried
        )
    assert [one.cost for one in kept] == sorted(one.cost for one in kept)


def test_the_oracle_leaves_at_the_cheapest_exit_that_is_right():
    outcomes = random_outcomes(0, 50)
    replayed = oracle(outcomes)
    for row, left, evaluated in zip(outcomes.correct, *replayed):
        assert row[left] or not row.any()
        assert not row[:left].any()
        assert np.flatnonzero(evaluated).tolist() == [left]
    accuracy = outcomes.correct[np.arange(50), replayed.exit_index].mean()
    assert accuracy == outcomes.correct.any(axis=1).mean()


def test_every_kind_has_a_line_of_its_own():
    assert set(STYLES) == set(kinds())
    assert len({color for color, _ in STYLES.values()}) == len(STYLES)
    assert len({str(dashes) for _, dashes in STYLES.values()}) == len(STYLES)


def test_the_points_are_what_the_table_and_the_manifest_say(result):
    found = points(result)
    for point, policy in zip(found["chosen"], result.policies):
        assert point.us == policy.test.mean_us
        assert point.multiply_adds == policy.test.mean_multiply_adds
        assert point.accuracy == policy.test.accuracy


def test_every_exit_for_all_is_a_point(result):
    fixed = points(result)["fixed"]
    test = result.outcomes.select("test")
    assert [point.accuracy for point in fixed] == test.correct.mean(axis=0).tolist()
    assert [point.us for point in fixed] == [5 + 2 + 100 * n + 2 for n in (1, 2, 3)]
    assert [point.multiply_adds for point in fixed] == [110, 210, 310]


def test_the_oracle_is_not_beaten(result):
    found = points(result)
    (best,) = found["oracle"]
    assert all(point.accuracy <= best.accuracy for name in kinds() for point in found[name])


def test_a_random_exit_costs_what_its_mean_does(result):
    (point,) = points(result)["random"]
    assert point.multiply_adds == pytest.approx(210, rel=0.05)


def test_the_picture_is_written(result, tmp_path):
    path = tmp_path / "new" / "plot.png"
    draw(result, str(path))
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


def test_another_format_goes_by_the_name(result, tmp_path):
    draw(result, str(tmp_path / "plot.svg"))
    assert b"<svg" in (tmp_path / "plot.svg").read_bytes()


def test_a_format_nobody_knows_is_refused(result, tmp_path):
    with pytest.raises(EdgeError, match=r"plot\.xyz: the picture cannot be written .*\.png"):
        draw(result, str(tmp_path / "plot.xyz"))


def test_a_place_that_cannot_be_written_is_refused(result, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match="the picture cannot be written"):
        draw(result, str(tmp_path / "file" / "plot.png"))
