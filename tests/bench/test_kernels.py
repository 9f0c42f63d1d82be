"""bench kernels: checks before it times, and says what it measured."""

import numpy as np
import pytest

from edgesdk import kernels
from edgesdk.bench import kernels as bench
from edgesdk.bench.timing import Timing
from edgesdk.errors import KernelError

CASES = bench.cases()
OPERATIONS = {name for name in kernels.__all__ if callable(getattr(kernels, name))}


def measured(ours_us, torch_us):
    case = next(case for case in CASES if case.operation == "exit_head")
    torch = None if torch_us is None else Timing(torch_us, torch_us)
    return bench.Measured(case, 1e-7, Timing(ours_us, ours_us), Timing(50.0, 60.0), torch)


def test_every_kernel_has_a_case():
    assert {case.operation for case in CASES} == OPERATIONS - {"ExitScores"}


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_cases_are_the_same_every_time():
    for first, second in zip(CASES, bench.cases()):
        for a, b in zip(first.arguments, second.arguments):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_kernels_in_use_pass_their_check(case):
    assert 0 <= bench.check(case) <= case.tolerance


@pytest.mark.parametrize("operation", sorted(OPERATIONS - {"ExitScores"}))
@pytest.mark.parametrize("wrong", [1.01, np.nan])
def test_a_wrong_kernel_is_not_timed(monkeypatch, operation, wrong):
    case = next(case for case in CASES if case.operation == operation)
    right = getattr(kernels, operation)

    def spoiled(*arguments):
        result = right(*arguments)
        first = result[0] if isinstance(result, tuple) else result
        first = first.astype(np.float64) * wrong + (wrong - 1)
        return (first, *result[1:]) if isinstance(result, tuple) else first

    monkeypatch.setattr(kernels, operation, spoiled)
    monkeypatch.setattr(bench, "interleaved", lambda *_: pytest.fail("timed a wrong kernel"))
    with pytest.raises(KernelError, match="{} .*found a relative error".format(operation)):
        bench.measure(case, None, 0.001)


def test_targets_stand_beside_the_ratio():
    ratio = bench.figures(measured(2.0, 40.0))[-1]
    assert ratio["name"].endswith("speed over torch eager")
    assert (ratio["value"], ratio["target"], ratio["ok"]) == (20.0, 14.0, True)
    assert bench.figures(measured(4.0, 40.0))[-1]["ok"] is False


def test_a_missing_torch_is_said_and_not_ok():
    ratio = bench.figures(measured(2.0, None))[-1]
    assert ratio["name"].endswith("(torch is not installed)")
    assert (ratio["value"], ratio["ok"]) == (0.0, False)


def test_throughput_is_bytes_over_time():
    one = measured(2.0, 40.0)
    figures = {figure["unit"]: figure["value"] for figure in bench.figures(one)[1:3]}
    assert figures == {"us": 2.0, "GB/s": one.case.traffic_bytes / 2000.0}


def test_a_row_shows_a_missed_target():
    assert bench.row(measured(2.0, 40.0))[-1] == "14"
    assert bench.row(measured(4.0, 40.0))[-1] == "14 MISSED"
    assert bench.row(measured(4.0, None))[-2:] == ("no torch", "14 MISSED")
    assert len(bench.row(measured(2.0, 40.0))) == len(bench.HEADER)


def test_a_case_is_checked_and_timed():
    case = next(case for case in CASES if case.operation == "exit_scores")
    found = bench.measure(case, None, 0.001)
    assert found.torch is None
    assert found.ours.min_us > 0 and found.numpy.min_us > 0
