"""A tiny ensemble that was trained, for as many epochs as the module of the test says: `EPOCHS`."""

import pytest
from tiny_distilling import tiny_distiller

from edgesdk.train.ensembles.evaluation import load_ensemble
from edgesdk.train.trainer import fit


@pytest.fixture(scope="module")
def directory(request, registered, tmp_path_factory):
    """Of its run."""
    result = tmp_path_factory.mktemp("run")
    epochs = request.module.EPOCHS
    fit(tiny_distiller(epochs=epochs, soft_weight=0.1, peak_learning_rate=0.1), result)
    return result


@pytest.fixture(scope="module")
def run(directory):
    return load_ensemble(directory)
