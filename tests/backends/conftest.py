"""Runs before the tests of backends."""

import pytest


@pytest.fixture
def backend(board):
    """TensorRT on the double of a GPU, opened, with nothing loaded."""
    from edgesdk.backends.trt import TensorRTBackend

    made = TensorRTBackend()
    yield made
    made.close()
