"""Networks with exits: a cascade of segments with one classifier behind each.

`MultiExit.from_module` makes one of any torch module; `MODELS` are those known by name.

`WideResNet` 16-k follows DistrEE, Table I, whose figures pin down three choices: the stride of a
block sits on its second 3x3 convolution, convolutions carry a bias, and a shortcut convolution
stands only where the shape changes. Batch normalisation comes before each convolution
(Zagoruyko and Komodakis, "Wide Residual Networks", 2016).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Callable, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..arrays import Shape
from ..errors import ConfigError
from .cutting.segments import cut
from .cutting.tracer import Whole
from .heads import ExitHead, HeadKind
from .zoo.mobilenet_v2 import MobileNetV2
from .zoo.resnet50 import ResNet50
from .zoo.vision_transformer import VisionTransformer

GROUP_CHANNELS = (16, 32, 64)  # of a WideResNet with k = 1
BLOCKS_PER_GROUP = 2  # depth 16 = 4 + 6 * 2
INPUT_SIZE = 32  # height and width of the input
LARGE_SIZE = 224  # the same of the forms for ImageNet
# Exits before the final one: tasks cost about the same (`placement.equal_tasks` chose them, the
# same for both sizes), as many as in MDI-Exit, section V.
MOBILENET_EXITS = ("features.2", "features.5", "features.11", "features.14")
RESNET50_EXITS = ("group2.1", "group3.2")
VIT_EXITS = ("blocks.2", "blocks.5", "blocks.8")
VIT_PATCH = 4  # pixels


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


class ExitNetwork(nn.Module):
    """A network that answers at several exits, which are trained jointly."""

    @property
    def exit_count(self) -> int:
        """Exits, the final one included."""
        raise NotImplementedError


class MultiExit(ExitNetwork):
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

    @staticmethod
    def from_module(
        module: nn.Module,
        exits: Sequence[str],
        input_shape: Shape,
        head: Union[HeadKind, Sequence[HeadKind]] = "fused",
        classes: Optional[int] = None,
        whole: Whole = (),
    ) -> "MultiExit":
        """`module`, cut behind each of its parts named in `exits` ("layer1", "features.3"), with a
        head there; images [B, C, H, W] of `input_shape` (C, H, W).

        `head`: a name in `heads.HEADS`, or a function of yours (shape of the features, classes) ->
        module; one for all exits, or one for each. The final exit is the module's own classifier,
        behind what comes before it; with `classes`, the module's output is features, and the final
        exit is a new head too. `whole`: parts, by name or class, that stay in one piece; so do
        those that torch cannot look into. An exit may stand behind them, not inside.

        The network takes images of this size only. It uses the layers of `module`, and computes in
        evaluation mode exactly what that computes. Raises ConfigError where it cannot be cut, with
        what crosses, and the nearest points that can be: `cutting.segments.cut_points` lists them
        all.
        """
        network = MultiExit(*cut(module, exits, input_shape, head, classes, whole))
        return network.train(module.training)

    @property
    def exit_count(self) -> int:
        return len(self.exits)

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


def mobilenet_v2(size: int, classes: int, in_channels: int = 3) -> MultiExit:
    """MobileNetV2 with five exits for images of `size` (32 or 224) pixels."""
    module = MobileNetV2(classes, in_channels, small=size == INPUT_SIZE)
    return _with_exits(module, MOBILENET_EXITS, in_channels, size)


def resnet50(size: int, classes: int, in_channels: int = 3) -> MultiExit:
    """ResNet-50 with three exits for images of `size` (32 or 224) pixels."""
    module = ResNet50(classes, in_channels, small=size == INPUT_SIZE)
    return _with_exits(module, RESNET50_EXITS, in_channels, size)


def vit_tiny(classes: int, in_channels: int = 3) -> MultiExit:
    """A vision transformer with four exits: 64 patches of 32 x 32 pixels, width 192, 12 blocks."""
    module = VisionTransformer(classes, in_channels, INPUT_SIZE, VIT_PATCH)
    return _with_exits(module, VIT_EXITS, in_channels, INPUT_SIZE, "token_mean")


def _with_exits(
    module: nn.Module, exits: Sequence[str], in_channels: int, size: int, head: str = "fused"
) -> MultiExit:
    network = MultiExit.from_module(module, exits, (in_channels, size, size), head)
    network.apply(_initialise)
    return network


def _initialise(module: nn.Module) -> None:
    """He et al. 2015 for convolutions; biases begin at zero."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        nn.init.zeros_(module.bias)


MODELS: dict[str, Callable[[int, int], MultiExit]] = {  # classes, channels of an image
    "wrn16_1": partial(wide_resnet16, 1),
    "wrn16_2": partial(wide_resnet16, 2),
    "wrn16_4": partial(wide_resnet16, 4),
    "mobilenetv2": partial(mobilenet_v2, INPUT_SIZE),
    "mobilenetv2_224": partial(mobilenet_v2, LARGE_SIZE),
    "resnet50": partial(resnet50, INPUT_SIZE),
    "resnet50_224": partial(resnet50, LARGE_SIZE),
    "vit_tiny": vit_tiny,
}


def input_size(name: str) -> int:
    """Height and width, in pixels, of the images that the network of that name takes."""
    return LARGE_SIZE if name.endswith(f"_{LARGE_SIZE}") else INPUT_SIZE


def check_size(name: str, height: int, width: int) -> None:
    """Raise ConfigError unless the network of that name takes images of so many pixels."""
    size = input_size(name)
    if (height, width) != (size, size):
        other = [each for each in MODELS if input_size(each) == height == width]
        raise ConfigError(
            f"model: found {name}, for images of {size} x {size} pixels, and images of {height} x "
            f"{width}; expected one of {', '.join(other) or 'your own, see edgesdk/train/own.py'}"
        )


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
