"""Joint training of an ensemble under a frozen teacher: `trainer`, with another loss.

All that `trainer` promises holds: an atomic checkpoint per epoch, and a resumed run ends with the
same weights as one that was never killed. What each student learns from is decided before the first
epoch, by the teacher's activations on the calibration split, and kept in the checkpoint.
"""

import hashlib
from pathlib import Path
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ...errors import ConfigError
from .. import plots, trainer
from ..data import DataSet, Split
from ..distributed import ALONE, Group
from ..recipe import Distillation, Settings, checked_distillation
from .distillation import Lesson, ensemble_loss
from .partition import Partition
from .students import Answers, Ensemble
from .teacher import Knowledge, Teacher, divided
from .views import Kept, Taught, Views

ANSWERS = "answers"  # where in the folder of a run the teacher's answers are kept
KEY_DIGITS = 16


class Distiller(trainer.Trainer[Ensemble]):
    """One run: an ensemble, its teacher, and what `trainer.Trainer` has.

    `knowledge`: what each student learns from; None before the first epoch. `answers`: a folder for
    what the teacher says of views, so that a run that goes on need not ask again. Raises what
    `Trainer` and `checked_distillation` raise, and ConfigError for more students than the teacher's
    filters.
    """

    evaluations = ("calibration_accuracy", "calibration_loss")

    def __init__(
        self,
        ensemble: Ensemble,
        teacher: Teacher,
        data: DataSet,
        settings: Settings,
        distillation: Distillation,
        group: Group = ALONE,
        answers: Optional[Path] = None,
    ) -> None:
        super().__init__(ensemble, data, settings, group)
        _check_size(ensemble, teacher)
        self.teacher = teacher.to(group.device)
        self.distillation = checked_distillation(distillation)
        self.knowledge: Optional[Knowledge] = None
        if self._reduced:
            teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._teach = trainer.compiled(teacher) if settings.compiled else teacher
        self._answers = answers
        self._views: Optional[Views] = None

    def run_epoch(self, train: Split, calibration: Split) -> dict[str, Any]:
        if self.knowledge is None:
            self.knowledge = divided(
                self.teacher.activations(calibration.images, self._reduced),
                len(self.network.students),
                self.network.feature_size,
                self.settings.seed,
            )
        if self.distillation.views:
            if self._views is None:
                self._views = self._new_views(self.knowledge)
            self._views.begin(len(self.history), train.images)
        return super().run_epoch(train, calibration)

    def _new_views(self, knowledge: Knowledge) -> Views:
        settings, count = self.settings, self.distillation.views
        kept = None
        if self._answers:
            asked = (self.teacher.description, settings.seed, settings.batch_size, count)
            how = (settings.precision, settings.compiled, self.data.name, self.data.digest)
            key = hashlib.sha256(repr((asked, how)).encode())
            key.update(knowledge.projection.numpy().tobytes())
            kept = Kept(self._answers, key.hexdigest()[:KEY_DIGITS])
        return Views(count, settings.seed, self.data, settings.batch_size, self._asked, kept)

    def augmented(self, train: Split, places: Tensor, random: Generator) -> Tensor:
        if self._views:
            return self._views.images(places)
        return super().augmented(train, places, random)

    def learn(self, batch: trainer.Batch, random: Generator) -> trainer.Learned:
        images, labels = batch.images, batch.labels
        taught = self._views.taught(batch.places) if self._views else self._asked(images)
        with self._autocast(images):
            answers: Answers = self._forward(images)
        lesson = Lesson(labels, *taught)
        losses = ensemble_loss(
            self.network, answers, lesson, self.weights, self.distillation, random
        )
        self.network.remember(answers.features)
        count = len(labels)
        sums = {
            "train_branch_loss": losses.branches.detach().cpu().double() * count,
            "train_mixture_loss": losses.mixture.detach().cpu().double() * count,
            "train_accuracy": trainer.correct_per_exit(answers.logits, labels),
        }
        return trainer.Learned(losses.total, sums)

    def _asked(self, images: Tensor) -> Taught:
        """What the teacher says, in the precision of the training."""
        assert self.knowledge is not None  # run_epoch comes first
        if self._reduced:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), self._autocast(images):
            logits, pooled = self._teach(images)
        return Taught(logits.float(), self.knowledge.vectors(pooled))

    def evaluated(self, split: Split) -> list[list[float]]:
        """Per branch: accuracy, and cross-entropy with the labels."""
        logits = trainer.logits_per_exit(BranchLogits(self.network), split.images)
        labels = split.labels.cpu()
        correct = trainer.correct_per_exit(list(logits), labels) / len(labels)
        return [correct.tolist(), [float(F.cross_entropy(values, labels)) for values in logits]]

    def picture(self) -> bytes:
        students = f"{len(self.network.students)} x {self.settings.model}"
        return plots.branch_curves(self.history, f"{students} on {self.data.name}")

    def state(self) -> dict[str, Any]:
        assert self.knowledge is not None  # of a run before its first epoch nothing is kept
        return {
            **super().state(),
            "distillation": self.distillation._asdict(),
            "knowledge": {
                **self.knowledge._asdict(),
                "filters": self.knowledge.filters._asdict(),
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        check_is_ensemble(state)
        found = Distillation(**state["distillation"])
        trainer.check_same_settings(found._asdict(), self.distillation._asdict())
        super().restore(state)
        self.knowledge = restored_knowledge(state["knowledge"])


class BranchLogits(torch.nn.Module):
    """An ensemble as `trainer` evaluates networks: images -> logits of every branch."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    def forward(self, images: Tensor) -> list[Tensor]:
        answers: Answers = self.ensemble(images)
        return answers.logits


def check_is_ensemble(state: dict[str, Any]) -> None:
    """Raise ConfigError if the run that left `state` is that of a single network."""
    if not trainer.is_ensemble(state):
        raise ConfigError(
            "the checkpoint is that of a single network, made by: python -m edgesdk.train fit; "
            "expected an ensemble, made by: python -m edgesdk.train distill"
        )


def restored_knowledge(state: dict[str, Any]) -> Knowledge:
    """The knowledge of a checkpoint."""
    return Knowledge(**{**state, "filters": Partition(**state["filters"])})


def _check_size(ensemble: Ensemble, teacher: Teacher) -> None:
    if len(ensemble.students) > teacher.filter_count:
        raise ConfigError(
            f"students: found {len(ensemble.students)}, expected 1 to {teacher.filter_count}, the "
            "number of filters that the teacher's last convolution has"
        )
