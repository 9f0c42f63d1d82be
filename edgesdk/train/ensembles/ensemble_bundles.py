"""A distilled ensemble becomes a bundle: a part for each student, one classifier, provenance.

Its policies are those of DistrEE's Table II. Their thresholds, for seven exits, fit the paper's
networks: so the default policy is the last exit, and `calibrate` adds others.
"""

import os
from typing import Any, Union

import torch

from ...bundle import Bundle, write_bundle
from ...errors import ConfigError
from ..bundles import CHECK_COUNT, part_document, plain
from ..counting import multiply_adds
from ..export import export_student, npz
from .evaluation import EnsembleRun, record_features, report
from .paper_policies import paper_policies
from .students import Ensemble

CLASSIFIER_FILE = "heads/classifier.npz"


def export_ensemble(
    run: EnsembleRun, bundle: Union[str, "os.PathLike[str]"], overwrite: bool = False
) -> Bundle:
    """Write `run` as a bundle and read it back.

    Its provenance has the accuracy of every branch, of mixtures, and with each student missing, on
    the test split. Raises ConfigError for a run that is not finished, and what `export_student` and
    `write_bundle` raise; nothing is then left behind.
    """
    if run.epochs_done != run.settings.epochs:
        raise ConfigError(
            f"the run has {run.epochs_done} of {run.settings.epochs} epochs; finish it with: "
            "python -m edgesdk.train distill ... --resume"
        )
    images = run.data.load("calibration").images[:CHECK_COUNT]
    files = {CLASSIFIER_FILE: _classifier(run.ensemble)}
    for name, student in zip(_names(run.ensemble), run.ensemble.parts):
        files.update(export_student(student, images, name))
    return write_bundle(os.fspath(bundle), plain(_manifest(run)), files, overwrite)


def _names(ensemble: Ensemble) -> list[str]:
    return [f"student-{index}" for index in range(len(ensemble.parts))]


def _classifier(ensemble: Ensemble) -> bytes:
    layer = ensemble.classifier
    return npz(
        weight=layer.weight.detach().numpy(),
        bias=layer.bias.detach().numpy(),
        missing=ensemble.mean_features.numpy(),
    )


def _manifest(run: EnsembleRun) -> dict[str, Any]:
    ensemble, shape = run.ensemble, run.data.preprocessing.shape
    policies = {
        name: {**policy.describe(), "provenance": {"paper": "DistrEE, section IV"}}
        for name, policy in paper_policies(ensemble.exit_count).items()
    }
    return {
        "name": run.name,
        "labels": run.data.labels,
        "preprocessing": run.data.preprocessing._asdict(),
        "parts": [
            part_document(name, student, shape, multiply_adds(student, shape), name)
            for name, student in zip(_names(ensemble), ensemble.parts)
        ],
        "classifier": {
            "file": CLASSIFIER_FILE,
            "feature_size": ensemble.feature_size,
            "multiply_adds": ensemble.classifier.weight.numel(),
        },
        "policies": policies,
        "default_policy": "final",
        "provenance": {
            # names, not paths: a bundle does not tell whose disk its files were on
            "settings": run.settings._replace(data=run.data.name)._asdict(),
            "distillation": run.distillation._asdict(),
            "filters": run.knowledge.provenance(),
            "multiply_adds": "convolution, linear and batch-norm layers of one image",
            "test": report(record_features(run).select("test"))._asdict(),
            "torch": torch.__version__,
        },
    }
