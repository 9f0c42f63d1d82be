"""Every test that asks for `kernels` runs once over each implementation."""

import importlib

import cuda_modules
import pytest


@pytest.fixture(scope="session")
def cuda_module_source(tmp_path_factory):
    """The module around the CUDA kernels as C++."""
    return cuda_modules.translate_module(tmp_path_factory.mktemp("cython"))


@pytest.fixture(scope="session")
def cuda_on_cpu(tmp_path_factory, cuda_module_source):
    """The CUDA kernels compiled for the CPU."""
    kernels = sorted((cuda_modules.ROOT / "csrc" / "cuda").glob("*.cu"))
    folder = tmp_path_factory.mktemp("cuda")
    module, library = cuda_modules.load_module(folder, kernels, cuda_module_source)
    return cuda_modules.DeviceKernels(module, cuda_modules.HostMemory(), library)


@pytest.fixture(scope="session")
def cuda_on_gpu():
    """The CUDA kernels as they were built, on the first GPU."""
    module = importlib.import_module("edgesdk.kernels._cuda")
    return cuda_modules.DeviceKernels(module, cuda_modules.GpuMemory())


IMPLEMENTATIONS = ["reference", "_native", "cuda_on_cpu"]
if cuda_modules.why_no_gpu() is None:  # else test_cuda.py says so, once
    IMPLEMENTATIONS.append(pytest.param("cuda_on_gpu", marks=pytest.mark.cuda))


@pytest.fixture(params=IMPLEMENTATIONS)
def kernels(request):
    """The modules edgesdk.kernels.reference and _native, then the CUDA kernels."""
    if request.param.startswith("cuda"):
        return request.getfixturevalue(request.param)
    try:
        return importlib.import_module("edgesdk.kernels." + request.param)
    except ImportError as error:
        pytest.skip("native kernels are not built: {}".format(error))
