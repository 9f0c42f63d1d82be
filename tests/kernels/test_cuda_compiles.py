"""The CUDA kernels through CUDA's compilers: NVRTC for a Jetson Nano, nvcc for what it knows."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
WITH_KERNELS = [path for path in KERNELS if "__global__" in path.read_text()]
NVCC = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
HEADERS = {  # NVRTC compiles device code, and finds no headers
    "stdint.h": """
        typedef long int64_t; typedef unsigned long uintptr_t; typedef unsigned char uint8_t;""",
    "cuda_runtime.h": """
        #define INFINITY __int_as_float(0x7f800000)
        #define NAN __int_as_float(0x7fffffff)""",
    "launch.h": '#include "edgesdk/kernels.h"',
}


class Nvrtc:
    """The runtime compiler of the package nvidia-cuda-nvrtc-cu12."""

    def __init__(self):
        package = pytest.importorskip(
            "nvidia.cuda_nvrtc", reason="no sm_53 compiler: pip install nvidia-cuda-nvrtc-cu12"
        )
        (folder,) = package.__path__
        (library,) = Path(folder).glob("lib/libnvrtc.so.*[0-9]")
        self._library = ctypes.CDLL(str(library))

    def compile(self, source, headers, *options):
        """The machine code, or None, and what the compiler said."""
        texts, names = zip(*((text.encode(), name.encode()) for name, text in headers.items()))
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        library = self._library
        strings = ctypes.c_char_p * len(headers)
        status = library.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"kernel.cu", len(headers),
            strings(*texts), strings(*names),
        )  # fmt: skip
        assert status == 0
        words = [option.encode() for option in options]
        status = library.nvrtcCompileProgram(
            program, len(words), (ctypes.c_char_p * len(words))(*words)
        )
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        said = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, said)
        if status != 0:
            return None, said.value.decode()
        library.nvrtcGetCUBINSize(program, ctypes.byref(size))
        code = ctypes.create_string_buffer(size.value)
        assert library.nvrtcGetCUBIN(program, code) == 0
        return code.raw, said.value.decode()


@pytest.fixture(scope="module")
def nvrtc():
    return Nvrtc()


def device_text(path):
    """The part of a source that NVRTC takes: without functions of the host, which stand at the end
    of a file; and with kernels in a namespace that has a name, or they would be left out too."""
    text = path.read_text()
    if path.suffix == ".cu":
        kernels, _, rest = text.partition("\nedgesdk_status ")
        is_open = "}  // namespace\n" in rest
        return kernels.replace("\nnamespace {", "\nnamespace kernels {") + "}\n" * is_open
    return re.sub(r"\nedgesdk_status \w+\([^;]*;", "", text)


def headers():
    """Those above, and the project's."""
    found = {path.name: device_text(path) for path in (ROOT / "csrc" / "cuda").glob("*.h")}
    found["edgesdk/kernels.h"] = device_text(ROOT / "csrc" / "include" / "edgesdk" / "kernels.h")
    return dict(found, **HEADERS)


def kernel_names(source):
    return re.findall(r"__global__ void (\w+)\(", source)


@pytest.mark.parametrize("path", WITH_KERNELS, ids=lambda path: path.name)
@pytest.mark.parametrize("architecture", ["sm_53", "sm_87", "sm_90"])
def test_nvrtc_makes_machine_code(nvrtc, path, architecture):
    options = ("--gpu-architecture=" + architecture, "--std=c++14", "--diag-suppress=177")
    code, said = nvrtc.compile(device_text(path), headers(), *options)
    assert code is not None, said
    assert "): warning" not in said, said  # that sm_53 is old is said without a place
    assert code[:4] == b"\x7fELF"
    names = kernel_names(path.read_text())
    assert names
    for name in names:
        assert name.encode() in code, name


def test_nvrtc_refuses_what_is_wrong(nvrtc):
    code, said = nvrtc.compile("__global__ void k() { x = 1; }", HEADERS, "--std=c++14")
    assert code is None
    assert '"x" is undefined' in said


@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="no nvcc")
@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_nvcc_compiles_it_for_every_architecture_of_ours_that_it_knows(path, tmp_path):
    listed = subprocess.check_output([NVCC, "--list-gpu-code"], universal_newlines=True).split()
    known = [each[3:] for each in listed if each in ("sm_53", "sm_75", "sm_87", "sm_90")]
    assert known
    words = [NVCC, "-std=c++14", "-I{}".format(ROOT / "csrc" / "include")]
    words += ["-Xcompiler", "-Wall,-Wextra", "-Werror", "all-warnings", "-c", str(path)]
    for each in known:
        words += ["-gencode", "arch=compute_{0},code=sm_{0}".format(each)]
    done = subprocess.run(
        words + ["-o", str(tmp_path / "kernel.o")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    assert done.returncode == 0, done.stdout
