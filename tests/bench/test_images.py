"""What `bench pipeline` is measured on: test images only, of the classes the network knows."""

import sys

import numpy as np
import pytest

from edgesdk import digits
from edgesdk.bench.images import read_test_images
from edgesdk.errors import BackendUnavailable, ConfigError


@pytest.fixture
def folder(tmp_path):
    """train/ and test/ with the classes bright and dark; test images have other brightnesses."""
    image = pytest.importorskip("PIL.Image")
    for split, offset, count in (("train", 0, 2), ("test", 20, 3)):
        for name, value in (("bright", 200), ("dark", 20)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((6, 6), value + offset + number, np.uint8)
                image.fromarray(pixels).save(str(tmp_path / split / name / "{}.png".format(number)))
    return str(tmp_path)


@pytest.mark.parametrize("data", [None, "digits"])
def test_digits_are_the_scans_that_nothing_was_chosen_on(data):
    pytest.importorskip("sklearn")
    found, expected = read_test_images(data, digits.LABELS), digits.load_digits_split("test")
    assert np.array_equal(np.stack(found.images), expected.images)
    assert np.array_equal(found.labels, expected.labels)


def test_a_folder_gives_its_test_images(folder):
    found = read_test_images(folder, ("bright", "dark"))
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [image[0, 0, 0] for image in found.images] == [220, 221, 222, 40, 41, 42]
    assert all(image.dtype == np.uint8 and image.shape == (6, 6, 3) for image in found.images)


def test_another_data_set_than_the_bundles(folder):
    with pytest.raises(ConfigError, match="found the classes bright, dark, expected those of"):
        read_test_images(folder, ("dark", "bright"))


def test_nothing_is_there(tmp_path):
    pytest.importorskip("tqdm")
    with pytest.raises(ConfigError, match="found nothing at"):
        read_test_images(str(tmp_path / "none"), ("bright", "dark"))


def test_readers_that_cannot_be_imported(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "edgesdk.train.image_files", None)
    with pytest.raises(BackendUnavailable, match=r"pip install \"edgesdk\[train\]\""):
        read_test_images(folder, ("bright", "dark"))
