"""How far the probabilities of each exit can be believed, and the temperature that mends them.

Temperature scaling (Guo et al. 2017) divides logits by one number per exit. It changes no
prediction, and it cannot change who leaves at a threshold on max probability more than choosing the
threshold does; so policies work on the network's own probabilities, and temperatures are reported
for programs that read `max_probability` as a probability.
"""

from typing import NamedTuple

import numpy as np

from ...outcomes import Outcomes

BIN_COUNT = 15  # of the expected calibration error, as is usual
LOG_RANGE = (-3.0, 3.0)  # temperatures from 0.05 to 20
SEARCH_STEPS = 40  # golden sections: far below what a split can tell
GOLDEN = (5**0.5 - 1) / 2


class Belief(NamedTuple):
    """Of one exit: its temperature, and negative log-likelihood (nats) and expected calibration
    error (0..1) before and after dividing by it."""

    temperature: float
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def beliefs(fitted_on: Outcomes, reported_on: Outcomes) -> list[Belief]:
    """One per exit: temperatures of the first outcomes, errors on the second."""
    found = []
    for exit_index in range(fitted_on.exit_count):
        fitted = fitted_on.logits[:, exit_index].astype(np.float64)
        temperature = fit(fitted, fitted_on.label)
        logits, labels = reported_on.logits[:, exit_index].astype(np.float64), reported_on.label
        after = logits / temperature
        found.append(
            Belief(temperature, nll(logits, labels), nll(after, labels), ece(logits, labels),
                   ece(after, labels))
        )  # fmt: skip
    return found


def fit(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least `nll` for float64 logits [n,N]; golden-section search, for the
    loss has one valley over the logarithm of the temperature."""
    low, high = LOG_RANGE
    for _ in range(SEARCH_STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if nll(logits / np.exp(left), labels) <= nll(logits / np.exp(right), labels):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood, nats, of float64 logits [n,N] and labels [n]."""
    return float(-_log_softmax(logits)[np.arange(len(labels)), labels].mean())


def ece(logits: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error 0..1: |accuracy - mean max probability|, averaged over bins."""
    probability = np.exp(_log_softmax(logits))
    largest, right = probability.max(axis=1), probability.argmax(axis=1) == labels
    bins = np.minimum((largest * BIN_COUNT).astype(int), BIN_COUNT - 1)
    gap = np.bincount(bins, right - largest, BIN_COUNT)
    return float(np.abs(gap).sum() / len(labels))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
