"""Exit heads: what stands behind a segment and gives logits (early-exit survey, Table 2).

`ExitHead` and `PooledHead` are computed by the kernel `exit_head`, in one pass over the features;
every other module becomes an ONNX file of its own (`manifest`: "fused" and "graph").
"""

from typing import Callable, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..arrays import Shape
from ..errors import ConfigError

HIDDEN = 128  # units of the hidden layer of "mlp"
POOLED_SIZE = 4  # height and width, at most, that "mixed" leaves (SDN)

# (shape of one sample's features, classes) -> the head
HeadBuilder = Callable[[Shape, int], nn.Module]
HeadKind = Union[str, HeadBuilder]


class ExitHead(nn.Module):
    """float32 features [B, C, H, W] -> logits [B, N]: batch norm, ReLU, average pool, linear.

    Without a `bias` the result is a feature that others classify (`students`).
    """

    def __init__(self, channels: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, outputs, bias)

    def pooled(self, features: Tensor) -> Tensor:
        """What the linear layer reads: the mean of each activated channel, [B, C]."""
        activated = F.relu(self.norm(features))
        return F.adaptive_avg_pool2d(activated, 1).flatten(1)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.pooled(features))


class PooledHead(nn.Module):
    """float32 features [B, C, H, W] -> logits [B, N]: ReLU, average pool, dropout, linear.

    For features that come out of a ReLU, which a second one does not change.
    """

    def __init__(self, linear: nn.Linear, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(F.relu(features), 1).flatten(1)
        return self.linear(self.dropout(pooled))


FusedHead = Union[ExitHead, PooledHead]


def fused(head: nn.Module) -> Optional[FusedHead]:
    """`head` itself if the kernel `exit_head` computes it, else None."""
    return head if isinstance(head, (ExitHead, PooledHead)) else None


class MixedPool(nn.Module):
    """Maps [B, C, H, W], made at most 4 x 4: a learned mixture of max and average pooling (SDN)."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.window = (-(-height // POOLED_SIZE), -(-width // POOLED_SIZE))
        self.mixture = nn.Parameter(torch.zeros(1))  # before a sigmoid: half of each

    def forward(self, features: Tensor) -> Tensor:
        share = torch.sigmoid(self.mixture)
        largest, mean = (pool(features, self.window) for pool in (F.max_pool2d, F.avg_pool2d))
        return share * largest + (1 - share) * mean


class TokenHead(nn.Module):
    """Tokens [B, T, D] -> logits [B, N]: layer norm, the first token or the mean of all, linear."""

    def __init__(self, width: int, classes: int, first: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)
        self.first = first

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm(tokens)
        return self.linear(normed[:, 0] if self.first else normed.mean(1))


def build_head(kind: HeadKind, shape: Shape, classes: int, where: str = "head") -> nn.Module:
    """An untrained head for features of `shape`: a name in `HEADS`, or what a function of yours
    makes.

    Raises ConfigError, beginning with `where`, for an unknown name and for features that it does
    not take.
    """
    if callable(kind):
        return kind(shape, classes)
    if kind not in HEADS:
        raise ConfigError(f"{where}: found {kind!r}, expected one of {', '.join(HEADS)}")
    axes, builder = HEADS[kind]
    if axes is not None and len(shape) != axes:
        fitting = [name for name, (a, _) in HEADS.items() if a in (None, len(shape))]
        raise ConfigError(
            f"{where}: found features {list(shape)}, expected "
            f"{'a map [C, H, W]' if axes == 3 else 'tokens [T, D]'} for a head {kind!r}; choose "
            f"{' or '.join(fitting)}"
        )
    return builder(shape, classes)


def _linear(shape: Shape, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(int(torch.Size(shape).numel()), classes))


def _convolutional(shape: Shape, classes: int) -> nn.Module:
    """The convolution halves height and width, so that an early exit stays cheap."""
    channels = shape[0]
    convolution = nn.Conv2d(channels, channels, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, ExitHead(channels, classes))


def _mlp(shape: Shape, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(shape[0], HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, classes),
    )


def _mixed(shape: Shape, classes: int) -> nn.Module:
    channels, height, width = shape
    pool = MixedPool(height, width)
    size = (height // pool.window[0]) * (width // pool.window[1])
    return nn.Sequential(pool, nn.Flatten(), nn.Linear(channels * size, classes))


# Name -> (axes of the features it takes, None: any; builder).
HEADS: dict[str, tuple[Optional[int], HeadBuilder]] = {
    "fused": (3, lambda shape, classes: ExitHead(shape[0], classes)),
    "pooled": (3, lambda shape, classes: PooledHead(nn.Linear(shape[0], classes))),
    "linear": (None, _linear),
    "convolutional": (3, _convolutional),
    "mlp": (3, _mlp),
    "mixed": (3, _mixed),
    "class_token": (2, lambda shape, classes: TokenHead(shape[1], classes, first=True)),
    "token_mean": (2, lambda shape, classes: TokenHead(shape[1], classes, first=False)),
}
