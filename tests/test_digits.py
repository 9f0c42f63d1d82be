"""The digits scans: real, split once and for all, and refused in words when absent."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesdk import digits
from edgesdk.errors import BackendUnavailable, ConfigError

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def splits():
    return {name: digits.load_digits_split(name) for name in digits.SPLITS}


def test_a_split_is_uint8_images_with_int64_labels(splits):
    for scans in splits.values():
        assert scans.images.dtype == np.uint8
        assert scans.images.shape == (len(scans.labels), 8, 8)
        assert scans.labels.dtype == np.int64
        assert scans.images.min() == 0
        assert scans.images.max() == 255


def test_every_scan_is_in_exactly_one_split(splits):
    from sklearn.datasets import load_digits

    _, labels = load_digits(return_X_y=True)
    indices = digits._split_indices(labels)
    together = np.sort(np.concatenate([indices[name] for name in digits.SPLITS]))
    assert np.array_equal(together, np.arange(1797))
    assert sum(len(scans.labels) for scans in splits.values()) == 1797


def test_no_test_scan_has_a_twin_in_training(splits):
    seen = {image.tobytes() for image in splits["train"].images}
    assert not any(image.tobytes() in seen for image in splits["test"].images)
    assert not any(image.tobytes() in seen for image in splits["calibration"].images)


def test_each_class_is_cut_into_60_20_and_20_percent(splits):
    counts = {name: np.bincount(scans.labels) for name, scans in splits.items()}
    total = sum(counts.values())
    for name, share in (("train", 0.6), ("calibration", 0.2), ("test", 0.2)):
        assert np.all(np.abs(counts[name] - share * total) < 2)


def test_the_splits_never_change(splits):
    """Published accuracies depend on them: sums that another seed or order would not give."""
    found = {
        name: (len(scans.labels), int((scans.labels * np.arange(len(scans.labels))).sum()))
        for name, scans in splits.items()
    }
    assert found == {
        "train": (1087, 2637615),
        "calibration": (355, 290819),
        "test": (355, 280786),
    }


def test_pixels_are_scikit_learns_values_scaled_to_255_and_rounded(splits):
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    index = digits._split_indices(labels)["test"][7]
    expected = [round(value * 255 / 16) for value in values[index]]
    assert splits["test"].images[7].ravel().tolist() == expected


def test_an_unknown_split_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="'validation', expected one of train, calibration, test"):
        digits.load_digits_split("validation")


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(BackendUnavailable, match=r'pip install "edgesdk\[demo\]"'):
        digits.load_digits_split("test")


def test_the_module_imports_scikit_learn_only_when_it_is_used():
    body = ast.parse(Path(digits.__file__).read_text()).body
    imported = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [alias.name for node in imported for alias in node.names]
    assert not {"sklearn", "torch", "load_digits"} & set(names)
