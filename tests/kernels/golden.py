"""Writes what the numpy reference gives into a file that csrc/test/kernels_test.cpp compares with.

    python tests/kernels/golden.py FILE

A file is cases after each other, until it ends; numbers are little-endian int64 where not said
otherwise. A case: the length of the kernel's name, the name, the number of arrays; then for each
array its length in bytes and its bytes. The arrays are the kernel's sizes, its inputs (an empty one
is left out), and for the status and every output two: what it must be, and float64 tolerances.
"""

import struct
import sys

import numpy as np
from test_exit_head import SIZES, make
from tolerances import entropy_error, linear_error, pooled_error, probability_error

from edgesdk.kernels import checks, reference

OK, INDEX_OUT_OF_RANGE, NOT_QUANTIZABLE = 0, 2, 3  # edgesdk_status
NOTHING = np.zeros(0, np.float32)


def case(kernel, sizes, inputs, outputs, status=OK):
    """The bytes of one case; outputs are (array, tolerance) pairs."""
    arrays = [np.array(sizes, np.int64)] + list(inputs)
    for expected, tolerance in [(np.array([status], np.int64), 0)] + list(outputs):
        arrays += [expected, np.broadcast_to(np.asarray(tolerance, np.float64), expected.shape)]
    name = kernel.encode()
    parts = [struct.pack("<q", len(name)), name, struct.pack("<q", len(arrays))]
    for array in arrays:
        content = np.ascontiguousarray(array).tobytes()
        parts += [struct.pack("<q", len(content)), content]
    return b"".join(parts)


def scores(found, class_count, logit_error=0.0):
    """The outputs of exit_scores for logits known up to `logit_error` [B]."""
    return [
        (found.class_index, 0),
        (found.max_probability, probability_error(class_count, logit_error)),
        (found.margin, 2 * probability_error(class_count, logit_error)),
        (found.entropy, entropy_error(class_count, logit_error)),
    ]


def exit_head(arguments):
    """exit_head with and without logits. The best class must be clear of rounding."""
    found = reference.exit_head(logits=True, **arguments)
    with np.errstate(invalid="ignore"):
        error = linear_error(**arguments)
        worst = error.max(axis=1, initial=0)
        top = np.sort(found.logits, axis=1)
        if top.shape[1] > 1:
            assert not np.any(top[:, -1] - top[:, -2] < 2 * worst), "choose another seed"
    features, count = arguments["features"], len(arguments["bias"])
    sizes = features.shape[:2] + (int(np.prod(features.shape[2:])), count)
    names = ("features", "scale", "shift", "weight", "bias")
    inputs = [arguments.get(name, NOTHING) for name in names]
    outputs = scores(found, count, worst)
    return case("exit_head", sizes, inputs, [(found.logits, error)] + outputs + outputs)


def exit_feature(arguments, project):
    features, scale, shift = (arguments.get(name) for name in ("features", "scale", "shift"))
    projection = arguments["weight"] if project else None
    found = reference.exit_feature(features, scale, shift, projection)
    with np.errstate(invalid="ignore"):
        if project:
            error = linear_error(features, projection, None, scale, shift)
        else:
            error = pooled_error(features, scale, shift)
    sizes = features.shape[:2] + (int(np.prod(features.shape[2:])), found.shape[1])
    inputs = [NOTHING if a is None else a for a in (features, scale, shift, projection)]
    return case("exit_feature", sizes, inputs, [(found, error)])


def without(arguments, *names):
    return {name: value for name, value in arguments.items() if name not in names}


def head_cases():
    """Every size with and without the affine step; values that are not finite, at every place of
    a block of four rows."""
    given = [make(size, seed) for seed, size in enumerate(SIZES)]
    for value in (np.nan, np.inf, -np.inf):
        for channel, position in ((0, 0), (1, 8), (3, 36), (4, 17)):
            spoiled = make((3, 5, (37,), 4))
            spoiled["features"][1, channel, position] = value
            given.append(spoiled)
    for arguments in given:
        for each in (arguments, without(arguments, "scale", "shift")):
            yield exit_head(each)
            yield exit_feature(each, project=True)
            yield exit_feature(each, project=False)


