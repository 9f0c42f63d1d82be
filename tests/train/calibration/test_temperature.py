"""How far probabilities can be believed."""

import numpy as np
import pytest
from calibration_cases import random_outcomes
from hypothesis import given
from hypothesis import strategies as st

from edgesdk.train.calibration.temperature import beliefs, ece, fit, nll


def drawn(temperature, count=4000, seed=0):
    """Logits and labels drawn from their own softmax, then made `temperature` times larger."""
    random = np.random.RandomState(seed)
    logits = 2 * random.randn(count, 5)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(5, p=row) for row in probability])
    return temperature * logits, labels


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_by_which_logits_are_too_large_is_found(temperature):
    logits, labels = drawn(temperature)
    assert fit(logits, labels) == pytest.approx(temperature, rel=0.06)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_no_other_temperature_is_better(seed, other):
    random = np.random.RandomState(seed)
    logits, labels = 3 * random.randn(50, 4), random.randint(0, 4, 50)
    assert nll(logits / fit(logits, labels), labels) <= nll(logits / other, labels) + 1e-6


def test_likelihood_by_hand():
    logits = np.log([[0.7, 0.3], [0.2, 0.8]])
    assert nll(logits, np.array([0, 0])) == pytest.approx(-np.log([0.7, 0.2]).mean())


def test_large_logits_do_not_overflow():
    assert nll(np.array([[6e4, -6e4]]), np.array([0])) == 0.0
    assert ece(np.array([[6e4, -6e4]]), np.array([0])) == 0.0


def test_the_calibration_error_is_how_far_belief_and_accuracy_are_apart():
    sure = np.log(np.array([[0.9, 0.1]] * 10))
    assert ece(sure, np.array([0] * 9 + [1])) == pytest.approx(0.0)
    assert ece(sure, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.4)
    two_bins = np.log(np.array([[0.9, 0.1], [0.6, 0.4]]))
    assert ece(two_bins, np.array([0, 1])) == pytest.approx((0.1 + 0.6) / 2)


def test_beliefs_are_fitted_on_one_split_and_reported_on_another():
    fitted, reported = random_outcomes(0, 500), random_outcomes(1, 400)
    found = beliefs(fitted, reported)
    assert len(found) == 4
    for index, belief in enumerate(found):
        logits = reported.logits[:, index].astype(float)
        assert belief.temperature == fit(fitted.logits[:, index].astype(float), fitted.label)
        assert belief.nll_before == nll(logits, reported.label)
        assert belief.ece_after == ece(logits / belief.temperature, reported.label)


def test_what_is_believed_too_much_becomes_believable():
    logits, labels = drawn(4.0)
    found = fit(logits, labels)
    assert ece(logits, labels) > 0.1
    assert ece(logits / found, labels) < 0.03
