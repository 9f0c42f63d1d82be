"""The loss of joint training: a weighted sum over all exits (DistrEE, eq. 5)."""

import math
from collections.abc import Sequence
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError

PAPER_WEIGHTS = (1.0, 1.0, 1.1, 1.4, 1.4, 1.3, 1.2)  # DistrEE, section IV: w of its seven exits


def exit_weights(exit_count: int, weights: Optional[Sequence[float]] = None) -> tuple[float, ...]:
    """One weight per exit: those given, else the paper's for seven exits and ones otherwise.

    Raises ConfigError unless there are `exit_count` weights, finite, none negative and the last
    one positive (the final exit must be trained).
    """
    if weights is None:
        return PAPER_WEIGHTS if exit_count == len(PAPER_WEIGHTS) else (1.0,) * exit_count
    given = tuple(float(weight) for weight in weights)
    usable = all(math.isfinite(weight) and weight >= 0 for weight in given)
    if len(given) != exit_count or not usable or given[-1] == 0:
        raise ConfigError(
            f"exit weights: found {list(given)}, expected {exit_count} finite numbers >= 0, "
            "the last one > 0"
        )
    return given


def joint_loss(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float]) -> Tensor:
    """eq. 5: sum over exits of w_j times the mean cross-entropy of exit j.

    `logits`: float32 [B, N] per exit, `labels`: int64 [B], `weights`: from `exit_weights`.
    """
    terms = [w * F.cross_entropy(z, labels) for w, z in zip(weights, logits)]
    return torch.stack(terms).sum()
