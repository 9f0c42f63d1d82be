"""What the libraries of a machine mean for what it is to do; like `checks`, pure."""

import re
from typing import List, Sequence, Tuple

from ..kernels.selection import BUILD_COMMAND, BUILD_CUDA_COMMAND
from .checks import CPU, IDENTITY, NOTE, OK, PROBLEM, ROOM_AND_SPEED, TENSORRT, Check, Look, judged
from .facts import Facts
from .libraries import Answer

TENSORRT_MIN = (8, 2)
WHY_NOT_OLDER = (
    "edgesdk is written for TensorRT 8.2 and newer: 8.0 has no engine inspector, and nothing was "
    "checked against it; update JetPack 4.6 to 4.6.1 or newer."
)
# Failures of any library that have one known cause: what they contain, advice, command.
KNOWN_FAILURES: Sequence[Tuple[str, str, str]] = (
    (
        "static TLS block",
        "A library that brings its own OpenMP was loaded too late; load it first.",
        "export LD_PRELOAD=/usr/lib/aarch64-linux-gnu/libgomp.so.1",
    ),
    (
        "SIGILL",
        "It was compiled for another processor; on a Nano numpy 1.19.5 is the usual cause.",
        "pip install numpy==1.19.4    # or: export OPENBLAS_CORETYPE=ARMV8",
    ),
)


def all_checks(facts: Facts, use: str) -> List[Check]:
    """Everything that is looked at, what stops `use` first."""
    return judged(facts, use, [*IDENTITY, *LIBRARIES, *ROOM_AND_SPEED])


def _failed(name: str, level: str, answer: Answer, advice: str, command: str = "") -> Check:
    """A library that gave no answer; a known cause is better advice than ours."""
    for mark, known, repair in KNOWN_FAILURES:
        if mark in answer.failure:
            return Check(name, level, answer.failure, known, repair)
    found = "not installed where this Python looks" if answer.is_missing else answer.failure
    return Check(name, level, found, advice, command)


def _is_python_36(facts: Facts) -> bool:
    return facts.python.version.startswith("3.6.")


def _stops(use: str, other: str) -> str:
    """The level of what stops one of the uses, and is not needed for the other."""
    return PROBLEM if use == other else OK


def _version_numbers(version: str) -> Tuple[int, ...]:
    """(8, 2, 1) of "8.2.1.8"."""
    return tuple(int(number) for number in re.findall(r"\d{1,6}", version)[:3])


# --- needed for everything ------------------------------------------------------------------------


def numpy(facts: Facts, use: str) -> Check:
    """Without the variable by which numpy 1.19.5 works on a Nano: others will start without it."""
    answer = facts.libraries["numpy"]
    if not answer.failure:
        return Check("numpy", OK, answer.version)
    found = "{}, without OPENBLAS_CORETYPE".format(answer.failure)
    if facts.environment.get("OPENBLAS_CORETYPE") and "SIGILL" in answer.failure:
        advice = "It works here because OPENBLAS_CORETYPE is set; services may start without it."
        return Check("numpy", NOTE, found, advice, "pip install numpy==1.19.4")
    return _failed("numpy", PROBLEM, answer, "Install it again.", "pip install --force numpy")


def kernels(facts: Facts, use: str) -> Check:
    """Native ones, or numpy."""
    if facts.kernels == "native":
        return Check("kernels", OK, "native")
    if facts.kernels_failure is None:
        advice = "EDGESDK_KERNELS asks for the slow ones; leave it out."
        return Check("kernels", NOTE, "numpy reference", advice, "unset EDGESDK_KERNELS")
    found = "numpy reference: {}".format(facts.kernels_failure)
    advice = "Exit heads are several times slower so; build the native ones in the source tree."
    return Check("kernels", NOTE, found, advice, BUILD_COMMAND)


def zmq(facts: Facts, use: str) -> Check:
    """Needed in clusters, with CURVE unless they are insecure."""
    answer = facts.libraries["zmq"]
    needed = "Clusters need pyzmq 25 or newer with CURVE; one process does not."
    if answer.failure:
        return _failed("pyzmq", NOTE, answer, needed, 'pip install "pyzmq>=25"')
    has_curve = answer.told.get("has_curve") is True
    found = "{}, libzmq {}".format(answer.version, answer.told.get("libzmq"))
    if has_curve and _version_numbers(answer.version) >= (25,):
        return Check("pyzmq", OK, found + " with CURVE")
    found += "" if has_curve else " without CURVE"
    return Check("pyzmq", NOTE, found, needed, 'pip install --upgrade "pyzmq>=25"')


def backends(facts: Facts, use: str) -> Check:
    """What computes on the CPU."""
    answers = {name: facts.libraries[name] for name in ("onnxruntime", "torch")}
    good = ["{} {}".format(n, a.version) for n, a in answers.items() if not a.failure]
    broken = {n: a for n, a in answers.items() if a.failure and not a.is_missing}
    said = ["{}: {}".format(name, answer.failure) for name, answer in broken.items()]
    found = "; ".join(good + said) or "neither onnxruntime nor torch"
    install = 'pip install "onnxruntime{}"'.format("==1.10.0" if _is_python_36(facts) else "")
    if good and not broken:
        return Check("CPU backends", OK, found)
    level = NOTE if good else _stops(use, CPU)
    for name, answer in broken.items():
        advice = "{} is installed and cannot be imported; install it again.".format(name)
        return _failed("CPU backends", level, answer, advice, install)._replace(found=found)
    return Check("CPU backends", level, found, "One of them computes on the CPU.", install)


# --- the GPU --------------------------------------------------------------------------------------


