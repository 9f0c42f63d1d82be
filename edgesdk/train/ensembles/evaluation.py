"""How good a trained ensemble is: at each branch, in mixtures of exits, with a student missing."""

from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from tqdm import tqdm

from ...features import Features, accuracy
from ...outcomes import SPLITS
from .. import checkpoint
from ..data import DataSet, data_set
from ..recipe import Distillation, Settings
from ..trainer import EVALUATION_BATCH, check_same_images
from .distiller import check_is_ensemble, restored_knowledge
from .students import Ensemble, build_ensemble
from .teacher import Knowledge

MIXTURE_DRAWS = 10  # of every image, for the mean accuracy of mixtures


class EnsembleRun(NamedTuple):
    """A trained ensemble as its checkpoint has it."""

    ensemble: Ensemble
    data: DataSet
    settings: Settings
    distillation: Distillation
    knowledge: Knowledge
    epochs_done: int

    @property
    def name(self) -> str:
        """For people, and for the file of its features."""
        return f"{len(self.distillation.depths)}x{self.settings.model}-{self.data.name}"


class Report(NamedTuple):
    """Accuracies, 0..1, of one split. `branches`: per branch. `mixture`: the mean over mixtures
    drawn evenly. `missing[i]`: per branch, with the mean feature in place of student i;
    `missing_mixture[i]`: the same of mixtures."""

    branches: tuple[float, ...]
    mixture: float
    missing: tuple[tuple[float, ...], ...]
    missing_mixture: tuple[float, ...]


def load_ensemble(directory: Path, data: Optional[DataSet] = None) -> EnsembleRun:
    """The run that `python -m edgesdk.train distill` left in `directory`, with `data` if its images
    are loaded already.

    Raises ConfigError if it is that of a single network, and what `checkpoint.load`, `data_set`
    and `check_same_images` raise.
    """
    state = checkpoint.load(directory)
    check_is_ensemble(state)
    settings, distillation = Settings(**state["settings"]), Distillation(**state["distillation"])
    data = data_set(settings.data) if data is None else data
    check_same_images(state, data)
    ensemble = build_ensemble(
        settings.model,
        len(data.labels),
        data.preprocessing.shape[0],
        distillation.depths,
        settings.seed,
    )
    ensemble.load_state_dict(state["network"])
    knowledge = restored_knowledge(state["knowledge"])
    return EnsembleRun(
        ensemble.eval(), data, settings, distillation, knowledge, len(state["history"])
    )


def record_features(run: EnsembleRun, dtype: Any = np.float32) -> Features:
    """The features of the calibration and the test split, float32 or float16."""
    loaded = [run.data.load(split) for split in SPLITS]
    names = [split for split, part in zip(SPLITS, loaded) for _ in part.labels]
    images = torch.cat([part.images for part in loaded])
    parts: list[list[np.ndarray]] = [[] for _ in run.distillation.depths]
    batches = tqdm(images.split(EVALUATION_BATCH), "features", leave=False, disable=None)
    with torch.no_grad():
        for batch in batches:
            for part, exits in zip(parts, run.ensemble(batch).features):
                part.append(torch.stack(exits, dim=1).numpy().astype(dtype))
    classifier = run.ensemble.classifier
    return Features(
        run.name,
        run.data.name,
        np.array(names, dtype=str),
        torch.cat([part.labels for part in loaded]).numpy().astype(np.int32),
        classifier.weight.detach().numpy(),
        classifier.bias.detach().numpy(),
        run.ensemble.mean_features.numpy(),
        tuple(np.concatenate(part) for part in parts),
    )


def report(features: Features, seed: int = 0) -> Report:
    """`Report` on all images of `features`; `seed` draws the mixtures."""
    students, branches = len(features.students), range(max(features.depths))
    random = np.random.default_rng(seed)
    shape = (MIXTURE_DRAWS, len(features.label), students)
    draws = random.integers(0, np.array(features.depths), shape)

    def each(missing: np.ndarray) -> tuple[float, ...]:
        return tuple(accuracy(features, np.full(students, j), missing) for j in branches)

    def mixed(missing: np.ndarray) -> float:
        return float(np.mean([accuracy(features, exits, missing) for exits in draws]))

    nobody, one_each = np.zeros(students, bool), np.eye(students, dtype=bool)
    return Report(
        each(nobody),
        mixed(nobody),
        tuple(each(missing) for missing in one_each),
        tuple(mixed(missing) for missing in one_each),
    )
