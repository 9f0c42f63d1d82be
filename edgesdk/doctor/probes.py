"""What runs in a process of its own, and says what one library is (`libraries.py` starts it).

A library that does not fit the machine may kill its process, so no other has it. The answer is one
JSON object on standard output, and nothing else is there, whatever the library prints. This file
imports nothing of edgesdk.
"""

import ctypes
import json
import os
from typing import Any, Callable, Dict, List

CUDART = ["libcudart.so" + end for end in ("", ".13", ".12", ".11.0", ".10.2")]
CUDART += ["/usr/local/cuda/lib64/libcudart.so"]
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # attributes of a device in cuda.h


def _numpy() -> Dict[str, Any]:
    import numpy

    return {"version": numpy.__version__, "trace": float(numpy.dot(numpy.eye(64), 2).trace())}


def _onnxruntime() -> Dict[str, Any]:
    import onnxruntime

    providers = list(onnxruntime.get_available_providers())
    return {"version": onnxruntime.__version__, "providers": providers}


def _torch() -> Dict[str, Any]:
    import torch

    return {"version": str(torch.__version__), "cuda": torch.version.cuda}


def _zmq() -> Dict[str, Any]:
    import zmq

    return {
        "version": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "has_curve": bool(zmq.has("curve")),
    }


def _tensorrt() -> Dict[str, Any]:
    import tensorrt

    return {"version": tensorrt.__version__}


def _pycuda() -> Dict[str, Any]:
    import pycuda
    import pycuda.driver

    built_for = ".".join(map(str, pycuda.driver.get_version()))
    return {"version": pycuda.VERSION_TEXT, "built_for_cuda": built_for}


def _cuda() -> Dict[str, Any]:
    """Versions of the runtime and the driver, and the devices, each as far as it can be told."""
    answer: Dict[str, Any] = {"runtime": _runtime_version(), "driver": "", "devices": []}
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        answer["driver_failure"] = str(error)
        return answer
    version, count = ctypes.c_int(), ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) == 0:
        answer["driver"] = _dotted(version.value)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        answer["driver_failure"] = _error_name(driver, status)
    answer["devices"] = [_device(driver, ordinal) for ordinal in range(count.value)]
    return answer


def _runtime_version() -> str:
    version = ctypes.c_int()
    for name in CUDART:
        try:
            if ctypes.CDLL(name).cudaRuntimeGetVersion(ctypes.byref(version)) == 0:
                return _dotted(version.value)
        except (OSError, AttributeError):
            continue
    return ""


def _dotted(version: int) -> str:
    """ "10.2" for 10020."""
    return "{}.{}".format(version // 1000, version % 1000 // 10)


def _error_name(driver: Any, status: int) -> str:
    name = ctypes.c_char_p()
    known = driver.cuGetErrorName(status, ctypes.byref(name)) == 0 and name.value
    return known.decode("ascii", "replace") if known else "error {} of the driver".format(status)


def _device(driver: Any, ordinal: int) -> Dict[str, Any]:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), ordinal)
    driver.cuDeviceGetName(name, len(name) - 1, device)
    capability: List[str] = []
    for attribute in (CAPABILITY_MAJOR, CAPABILITY_MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(str(value.value))
    return {"name": name.value.decode("utf-8", "replace"), "capability": ".".join(capability)}


PROBES: Dict[str, Callable[[], Dict[str, Any]]] = {
    "numpy": _numpy,
    "cuda": _cuda,
    "tensorrt": _tensorrt,
    "pycuda": _pycuda,
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "zmq": _zmq,
}


def main(name: str) -> None:
    """Answer for one library, and end at once: what it does at its end is not of interest."""
    _leave_no_core_file()
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        answer = PROBES[name]()
    except BaseException as error:  # whatever a library raises; also its sys.exit
        missing = isinstance(error, ImportError) and error.name == name
        failure = "{}: {}".format(type(error).__name__, error)
        answer = {"failure": failure, "is_missing": missing and "No module" in str(error)}
    os.write(answer_to, json.dumps(answer).encode("ascii"))
    os._exit(0)


def _leave_no_core_file() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass
