"""How far float32 kernels may be from the float64 reference, derived from u = 2^-24.

A float32 operation errs by u of its result; a sum of n terms in any order by at most (n - 1) u of
the sum of their magnitudes (Higham, Accuracy and Stability, section 4.2). Inputs and the affine
step are the same float32 values in both, so they add nothing.
"""

import numpy as np

U = 2.0**-24


def pool(features, scale=None, shift=None):
    """Mean of max(features * scale + shift, 0) over all positions, float64 [B,C]."""
    per_channel = (-1,) + (1,) * (features.ndim - 2)
    values = features
    if scale is not None:
        values = values * scale.reshape(per_channel) + shift.reshape(per_channel)
    values = np.where(values > 0, values, 0).astype(np.float64)
    return values.mean(axis=tuple(range(2, features.ndim)))


def pooled_error(features, scale=None, shift=None):
    """[B,C]: S - 1 additions of numbers that are not negative, one division, one rounding."""
    position_count = int(np.prod(features.shape[2:]))
    return (position_count + 2) * U * pool(features, scale, shift)


def linear_error(features, weight, bias=None, scale=None, shift=None):
    """[B,N]: C products and additions, the bias, one rounding; and the error of what is pooled."""
    size = np.abs(weight).T.astype(np.float64)
    magnitude = pool(features, scale, shift) @ size + (0 if bias is None else np.abs(bias))
    rounding = (weight.shape[1] + 3) * U * magnitude
    return rounding + pooled_error(features, scale, shift) @ size


def probability_error(class_count, logit_error=0.0):
    """A probability moves by at most half of what the logits move (the derivative p (1 - p), and
    p_i p_j, summed over all logits, is at most 1/2), a difference of two by twice that; the
    exponentials err by 4 u each, and N of them are added and divided by."""
    return logit_error + (class_count + 12) * U


def entropy_error(class_count, logit_error=0.0):
    """|dH/dx_i| = p_i |log p_i + H| sums to at most 2 H <= 2 log N; the kernel adds N terms of at
    most 1/e, N exponentials, and subtracts two numbers of at most 1 + log N."""
    size = 1 + np.log(class_count)
    return 2 * size * logit_error + 2 * size * (class_count + 12) * U
