"""quantize_u8 and dequantize_u8: float32 <-> 8 bits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgesdk.errors import ConfigError
from edgesdk.kernels import checks, reference

LARGEST = checks.FLOAT32_MAX


def assert_within_bound(values, quantized, scale, zero, restored):
    """scale/2, and float32: six roundings of numbers no larger than 255 scale + |zero|."""
    assert quantized.dtype == np.uint8 and quantized.shape == values.shape
    rounding = 6 * 2.0**-24 * (255 * scale + abs(zero))
    error = np.abs(restored.astype(np.float64) - values.astype(np.float64))
    assert np.all(error <= scale / 2 + rounding)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2,), (63,), (64,), (65,), (3, 5, 7), (32, 513)])
def test_every_size_returns_within_half_a_step(kernels, shape):
    values = np.asarray(np.random.default_rng(0).standard_normal(shape), np.float32)
    quantized, scale, zero = kernels.quantize_u8(values)
    assert type(scale) is float and type(zero) is float
    restored = kernels.dequantize_u8(quantized, scale, zero)
    assert restored.dtype == np.float32
    assert_within_bound(values, quantized, scale, zero, restored)


values_of = arrays.arrays(
    np.float32,
    arrays.array_shapes(max_dims=2, max_side=80),
    elements=st.floats(-(2.0**122), 2.0**122, width=32),
)


@given(values_of)
def test_native_gives_the_bytes_of_the_reference(values):
    native = pytest.importorskip("edgesdk.kernels._native")
    quantized, scale, zero = native.quantize_u8(values)
    expected = reference.quantize_u8(values)
    assert np.array_equal(quantized, expected[0])
    assert (scale, zero) == expected[1:]
    restored = native.dequantize_u8(quantized, scale, zero)
    assert np.array_equal(restored, reference.dequantize_u8(quantized, scale, zero))
    assert_within_bound(values, quantized, scale, zero, restored)


def test_the_ends_of_the_range_are_0_and_255(kernels):
    values = np.linspace(-3, 5, 1000).astype(np.float32)
    quantized, scale, zero = kernels.quantize_u8(values)
    assert (quantized[0], quantized[-1]) == (0, 255)
    assert zero == -3
    assert scale == np.float32(8) / np.float32(255)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.1, -3e38, 3e38, 1e-45])
@pytest.mark.parametrize("count", [1, 70])
def test_equal_values_return_exactly(kernels, value, count):
    values = np.full(count, value, np.float32)
    quantized, scale, zero = kernels.quantize_u8(values)
    assert scale == 0
    assert np.array_equal(kernels.dequantize_u8(quantized, scale, zero), values)


@pytest.mark.parametrize("low, high", [(0, 1e-45), (-1e-45, 1e-44), (1e-40, 2e-38), (0, 1.7e38)])
def test_the_smallest_and_largest_ranges(kernels, low, high):
    values = np.array([low, high, low, high], np.float32)
    quantized, scale, zero = kernels.quantize_u8(values)
    assert math.isfinite(1 / np.float32(scale))
    restored = kernels.dequantize_u8(quantized, scale, zero)
    assert_within_bound(values, quantized, scale, zero, restored)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 5, 63, 64, 99])
def test_values_that_are_not_finite_are_refused(kernels, bad, position):
    values = np.ones(100, np.float32)
    values[position] = bad
    with pytest.raises(ConfigError, match="^values: found .* at flat index {}".format(position)):
        kernels.quantize_u8(values)


def test_a_range_that_float32_cannot_hold_is_refused(kernels):
    with pytest.raises(ConfigError, match=r"^values: found .*, expected a range of at most 1\.7"):
        kernels.quantize_u8(np.array([-LARGEST, LARGEST], np.float32))
    with pytest.raises(ConfigError, match="expected a range"):
        kernels.quantize_u8(np.array([0, 2e38], np.float32))


def test_nothing_is_nothing(kernels):
    quantized, scale, zero = kernels.quantize_u8(np.zeros((0, 3), np.float32))
    assert quantized.shape == (0, 3) and (scale, zero) == (0, 0)


def test_out_is_filled_and_returned(kernels):
    out = np.full((2, 2), 7, np.float32)
    quantized = np.array([[0, 1], [2, 255]], np.uint8)
    assert kernels.dequantize_u8(quantized, 0.5, -1.0, out) is out
    assert np.array_equal(out, [[-1, -0.5], [0, 126.5]])


@pytest.mark.parametrize(
    "values", [[1.0], np.ones(3), np.ones(6, np.float32)[::2], np.ones(3, ">f4"), None]
)
def test_wrong_values_are_refused(kernels, values):
    with pytest.raises(ConfigError, match=r"^values: found .*, expected a C-contiguous"):
        kernels.quantize_u8(values)


BYTES = np.zeros(3, np.uint8)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("quantized", (np.zeros(3, np.int8), 1.0, 0.0)),
        ("quantized", (BYTES[::2], 1.0, 0.0)),
        ("scale", (BYTES, -1.0, 0.0)),
        ("scale", (BYTES, math.nan, 0.0)),
        ("scale", (BYTES, math.inf, 0.0)),
        ("scale", (BYTES, "1", 0.0)),
        ("scale", (BYTES, None, 0.0)),
        ("scale", (BYTES, 1e39, 0.0)),
        ("zero", (BYTES, 1.0, math.nan)),
        ("zero", (BYTES, 1.0, -math.inf)),
        ("out", (BYTES, 1.0, 0.0, np.zeros(4, np.float32))),
        ("out", (BYTES, 1.0, 0.0, np.zeros(3))),
    ],
)
def test_wrong_arguments_of_dequantize_are_named(kernels, name, arguments):
    with pytest.raises(ConfigError, match="^{}: found".format(name)):
        kernels.dequantize_u8(*arguments)


def test_numpy_numbers_and_integers_are_numbers(kernels):
    for scale in (2, np.float32(2), np.float64(2), np.int64(2)):
        assert np.array_equal(kernels.dequantize_u8(BYTES + 1, scale, 1), [3, 3, 3])