def cuda(facts: Facts, use: str) -> Check:
    """Driver and devices."""
    answer, level = facts.libraries["cuda"], _stops(use, TENSORRT)
    if answer.failure:
        advice = "The driver does not bear being asked; start the machine again."
        return _failed("CUDA driver", level, answer, advice, "sudo reboot")
    devices = [
        "{} ({})".format(each.get("name"), each.get("capability"))
        for each in answer.told.get("devices") or []
    ]
    version = answer.told.get("driver") or ""
    if devices:
        return Check("CUDA driver", OK, ", ".join([version, *devices]))
    found = str(answer.told.get("driver_failure") or "no device")
    if version:
        found = "{}, {}".format(version, found)
    return Check("CUDA driver", level, found, *_no_device(facts))


def _no_device(facts: Facts) -> Tuple[str, str]:
    """What to do, and the command."""
    machine = facts.machine
    closed = [name for name, is_open in machine.gpu_files.items() if not is_open]
    if "CUDA_VISIBLE_DEVICES" in facts.environment:
        advice = "CUDA_VISIBLE_DEVICES may hide the devices; leave it out."
        return advice, "unset CUDA_VISIBLE_DEVICES"
    if machine.is_container and closed:
        advice = "This container was not given a GPU; start it with one."
        return advice, "docker run {} ...".format(
            "--runtime nvidia" if machine.is_jetson else "--gpus all"
        )
    if machine.is_jetson and closed:
        advice = "{} cannot be opened; become a member of video and log in anew.".format(closed[0])
        return advice, "sudo usermod -aG video $USER"
    if machine.is_jetson:
        advice = "Install the driver's libraries again."
        return advice, "sudo apt-get install --reinstall nvidia-l4t-cuda nvidia-l4t-core"
    advice = "TensorRT needs an NVIDIA GPU and its driver; without them compute on the CPU."
    return advice, "python -m edgesdk.doctor --for cpu"


def cuda_toolkit(facts: Facts, use: str) -> Check:
    """What pycuda is built with."""
    runtime = facts.libraries["cuda"].told.get("runtime") or ""
    version = facts.machine.cuda or runtime
    if version and facts.machine.has_nvcc:
        return Check("CUDA toolkit", OK, version)
    found = "{}no nvcc in /usr/local/cuda/bin".format(version + ", " if version else "")
    if use == CPU or not facts.libraries["pycuda"].failure:
        return Check("CUDA toolkit", OK, found)
    return Check("CUDA toolkit", NOTE, found, *_not_installed(facts, "pycuda is compiled with it."))


def _not_installed(facts: Facts, why: str, command: str = "") -> Tuple[str, str]:
    """What to do for a part of JetPack; elsewhere `command`."""
    if facts.machine.is_jetson and facts.machine.is_container:
        return why + " Use an image that has it, such as NVIDIA's l4t-tensorrt.", ""
    if facts.machine.is_jetson:
        return why + " It belongs to JetPack.", "sudo apt-get install nvidia-jetpack"
    return why, command


def tensorrt(facts: Facts, use: str) -> Check:
    """There, and new enough."""
    answer, level = facts.libraries["tensorrt"], _stops(use, TENSORRT)
    if answer.failure:
        return _failed("TensorRT", level, answer, *_no_tensorrt(facts, answer))
    if _version_numbers(answer.version)[:2] >= TENSORRT_MIN:
        return Check("TensorRT", OK, answer.version)
    return Check(
        "TensorRT",
        level,
        "{}, expected 8.2 or newer".format(answer.version or "unknown version"),
        WHY_NOT_OLDER,
        "sudo sed -i s/r32.6/r32.7/ /etc/apt/sources.list.d/nvidia-l4t-apt-source.list && "
        "sudo apt-get update && sudo apt-get dist-upgrade",
    )


def _no_tensorrt(facts: Facts, answer: Answer) -> Tuple[str, str]:
    packaged = facts.machine.packages.get("python3-libnvinfer", "")
    if not answer.is_missing:
        command = "sudo apt-get install --reinstall python3-libnvinfer" if packaged else ""
        return "It is installed and cannot be imported; install it again.", command
    if packaged:
        whose = "It is there for the system's Python ({}), which this one is not or does not see."
        advice = whose.format(packaged) + " Make an environment that does, with edgesdk in it."
        return advice, "/usr/bin/python3 -m venv --system-site-packages ~/edgesdk-venv"
    return _not_installed(facts, "It builds and runs the engines.", "pip install tensorrt")


def pycuda(facts: Facts, use: str) -> Check:
    """Through it edgesdk allocates, copies and waits."""
    answer = facts.libraries["pycuda"]
    if not answer.failure:
        built_for = answer.told.get("built_for_cuda")
        return Check("pycuda", OK, "{}, built for CUDA {}".format(answer.version, built_for))
    advice = "It is compiled when it is installed, by nvcc, which must be found."
    install = "PATH=/usr/local/cuda/bin:$PATH pip install pycuda"
    install += "==2022.1" if _is_python_36(facts) else ""
    return _failed("pycuda", _stops(use, TENSORRT), answer, advice, install)


def cuda_kernels(facts: Facts, use: str) -> Check:
    """Exit heads where the features are."""
    if facts.has_cuda_kernels:
        return Check("CUDA kernels", OK, "built")
    if use == CPU:
        return Check("CUDA kernels", OK, "not built, not needed")
    advice = (
        "Exit heads are computed on the CPU so, on copies of what the GPU holds; build them in "
    )
    advice += "the source tree" + ("." if facts.machine.has_nvcc else ", with an nvcc.")
    return Check("CUDA kernels", NOTE, "not built", advice, BUILD_CUDA_COMMAND)


LIBRARIES: Sequence[Look] = (numpy, cuda, cuda_toolkit, tensorrt, pycuda, cuda_kernels)
LIBRARIES = (*LIBRARIES, backends, kernels, zmq)
