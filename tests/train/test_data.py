"""The data sets: pixels as the device sees them, and augmentation by seed."""

import numpy as np
import pytest
import torch

from edgesdk import digits
from edgesdk.errors import ConfigError
from edgesdk.preprocess import Preprocessor
from edgesdk.train.data import DATA_SETS, DIGITS_PREPROCESSING, data_set, distorted, preprocessed


@pytest.fixture(scope="module")
def calibration():
    return data_set("digits").load("calibration")


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


def test_augmentation_depends_on_its_generator_alone(calibration):
    augment = data_set("digits").augment
    first, again, other = (
        augment(calibration.images[:8], torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_changes_every_image_differently_and_keeps_the_originals(calibration):
    same = calibration.images[:1].repeat(8, 1, 1, 1)
    before = same.clone()
    changed = data_set("digits").augment(same, torch.Generator().manual_seed(0))
    assert torch.equal(same, before)
    assert len({image.numpy().tobytes() for image in changed}) == 8
    assert not any(torch.equal(image, before[0]) for image in changed)


def test_what_comes_into_view_is_background():
    image = torch.full((64, 1, 32, 32), 3.0)
    changed = distorted(image, -1.0, torch.Generator().manual_seed(0))
    assert changed.min().item() == pytest.approx(-1.0, abs=1e-5)
    assert changed.max().item() == pytest.approx(3.0, abs=1e-5)
    assert torch.allclose(changed[:, :, 16, 16], torch.tensor(3.0))


def test_an_image_of_background_stays_one():
    paper = torch.full((4, 1, 32, 32), -0.8)
    assert torch.allclose(distorted(paper, -0.8, torch.Generator()), paper)


def test_digits_stay_about_where_they_are(calibration):
    """Small changes only: most of the ink still overlaps."""
    images = calibration.images[:100]
    changed = data_set("digits").augment(images, torch.Generator().manual_seed(0))
    ink, changed_ink = images - images.min(), changed - changed.min()
    overlap = torch.minimum(ink, changed_ink).sum((1, 2, 3)) / ink.sum((1, 2, 3))
    assert overlap.median() > 0.6


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_listed_data_set_knows_its_own_name(name):
    assert data_set(name).name == name


def test_an_unknown_data_set_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="'mnist', expected one of digits"):
        data_set("mnist")
