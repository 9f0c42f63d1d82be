"""cosine_difference: |a| |b| / (a . b), DistrEE eq. 6."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgesdk.errors import ConfigError
from edgesdk.kernels import reference


def difference(kernels, a, b):
    return kernels.cosine_difference(np.array([a], np.float32), np.array([b], np.float32))[0].item()


def exact(a, b):
    a, b = [float(x) for x in a], [float(x) for x in b]
    dot = math.fsum(x * y for x, y in zip(a, b))
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    # sums of n doubles are off by n 2^-53 of their magnitudes, at most |a| |b|; then float32 rounds
    return norms / dot, norms / dot * (2.0**-24 + (len(a) + 8) * 2.0**-53 * (1 + norms / dot))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 1001, 16384])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_every_size_agrees_with_the_formula(kernels, batch, size):
    rng = np.random.default_rng(size)
    a = rng.standard_normal((batch, size)).astype(np.float32)
    b = a + rng.standard_normal((batch, size)).astype(np.float32) / 4
    found = kernels.cosine_difference(a, b)
    assert found.dtype == np.float32 and found.shape == (batch,)
    for row in range(batch):
        if np.dot(a[row], b[row]) > 0:
            expected, tolerance = exact(a[row], b[row])
            assert abs(float(found[row]) - expected) <= tolerance


def test_same_direction_is_one_whatever_the_length(kernels):
    assert difference(kernels, [1, 2, 2], [2, 4, 4]) == 1.0
    assert difference(kernels, [1, 0], [1, 1]) == pytest.approx(math.sqrt(2), rel=2.0**-23)


@pytest.mark.parametrize("size", [1e30, 1e-30, 3e38, 1e-45])
def test_large_and_small_features_neither_overflow_nor_vanish(kernels, size):
    row = np.full(100, size, np.float32)
    assert difference(kernels, row, row) == pytest.approx(1, rel=2.0**-23)
    assert difference(kernels, row, np.ones(100)) == pytest.approx(1, rel=2.0**-23)


def test_opposite_and_orthogonal_are_infinitely_different(kernels):
    assert difference(kernels, [1, 1], [-1, -1]) == math.inf
    assert difference(kernels, [1, 0], [0, 1]) == math.inf


def test_zero_rows_are_nan_on_either_side(kernels):
    for a, b in (([0, 0], [1, 1]), ([1, 1], [0, -0.0]), ([0, 0], [0, 0])):
        assert math.isnan(difference(kernels, a, b))


def test_nan_and_infinity_give_nan_in_their_row_only(kernels):
    a = np.ones((3, 20), np.float32)
    a[0, 3], a[2, 19] = np.nan, np.inf
    found = kernels.cosine_difference(a, np.ones_like(a))
    assert np.array_equal(np.isnan(found), [True, False, True])
    assert found[1] == pytest.approx(1, rel=2.0**-23)


values = st.floats(-1e3, 1e3, width=32)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(0, 3), st.integers(1, 40)), elements=values),
    st.randoms(use_true_random=False),
)
def test_native_agrees_with_the_reference(a, random):
    native = pytest.importorskip("edgesdk.kernels._native")
    b = a + np.float32(random.uniform(0.1, 2))
    found, expected = native.cosine_difference(a, b), reference.cosine_difference(a, b)
    tame = np.isfinite(expected) & (expected < 1e3)  # beyond it the dot product is all cancellation
    np.testing.assert_allclose(found[tame], expected[tame], rtol=2.0**-22)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.all(found[~tame & ~np.isnan(found)] > 999)


def test_out_is_filled_and_returned(kernels):
    a = np.eye(3, dtype=np.float32)
    out = np.full(3, 7, np.float32)
    assert kernels.cosine_difference(a, a, out) is out
    assert np.array_equal(out, [1, 1, 1])


@pytest.mark.parametrize(
    "name, feature, first, out",
    [
        ("feature", np.ones(3, np.float32), np.ones(3, np.float32), None),
        ("feature", np.ones((2, 0), np.float32), np.ones((2, 0), np.float32), None),
        ("first", np.ones((2, 3), np.float32), np.ones((2, 4), np.float32), None),
        ("first", np.ones((2, 3), np.float32), np.ones((1, 3), np.float32), None),
        ("first", np.ones((2, 3), np.float32), np.ones((2, 3)), None),
        ("out", np.ones((2, 3), np.float32), np.ones((2, 3), np.float32), np.ones(2)),
    ],
)
def test_wrong_arguments_are_named(kernels, name, feature, first, out):
    with pytest.raises(ConfigError, match="^{}: found .*, expected".format(name)):
        kernels.cosine_difference(feature, first, out)


def test_torch_says_the_same(kernels):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    a = rng.standard_normal((8, 640)).astype(np.float32)
    b = a + rng.standard_normal((8, 640)).astype(np.float32)
    similarity = torch.nn.functional.cosine_similarity(
        torch.from_numpy(a).double(), torch.from_numpy(b).double()
    )
    np.testing.assert_allclose(kernels.cosine_difference(a, b), 1 / similarity, rtol=2.0**-22)
