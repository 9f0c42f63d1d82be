"""Settings and the learning rate, which is a function of the step."""

import pytest

from edgesdk.errors import ConfigError
from edgesdk.train.recipe import (
    DIGITS,
    ONECYCLE_SHARE,
    PHOTOS,
    SCHEDULES,
    WARMUP_SHARE,
    Distillation,
    Settings,
    checked,
    checked_distillation,
    learning_rate,
)

SHARES = {"cosine": WARMUP_SHARE, "onecycle": ONECYCLE_SHARE}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_rises_to_its_peak_and_falls_towards_zero(schedule):
    steps = 200
    rates = [learning_rate(step, steps, 0.5, schedule) for step in range(steps)]
    warmup = round(steps * SHARES[schedule])
    assert rates[warmup - 1] == max(rates) == 0.5
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert 0 < rates[-1] < 0.004


def test_a_cosine_stays_high_for_longer_than_a_cycle():
    cosine, cycle = (learning_rate(70, 200, 1.0, schedule) for schedule in SCHEDULES)
    assert cosine == pytest.approx(0.821, abs=1e-3)
    assert cycle == pytest.approx(0.8125)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_learning_rate_too(steps, schedule):
    assert all(0 < learning_rate(step, steps, 1.0, schedule) <= 1 for step in range(steps))


@pytest.mark.parametrize("recipe", [DIGITS, PHOTOS])
def test_the_recipes_can_be_trained_with(recipe):
    assert checked(recipe) == recipe


def test_settings_of_older_checkpoints_mean_what_they_meant():
    """The first format knew no schedule, precision, compilation, sparing of biases or phases."""
    older = ("cosine", "float32", False, True, None, 0.0, "all", "sum")
    assert Settings("m", "d", 1)[8:] == older


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 0}, "epochs: found 0, expected at least 1"),
        ({"batch_size": 0}, "batch_size: found 0, expected at least 1"),
        ({"distillation": -0.1}, "distillation: found -0.1, expected 0 to 1"),
        ({"distillation": float("nan")}, "distillation: found nan, expected 0 to 1"),
        ({"peak_learning_rate": 0.0}, "peak learning rate: found 0.0, expected a number > 0"),
        ({"peak_learning_rate": float("nan")}, "peak learning rate: found nan"),
        ({"peak_learning_rate": float("inf")}, "peak learning rate: found inf"),
        ({"weight_decay": -1e-4}, "weight decay: found -0.0001, expected 0 <= value < 1"),
        ({"weight_decay": float("nan")}, "weight decay: found nan"),
        ({"schedule": "step"}, "schedule: found 'step', expected one of cosine, onecycle"),
        ({"precision": "float16"}, "precision: found 'float16', expected one of float32, bfloat16"),
    ],
)
def test_what_no_training_can_have_is_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        checked(DIGITS._replace(**changed))


def test_a_distillation_has_defaults_that_can_be_trained_with():
    settings = Distillation((7, 7), {})
    assert checked_distillation(settings) == settings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"soft_weight": 1.5}, "soft weight: found 1.5, expected 0 to 1"),
        ({"soft_weight": float("nan")}, "soft weight: found nan"),
        ({"missing_probability": -0.1}, "missing probability: found -0.1, expected 0 to 1"),
        ({"temperature": 0.0}, "temperature: found 0.0, expected a number > 0"),
        ({"temperature": float("inf")}, "temperature: found inf"),
        ({"attention_weight": -1.0}, "attention weight: found -1.0, expected a number >= 0"),
        ({"mixture_weight": float("inf")}, "mixture weight: found inf"),
        ({"views": -1}, "views: found -1, expected a number >= 0"),
    ],
)
def test_what_no_distillation_can_have_is_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        checked_distillation(Distillation((7, 7), {})._replace(**changed))
