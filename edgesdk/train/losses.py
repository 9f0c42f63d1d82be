"""The loss of joint training: a weighted sum over all exits (DistrEE, eq. 5).

Early exits may learn from the final one besides the labels: knowledge distillation as the
early-exit survey describes it (Rahmath et al., 2024, section 5.5, eq. 5-6), with the network as its
own teacher.
"""

import math
from collections.abc import Sequence
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError

PAPER_WEIGHTS = (1.0, 1.0, 1.1, 1.4, 1.4, 1.3, 1.2)  # DistrEE, section IV: w of its seven exits
TEMPERATURE = 2.0  # softens teacher and student, so that the wrong classes teach too


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


def joint_loss(
    logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float], distillation: float = 0.0
) -> Tensor:
    """eq. 5: sum over exits of w_j times the mean loss of exit j.

    The loss of an exit is its cross-entropy with the labels; of an early one, the share
    `distillation` (0..1, the survey's 1 - alpha) is its divergence from the final exit instead.
    `logits`: float32 [B, N] per exit, `labels`: int64 [B], `weights`: from `exit_weights`.
    """
    teacher = logits[-1].detach()
    terms = []
    for weight, values in zip(weights, logits):
        loss = F.cross_entropy(values, labels)
        if distillation and values is not logits[-1]:
            loss = (1 - distillation) * loss + distillation * divergence(values, teacher)
        terms.append(weight * loss)
    return torch.stack(terms).sum()


def combined_loss(logits: Sequence[Tensor], labels: Tensor, weights: Sequence[float]) -> Tensor:
    """Cross-entropy of all exits' answers together, the mean of their logits by `weights`: the
    other way of joint training (early-exit survey, section 5.1). No exit must be right alone.

    `logits`: float32 [B, N] per exit, `labels`: int64 [B], `weights`: from `exit_weights`.
    """
    total = torch.stack([weight * values for weight, values in zip(weights, logits)]).sum(0)
    return F.cross_entropy(total / sum(weights), labels)


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean KL(teacher || student) over a batch of logits [B, N], both softened by `TEMPERATURE`.

    Times its square, which keeps the gradients as large as those of a cross-entropy (Hinton et al.,
    "Distilling the Knowledge in a Neural Network", 2015).
    """
    soft, target = (F.log_softmax(z / TEMPERATURE, dim=1) for z in (student, teacher))
    return TEMPERATURE**2 * F.kl_div(soft, target, reduction="batchmean", log_target=True)
