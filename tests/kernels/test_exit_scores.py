"""exit_scores: softmax reduced to class, max probability, margin and entropy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tolerances import entropy_error, probability_error

from edgesdk.errors import ConfigError
from edgesdk.kernels import reference

NAN, INF = math.nan, math.inf


def scores_of(kernels, *row):
    """The scores of one sample, as Python numbers."""
    scores = kernels.exit_scores(np.array([row], np.float32))
    return tuple(array[0].item() for array in scores[:4])


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 8, 9, 10, 31, 32, 33, 100, 1000, 4097])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_every_size_agrees_with_the_formula(kernels, batch, classes):
    rng = np.random.default_rng(classes)
    logits = (5 * rng.standard_normal((batch, classes))).astype(np.float32)
    found = kernels.exit_scores(logits)
    assert found.logits is logits
    for b in range(batch):
        weights = [math.exp(float(x) - float(logits[b].max())) for x in logits[b]]
        p = sorted(weight / math.fsum(weights) for weight in weights)
        assert found.class_index[b] == logits[b].argmax()
        assert abs(found.max_probability[b] - p[-1]) <= probability_error(classes)
        margin = p[-1] - p[-2] if classes > 1 else p[-1]
        assert abs(found.margin[b] - margin) <= 2 * probability_error(classes)
        entropy = -math.fsum(x * math.log(x) for x in p if x > 0)
        assert abs(found.entropy[b] - entropy) <= entropy_error(classes)


finite = st.floats(-1e4, 1e4, width=32)
anything = st.one_of(
    finite, st.sampled_from([NAN, INF, -INF, 0.0, -0.0, 2.0**127, -(2.0**127), 2.0**-149])
)
shapes = st.tuples(st.integers(0, 3), st.integers(1, 70))


@given(arrays.arrays(np.float32, shapes, elements=anything))
def test_native_agrees_with_the_reference(logits):
    native = pytest.importorskip("edgesdk.kernels._native")
    found, expected = native.exit_scores(logits), reference.exit_scores(logits)
    count = logits.shape[1]
    assert np.array_equal(found.class_index, expected.class_index)
    for name, error in (
        ("max_probability", probability_error(count)),
        ("margin", 2 * probability_error(count)),
        ("entropy", entropy_error(count)),
    ):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=0, atol=error, err_msg=name
        )


@given(arrays.arrays(np.float32, shapes, elements=finite))
def test_scores_lie_in_their_ranges(logits):
    for kernels in (reference, pytest.importorskip("edgesdk.kernels._native")):
        found = kernels.exit_scores(logits)
        count = logits.shape[1]
        slack = probability_error(count)
        assert np.all(found.max_probability >= 1 / count - slack)
        assert np.all(found.max_probability <= 1)
        assert np.all((found.margin >= 0) & (found.margin <= found.max_probability + slack))
        assert np.all(found.entropy >= 0)
        assert np.all(found.entropy <= math.log(count) + entropy_error(count))


def test_equal_logits_share_the_probability(kernels):
    index, probability, margin, entropy = scores_of(kernels, 3, 3, 3, 3)
    assert (index, probability, margin) == (0, 0.25, 0.0)
    assert math.copysign(1, margin) == 1
    assert entropy == pytest.approx(math.log(4), abs=entropy_error(4))


def test_two_equal_largest_have_no_margin_and_the_first_wins(kernels):
    for position in range(39):
        row = [0.0] * 40
        row[position] = row[39] = 2.0
        index, _, margin, _ = scores_of(kernels, *row)
        assert (index, margin) == (position, 0.0)


def test_one_class_is_certain(kernels):
    assert scores_of(kernels, -7) == (0, 1.0, 1.0, 0.0)


def test_large_logits_do_not_overflow(kernels):
    assert scores_of(kernels, 3e38, -3e38) == (0, 1.0, 1.0, 0.0)
    assert scores_of(kernels, 1000, 1000)[:3] == (0, 0.5, 0.0)


def test_minus_infinity_is_a_class_of_probability_zero(kernels):
    assert scores_of(kernels, -INF, 1, 1)[:3] == (1, 0.5, 0.0)
    assert scores_of(kernels, -INF, 5) == (1, 1.0, 1.0, 0.0)
    entropy = scores_of(kernels, -INF, 1, 1, -INF)[3]
    assert entropy == pytest.approx(math.log(2), abs=entropy_error(4))


@pytest.mark.parametrize(
    "row, index",
    [
        ((1, NAN, 3), 1),
        ((NAN, NAN), 0),
        ((NAN,), 0),
        ((1, INF, NAN), 2),
        ((1, INF, 3, INF), 1),
        ((INF,), 0),
        ((-INF, -INF), 0),
        ((-INF,), 0),
        ((0,) * 50 + (NAN,) + (9,) * 20, 50),
    ],
)
def test_undefined_scores_are_nan_and_the_class_is_argmax(kernels, row, index):
    found = scores_of(kernels, *row)
    assert found[0] == index == np.array(row, np.float32).argmax()
    assert all(math.isnan(value) for value in found[1:])


def test_a_nan_stays_in_its_sample(kernels):
    logits = np.arange(12, dtype=np.float32).reshape(3, 4)
    clean = kernels.exit_scores(logits.copy())
    logits[1, 2] = NAN
    found = kernels.exit_scores(logits)
    for spoiled, whole in zip(found[:4], clean[:4]):
        assert np.array_equal(spoiled[[0, 2]], whole[[0, 2]])


def test_out_is_filled_and_its_arrays_returned(kernels):
    logits = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = kernels.exit_scores(logits)
    out = kernels.exit_scores(np.zeros((3, 4), np.float32))
    found = kernels.exit_scores(logits, out)
    assert found.logits is logits
    assert all(field is written for field, written in zip(found[:4], out[:4]))
    assert all(np.array_equal(field, wanted) for field, wanted in zip(found, expected))
    assert kernels.exit_scores(logits, found)[0] is out[0]


@pytest.mark.parametrize(
    "logits, message",
    [
        (np.zeros((2, 0), np.float32), r"found shape \[2, 0\], expected .* \[B, N\]"),
        (np.zeros(3, np.float32), r"found shape \[3\]"),
        (np.zeros((2, 3)), r"found float64 \[2, 3\]"),
        (np.zeros((2, 6), np.float32)[:, ::2], "found an array with gaps"),
        (None, "found None"),
    ],
)
def test_wrong_logits_are_refused(kernels, logits, message):
    with pytest.raises(ConfigError, match="^logits: " + message):
        kernels.exit_scores(logits)


def test_wrong_out_is_refused(kernels):
    logits = np.zeros((2, 3), np.float32)
    with pytest.raises(ConfigError, match=r"^out\.class_index: found shape \[1\]"):
        kernels.exit_scores(logits, kernels.exit_scores(logits[:1]))
    with pytest.raises(ConfigError, match=r"^out: found tuple"):
        kernels.exit_scores(logits, tuple(kernels.exit_scores(logits)))
