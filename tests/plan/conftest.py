"""Files to plan with, in a new folder for each test."""

import pytest
from plan_files import Files


@pytest.fixture
def files(tmp_path, bundle):
    return Files(tmp_path, bundle)
