"""Small networks, runs and bundles that the tests of the training share."""

import pytest
import tiny_distilling
import torch
from tiny_training import TINY, tiny_trainer

from edgesdk.train.bundles import load_run
from edgesdk.train.data import DATA_SETS
from edgesdk.train.trainer import fit

torch.set_num_threads(1)  # results and timings of the tests must not depend on the machine


@pytest.fixture(scope="module")
def registered():
    """The tiny network and its data are found by their names."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_distilling.register(patch)
        patch.setitem(DATA_SETS, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory, registered):
    """A finished run of the tiny network."""
    result = tmp_path_factory.mktemp("run")
    fit(tiny_trainer(epochs=12), result)
    return result


@pytest.fixture(scope="module")
def run(directory):
    """That run, loaded."""
    return load_run(directory)
