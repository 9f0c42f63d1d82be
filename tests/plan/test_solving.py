"""What is exact and soon done comes first; what is not proven is said to be so."""

import pytest
from placements import chain
from solvers import needs_solver, without_milp

from edgesdk.core.placement import THROUGHPUT
from edgesdk.core.placement_search import search
from edgesdk.errors import BackendUnavailable
from edgesdk.plan import solving


def stop_after(monkeypatch, steps):
    """The search may take so many steps only."""
    monkeypatch.setattr(solving, "search", lambda p, o: search(p, o, steps))


def test_what_the_search_ends_needs_no_solver(monkeypatch):
    monkeypatch.setattr(solving.milp, "solve", None)
    answer = solving.best(chain(6, 3), THROUGHPUT, 60)
    assert answer.found.is_best and (answer.gap, answer.remark) == (0, "")


@needs_solver
def test_what_it_does_not_end_the_solver_proves(monkeypatch):
    stop_after(monkeypatch, 12)
    assert search(chain(6, 3), THROUGHPUT, 12) is None
    answer = solving.best(chain(6, 3), THROUGHPUT, 60)
    assert answer.found.is_best and answer.gap == 0
    assert answer.found.expected == search(chain(6, 3), THROUGHPUT).expected


@needs_solver
def test_and_what_neither_proves_has_a_gap(monkeypatch):
    stop_after(monkeypatch, 2000)
    answer = solving.best(chain(40, 8), THROUGHPUT, 1e-3)
    assert not answer.found.is_best and 0 < answer.gap <= 1
    assert "none is better by more than" in answer.remark


def test_without_a_solver_the_best_so_far_is_said_to_be_that(monkeypatch):
    without_milp(monkeypatch)
    stop_after(monkeypatch, 2000)
    answer = solving.best(chain(30, 5), THROUGHPUT, 60)
    assert not answer.found.is_best
    assert answer.remark.startswith("the best of those that were tried; ")
    assert "scipy 1.9" in answer.remark


def test_without_a_solver_and_without_anything_found_it_is_an_error(monkeypatch):
    without_milp(monkeypatch)
    stop_after(monkeypatch, 1)
    with pytest.raises(BackendUnavailable):
        solving.best(chain(30, 5), THROUGHPUT, 60)
