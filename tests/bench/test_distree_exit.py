"""DistrEE's exit in bench kernels: both sides are checked, and a ratio has an interval."""

import numpy as np
import pytest

from edgesdk import kernels
from edgesdk.bench import distree_exit, torch_eager
from edgesdk.bench.timing import Interval, Timing
from edgesdk.errors import KernelError

CASES = distree_exit.cases()


@pytest.fixture
def torch():
    found = torch_eager.load(1)
    if found is None:
        pytest.skip("torch is not installed")
    return found


def measured(low):
    ratio = Interval(low + 1, low, low + 2)
    return distree_exit.Measured(CASES[0], 0.0, Timing(1.0, 2.0), Timing(30.0, 40.0), ratio)


def test_the_cases_are_the_seven_exits():
    names = [case.name for case in CASES]
    assert names[:1] + names[3:6] == ["E1 16x32x32", "E4 32x16x16", "E5 32x16x16", "E6 64x8x8"]
    for case in CASES:
        features, scale, shift, projection, first = case.arguments
        assert features.shape[1] == len(scale) == len(shift) == projection.shape[1]
        assert first.shape == (1, len(projection)) == (1, 64)
        assert 1 < distree_exit.difference(kernels, *case.arguments)[0] < 10


def test_both_are_timed(torch):
    found = distree_exit.measure(CASES[5], torch, 0.01)
    assert 0 <= found.error <= distree_exit.TOLERANCE
    assert 0 < found.ratio.low <= found.ratio.value <= found.ratio.high
    assert 0 < found.ours.min_us <= found.ours.median_us


@pytest.mark.parametrize("wrong", [1.01, np.nan])
def test_what_is_wrong_is_not_timed(torch, monkeypatch, wrong):
    right = kernels.cosine_difference
    monkeypatch.setattr(kernels, "cosine_difference", lambda *pair: wrong * right(*pair))
    monkeypatch.setattr(distree_exit, "interleaved_rounds", lambda *_: pytest.fail("timed it"))
    with pytest.raises(KernelError, match=r"E2 16x32x32: found a relative error of .* of edgesdk"):
        distree_exit.measure(CASES[1], torch, 0.01)


def test_so_is_a_torch_that_computes_something_else(torch, monkeypatch):
    monkeypatch.setattr(torch_eager, "sequence", lambda *_: lambda: torch.ones(1))
    with pytest.raises(KernelError, match="of torch against the reference"):
        distree_exit.measure(CASES[0], torch, 0.01)


@pytest.mark.parametrize(("low", "ok"), [(8.0, True), (7.9, False)])
def test_all_of_the_interval_must_reach_the_target(low, ok):
    (ratio,) = [each for each in distree_exit.figures(measured(low)) if each["target"] == 8.0]
    assert ratio["value"] == low + 1 and ratio["ok"] is ok
    row = distree_exit.row(measured(low))
    assert len(row) == len(distree_exit.HEADER)
    assert row[-1] == ("8" if ok else "8 MISSED") and row[2:4] == ("2.00", "40.00")
