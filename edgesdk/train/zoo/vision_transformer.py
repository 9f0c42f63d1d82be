"""A small vision transformer (Dosovitskiy et al., 2021), without a class token: the mean of all
tokens is classified (Beyer et al., "Better plain ViT baselines", 2022).

Sizes are constants in the graph and attention is written out, so that a segment is a dozen
operators that every backend knows.
"""

import torch
from torch import Tensor, nn

from ...errors import ConfigError

MLP_RATIO = 4  # hidden units of a block, in units of its width
POSITION_DEVIATION = 0.02


class Attention(nn.Module):
    """Tokens [B, T, D] -> [B, T, D]: every token reads all others, in `heads` ways."""

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.shape = (tokens, heads, width // heads)
        self.joint = nn.Linear(width, 3 * width)  # queries, keys and values
        self.out = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        tokens, heads, size = self.shape
        joint = self.joint(features).reshape(-1, tokens, 3, heads, size).permute(2, 0, 3, 1, 4)
        queries, keys, values = joint[0], joint[1], joint[2]
        weights = torch.softmax(queries @ keys.transpose(-2, -1) * size**-0.5, dim=-1)
        mixed = (weights @ values).transpose(1, 2)
        return self.out(mixed.reshape(-1, tokens, heads * size))


class TransformerBlock(nn.Module):
    """Attention and two linear layers, each behind a layer norm and with a shortcut around it."""

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(tokens, width, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, MLP_RATIO * width),
            nn.GELU(),
            nn.Linear(MLP_RATIO * width, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        features = features + self.attention(features)
        return features + self.mlp(features)


class VisionTransformer(nn.Module):
    """float32 images [B, in_channels, size, size] -> logits [B, classes].

    Patches of `patch` x `patch` pixels become tokens of `width` values; `blocks.0` and so on are
    the blocks. Raises ConfigError where sizes do not divide each other.
    """

    def __init__(
        self,
        classes: int,
        in_channels: int,
        size: int,
        patch: int,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
    ) -> None:
        super().__init__()
        if size % patch or width % heads:
            raise ConfigError(
                f"found size {size} of patches of {patch}, width {width} of {heads} heads; "
                "expected multiples"
            )
        tokens = (size // patch) ** 2
        self.shape = (width, tokens)
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.position = nn.Parameter(POSITION_DEVIATION * torch.randn(1, tokens, width))
        self.blocks = nn.Sequential(*(TransformerBlock(tokens, width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).reshape(-1, *self.shape).transpose(1, 2)
        features = self.blocks(tokens + self.position)
        return self.classifier(self.norm(features).mean(1))
