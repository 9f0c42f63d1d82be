"""What the libraries of known machines answer, made by hand from public documentation."""

from edgesdk.doctor.facts import Python, gather
from edgesdk.doctor.libraries import Answer
from edgesdk.telemetry.board import Board

MISSING = Answer({}, "ModuleNotFoundError: No module named 'x'", True)
SEGFAULT = Answer({}, "killed by SIGSEGV")


def cuda(driver, name, capability):
    return Answer(
        {"runtime": driver, "driver": driver, "devices": [{"name": name, "capability": capability}]}
    )


NO_DRIVER = Answer(
    {"runtime": "", "driver": "", "devices": [], "driver_failure": "libcuda.so.1: cannot open"}
)
ZMQ = Answer({"version": "25.1.2", "libzmq": "4.3.4", "has_curve": True})
NANO = {
    "numpy": Answer({"version": "1.19.4"}),
    "cuda": cuda("10.2", "NVIDIA Tegra X1", "5.3"),
    "tensorrt": Answer({"version": "8.2.1.8"}),
    "pycuda": Answer({"version": "2022.1", "built_for_cuda": "10.2.0"}),
    "onnxruntime": Answer({"version": "1.10.0", "providers": ["CPUExecutionProvider"]}),
    "torch": MISSING,
    "zmq": ZMQ,
}
PC = dict(NANO, cuda=NO_DRIVER, tensorrt=MISSING, pycuda=MISSING)
PYTHON_36 = Python("3.6.9", "/usr/bin/python3", "aarch64", False, True)


def facts(tree, answers, **others):
    """Facts of a machine of files whose libraries answer so; on the machine this runs on only what
    files and libraries do not tell is replaced."""
    found = gather(tree.path, answers.__getitem__)
    known = {
        "python": PYTHON_36,
        "kernels": "native",
        "kernels_failure": None,
        "has_cuda_kernels": True,
        "environment": {},
        "is_clock_synchronised": True,
        "sensed": Board(tree.path).read(),
        "room": found.room._replace(disk_free_bytes=10 << 30),
    }
    known.update(others)
    return found._replace(**known)


def by_name(checks):
    return {check.name: check for check in checks}
