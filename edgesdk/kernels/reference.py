"""The kernels in numpy: their meaning, and what runs where the native ones are not built.

Sums and exponentials are taken in float64 and rounded once, so these are the values the float32
kernels are measured against.

Values that are not finite: NaN passes through ReLU. A sample with a NaN or +inf among its logits,
or with nothing but -inf, has NaN as max probability, margin and entropy, and the class index that
numpy.argmax gives; other samples of the batch are not touched. A logit of -inf is a class of
probability 0, which adds nothing to the entropy.

Every function raises ConfigError, naming the argument, what was found and what was expected, when
an array has another dtype, shape or memory order than stated. Every axis but the batch must have
at least one value. Arrays given as `out` are filled and returned; they must not overlap the inputs.
"""

from typing import Optional, Tuple

import numpy as np

from . import checks
from .checks import ExitScores


def exit_head(
    features: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    scale: Optional[np.ndarray] = None,
    shift: Optional[np.ndarray] = None,
    logits: bool = False,
    out: Optional[ExitScores] = None,
) -> ExitScores:
    """Scores of a linear exit on raw features (MDI-Exit eq. 1-2, DistrEE eq. 3).

    features float32 [B,C,S...], weight [N,C], bias [N]; scale and shift [C] are a folded batch
    norm. logits = weight . mean over S of max(features * scale + shift, 0) + bias; the rest is
    `exit_scores`. With `out`, logits are written if it has an array for them.
    """
    checks.exit_head(features, weight, bias, scale, shift, logits, out)
    with np.errstate(all="ignore"):
        values = _pool(features, scale, shift) @ weight.T.astype(np.float64) + bias
        values = values.astype(np.float32)
    scores = _scores(values)
    if out is None:
        return scores if logits else scores._replace(logits=None)
    return _fill(out, scores)


def exit_scores(logits: np.ndarray, out: Optional[ExitScores] = None) -> ExitScores:
    """Softmax of float32 logits [B,N], reduced to class, max probability, margin and entropy.

    With one class the margin is the max probability. The result's `logits` is the input; that of
    `out` is ignored.
    """
    checks.exit_scores(logits, out)
    scores = _scores(logits)
    return (
        scores if out is None else _fill(out._replace(logits=None), scores)._replace(logits=logits)
    )


def exit_feature(
    features: np.ndarray,
    scale: Optional[np.ndarray] = None,
    shift: Optional[np.ndarray] = None,
    projection: Optional[np.ndarray] = None,
    out: Optional[np.ndarray] = None,
) -> np.ndarray:
    """The feature F_j of a DistrEE exit branch (section III-B), float32 [B,D].

    projection . mean over S of max(features * scale + shift, 0), for features float32 [B,C,S...]
    and projection [D,C]; without a projection D is C.
    """
    checks.exit_feature(features, scale, shift, projection, out)
    with np.errstate(all="ignore"):
        feature = _pool(features, scale, shift)
        if projection is not None:
            feature = feature @ projection.T.astype(np.float64)
        return _give(feature.astype(np.float32), out)


def cosine_difference(
    feature: np.ndarray, first: np.ndarray, out: Optional[np.ndarray] = None
) -> np.ndarray:
    """Inverse cosine similarity |feature| |first| / (feature . first), float32 [B] (DistrEE eq. 6).

    For rows of float32 [B,D]. 1 is the same direction; a dot product of 0 or less gives +inf, a
    zero row NaN. The sums are float64, so that no square of a float32 overflows or vanishes.
    """
    checks.cosine_difference(feature, first, out)
    a, b = feature.astype(np.float64), first.astype(np.float64)
    with np.errstate(all="ignore"):
        aa, bb, dot = (a * a).sum(axis=1), (b * b).sum(axis=1), (a * b).sum(axis=1)
        difference = np.where(dot <= 0, np.inf, np.sqrt(aa) * np.sqrt(bb) / dot)
        difference = np.where((aa == 0) | (bb == 0), np.nan, difference)
        return _give(difference.astype(np.float32), out)


def gather_rows(
    rows: np.ndarray, indices: np.ndarray, out: Optional[np.ndarray] = None
) -> np.ndarray:
    """rows[indices]: the samples that go on, next to each other.

    rows [B,...] of any dtype without Python objects, indices int64 [K] in 0..B-1, result [K,...].
    Nothing is written when an index is out of range.
    """
    checks.gather_rows(rows, indices, out)
    checks.index_range(indices, rows.shape[0])
    return _give(rows[indices], out)


def quantize_u8(values: np.ndarray) -> Tuple[np.ndarray, float, float]:
    """float32 [...] -> (uint8 [...], scale, zero) with values ~ quantized * scale + zero.

    zero is the minimum and scale (max - min)/255, at least the smallest normal float32; equal
    values give scale 0 and return exactly. The error is at most scale/2, apart from the rounding
    of float32. NaN, infinity and a range above half the largest float32 are refused.
    """
    checks.quantize_u8(values)
    if values.size == 0:
        return np.zeros(values.shape, np.uint8), 0.0, 0.0
    with np.errstate(all="ignore"):
        zero = values.min()
        width = values.max() - zero
        if not width <= checks.QUANTIZE_RANGE_MAX:
            checks.quantizable(values)
        scale = inverse = np.float32(0)
        if width > 0:
            scale = max(width / np.float32(255), np.finfo(np.float32).tiny)
            inverse = np.float32(1) / scale
    levels = (values - zero) * inverse + np.float32(0.5)
    return np.asarray(levels).astype(np.int32).astype(np.uint8), float(scale), float(zero)


def dequantize_u8(
    quantized: np.ndarray, scale: float, zero: float, out: Optional[np.ndarray] = None
) -> np.ndarray:
    """uint8 [...] -> float32 [...]: quantized * scale + zero, for finite scale >= 0 and zero."""
    checks.dequantize_u8(quantized, scale, zero, out)
    with np.errstate(over="ignore"):
        values = quantized.astype(np.float32) * np.float32(scale) + np.float32(zero)
    return _give(np.asarray(values), out)


def _pool(
    features: np.ndarray, scale: Optional[np.ndarray], shift: Optional[np.ndarray]
) -> np.ndarray:
    """Mean over S of max(features * scale + shift, 0), float64 [B,C]."""
    batch, channels = features.shape[:2]
    values = features.reshape(batch, channels, int(np.prod(features.shape[2:], dtype=np.int64)))
    if scale is not None and shift is not None:
        values = values * scale[:, None] + shift[:, None]
    return np.maximum(values, 0).mean(axis=2, dtype=np.float64)


def _scores(logits: np.ndarray) -> ExitScores:
    with np.errstate(all="ignore"):
        wide = logits.astype(np.float64)
        exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
        probability = exponentials / exponentials.sum(axis=1, keepdims=True)
        surprise = np.where(probability == 0, 0, probability * np.log(probability))
        ordered = np.sort(probability, axis=1)
    largest = ordered[:, -1]
    margin = largest - ordered[:, -2] if logits.shape[1] > 1 else largest
    return ExitScores(
        logits.argmax(axis=1).astype(np.int64),
        largest.astype(np.float32),
        margin.astype(np.float32),
        np.abs(surprise.sum(axis=1)).astype(np.float32),
        logits,
    )


def _give(result: np.ndarray, out: Optional[np.ndarray]) -> np.ndarray:
    if out is None:
        return result
    out[...] = result
    return out


def _fill(out: ExitScores, scores: ExitScores) -> ExitScores:
    for target, source in zip(out, scores):
        if target is not None:
            target[...] = source
    return out
