"""Data sets: the pixels of a deployed pipeline, splits that never meet, statistics of training."""

import numpy as np
import pytest
import tiny_images
import torch

from edgesdk import digits
from edgesdk.errors import ConfigError
from edgesdk.preprocess import Preprocessor
from edgesdk.train.data import DATA_SETS, DIGITS_PREPROCESSING, data_set, photos, preprocessed
from edgesdk.train.image_files import ImageSet, Labelled
from edgesdk.train.recipe import DIGITS, PHOTOS


@pytest.fixture(scope="module")
def calibration():
    return data_set("digits").load("calibration")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "animals.v2"
    return tiny_images.write_folder(path, tiny_images.files(train=20, test=4))


@pytest.fixture(scope="module")
def animals(folder):
    return data_set(str(folder))


def test_training_sees_the_very_pixels_that_a_deployed_pipeline_computes(calibration):
    scans = digits.load_digits_split("calibration")
    deployed = Preprocessor(DIGITS_PREPROCESSING)(scans.images[:5])
    assert np.array_equal(calibration.images[:5].numpy(), deployed)
    assert calibration.labels[:5].tolist() == scans.labels[:5].tolist()


def test_inputs_are_float32_channels_first_with_int64_labels(calibration):
    assert calibration.images.shape == (355, 1, 32, 32)
    assert calibration.images.dtype == torch.float32
    assert calibration.labels.dtype == torch.int64


def test_the_mean_and_deviation_are_those_of_the_training_scans():
    pixels = digits.load_digits_split("train").images / 255
    assert DIGITS_PREPROCESSING.mean == (round(pixels.mean(), 3),)
    assert DIGITS_PREPROCESSING.std == (round(pixels.std(), 3),)


def test_colour_images_become_three_channels():
    spec = DIGITS_PREPROCESSING._replace(color="rgb", mean=(0.5,) * 3, std=(0.25,) * 3)
    split = preprocessed(np.zeros((2, 32, 32, 3), np.uint8), np.array([1, 0], np.int32), spec)
    assert split.images.shape == (2, 3, 32, 32)
    assert split.images.unique().tolist() == [-2.0]
    assert split.labels.dtype == torch.int64


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_listed_data_set_knows_its_own_name(name):
    assert data_set(name).name == name


def test_an_unknown_data_set_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="'mnist', expected one of digits, or the path of an im"):
        data_set("mnist")


def test_a_folder_a_tar_and_batches_are_all_data_sets(folder, tmp_path):
    tar = tiny_images.write_tar(tmp_path / "animals.tar.xz", tiny_images.files(train=20, test=4))
    batches = tiny_images.write_tar(tmp_path / "c.tar.gz", tiny_images.batches(), "w:gz")
    found = [data_set(str(path)) for path in (folder, tar, batches)]
    assert [data.name for data in found] == ["animals", "animals", "c"]
    assert {data.labels for data in found} == {("cat", "dog", "emu")}
    assert found[0].digest == found[1].digest != found[2].digest


def test_the_last_tenth_of_each_class_by_file_name_calibrates(animals):
    train, calibration, test = (animals.load(name) for name in ("train", "calibration", "test"))
    assert [len(split.labels) for split in (train, calibration, test)] == [54, 6, 12]
    assert calibration.labels.tolist() == [0, 0, 1, 1, 2, 2]
    deployed = Preprocessor(animals.preprocessing)
    whole = deployed([tiny_images_decoded("dog", number) for number in (18, 19)])
    assert np.array_equal(calibration.images[2:4].numpy(), whole)


def tiny_images_decoded(name, number):
    from edgesdk.train.image_files import decoded

    return decoded(tiny_images.encoded(tiny_images.pixels(name, number)), "")


def test_no_image_is_in_two_splits(animals):
    seen = [
        {image.numpy().tobytes() for image in animals.load(name).images}
        for name in ("train", "calibration", "test")
    ]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 54 + 6 + 12


@pytest.mark.parametrize(
    ("count", "held_out"), [(2, 1), (3, 1), (19, 1), (20, 2), (99, 9), (5000, 500)]
)
def test_small_classes_hold_one_image_out_and_cifar_holds_500(count, held_out):
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    part = Labelled([image] * (count + 2), np.array([0] * count + [1] * 2))
    found = photos(ImageSet(("a", "b"), part, part), "x").load("calibration")
    assert found.labels.tolist() == [0] * held_out + [1]


def test_mean_and_deviation_are_those_of_the_images_trained_on(animals):
    images = animals.load("train").images
    assert images.mean((0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-3)
    assert images.std((0, 2, 3)).tolist() == pytest.approx([1] * 3, abs=1e-3)


def test_images_of_other_sizes_are_cropped_and_resized_as_deployed(tmp_path):
    contents = tiny_images.files(train=2, test=1, size=(48, 64))
    data = data_set(str(tiny_images.write_folder(tmp_path / "big", contents)))
    assert data.load("train").images.shape == (3, 3, 32, 32)
    assert (data.preprocessing.resize, data.preprocessing.crop) == ("area", "center")


def test_one_changed_label_or_pixel_changes_the_digest():
    images = [np.full((2, 2, 3), value, np.uint8) for value in (0, 80, 160, 240)]
    part = Labelled(images, np.array([0, 0, 1, 1]))
    brighter = Labelled([*images[:3], images[3] + 1], part.labels)
    swapped = Labelled(images, np.array([0, 1, 0, 1]))
    names = ("a", "b")
    sets = [ImageSet(names, part, part), ImageSet(names, brighter, part)]
    sets += [ImageSet(names, swapped, part), ImageSet(("a", "c"), part, part)]
    assert len({photos(found, "x").digest for found in sets}) == 4
    assert photos(sets[0], "x").digest == photos(sets[0], "y").digest


def test_images_without_any_contrast_are_refused():
    part = Labelled([np.zeros((2, 2, 3), np.uint8)] * 4, np.array([0, 0, 1, 1]))
    with pytest.raises(ConfigError, match=r"deviate by \(0.0, 0.0, 0.0\), expected more than 0"):
        photos(ImageSet(("a", "b"), part, part), "black")


def test_every_kind_of_data_has_its_recipe(animals):
    assert data_set("digits").recipe == DIGITS
    assert animals.recipe == PHOTOS
