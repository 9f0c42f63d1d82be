"""How an autoencoder learns, by the names of the split-computing survey (section 4.4).

All of them train the autoencoder alone; the network around it is frozen, and is its own teacher.
Distances are mean squares by the variance of what is imitated: 1 is what an answer with the mean
would have, so borders count alike (the survey's scale factors, eq. 7).
"""

from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import divergence, joint_loss


class Journey(NamedTuple):
    """Through the network from a border on: `features[0]` there, `features[1 + i]` behind the i-th
    segment, and the `logits` [B, N] of the exit behind it."""

    features: list[Tensor]
    logits: list[Tensor]


class Lesson(NamedTuple):
    """A batch: what `arrived` through the autoencoder, what goes `straight` (computed when called),
    the `labels` int64 [B], and the `weights` of the exits behind the border."""

    arrived: Journey
    straight: Callable[[], Journey]
    labels: Tensor
    weights: Sequence[float]


class Method(NamedTuple):
    """`says`: what it does, in a line, for people. `segments`: how many behind the border take
    part, None: all of them."""

    says: str
    loss: Callable[[Lesson], Tensor]
    segments: Optional[int] = None


def distance(found: Tensor, wanted: Tensor) -> Tensor:
    """The mean square of their difference, by the variance of `wanted`."""
    tiny = torch.finfo(torch.float32).tiny
    return F.mse_loss(found.float(), wanted.float()) / wanted.float().var().clamp_min(tiny)


def _distances(lesson: Lesson, first: int) -> Tensor:
    """The sum over `features[first]` and all behind."""
    pairs = list(zip(lesson.arrived.features, lesson.straight().features))[first:]
    return torch.stack([distance(found, wanted) for found, wanted in pairs]).sum()


def _cross_entropy(lesson: Lesson) -> Tensor:
    logits = [values.float() for values in lesson.arrived.logits]
    return joint_loss(logits, lesson.labels, lesson.weights)


def _distilled(lesson: Lesson) -> Tensor:
    pairs = zip(lesson.weights, lesson.arrived.logits, lesson.straight().logits)
    return torch.stack([w * divergence(z.float(), t.float()) for w, z, t in pairs]).sum()


METHODS = {
    "reconstruction": Method(
        "the decoder gives back the features (eq. 5)", lambda lesson: _distances(lesson, 0), 0
    ),
    "cross-entropy": Method(
        "the exits behind the border answer with the labels (eq. 2)", _cross_entropy
    ),
    "distillation": Method(
        "they answer as they did without the bottleneck (eq. 3, no labels)", _distilled
    ),
    "hnd": Method(
        "head network distillation: the features behind the next segment stay as they were (eq. 6)",
        lambda lesson: _distances(lesson, 1),
        1,
    ),
    "ghnd": Method(
        "the generalised form: the features at the border and behind every later segment stay as "
        "they were (eq. 7)",
        lambda lesson: _distances(lesson, 0),
    ),
}
