"""The solver finds the best of all, too; without a scipy that can it says so."""

import sys

import pytest
from hypothesis import given, settings
from placements import FAST, SLOW, best_found, chain, least, pair, problems
from solvers import needs_solver, without_milp

from edgesdk.core.placement import ENERGY, LATENCY, OBJECTIVES, THROUGHPUT, Link
from edgesdk.core.placement_search import fits, search
from edgesdk.errors import BackendUnavailable, ConfigError
from edgesdk.plan import milp


@needs_solver
@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=60)
@given(problem=problems())
def test_the_solver_finds_the_best_of_all_that_fit(objective, problem):
    proven = []

    def solve(problem, objective):
        proven.append(milp.solve(problem, objective, 60))
        return proven[-1].found

    found = best_found(solve, problem, objective, rel=1e-4, abs=1e-6)
    if found is not None:
        assert found.is_best and fits(problem, found.placement)
        assert proven[-1].least <= least(problem, objective) * (1 + 1e-4) + 1e-6


@needs_solver
@settings(max_examples=40)
@given(problem=problems())
def test_of_equal_throughputs_it_finds_the_soonest_as_the_search_does(problem):
    if least(problem, THROUGHPUT):
        ours = milp.solve(problem, THROUGHPUT, 60).found.expected
        theirs = search(problem, THROUGHPUT).expected
        assert ours.latency_us == pytest.approx(theirs.latency_us, rel=1e-3)


@needs_solver
def test_of_many_equal_throughputs_it_finds_the_one_that_is_near():
    """The first of two stages keeps the source busy; of six sites for the second one is near."""
    problem = chain(2, 7)
    sites = [site._replace(stage_us=(None, 10.0)) for site in problem.sites]
    sites[0] = sites[0]._replace(stage_us=(1000.0, 10.0))
    links = {ends: Link(1.0 if 6 in ends else 9000.0) for ends in problem.links}
    found = milp.solve(problem._replace(sites=tuple(sites), links=links), THROUGHPUT, 60).found
    assert found.placement == (0, 6)


@needs_solver
def test_a_cost_that_is_known_to_be_possible_spoils_nothing():
    known = search(chain(6, 3), THROUGHPUT).expected.cost(THROUGHPUT)
    assert milp.solve(chain(6, 3), THROUGHPUT, 60, known).found.is_best


@needs_solver
def test_too_little_time_finds_nothing_and_knows_a_bound():
    proven = milp.solve(chain(40, 8), THROUGHPUT, 1e-3)
    assert proven.found is None and proven.least >= 0


@needs_solver
def test_energy_must_be_known():
    with pytest.raises(ConfigError, match="energy"):
        milp.solve(pair(sites=(SLOW, FAST._replace(stage_mj=None))), ENERGY, 60)


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "edgesdk\[plan\]"'):
        milp.solve(pair(), LATENCY, 60)


def test_a_scipy_that_is_too_old_says_so(monkeypatch):
    without_milp(monkeypatch)
    with pytest.raises(BackendUnavailable, match=r"scipy 1.9 or newer, found 1.5.4"):
        milp.solve(pair(), LATENCY, 60)
