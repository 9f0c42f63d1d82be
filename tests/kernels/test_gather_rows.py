"""gather_rows: the samples that go on, next to each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.errors import ConfigError


def indices(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "float64", "int8", "uint8", "int64", "bool", "complex64", "U3"]
)
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3, 2), (5, 0), (5, 16, 33)])
def test_any_dtype_and_shape(kernels, dtype, shape):
    rows = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    found = kernels.gather_rows(rows, indices(4, 0, 0, 2))
    assert found.dtype == rows.dtype
    assert np.array_equal(found, rows[[4, 0, 0, 2]])


@given(st.lists(st.integers(0, 8), max_size=20))
def test_any_selection(chosen):
    for name in ("reference", "_native"):
        kernels = pytest.importorskip("edgesdk.kernels." + name)
        rows = np.random.default_rng(0).standard_normal((9, 7)).astype(np.float32)
        assert np.array_equal(kernels.gather_rows(rows, indices(*chosen)), rows[chosen])


def test_nothing_to_gather(kernels):
    assert kernels.gather_rows(np.zeros((3, 4), np.float32), indices()).shape == (0, 4)
    assert kernels.gather_rows(np.zeros((0, 4), np.float32), indices()).shape == (0, 4)


def test_a_single_row_may_have_any_stride(kernels):
    row = np.arange(12, dtype=np.float32).reshape(3, 4)[::3]
    assert row.flags.c_contiguous
    assert np.array_equal(kernels.gather_rows(row, indices(0, 0)), [[0, 1, 2, 3]] * 2)


def test_the_result_is_a_copy(kernels):
    rows = np.zeros((2, 2), np.float32)
    kernels.gather_rows(rows, indices(0))[...] = 1
    assert not rows.any()


@pytest.mark.parametrize("bad", [3, -1, 2**62, -(2**63)])
def test_an_index_out_of_range_writes_nothing(kernels, bad):
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    around = np.full((6, 2), 7, np.float32)
    with pytest.raises(ConfigError, match=r"^indices\[1\]: found {}, expected 0\.\.2".format(bad)):
        kernels.gather_rows(rows, indices(0, bad), around[2:4])
    assert np.all(around == 7)


def test_no_row_can_be_asked_of_an_empty_batch(kernels):
    with pytest.raises(ConfigError, match=r"^indices\[0\]: found 0"):
        kernels.gather_rows(np.zeros((0, 4), np.float32), indices(0))


def test_out_is_filled_and_nothing_beside_it(kernels):
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    around = np.full((6, 2), 7, np.float32)
    out = around[2:4]
    assert kernels.gather_rows(rows, indices(2, 0), out) is out
    assert np.array_equal(out, [[4, 5], [0, 1]])
    assert np.all(around[[0, 1, 4, 5]] == 7)


@pytest.mark.parametrize(
    "name, rows, chosen, out",
    [
        ("rows", [[1, 2]], indices(0), None),
        ("rows", np.float32(1), indices(0), None),
        ("rows", np.array(1.0), indices(0), None),
        ("rows", np.array([[object()]]), indices(0), None),
        ("rows", np.zeros((4, 4)).T[:2], indices(0), None),
        ("rows", np.asfortranarray(np.zeros((4, 4))), indices(0), None),
        ("indices", np.zeros((2, 2)), [0], None),
        ("indices", np.zeros((2, 2)), np.zeros(1, np.int32), None),
        ("indices", np.zeros((2, 2)), np.zeros((1, 1), np.int64), None),
        ("out", np.zeros((2, 2)), indices(0), np.zeros((2, 2))),
        ("out", np.zeros((2, 2)), indices(0), np.zeros((1, 2), np.float32)),
    ],
)
def test_wrong_arguments_are_named(kernels, name, rows, chosen, out):
    with pytest.raises(ConfigError, match="^{}: found .*, expected".format(name)):
        kernels.gather_rows(rows, chosen, out)


def test_compacting_in_place_is_refused(kernels):
    rows = np.zeros((3, 2), np.float32)
    with pytest.raises(ConfigError, match=r"^out: found memory of rows"):
        kernels.gather_rows(rows, indices(1, 2), rows[:2])
