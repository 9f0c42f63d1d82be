"""Augmentation: small changes, drawn for each image alone, from the generator alone."""

import numpy as np
import pytest
import torch

from edgesdk.train.augment import cropped_and_flipped, distorted
from edgesdk.train.data import data_set

BACKGROUND = -0.8


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def distorted_on_paper(images, random):
    return distorted(images, BACKGROUND, random)


@pytest.fixture(params=[distorted_on_paper, cropped_and_flipped])
def augment(request):
    return request.param


@pytest.fixture
def images():
    return torch.randn(8, 3, 32, 32, generator=generator())


def test_it_depends_on_its_generator_alone(augment, images):
    first, again, other = (augment(images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_image_changes_in_its_own_way_and_the_originals_stay(augment, images):
    same = images[:1].repeat(8, 1, 1, 1)
    before = same.clone()
    changed = augment(same, generator())
    assert torch.equal(same, before)
    assert changed.shape == same.shape
    assert len({image.numpy().tobytes() for image in changed}) == 8


def test_an_image_of_one_value_stays_one(augment):
    paper = torch.full((4, 1, 32, 32), BACKGROUND)
    assert torch.allclose(augment(paper, generator()), paper)


def test_what_comes_into_a_distorted_view_is_background():
    changed = distorted(torch.full((64, 1, 32, 32), 3.0), -1.0, generator())
    assert changed.min().item() == pytest.approx(-1.0, abs=1e-5)
    assert changed.max().item() == pytest.approx(3.0, abs=1e-5)
    assert torch.allclose(changed[:, :, 16, 16], torch.tensor(3.0))


def test_distorted_digits_stay_about_where_they_are():
    """Small changes only: most of the ink still overlaps."""
    images = data_set("digits").load("calibration").images[:100]
    changed = distorted_on_paper(images, generator())
    ink, changed_ink = images - images.min(), changed - images.min()
    overlap = torch.minimum(ink, changed_ink).sum((1, 2, 3)) / ink.sum((1, 2, 3))
    assert overlap.median() > 0.6


def numpy_candidates(image):
    """Every result that cropping a 32x32 image, padded by 4 with reflection, can have."""
    padded = np.pad(image, ((0, 0), (4, 4), (4, 4)), mode="reflect")
    for top in range(9):
        for left in range(9):
            crop = padded[:, top : top + 32, left : left + 32]
            yield (top, left, False), crop
            yield (top, left, True), crop[:, :, ::-1]


def test_a_crop_is_one_of_the_reflected_padded_image_perhaps_mirrored(images):
    changed = cropped_and_flipped(images, generator()).numpy()
    for before, after in zip(images.numpy(), changed):
        assert any(np.array_equal(after, crop) for _, crop in numpy_candidates(before))


def test_every_shift_and_both_directions_occur():
    image = torch.randn(1, 1, 32, 32, generator=generator())
    names = {crop.tobytes(): name for name, crop in numpy_candidates(image[0].numpy())}
    changed = cropped_and_flipped(image.repeat(4000, 1, 1, 1), generator())
    found = {names[after.numpy().tobytes()] for after in changed}
    assert found == set(names.values())


def test_images_need_not_be_square():
    images = torch.randn(5, 3, 16, 40, generator=generator())
    changed = cropped_and_flipped(images, generator())
    assert changed.shape == images.shape
    assert set(changed.unique().tolist()) <= set(images.unique().tolist())
