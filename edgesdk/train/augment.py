"""Changed copies of training images: what a network should not be able to tell apart.

Every function takes a whole batch, float32 [B, C, H, W], changes each image by draws of its own
from the given generator, and leaves the batch it was given as it was.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

ROTATION_DEGREES = 12.0  # each drawn uniformly from -limit..limit
SHEAR = 0.15
SCALE = 0.12
SHIFT = 0.15  # of half the image: about 2.4 of 32 pixels
CROP_SHARE = 1 / 8  # of the width: He et al. 2016 pad a 32x32 image by 4 pixels


def distorted(images: Tensor, background: float, generator: Generator) -> Tensor:
    """Rotated, sheared, scaled and shifted a little; what comes into view is `background`."""
    draws = torch.rand(6, len(images), generator=generator).to(images.device) * 2 - 1
    angle = draws[0] * math.radians(ROTATION_DEGREES)
    shear = draws[1] * SHEAR
    scale_x, scale_y = 1 + draws[2] * SCALE, 1 + draws[3] * SCALE
    cos, sin = angle.cos(), angle.sin()
    maps = torch.stack(
        [
            torch.stack([cos * scale_x, -sin * scale_y + shear, draws[4] * SHIFT], 1),
            torch.stack([sin * scale_x, cos * scale_y, draws[5] * SHIFT], 1),
        ],
        1,
    )
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    moved = F.grid_sample(images - background, grid, padding_mode="zeros", align_corners=False)
    return moved + background


def cropped_and_flipped(images: Tensor, generator: Generator) -> Tensor:
    """Mirrored left to right, or not, and shifted by up to `CROP_SHARE` of the width.

    Whole pixels only, and what comes into view is the image reflected at its edge, so every value
    of the result is a value of the image.
    """
    count, _, height, width = images.shape
    limit = int(width * CROP_SHARE)
    shifts = torch.randint(-limit, limit + 1, (2, count, 1), generator=generator)
    flips = torch.randint(0, 2, (count, 1), generator=generator).bool()
    rows = _reflected(torch.arange(height) + shifts[0], height)
    columns = _reflected(torch.arange(width) + shifts[1], width)
    columns = torch.where(flips, columns.flip(1), columns)
    which = torch.arange(count)[:, None, None]  # indices may stay on the CPU
    moved = images.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices outside 0..size-1 mirrored at the edge pixel's centre."""
    inside = index.abs()
    return torch.where(inside < size, inside, 2 * (size - 1) - inside)
