"""Outcomes as a bundle gives them."""

import numpy as np
import pytest
import tiny
import tiny_ensemble as te
import torch
from calibration_cases import TINY, load_tiny, tiny_data

import edgesdk
from edgesdk.backends import open_backend
from edgesdk.errors import ConfigError
from edgesdk.train.calibration.recording import record, record_ensemble, renormalised
from edgesdk.train.data import Split


@pytest.fixture(params=["onnxruntime", "torch"])
def recorded(request, bundle):
    return record(bundle, tiny_data(), open_backend(request.param, 1))


def test_both_splits_are_recorded_and_the_training_images_are_not(recorded):
    assert recorded.data == "tiny"
    assert recorded.split.tolist() == ["calibration"] * 120 + ["test"] * 120
    for split in ("calibration", "test"):
        assert recorded.select(split).label.tolist() == load_tiny(split).labels.tolist()


def test_whose_answers_they_are_is_recorded(recorded, bundle):
    assert recorded.model_id == bundle.manifest.model_id


def test_every_exit_answers_as_the_network_does_by_hand(recorded):
    images = load_tiny("calibration").images.numpy()
    for row in range(0, 120, 7):
        brightness = float(images[row, 0, 0, 0])
        for exit_index in range(3):
            expected = tiny.max_probability(brightness, exit_index)
            assert recorded.max_probability[row, exit_index] == pytest.approx(expected, abs=1e-5)
            assert recorded.prediction[row, exit_index] == int(brightness < 0.5)


def test_the_answers_are_those_of_a_pipeline(recorded, bundle):
    images = load_tiny("test").images.numpy()
    with edgesdk.Pipeline.open(bundle.path, policy="final", logits=True) as pipe:
        results = pipe.infer(images)
    found = recorded.select("test")
    assert [r.class_index for r in results] == found.prediction[:, -1].tolist()
    assert np.array([r.logits for r in results]).astype(np.float16) == pytest.approx(
        found.logits[:, -1]
    )


def test_a_last_batch_that_is_not_full_is_recorded(bundle):
    def load(split):
        found = load_tiny(split)
        return Split(found.images[:33], found.labels[:33])

    assert record(bundle, tiny_data(load=load), open_backend(None, 1)).image_count == 66


def test_other_classes_are_refused(bundle):
    with pytest.raises(ConfigError, match="found the classes dark, bright, expected bright, dark"):
        record(bundle, tiny_data(labels=("dark", "bright")), open_backend(None, 1))


def test_a_class_that_is_missing_is_refused(bundle):
    with pytest.raises(ConfigError, match="found the classes bright, expected bright, dark"):
        record(bundle, tiny_data(labels=("bright",)), open_backend(None, 1))


def test_a_label_beyond_the_classes_is_refused(bundle):
    def load(split):
        found = load_tiny(split)
        return Split(found.images, found.labels + 5)

    with pytest.raises(ConfigError, match=r"label holds 5\.\.6, expected 0\.\.1"):
        record(bundle, tiny_data(load=load), open_backend(None, 1))


def test_images_that_are_not_finite_are_refused(bundle):
    def load(split):
        found = load_tiny(split)
        return Split(found.images * float("nan"), found.labels)

    with pytest.raises(ConfigError, match="values that are not finite"):
        record(bundle, tiny_data(load=load), open_backend(None, 1))


def test_images_of_another_geometry_are_refused(bundle):
    with pytest.raises(ConfigError, match=r"are prepared as .*height=7.*, expected .*height=6"):
        record(bundle, tiny_data(preprocessing=TINY._replace(height=7)), open_backend(None, 1))


def test_another_mean_and_deviation_are_undone(bundle):
    def load(split):
        found = load_tiny(split)
        return Split((found.images - 0.4) / 0.25, found.labels)

    other = tiny_data(preprocessing=TINY._replace(mean=(0.4,), std=(0.25,)), load=load)
    backend = open_backend(None, 1)
    one, same = record(bundle, other, backend), record(bundle, tiny_data(), backend)
    assert np.array_equal(one.prediction, same.prediction)
    assert one.max_probability == pytest.approx(same.max_probability, abs=1e-5)


def test_the_same_preprocessing_changes_no_bit():
    images = torch.rand(3, 1, 6, 6).numpy()
    assert renormalised(images, TINY, TINY) is images


# --- an ensemble's features ---------------------------------------------------------------------


@pytest.fixture(params=["onnxruntime", "torch"])
def features(request, tmp_path):
    bundle = te.write_tiny_ensemble(tmp_path / "ensemble")
    return record_ensemble(bundle, tiny_data(), open_backend(request.param, 1))


def test_features_are_those_of_every_exit_of_every_student_by_hand(features):
    images = load_tiny("calibration").images.numpy()
    found = features.select("calibration")
    assert found.depths == (3, 3)
    assert found.label.tolist() == load_tiny("calibration").labels.tolist()
    for row in range(0, 120, 7):
        for student, values in enumerate(found.students):
            expected = [te.feature(float(images[row, 0, 0, 0]), student, k) for k in range(3)]
            assert values[row] == pytest.approx(np.stack(expected), abs=1e-5)


def test_the_classifier_goes_with_the_features(features):
    assert (features.ensemble, features.data) == ("tiny-ensemble", "tiny")
    assert np.array_equal(features.weight, te.weight())
    assert features.mean_features.tolist() == [list(te.MISSING)] * 2
    assert features.split.tolist() == ["calibration"] * 120 + ["test"] * 120


def test_features_that_are_not_finite_are_refused(tmp_path):
    def load(split):
        found = load_tiny(split)
        return Split(found.images * float("nan"), found.labels)

    bundle = te.write_tiny_ensemble(tmp_path / "ensemble")
    with pytest.raises(ConfigError, match="student_0 has values that are not finite"):
        record_ensemble(bundle, tiny_data(load=load), open_backend(None, 1))
