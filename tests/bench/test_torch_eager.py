"""The PyTorch sequences compute what the kernels compute; else the comparison would be unfair."""

import numpy as np
import pytest

from edgesdk.bench import kernels as bench
from edgesdk.bench import torch_eager
from edgesdk.kernels import reference

SMALL = {case.operation: case for case in reversed(bench.cases())}


@pytest.fixture
def torch():
    found = torch_eager.load(1)
    if found is None:
        pytest.skip("torch is not installed")
    return found


@pytest.mark.parametrize("operation", sorted(SMALL))
def test_the_sequence_gives_the_kernels_results(torch, operation):
    case = SMALL[operation]
    found = torch_eager.sequence(torch, operation, case.arguments)()
    expected = getattr(reference, operation)(*case.arguments)
    if operation in ("exit_head", "exit_scores"):
        expected = (expected.class_index, expected.max_probability, expected.entropy)
    if not isinstance(expected, tuple):
        found, expected = (found,), (expected,)
    for theirs, ours in zip(found, expected):
        # a tie may be rounded to the other byte: torch rounds half to even
        slack = 1 if operation == "quantize_u8" else 1e-4
        np.testing.assert_allclose(np.asarray(theirs, np.float64), ours, rtol=1e-4, atol=slack)


def test_there_is_a_sequence_for_every_case():
    assert set(torch_eager._BUILDERS) == set(SMALL) | {"distree_exit"}  # test_distree_exit.py


def test_results_carry_no_gradient(torch):
    case = SMALL["exit_feature"]
    assert not torch_eager.sequence(torch, "exit_feature", case.arguments)().requires_grad


def test_threads_are_set(torch):
    torch_eager.load(1)
    assert torch.get_num_threads() == 1


def test_without_torch_there_is_nothing_to_load(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert torch_eager.load(1) is None
