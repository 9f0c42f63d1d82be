"""What the tests of the calibration share."""

import shutil

import pytest


@pytest.fixture
def path(bundle, tmp_path):
    """The tiny bundle in a folder of its own, to be calibrated."""
    copied = tmp_path / "tiny" / "1"
    shutil.copytree(bundle.path, copied)
    return str(copied)
