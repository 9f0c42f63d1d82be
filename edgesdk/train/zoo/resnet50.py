"""ResNet-50 (He et al., 2016), with a block's stride on its 3x3 convolution, as is usual today.

For images of 32 pixels the stem's convolution is a 3x3 one that keeps the map: four halvings
instead of five.
"""

from torch import Tensor, nn

STEM_CHANNELS = 64
GROUPS = ((64, 3), (128, 4), (256, 6), (512, 3))  # inner channels, blocks
WIDENING = 4  # channels of a block's output, in inner ones


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, a batch norm behind each, and a shortcut around them.

    [B, C, H, W] -> [B, 4 * inner, H / stride, W / stride]; where the shape changes, the shortcut is
    a strided 1x1 convolution.
    """

    def __init__(self, before: int, inner: int, stride: int) -> None:
        super().__init__()
        channels = WIDENING * inner
        self.residual = nn.Sequential(
            *_conv_norm(before, inner, 1),
            nn.ReLU(),
            *_conv_norm(inner, inner, 3, stride),
            nn.ReLU(),
            *_conv_norm(inner, channels, 1),
        )
        self.shortcut = (
            nn.Sequential(*_conv_norm(before, channels, 1, stride))
            if stride != 1 or before != channels
            else nn.Identity()
        )
        self.activation = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.residual(features) + self.shortcut(features))


class ResNet50(nn.Module):
    """float32 images [B, in_channels, H, W] -> logits [B, classes].

    `group1.0` to `group4.2` are the blocks. `small` is the form for 32 x 32 pixels.
    """

    def __init__(self, classes: int, in_channels: int = 3, small: bool = False) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small else (7, 2)
        self.stem = nn.Sequential(
            *_conv_norm(in_channels, STEM_CHANNELS, kernel, stride),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        before = STEM_CHANNELS
        for index, (inner, count) in enumerate(GROUPS, start=1):
            blocks = []
            for block in range(count):
                blocks.append(Bottleneck(before, inner, 2 if index > 1 and block == 0 else 1))
                before = WIDENING * inner
            self.add_module(f"group{index}", nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for index in range(1, len(GROUPS) + 1):
            features = self.get_submodule(f"group{index}")(features)
        return self.classifier(self.pool(features).flatten(1))


def _conv_norm(before: int, channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(before, channels, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(channels)]