SPECIAL_ROWS = [
    (-7,),
    (3, 3, 3, 3),
    (0,) * 38 + (2, 2),
    (3e38, -3e38),
    (-np.inf, 1, 1, -np.inf),
    (1, np.nan, 3),
    (np.nan,),
    (1, np.inf, np.nan),
    (1, np.inf, 3, np.inf),
    (-np.inf, -np.inf),
    (0,) * 50 + (np.nan,) + (9,) * 20,
]


def score_cases():
    rng = np.random.default_rng(0)
    given = [np.array([row], np.float32) for row in SPECIAL_ROWS]
    for count in (1, 2, 3, 7, 8, 9, 31, 32, 33, 100, 1000, 4097):
        given.append((5 * rng.standard_normal((3, count))).astype(np.float32))
    for logits in given:
        found = reference.exit_scores(logits)
        yield case("exit_scores", logits.shape, [logits], scores(found, logits.shape[1]))


def cosine_cases():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 7, 8, 9, 64, 1001, 16384):
        first = rng.standard_normal((8, size)).astype(np.float32)
        feature = (first * np.float32(1.5)).astype(np.float32)
        feature[1:] += rng.standard_normal((7, size)).astype(np.float32) / 8 * abs(first[1:])
        feature[2], feature[3] = 0, -first[3]
        feature[4, size // 2], first[5, -1] = np.nan, np.inf
        feature[6] *= np.float32(1e30)
        first[7] *= np.float32(1e-30)
        found = reference.cosine_difference(feature, first)
        assert np.all((found < 2) | ~np.isfinite(found)), "cancellation would need its own bound"
        tolerance = 2.0**-22 * np.abs(found)
        yield case("cosine_difference", feature.shape, [feature, first], [(found, tolerance)])


def gather_cases():
    rows = np.random.default_rng(0).integers(0, 256, (5, 33)).astype(np.uint8)
    for row_bytes in (0, 1, 3, 4, 33):
        for indices in ((), (4,), (4, 0, 0, 2), (0, 1, 2, 3, 4)):
            some, chosen = np.ascontiguousarray(rows[:, :row_bytes]), np.array(indices, np.int64)
            sizes = (5, row_bytes, len(indices))
            yield case("gather_rows", sizes, [some, chosen], [(some[chosen], 0)])
    for bad in (5, -1, 2**62, -(2**63)):
        untouched = np.full((2, 33), 7, np.uint8)
        indices = np.array([0, bad], np.int64)
        yield case("gather_rows", (5, 33, 2), [rows, indices], [(untouched, 0)], INDEX_OUT_OF_RANGE)


def quantize_cases():
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(count) for count in (0, 1, 2, 63, 64, 65, 1001, 16416)]
    given += [np.full(70, value) for value in (0.0, 1.1, -3e38, 1e-45)]
    given += [np.array([0, 1e-45]), np.array([1e-40, 2e-38]), np.array([0, 1.7e38])]
    for values in given:
        values = values.astype(np.float32)
        quantized, scale, zero = reference.quantize_u8(values)
        pair = np.array([scale, zero], np.float32)
        yield case("quantize_u8", [values.size], [values], [(quantized, 0), (pair, 0)])
        restored = reference.dequantize_u8(quantized, scale, zero)
        yield case("dequantize_u8", [values.size], [quantized, pair], [(restored, 0)])
    for position in (0, 63, 64, 99):
        for bad in (np.nan, np.inf, -np.inf, checks.FLOAT32_MAX):
            values = np.ones(100, np.float32)
            values[position], values[50] = bad, -checks.FLOAT32_MAX / 2
            nothing = [(np.zeros(100, np.uint8), 0), (np.zeros(2, np.float32), 0)]
            yield case("quantize_u8", [100], [values], nothing, NOT_QUANTIZABLE)


def write(path):
    """Write every case."""
    with open(str(path), "wb") as file:
        for cases in (head_cases, score_cases, cosine_cases, gather_cases, quantize_cases):
            for content in cases():
                file.write(content)


if __name__ == "__main__":
    write(sys.argv[1])
