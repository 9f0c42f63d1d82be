"""What the kernels give and refuse, and the words they refuse it with, for every implementation.

Each operation has a function here with its own name, which raises `ConfigError` at the first
argument that does not fit. The native kernels test the usual case in C and come here otherwise.

A shape is given as a tuple: a number is that size, a letter any size from 1 (a batch, "B" or "K",
may be 0), and a last `...` any further axes from 1.
"""

from typing import Any, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import ConfigError

FLOAT32_MAX = float(np.finfo(np.float32).max)
QUANTIZE_RANGE_MAX = FLOAT32_MAX / 2  # the EDGESDK_QUANTIZE_RANGE_MAX of kernels.h

Shape = Tuple[Any, ...]


class ExitScores(NamedTuple):
    """What an exit says about B samples, one value per sample."""

    class_index: np.ndarray  # int64 [B]
    max_probability: np.ndarray  # float32 [B]
    margin: np.ndarray  # float32 [B], largest minus second largest probability
    entropy: np.ndarray  # float32 [B], nats
    logits: Optional[np.ndarray]  # float32 [B,N], or None where they were not asked for


def exit_head(
    features: Any, weight: Any, bias: Any, scale: Any, shift: Any, logits: bool, out: Any
) -> None:
    """features float32 [B,C,S...], weight [N,C], bias [N], scale and shift [C] or None."""
    _features(features, scale, shift)
    channels = features.shape[1]
    array("weight", weight, np.float32, ("N", channels))
    classes = weight.shape[0]
    array("bias", bias, np.float32, (classes,))
    if out is not None:
        _scores_out(out, features.shape[0])
        if out.logits is not None:
            array("out.logits", out.logits, np.float32, (features.shape[0], classes), True)
        elif logits:
            raise ConfigError("out.logits: found None, expected an array because logits=True")


def exit_scores(logits: Any, out: Any) -> None:
    """logits float32 [B,N], out ExitScores or None."""
    array("logits", logits, np.float32, ("B", "N"))
    if out is not None:
        _scores_out(out, logits.shape[0])


def exit_feature(features: Any, scale: Any, shift: Any, projection: Any, out: Any) -> None:
    """features float32 [B,C,S...], scale and shift [C], projection [D,C] or None."""
    _features(features, scale, shift)
    size = features.shape[1]
    if projection is not None:
        array("projection", projection, np.float32, ("D", size))
        size = projection.shape[0]
    if out is not None:
        array("out", out, np.float32, (features.shape[0], size), True)


def cosine_difference(feature: Any, first: Any, out: Any) -> None:
    """feature and first float32 [B,D], out [B] or None."""
    array("feature", feature, np.float32, ("B", "D"))
    array("first", first, np.float32, feature.shape)
    if out is not None:
        array("out", out, np.float32, feature.shape[:1], True)


def gather_rows(rows: Any, indices: Any, out: Any) -> None:
    """rows [B,...] of any plain dtype, indices int64 [K]; out shares no memory with rows."""
    array("rows", rows, None, ("B", Ellipsis))
    array("indices", indices, np.int64, ("K",))
    if out is not None:
        array("out", out, rows.dtype, indices.shape + rows.shape[1:], True)
        if np.may_share_memory(rows, out):
            raise ConfigError("out: found memory of rows, expected an array of its own")


def quantize_u8(values: Any) -> None:
    """values float32 [...]."""
    array("values", values, np.float32, (Ellipsis,))


def dequantize_u8(quantized: Any, scale: Any, zero: Any, out: Any) -> None:
    """quantized uint8 [...], scale and zero numbers that float32 can hold, scale >= 0."""
    array("quantized", quantized, np.uint8, (Ellipsis,))
    _number("scale", scale, 0.0)
    _number("zero", zero, -FLOAT32_MAX)
    if out is not None:
        array("out", out, np.float32, quantized.shape, True)


def index_range(indices: np.ndarray, row_count: int) -> None:
    """Raise unless every index is in 0..row_count-1."""
    outside = np.flatnonzero((indices < 0) | (indices >= row_count))
    if outside.size:
        at = int(outside[0])
        raise ConfigError(
            "indices[{}]: found {}, expected 0..{} for {} rows".format(
                at, indices[at], row_count - 1, row_count
            )
        )


def quantizable(values: np.ndarray) -> None:
    """Raise unless the values are finite and max - min is at most QUANTIZE_RANGE_MAX."""
    not_finite = np.flatnonzero(~np.isfinite(values))
    if not_finite.size:
        at = int(not_finite[0])
        raise ConfigError(
            "values: found {} at flat index {}, expected finite numbers".format(
                values.reshape(-1)[at], at
            )
        )
    if values.size and float(values.max()) - float(values.min()) > QUANTIZE_RANGE_MAX:
        raise ConfigError(
            "values: found {}..{}, expected a range of at most {}".format(
                values.min(), values.max(), QUANTIZE_RANGE_MAX
            )
        )


def array(name: str, value: Any, dtype: Any, shape: Shape, writable: bool = False) -> None:
    """Raise ConfigError unless `value` is a C-ordered array of this dtype (None: any without
    Python objects) and shape."""
    if not isinstance(value, np.ndarray):
        found = "None" if value is None else type(value).__name__
    elif value.dtype.hasobject if dtype is None else value.dtype != dtype:
        found = "{} {}".format(value.dtype, list(value.shape))
    elif not _fits(value.shape, shape):
        found = "shape {}".format(list(value.shape))
    elif not (value.flags.c_contiguous and value.flags.aligned):
        found = "an array with gaps, another axis order or unaligned values"
    elif writable and not value.flags.writeable:
        found = "a read-only array"
    else:
        return
    raise ConfigError(
        "{}: found {}, expected a C-contiguous array {} {}{}".format(
            name,
            found,
            "without Python objects" if dtype is None else np.dtype(dtype).name,
            _spell(shape),
            ", writable" if writable else " (see numpy.ascontiguousarray)",
        )
    )


def _fits(found: Tuple[int, ...], expected: Shape) -> bool:
    if expected and expected[-1] is Ellipsis:
        expected = expected[:-1]
        if len(found) < len(expected):
            return False
    elif len(found) != len(expected):
        return False
    return all(
        size >= (want not in ("B", "K")) if isinstance(want, str) else size == want
        for size, want in zip(found, expected)
    )


def _spell(shape: Shape) -> str:
    return "[{}]".format(", ".join("..." if axis is Ellipsis else str(axis) for axis in shape))


def _features(features: Any, scale: Any, shift: Any) -> None:
    array("features", features, np.float32, ("B", "C", Ellipsis))
    if 0 in features.shape[2:]:
        raise ConfigError(
            "features: found shape {}, expected at least one value per channel".format(
                list(features.shape)
            )
        )
    if (scale is None) != (shift is None):
        raise ConfigError(
            "{}: found None, expected scale and shift together or neither".format(
                "scale" if scale is None else "shift"
            )
        )
    if scale is not None:
        array("scale", scale, np.float32, (features.shape[1],))
        array("shift", shift, np.float32, (features.shape[1],))


def _scores_out(out: Any, batch: int) -> None:
    if not isinstance(out, ExitScores):
        raise ConfigError("out: found {}, expected ExitScores".format(type(out).__name__))
    array("out.class_index", out.class_index, np.int64, (batch,), True)
    array("out.max_probability", out.max_probability, np.float32, (batch,), True)
    array("out.margin", out.margin, np.float32, (batch,), True)
    array("out.entropy", out.entropy, np.float32, (batch,), True)


def _number(name: str, value: Any, lowest: float) -> None:
    if not (isinstance(value, (int, float, np.number)) and lowest <= value <= FLOAT32_MAX):
        raise ConfigError(
            "{}: found {!r}, expected a number in {}..{}".format(name, value, lowest, FLOAT32_MAX)
        )
