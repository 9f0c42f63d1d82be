"""MobileNetV2 (Sandler et al., 2018): inverted residuals, thin where they begin and end.

For images of 32 pixels the stem keeps the map's size: four halvings instead of five.
"""

from torch import Tensor, nn

STEM_CHANNELS = 32
LAST_CHANNELS = 1280
# Expansion, channels, blocks, stride of the first block: Table 2 of the paper.
GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
DROPOUT = 0.2


class ConvNorm(nn.Sequential):
    """Convolution that keeps the map, but for its stride; batch norm; ReLU6 if `active`."""

    def __init__(
        self,
        before: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        convolution = nn.Conv2d(
            before, channels, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        layers = [convolution, nn.BatchNorm2d(channels)]
        super().__init__(*layers, *([nn.ReLU6()] if active else []))


class InvertedResidual(nn.Module):
    """Widened `expansion` times, filtered per channel, made thin again; with a shortcut around it
    where the shape stays."""

    def __init__(self, before: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        widening = [] if expansion == 1 else [ConvNorm(before, wide)]
        self.layers = nn.Sequential(
            *widening,
            ConvNorm(wide, wide, kernel=3, stride=stride, groups=wide),
            ConvNorm(wide, channels, active=False),
        )
        self.has_shortcut = stride == 1 and before == channels

    def forward(self, features: Tensor) -> Tensor:
        given = self.layers(features)
        return features + given if self.has_shortcut else given


class MobileNetV2(nn.Module):
    """float32 images [B, in_channels, H, W] -> logits [B, classes].

    `features.0` is the stem, `features.1` to `features.17` are the blocks, `features.18` widens for
    the classifier. `small` is the form for 32 x 32 pixels.
    """

    def __init__(self, classes: int, in_channels: int = 3, small: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(in_channels, STEM_CHANNELS, 3, 1 if small else 2)]
        before = STEM_CHANNELS
        for expansion, channels, count, stride in GROUPS:
            for block in range(count):
                layers.append(
                    InvertedResidual(before, channels, stride if block == 0 else 1, expansion)
                )
                before = channels
        layers.append(ConvNorm(before, LAST_CHANNELS))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(LAST_CHANNELS, classes)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.pool(self.features(images)).flatten(1)
        return self.classifier(self.dropout(pooled))
