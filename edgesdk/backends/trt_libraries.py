"""TensorRT and pycuda, imported when somebody asks, and the GPU that they see."""

from typing import Any, NamedTuple

from ..engine_store import Device
from ..errors import BackendUnavailable, EngineError

DOCTOR = "`python -m edgesdk.doctor --for tensorrt` says what to do"


class Libraries(NamedTuple):
    """The modules `tensorrt` and `pycuda.driver`, the first device of the latter, and what engines
    for it are tied to."""

    trt: Any
    cuda: Any
    gpu: Any
    device: Device


def find_libraries() -> Libraries:
    """Raises BackendUnavailable without TensorRT 8.2 or newer, pycuda, the driver, or a GPU."""
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing
        raise _missing("TensorRT", error) from None
    try:
        import pycuda.driver as cuda
    except (ImportError, OSError) as error:
        raise _missing("pycuda", error) from None
    if not hasattr(trt, "EngineInspector"):  # 8.2 brought it
        raise BackendUnavailable(
            "found TensorRT {}, needed 8.2 or newer, as JetPack 4.6.1 and later have it; {}".format(
                trt.__version__, DOCTOR
            )
        )
    try:  # before anything of TensorRT is made, which may crash where there is no GPU
        cuda.init()
        if not cuda.Device.count():
            raise BackendUnavailable(_no_gpu("none"))
        gpu = cuda.Device(0)
        major, minor = gpu.compute_capability()
        return Libraries(trt, cuda, gpu, Device(trt.__version__, gpu.name(), (major, minor)))
    except cuda.Error as error:
        raise BackendUnavailable(_no_gpu(error)) from None


def refused(libraries: Libraries, why: str) -> EngineError:
    """That TensorRT makes nothing on this GPU, and what its log says: for the caller to raise."""
    version = libraries.cuda.get_driver_version()
    return EngineError(
        "TensorRT {} cannot use this GPU: {}; found a driver for CUDA {}.{}, needed the one for "
        "this TensorRT (error 35: it is too old); {}".format(
            libraries.device.tensorrt, why, version // 1000, version % 1000 // 10, DOCTOR
        )
    )


def _missing(name: str, error: Exception) -> BackendUnavailable:
    return BackendUnavailable(
        "found no {} that loads ({}), needed it for the GPU; {}".format(name, error, DOCTOR)
    )


def _no_gpu(found: Any) -> str:
    return "found no GPU ({}), needed one that CUDA can use; {}".format(found, DOCTOR)
