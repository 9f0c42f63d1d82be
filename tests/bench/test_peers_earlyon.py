"""The bundle's network in earlyon: the same exits and classes, alone and in batches."""

import sys

import numpy as np
import pytest
import tiny

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from edgesdk.bench.peers_answers import POLICY, TOGETHER, check, expect
from edgesdk.bench.peers_earlyon import Earlyon
from edgesdk.core.exits import Entropy, Margin, MaxProbability
from edgesdk.errors import BackendUnavailable

POLICIES = [
    MaxProbability([0.7, 0.8, 0.0]),
    Entropy([0.5, 0.4, 1000.0]),
    Entropy([0.7, 0.6, 1000.0], class_count=2),  # shares of ln 2
    MaxProbability([1.0, 0.7, 0.0]),  # the first exit is off
]


def wrapped(bundle, policy, plan="full", none_leave=False):
    """The plan's network, and the plan."""
    pytest.importorskip("earlyon")
    plan = bundle.manifest.parts[0].plans[plan]
    return Earlyon(bundle, plan, policy, 1, none_leave), plan


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_every_image_leaves_where_the_policy_lets_it(whole_bundle, brightnesses, policy):
    earlyon, plan = wrapped(whole_bundle, policy)
    expected = expect(whole_bundle, policy, plan, brightnesses.images, brightnesses.labels, 1)
    staged = earlyon.staged()
    exits = set()
    for row, image in enumerate(brightnesses.images):
        for run in (earlyon.single, staged):
            found = earlyon.answers(run(image))
            check("earlyon", POLICY, found, np.array([row]), expected)
        exits.add(int(found.exit_index[0]))
    assert len(exits) > 1


def test_a_batch_waits_for_its_hardest_image(whole_bundle, brightnesses):
    earlyon, plan = wrapped(whole_bundle, POLICIES[0])
    images, labels = brightnesses.images, brightnesses.labels
    expected = expect(whole_bundle, POLICIES[0], plan, images, labels, 1)
    exits = set()
    for rows in (np.arange(3), np.arange(8)):
        found = earlyon.answers(earlyon.batch([images[row] for row in rows]))
        check("earlyon", TOGETHER, found, rows, expected)
        exits.add(tuple(set(found.exit_index.tolist())))
    assert exits == {(0,), (tiny.EXIT_COUNT - 1,)}


def test_nobody_leaves_where_nobody_shall(whole_bundle):
    earlyon, _ = wrapped(whole_bundle, MaxProbability([0.5, 0.5, 0.0]), none_leave=True)
    for value in (0.0, 0.3, 1.0):  # a softmax of 1 in float32 among them
        found = earlyon.answers(earlyon.single(tiny.image(value)))
        assert found.exit_index.tolist() == [tiny.EXIT_COUNT - 1]


def test_a_plan_of_one_stage_has_no_exit_to_leave_at(whole_bundle):
    earlyon, _ = wrapped(whole_bundle, MaxProbability([1.0, 1.0, 0.0]), plan="merged")
    assert earlyon.answers(earlyon.single(tiny.image(0.9))).exit_index.tolist() == [2]


def test_a_policy_that_it_does_not_have(whole_bundle):
    with pytest.raises(BackendUnavailable, match="earlyon has no policy of kind margin; choose"):
        wrapped(whole_bundle, Margin([0.5, 0.5, 0.0]))


def test_where_it_is_not_installed_it_says_how_to_install_it(whole_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "earlyon", None)
    monkeypatch.setitem(sys.modules, "earlyon.staged", None)
    plan = whole_bundle.manifest.parts[0].plans["full"]
    with pytest.raises(BackendUnavailable, match=r"earlyon cannot be imported .*pip install"):
        Earlyon(whole_bundle, plan, POLICIES[0], 1, False)
