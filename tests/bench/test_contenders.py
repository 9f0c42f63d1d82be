"""Contenders: who takes part, and that a wrong answer is found before anything is timed."""

import numpy as np
import pytest
import tiny

from edgesdk.bench import contenders
from edgesdk.bench.contenders import (
    CUT,
    EAGER,
    PLAIN,
    TORCH_UNCUT,
    Answers,
    Contender,
    answers,
    check,
)
from edgesdk.errors import BackendUnavailable, BundleError, EdgeError


@pytest.fixture
def everyone(whole_bundle):
    """name -> contender, closed afterwards."""
    pytest.importorskip("torch")
    found, missing = contenders.open_contenders(whole_bundle, 1)
    assert missing == []
    yield {contender.name: contender for contender in found}
    for contender in found:
        if contender.pipe is not None:
            contender.pipe.close()


@pytest.fixture
def expected(everyone, brightnesses):
    """float32 [n, 2]: what the uncut network says."""
    from edgesdk.bench.plain import PlainOnnxruntime

    bundle = everyone["onnxruntime policy calibrated"].pipe.bundle
    return PlainOnnxruntime(bundle).logits(brightnesses.images)


def test_every_way_to_run_a_bundle_takes_part(everyone):
    assert list(everyone) == [
        PLAIN,
        EAGER,
        TORCH_UNCUT,
        "onnxruntime " + CUT,
        "onnxruntime plan full, none taken",
        "onnxruntime plan merged, none taken",
        "onnxruntime policy calibrated",
        "torch " + CUT,
        "torch policy calibrated",
    ]


def test_answers_are_the_networks(everyone, brightnesses, expected):
    for contender in everyone.values():
        found = answers(contender, brightnesses.images)
        assert found.class_index.tolist() == brightnesses.labels.tolist(), contender.name
        check(contender, found, brightnesses.images, expected)


def test_none_leaves_where_none_may(everyone, brightnesses):
    for name in ("onnxruntime plan full, none taken", "onnxruntime plan merged, none taken"):
        exits = answers(everyone[name], brightnesses.images).exit_index
        assert set(exits.tolist()) == {tiny.EXIT_COUNT - 1}


def test_early_contenders_use_several_exits(everyone, brightnesses):
    exits = answers(everyone["onnxruntime policy calibrated"], brightnesses.images).exit_index
    assert len(set(exits.tolist())) > 1


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        (PLAIN, "the uncut network"),
        ("onnxruntime " + CUT, "the uncut network"),
        ("onnxruntime policy calibrated", "exit 0 of the network"),
        ("torch policy calibrated", "exit 0 of the network"),
    ],
)
def test_one_wrong_label_is_found(everyone, brightnesses, expected, name, whose):
    found = answers(everyone[name], brightnesses.images)
    found.class_index[0] = 1 - found.class_index[0]  # the darkest image leaves at exit 0
    with pytest.raises(EdgeError) as raised:
        check(everyone[name], found, brightnesses.images, expected)
    assert str(raised.value).startswith(name + ": found 1 answers that are not those of " + whose)
    assert "image 0" in str(raised.value)


def test_a_tie_may_be_rounded_either_way(everyone):
    logits = np.array([[1.0, 1.0 + contenders.LOGIT_TOLERANCE / 2]], np.float32)
    either = Answers(np.array([0]), np.array([-1]))
    check(everyone[PLAIN], either, [tiny.image(0.5)], logits)


def test_nan_is_no_agreement(everyone):
    logits = np.array([[np.nan, 1.0]], np.float32)
    with pytest.raises(EdgeError, match="found 1 answers"):
        check(everyone[PLAIN], Answers(np.array([1]), np.array([-1])), [tiny.image(0.5)], logits)


def test_an_item_that_fails_stops_the_bench():
    failure = EdgeError("item 0 failed")
    failure.ok = False
    broken = Contender("broken", "early", lambda images: [failure], pipe=object())
    with pytest.raises(EdgeError, match="item 0 failed"):
        answers(broken, [tiny.image(0.5)])


def test_without_torch_the_others_take_part(whole_bundle, monkeypatch):
    def missing(*arguments):
        raise BackendUnavailable("no torch: pip install it")

    monkeypatch.setattr(contenders, "PlainTorch", missing)
    without = [each for each in contenders.BACKENDS if each[0] != "torch"]
    monkeypatch.setattr(contenders, "BACKENDS", without)
    found, texts = contenders.open_contenders(whole_bundle, 1)
    assert texts == ["no torch: pip install it"]
    assert found[0].name == PLAIN and len(found) == 5
    for contender in found[1:]:
        contender.pipe.close()


def test_a_bundle_without_the_uncut_network(bundle):
    with pytest.raises(BundleError, match="the uncut network to compare with"):
        contenders.open_contenders(bundle, 1)
