"""The loss of DistrEE's joint training: what an ensemble learns from the labels and its teacher.

eq. 4, of one branch: (1 - alpha) H(y, P_S) + alpha H(P_T, P_S), both softened in the second term,
plus beta times the squared distance between what teacher and student say of each partition. H is
the cross-entropy; no factor of the squared temperature. `soft_weight` is alpha, `attention_weight`
beta. P_S is the prediction of the whole ensemble at that branch. eq. 5 is the weighted sum over
branches; NoNN's own loss (eq. 2) is that of one branch.

Ours are two more, each with a weight that can be 0: the loss of mixtures, in which every student
left at an exit of its own, and students that are missing from a mixture, with their mean feature
in place. So one classifier learns to serve whatever arrives.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..recipe import Distillation
from .students import Answers, Ensemble, at_branches


class Lesson(NamedTuple):
    """A batch as the teacher sees it: `labels` int64 [B], the teacher's `logits` float32
    [B, classes], and `vectors` float32 [B, N, D], its v(P) for the partition of each student."""

    labels: Tensor
    logits: Tensor
    vectors: Tensor


class Losses(NamedTuple):
    """Scalars: `total` is what is descended; `branches`, eq. 4 of each, and `mixture` its parts."""

    total: Tensor
    branches: Tensor
    mixture: Tensor


def ensemble_loss(
    ensemble: Ensemble,
    answers: Answers,
    lesson: Lesson,
    branch_weights: Sequence[float],
    settings: Distillation,
    generator: Generator,
) -> Losses:
    """eq. 5, plus `settings.mixture_weight` times the loss of one mixture drawn for each image."""
    branches = branch_losses(answers, lesson, settings)
    total = (branches * branches.new_tensor(list(branch_weights))).sum()
    mixture = total.new_zeros(())
    if settings.mixture_weight:
        features = mixtures(answers.features, generator)
        missing = missing_students(features.shape[:2], settings.missing_probability, generator)
        features = replaced(features, missing, ensemble.mean_features)
        mixture = knowledge_loss(ensemble.classify(features), lesson, settings)
        total = total + settings.mixture_weight * mixture
    return Losses(total, branches, mixture)


def branch_losses(answers: Answers, lesson: Lesson, settings: Distillation) -> Tensor:
    """eq. 4 of every branch, float32 [M]."""
    apart = attention_loss(at_branches(answers.features), lesson.vectors)
    losses = [knowledge_loss(logits, lesson, settings) for logits in answers.logits]
    return torch.stack(losses) + settings.attention_weight * apart


def knowledge_loss(logits: Tensor, lesson: Lesson, settings: Distillation) -> Tensor:
    """The first two terms of eq. 4, the mean over a batch of logits [B, classes]."""
    soft, temperature = settings.soft_weight, settings.temperature
    loss = (1 - soft) * F.cross_entropy(logits, lesson.labels)
    if soft:
        target = F.softmax(lesson.logits / temperature, dim=1)
        loss = loss + soft * F.cross_entropy(logits / temperature, target)
    return loss


def attention_loss(features: Tensor, vectors: Tensor) -> Tensor:
    """The last term of eq. 4 without its weight, per branch: float32 [M].

    `features` [B, M, N, D], `vectors` [B, N, D]. Squared distances of vectors of length 1, summed
    over partitions, mean over images. A vector of zeros stays one: its distance is at most 1.
    """
    apart = F.normalize(features, dim=-1) - F.normalize(vectors, dim=-1)[:, None]
    return apart.square().sum((2, 3)).mean(0)


def mixtures(features: list[list[Tensor]], generator: Generator) -> Tensor:
    """`Answers.features` -> float32 [B, N, D]: of each image and student one exit, drawn evenly
    from those that the student has."""
    chosen = []
    for exits in features:
        values = torch.stack(exits, dim=1)
        draws = torch.randint(len(exits), (len(values),), generator=generator)
        chosen.append(values[torch.arange(len(values)), draws])
    return torch.stack(chosen, dim=1)


def missing_students(shape: Sequence[int], probability: float, generator: Generator) -> Tensor:
    """bool [B, N]: which students are drawn as missing; of an image without any, none is."""
    missing = torch.rand(tuple(shape), generator=generator) < probability
    return missing & ~missing.all(dim=1, keepdim=True)


def replaced(features: Tensor, missing: Tensor, mean_features: Tensor) -> Tensor:
    """`features` [B, N, D] with `mean_features` [N, D] where `missing`, bool [B, N]."""
    return torch.where(missing.to(features.device)[:, :, None], mean_features, features)
