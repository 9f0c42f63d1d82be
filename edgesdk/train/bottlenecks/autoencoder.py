"""The autoencoder: two convolutions to a small code, and the same way back.

    encoder   3x3 of stride 2, batch norm, ReLU; twice
    decoder   3x3, batch norm, pixel shuffle, ReLU; 1x1, batch norm, pixel shuffle

Convolutions halve height and width where both are even: a map of 56 x 56 becomes 14 x 14, one of
7 x 7 stays. The wanted ratio decides how many channels the code has; between the two convolutions
there are a quarter of the features' channels, which keeps them cheap. The decoder's steps are
transposed convolutions whose windows do not overlap, written as what every backend knows; it ends
without a ReLU, for features may be negative. Exported, batch norms are part of the convolutions.

The code travels as uint8: a ratio of 100 means 25 features for each value of the code. MDI-Exit's
sizes, 256 x 56 x 56 float32 (3.2 MB) to 13.3 KB, are those of a code of 17 x 14 x 14 float32, 241
times smaller; as uint8 it is 964 times smaller (ratio 960).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...arrays import Shape
from ...errors import ConfigError

ITEM_BYTES = 4  # of a float32; a value of the code takes one byte on the way
LEVELS = 255  # steps between the smallest and the largest value of a code
# Channels between the two convolutions: a quarter of those in front, and no fewer values than the
# code has.
MIDDLE_SHARE = 4
MIDDLE_MIN = 16


class Geometry(NamedTuple):
    """Sizes of an autoencoder: `strides` of its two convolutions, `middle` channels between them,
    and `code_shape` (C, H, W) behind them."""

    channels: int
    strides: tuple[int, int]
    middle: int
    code_shape: tuple[int, int, int]


def geometry(shape: Shape, ratio: float) -> Geometry:
    """That for float32 features of `shape` (C, H, W), which as a uint8 code are to take at most
    1 / `ratio` of the bytes.

    Raises ConfigError for features that are no map, and for a ratio that uint8 alone gives or that
    leaves no channel.
    """
    if len(shape) != 3:
        raise ConfigError(
            f"border: found features {list(shape)}, expected a map [C, H, W], for bottlenecks are "
            "convolutions; choose another border"
        )
    channels, height, width = shape
    strides = []
    for _ in range(2):
        stride = 2 if height % 2 == width % 2 == 0 else 1
        height, width = height // stride, width // stride
        strides.append(stride)
    largest = ITEM_BYTES * math.prod(shape) / (height * width)  # that of a code of one channel
    if not ITEM_BYTES < ratio <= largest:
        raise ConfigError(
            f"ratio: found {ratio:g}, expected a number above {ITEM_BYTES}, which uint8 gives "
            f"without training, and at most {largest:g} for features {list(shape)}"
        )
    code_channels = int(largest / ratio)
    middle = max(MIDDLE_MIN, channels // MIDDLE_SHARE, code_channels // strides[1] ** 2)
    return Geometry(channels, (strides[0], strides[1]), middle, (code_channels, height, width))


class AutoEncoder(nn.Module):
    """float32 features [B, C, H, W] of `shape` -> the same shape, as they arrive when their code
    travels as uint8. Raises what `geometry` raises."""

    def __init__(self, shape: Shape, ratio: float) -> None:
        super().__init__()
        self.geometry = geometry(shape, ratio)
        channels, (first, second), middle, code_shape = self.geometry
        self.encoder = nn.Sequential(
            *_convolution(channels, middle, 3, first),
            nn.ReLU(),
            *_convolution(middle, code_shape[0], 3, second),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            *_grown(code_shape[0], middle, 3, second),
            nn.ReLU(),
            *_grown(middle, channels, 1, first),
        )

    def begin_at(self, features: Tensor) -> None:
        """Let the untrained decoder answer with the mean and the deviation that each channel of
        `features` [B, C, H, W] has."""
        last = [layer for layer in self.decoder if isinstance(layer, nn.BatchNorm2d)][-1]
        copies = last.num_features // self.geometry.channels  # a shuffle makes one channel of them
        deviation, mean = torch.std_mean(features, dim=(0, 2, 3))
        with torch.no_grad():
            last.weight.copy_(deviation.repeat_interleave(copies))
            last.bias.copy_(mean.repeat_interleave(copies))

    def forward(self, features: Tensor) -> Tensor:
        arrived: Tensor = self.decoder(rounded(self.encoder(features)))
        return arrived


def rounded(code: Tensor) -> Tensor:
    """`code` [B, ...] as it arrives, in float32: each sample on levels between its smallest and its
    largest value (`kernels.quantize_u8`). Gradients pass as if nothing had been rounded."""
    values = code.float()
    flat = values.detach().flatten(1)
    low = flat.amin(1, keepdim=True)
    step = ((flat.amax(1, keepdim=True) - low) / LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
    arrived = torch.floor((flat - low) / step + 0.5) * step + low
    return values + (arrived.view_as(values) - values).detach()


def _convolution(channels: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def _grown(channels: int, outputs: int, kernel: int, factor: int) -> list[nn.Module]:
    """Height and width times `factor`."""
    layers = _convolution(channels, outputs * factor**2, kernel, 1)
    return layers + [nn.PixelShuffle(factor)] * (factor > 1)
