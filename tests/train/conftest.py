"""Small networks, runs and bundles that the tests of the training share."""

import pytest
import tiny_distilling
import torch
from tiny_training import TINY

from edgesdk.train.data import DATA_SETS

torch.set_num_threads(1)  # results and timings of the tests must not depend on the machine


@pytest.fixture(scope="module")
def registered():
    """The tiny network and its data are found by their names."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_distilling.register(patch)
        patch.setitem(DATA_SETS, "tiny", TINY)
        yield
