"""Points are simulated once, and read ever after."""

import pytest
from test_boards import answers

from edgesdk.errors import EdgeError
from edgesdk.sim.scenario_files import images_of
from edgesdk.train.mdi_exit import points as module
from edgesdk.train.mdi_exit.boards import board_of
from edgesdk.train.mdi_exit.points import Point, Points, simulate, spread
from edgesdk.train.mdi_exit.topologies import LOCAL, TWO, at_rate, at_threshold, scenario_of


@pytest.fixture
def scenario(bundle):
    board = board_of(bundle, 31_000, 10)
    images = images_of([answers((0.9, 0.9, 0.9), (0.6, 0.7, 0.9))])

    def made(topology=TWO, drive=None):
        drive = drive or at_threshold(0.8, 30.0)
        return scenario_of(topology, board, images, drive, 4.0, 8.0, 99)

    return made


@pytest.fixture
def simulated(monkeypatch):
    """How often something is simulated."""
    calls = []

    def counting(scenario, seed):
        calls.append(seed)
        return simulate(scenario, seed)

    monkeypatch.setattr(module, "simulate", counting)
    return calls


def test_a_point_that_is_there_is_not_simulated_again(scenario, simulated, tmp_path):
    path = tmp_path / "new" / "points.jsonl"
    first = Points(path).point(scenario(), "a", 0)
    assert Points(path).point(scenario(), "a", 0) == first and simulated == [0]


def test_whatever_differs_is_another_point(scenario, simulated, tmp_path):
    points = Points(tmp_path / "points.jsonl")
    points.point(scenario(), "a", 0)
    points.point(scenario(), "a", 1)
    points.point(scenario(), "other images", 0)
    points.point(scenario(LOCAL), "a", 0)
    points.point(scenario(drive=at_threshold(0.7, 30.0)), "a", 0)
    points.point(scenario(drive=at_rate(9.0)), "a", 0)
    assert len(simulated) == 6


@pytest.mark.parametrize(
    "rest", ["\n{", "\n[]\n", '\n{"key": "x"}', "\n", '\n{"key": "x", "y": 1}']
)
def test_half_a_line_is_simulated_again(scenario, simulated, tmp_path, rest):
    path = tmp_path / "points.jsonl"
    Points(path).point(scenario(), "a", 0)
    path.write_text(path.read_text() + rest)
    points = Points(path)
    points.point(scenario(), "a", 0)
    points.point(scenario(), "a", 1)
    assert simulated == [0, 1]
    again = Points(path)
    again.point(scenario(), "a", 0)
    again.point(scenario(), "a", 1)
    assert simulated == [0, 1]


def test_a_folder_that_cannot_be_made_is_one_sentence(scenario, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match="cannot be written"):
        Points(tmp_path / "file" / "points.jsonl").point(scenario(), "a", 0)


def test_the_same_seed_gives_the_same(scenario):
    assert simulate(scenario(), 3) == simulate(scenario(), 3) != simulate(scenario(), 4)


def test_what_a_point_says(scenario):
    alone, two = simulate(scenario(LOCAL), 0), simulate(scenario(), 0)
    assert alone.used is None and 0 < two.used < 1
    assert two.bound_per_s == pytest.approx(2 * alone.bound_per_s, rel=0.1)
    assert alone.begun_per_s == pytest.approx(1e6 / 11_000)
    assert 0.8 < alone.items_per_s / alone.bound_per_s < 1.1
    assert alone.accuracy == 1.0 and alone.in_time == 1.0


def test_answers_that_come_late_are_counted(scenario):
    flooded = scenario(LOCAL, at_rate(200.0))  # of at most 90 that the source can begin
    assert simulate(flooded, 0).in_time < 0.9


def test_seeds_are_averaged():
    points = [Point(10.0 * n, 20.0, None, 0.5 + 0.1 * n, 1.0, 2.0, 0.1 * n, 1.0) for n in (1, 3)]
    found = spread(points)
    assert found.mean.items_per_s == 20.0 and found.mean.begun_per_s is None
    assert found.mean.used == pytest.approx(0.2)
    assert found.rates == (10.0, 30.0) and found.accuracies == (0.6, 0.8)
