"""Measured times: that they add up, and what is measured."""

import numpy as np
import pytest
from calibration_cases import random_costs
from hypothesis import given
from hypothesis import strategies as st
from test_merging import trial_of

from edgesdk.bundle_update import update_bundle
from edgesdk.errors import BackendUnavailable, BundleError, ConfigError
from edgesdk.train.calibration import measuring
from edgesdk.train.calibration.costs import spans
from edgesdk.train.calibration.measuring import UNCUT_PLAN, costs_from, measure
from edgesdk.train.calibration.merging import merged_stages
from edgesdk.train.calibration.workflow import plan_document


def medians_of(costs, exits):
    """What a machine with exactly these costs would show."""
    last = exits - 1
    every, single = tuple(range(exits)), (last,)
    found = dict(costs.spans)
    found.update({("head", index): head for index, head in enumerate(costs.heads)})
    final = costs.heads_each(False)[last]
    found["uncut"] = costs.stages_until(single)[-1] + final
    found["full"] = costs.stages_until(every)[-1] + final
    found["all heads"] = costs.stages_until(every)[-1] + costs.heads_each(False).sum()
    found["comparing"] = costs.stages_until(every)[-1] + costs.heads_each(True).sum()
    return found


@given(st.integers(0, 10**6), st.integers(2, 7))
def test_costs_that_add_up_are_found_again(seed, exits):
    costs = random_costs(seed, exits)
    costs = costs._replace(heads=tuple(head + 1 for head in costs.heads))
    found = costs_from(medians_of(costs, exits), exits)
    assert found.spans == costs.spans
    assert found.heads == costs.heads
    assert found[3:] == pytest.approx(costs[3:])


def test_a_network_of_one_segment_has_no_cuts_to_measure():
    medians = {(0, 0): 10.0, ("head", 0): 1.0}
    medians.update({"uncut": 21.0, "full": 21.0, "all heads": 21.0, "comparing": 23.0})
    found = costs_from(medians, 1)
    assert (found.item, found.stage, found.head, found.comparison) == (10, 0, 0, 2)


def test_noise_makes_nothing_cheaper_than_free():
    medians = dict.fromkeys(spans(2), 10.0)
    medians.update({("head", 0): 5.0, ("head", 1): 5.0})
    medians.update({"uncut": 9.0, "full": 8.0, "all heads": 7.0, "comparing": 6.0})
    assert costs_from(medians, 2)[3:] == (0, 0, 0, 0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_time_that_is_none_is_refused(value):
    medians = {**medians_of(random_costs(0, 3), 3), ("head", 1): value}
    with pytest.raises(ConfigError, match=r"timing: found .* us for \('head', \d\), expected more"):
        costs_from(medians, 3)


@pytest.fixture
def trial(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "SECONDS", 0.05)
    copy = trial_of(bundle, tmp_path)
    return update_bundle(copy.path, {}, {UNCUT_PLAN: plan_document((2,))}, merged_stages(bundle))


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_every_stage_and_head_of_a_real_network_is_measured(trial, bundle, backend):
    for name, content in merged_stages(bundle).items():
        with open(trial.file(name), "wb") as file:
            file.write(content)
    found = measure(trial, backend, 1)
    assert set(found.costs.spans) == set(spans(3))
    assert all(value > 0 for value in found.costs.spans.values())
    assert len(found.costs.heads) == 3
    assert found.costs.unit == "us"
    assert found.conditions["backend"] == backend
    assert found.conditions["threads"] == 1
    assert found.conditions["batch"] == 1
    assert found.conditions["cpu"]


def test_a_merged_stage_that_is_wrong_is_not_measured(trial, bundle):
    for name, content in merged_stages(bundle).items():
        with open(trial.file(name), "wb") as file:
            file.write(content)
    import tiny

    wrong = tiny.conv_model(np.eye(2).reshape(2, 2, 1, 1), np.array([0.0, 9.0]), (6, 6))
    with open(trial.file("onnx/stage_1_2.onnx"), "wb") as file:
        file.write(wrong)
    with pytest.raises(BundleError, match=r"stage_1_2.onnx: differs from its segments"):
        measure(trial, "onnxruntime", 1)


def test_a_backend_that_is_not_there_is_named(trial, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.delitem(__import__("sys").modules, "edgesdk.backends.onnx_runtime", raising=False)
    with pytest.raises(BackendUnavailable, match="onnxruntime"):
        measure(trial, "onnxruntime", 1)
