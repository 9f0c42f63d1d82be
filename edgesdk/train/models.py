"""Networks with exits: a cascade of segments with one classifier behind each.

`WideResNet` 16-k follows DistrEE, Table I, whose figures pin down three choices: the stride of a
block sits on its second 3x3 convolution, convolutions carry a bias, and a shortcut convolution
stands only where the shape changes. Batch normalisation comes before each convolution
(Zagoruyko and Komodakis, "Wide Residual Networks", 2016).
"""

from collections.abc import Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError

GROUP_CHANNELS = (16, 32, 64)  # of a WideResNet with k = 1
BLOCKS_PER_GROUP = 2  # depth 16 = 4 + 6 * 2
INPUT_SIZE = 32  # height and width of the input


class ExitHead(nn.Module):
    """float32 features [B, C, H, W] -> logits [B, N]: batch norm, ReLU, average pool, linear."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, outputs)

    def forward(self, features: Tensor) -> Tensor:
        activated = F.relu(self.norm(features))
        return self.linear(F.adaptive_avg_pool2d(activated, 1).flatten(1))


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, and a shortcut around them.

    [B, C, H, W] -> [B, C', H / stride, W / stride]. Where the shape changes, the shortcut is a
    strided 1x1 convolution of the activated input; elsewhere it is the input itself.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, usual_stride: bool
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if usual_stride else (1, stride)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, first, padding=1)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, second, padding=1)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, stride)
            if stride != 1 or in_channels != out_channels
            else None
        )

    def forward(self, features: Tensor) -> Tensor:
        activated = F.relu(self.norm1(features))
        residual = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        return residual + (features if self.shortcut is None else self.shortcut(activated))


class MultiExit(nn.Module):
    """`segments[i]` feeds `segments[i + 1]` and `exits[i]`; the last exit is the final one.

    Raises ConfigError unless there is exactly one exit behind each segment.
    """

    def __init__(self, segments: Iterable[nn.Module], exits: Iterable[nn.Module]) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)
        self.exits = nn.ModuleList(exits)
        if not self.segments or len(self.segments) != len(self.exits):
            raise ConfigError(
                f"found {len(self.segments)} segments and {len(self.exits)} exits; "
                "expected at least one segment and one exit behind each"
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """float32 images [B, C, H, W] -> the logits [B, N] of every exit, in order."""
        logits, features = [], images
        for segment, head in zip(self.segments, self.exits):
            features = segment(features)
            logits.append(head(features))
        return logits


class WideResNet(MultiExit):
    """WideResNet 16-k for 32x32 inputs with seven exits: after the stem and each of six blocks."""

    def __init__(self, width: int, classes: int, in_channels: int, usual_stride: bool) -> None:
        stem_channels = GROUP_CHANNELS[0]
        segments: list[nn.Module] = [nn.Conv2d(in_channels, stem_channels, 3, padding=1)]
        channels = [stem_channels]
        for group, group_channels in enumerate(GROUP_CHANNELS):
            for block in range(BLOCKS_PER_GROUP):
                stride = 2 if group > 0 and block == 0 else 1
                out_channels = group_channels * width
                segments.append(
                    PreActivationBlock(channels[-1], out_channels, stride, usual_stride)
                )
                channels.append(out_channels)
        super().__init__(segments, [ExitHead(c, classes) for c in channels])
        self.apply(_initialise)


def wide_resnet16(
    width: int, classes: int, in_channels: int = 3, usual_stride: bool = False
) -> WideResNet:
    """WideResNet 16-`width` for images [B, in_channels, 32, 32].

    `usual_stride` moves a block's stride to its first 3x3 convolution, as most libraries have it:
    7.5 M multiply-adds fewer than the form of DistrEE. Raises ConfigError for sizes below 1.
    """
    if min(width, classes, in_channels) < 1:
        raise ConfigError(
            f"found width {width}, classes {classes}, in_channels {in_channels}; "
            "expected each to be at least 1"
        )
    return WideResNet(width, classes, in_channels, usual_stride)


def _initialise(module: nn.Module) -> None:
    """He et al. 2015 for convolutions; biases begin at zero."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        nn.init.zeros_(module.bias)


MODELS = {
    "wrn16_1": partial(wide_resnet16, 1),
    "wrn16_2": partial(wide_resnet16, 2),
    "wrn16_4": partial(wide_resnet16, 4),
}


def build_model(name: str, classes: int, in_channels: int) -> MultiExit:
    """The untrained network of that name. Raises ConfigError for a name not in `MODELS`."""
    if name not in MODELS:
        raise ConfigError(
            f"model: found {name!r}, expected one of {', '.join(MODELS)}; a network of your own is "
            "trained and exported from Python, see edgesdk/train/own.py"
        )
    return MODELS[name](classes, in_channels)


def seeded_model(name: str, classes: int, in_channels: int, seed: int) -> MultiExit:
    """`build_model` with weights that depend on `seed` alone."""
    torch.manual_seed(seed)
    return build_model(name, classes, in_channels)
