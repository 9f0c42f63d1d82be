"""Every test that asks for `kernels` runs once over each implementation."""

import importlib

import pytest


@pytest.fixture(params=["reference", "_native"])
def kernels(request):
    """The module edgesdk.kernels.reference, then edgesdk.kernels._native."""
    try:
        return importlib.import_module("edgesdk.kernels." + request.param)
    except ImportError as error:
        pytest.skip("native kernels are not built: {}".format(error))
