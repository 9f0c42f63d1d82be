"""The CUDA kernels under the tests of the others: built for the CPU, and on a GPU if there is one.

`on_cpu` compiles the very sources of csrc/cuda and csrc/binding/_cuda.pyx with cuda_shim, where
device memory is the host's; every call is then made in several orders of the threads and blocks,
for devices of several sizes, and must give the same bits. `DeviceKernels` has the functions of
edgesdk.kernels.reference on numpy arrays: checks, copies to guarded device memory, and back.
"""

import ctypes
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from edgesdk.kernels import checks

ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "tests" / "kernels" / "cuda_shim"
FLAGS = ["-std=c++14", "-O1", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-ffp-contract=off"]
GUARD_BYTES, GUARD = 256, 0xA5
# (order of the threads and blocks, multiprocessors): a Jetson Nano's one, Orin's 16, an H100's 132
CONFIGURATIONS = [(0, 1), (1, 132), (2, 16)]


def compile_shim(folder, sources, name, *flags):
    """A shared library of `sources` and the shim; the compiler's words if there is none."""
    library = Path(str(folder)) / name
    words = ["c++", "-fPIC", "-shared", "-DEDGESDK_CUDA_SHIM", "-x", "c++"] + FLAGS
    words += ["-I{}".format(path) for path in (SHIM, ROOT / "csrc" / "include")] + list(flags)
    words += [str(source) for source in sources] + [str(SHIM / "cuda_shim.cpp")]
    done = subprocess.run(
        words + ["-o", str(library)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout.replace("cpp: warning", ""), done.stdout
    return library


def translate_module(folder):
    """The C++ that Cython makes of csrc/binding/_cuda.pyx, in `folder`."""
    if os.environ.get("EDGESDK_BUILD_NATIVE") == "no" or not shutil.which("c++"):
        pytest.skip("no C++ compiler, or EDGESDK_BUILD_NATIVE=no")
    pytest.importorskip("Cython")
    binding, generated = ROOT / "csrc" / "binding", Path(str(folder)) / "_cuda.cpp"
    subprocess.run(
        [sys.executable, "-m", "cython", "--cplus", "-I", str(binding), "-o", str(generated)]
        + [str(binding / "_cuda.pyx")],
        check=True,
    )
    return generated


def load_module(folder, kernels, generated):
    """edgesdk.kernels._cuda for the CPU with these kernels, and its library through ctypes."""
    python = "-I{}".format(sysconfig.get_paths()["include"])
    sources = list(kernels) + [generated]
    path = compile_shim(folder, sources, "_cuda.so", python, "-Wno-all", "-Wno-extra")
    spec = importlib.util.spec_from_file_location("_cuda", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, ctypes.CDLL(str(path))


class HostMemory:
    """Device memory of the shim."""

    def allocate(self, byte_count):
        """An address, aligned to 256 as CUDA's."""
        self._kept = getattr(self, "_kept", [])
        raw = np.empty(byte_count + 256, np.uint8)
        self._kept.append(raw)
        return -(-raw.ctypes.data // 256) * 256

    def write(self, address, content):
        """Copy bytes to the device."""
        ctypes.memmove(address, content, len(content))

    def read(self, address, byte_count):
        """Copy bytes from the device, after all work on it."""
        return ctypes.string_at(address, byte_count)

    def free(self):
        """Give all of it back."""
        self._kept = []


class GpuMemory:
    """Memory of the first GPU, in the context that CUDA's runtime shares; needs the driver alone.

    Raises OSError where there is no driver or no GPU.
    """

    def __init__(self):
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._addresses = []
        context = ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self._call("cuCtxSetCurrent", context)

    def _call(self, name, *arguments):
        status = getattr(self._driver, name)(*arguments)
        if status != 0:
            raise OSError("{} gave {}".format(name, status))

    def allocate(self, byte_count):
        """An address, aligned to 256."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(byte_count))
        self._addresses.append(address)
        return address.value

    def write(self, address, content):
        """Copy bytes to the device."""
        self._call(
            "cuMemcpyHtoD_v2", ctypes.c_uint64(address), content, ctypes.c_size_t(len(content))
        )

    def read(self, address, byte_count):
        """Copy bytes from the device, after all work on it."""
        content = ctypes.create_string_buffer(byte_count)
        self._call("cuCtxSynchronize")
        self._call(
            "cuMemcpyDtoH_v2", content, ctypes.c_uint64(address), ctypes.c_size_t(byte_count)
        )
        return content.raw

    def free(self):
        """Give all of it back."""
        for address in self._addresses:
            self._call("cuMemFree_v2", address)
        self._addresses = []


def why_no_gpu():
    """None where the CUDA kernels can run on a GPU, else the reason."""
    try:
        GpuMemory()
        importlib.import_module("edgesdk.kernels._cuda")
    except OSError as error:
        return "no GPU: {}".format(error)
    except ImportError as error:
        return "CUDA kernels are not built: {}".format(error)
    return None


class Arrays:
    """Guarded device arrays of one call, by name: `given` is copied in, the rest is poison.

    `offset_bytes` moves every array from its alignment, by whole values.
    """

    def __init__(self, memory, offset_bytes=0):
        self.memory, self.offset_bytes = memory, offset_bytes
        self._outputs, self._places = {}, []

    def _place(self, content, alignment):
        before = GUARD_BYTES + (self.offset_bytes if self.offset_bytes % alignment == 0 else 0)
        whole = bytes([GUARD]) * before + content + bytes([GUARD]) * GUARD_BYTES
        address = self.memory.allocate(len(whole))
        self.memory.write(address, whole)
        self._places.append((address, before, len(content)))
        return address + before

    def give(self, array):
        """The address of a copy of `array`; None for None."""
        if array is None:
            return None
        array = np.asarray(array)
        return self._place(array.tobytes(), max(array.dtype.alignment, 1))

    def output(self, name, dtype, *shape):
        """The address of an array to be written."""
        array = np.empty(shape, dtype)
        address = self._place(bytes([GUARD]) * array.nbytes, array.dtype.alignment)
        self._outputs[name] = (address, array)
        return address

    def results(self):
        """Every output by name, after the guards around all arrays were looked at."""
        for address, before, count in self._places:
            whole = self.memory.read(address, before + count + GUARD_BYTES)
            outside = whole[:before] + whole[before + count :]
            assert outside == bytes([GUARD]) * len(outside), "written beside an array"
        found = {}
        for name, (address, array) in self._outputs.items():
            content = self.memory.read(address, array.nbytes)
            found[name] = np.frombuffer(content, array.dtype).reshape(array.shape).copy()
        return found


def same_bits(one, other):
    """Whether two dictionaries of arrays are equal to the last bit, NaN included."""
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


class DeviceKernels:
    """The functions of edgesdk.kernels.reference, computed by a `_cuda` module."""

    def __init__(self, module, memory, library=None, offset_bytes=0):
        self.module, self.memory, self.library = module, memory, library
        self.offset_bytes = offset_bytes

    def configure(self, order, multiprocessors):
        """Only on the CPU: the order of the threads, and the size of the device."""
        self.library.cuda_shim_configure(order, multiprocessors)

    def _run(self, call):
        """What call(arrays) wrote: once on a GPU, in every configuration on the CPU."""
        found = []
        for configuration in CONFIGURATIONS if self.library else [None]:
            if configuration:
                self.configure(*configuration)
            arrays = Arrays(self.memory, self.offset_bytes)
            try:
                call(arrays)
                found.append(arrays.results())
            finally:
                self.memory.free()
        for other in found[1:]:
            assert same_bits(found[0], other), "the order of threads, or the device, shows"
        return found[0]

    def exit_head(self, features, weight, bias, scale=None, shift=None, logits=False, out=None):
        checks.exit_head(features, weight, bias, scale, shift, logits, out)
        batch, count = features.shape[0], len(bias)

        def call(arrays):
            self.module.exit_head(
                arrays.give(features), features.shape, arrays.give(weight), arrays.give(bias),
                count, scores=score_outputs(arrays, batch),
                logits=arrays.output("logits", np.float32, batch, count),
                pooled=arrays.output("pooled", np.float32, batch, features.shape[1]),
                scale=arrays.give(scale), shift=arrays.give(shift),
            )  # fmt: skip

        found = self._run(call)
        wanted = logits if out is None else out.logits is not None
        scores = scores_from(found, found["logits"] if wanted else None)
        return scores if out is None else fill(out, scores)

    def exit_scores(self, logits, out=None):
        checks.exit_scores(logits, out)

        def call(arrays):
            scores = score_outputs(arrays, len(logits))
            self.module.exit_scores(arrays.give(logits), logits.shape, scores=scores)

        scores = scores_from(self._run(call), logits)
        if out is None:
            return scores
        return fill(out._replace(logits=None), scores)._replace(logits=logits)

    def exit_feature(self, features, scale=None, shift=None, projection=None, out=None):
        checks.exit_feature(features, scale, shift, projection, out)
        batch, channels = features.shape[:2]
        size = channels if projection is None else len(projection)

        def call(arrays):
            self.module.exit_feature(
                arrays.give(features), features.shape, arrays.give(projection), size,
                feature=arrays.output("feature", np.float32, batch, size),
                pooled=arrays.output("pooled", np.float32, batch, channels),
                scale=arrays.give(scale), shift=arrays.give(shift),
            )  # fmt: skip

        return give_back(self._run(call)["feature"], out)

    def cosine_difference(self, feature, first, out=None):
        checks.cosine_difference(feature, first, out)

        def call(arrays):
            difference = arrays.output("difference", np.float32, len(feature))
            self.module.cosine_difference(
                arrays.give(feature), arrays.give(first), feature.shape, difference=difference
            )

        return give_back(self._run(call)["difference"], out)

    def gather_rows(self, rows, indices, out=None):
        checks.gather_rows(rows, indices, out)
        shape = indices.shape + rows.shape[1:]
        row_bytes = rows.dtype.itemsize * int(np.prod(rows.shape[1:]))

        def call(arrays):
            self.module.gather_rows(
                arrays.give(rows), len(rows), row_bytes, arrays.give(indices), len(indices),
                gathered=arrays.output("gathered", rows.dtype, *shape),
            )  # fmt: skip

        gathered = self._run(call)["gathered"]
        if np.any((indices < 0) | (indices >= len(rows))):
            assert set(gathered.tobytes()) <= {GUARD}, "written, though an index is out of range"
        checks.index_range(indices, len(rows))
        return give_back(gathered, out)

    def quantize_u8(self, values):
        checks.quantize_u8(values)

        def call(arrays):
            self.module.quantize_u8(
                arrays.give(values), values.size,
                quantized=arrays.output("quantized", np.uint8, *values.shape),
                scale_zero=arrays.output("scale_zero", np.float32, 2),
                ranges=arrays.give(np.zeros(self.module.RANGE_VALUE_COUNT, np.float32)),
            )  # fmt: skip

        found = self._run(call)
        scale, zero = found["scale_zero"]
        if np.isnan(scale):
            assert np.isnan(zero)
            assert set(found["quantized"].tobytes()) <= {GUARD}, "written, though refused"
            checks.quantizable(values)
        return found["quantized"], float(scale), float(zero)

    def dequantize_u8(self, quantized, scale, zero, out=None):
        checks.dequantize_u8(quantized, scale, zero, out)

        def call(arrays):
            self.module.dequantize_u8(
                arrays.give(quantized), quantized.size,
                arrays.give(np.array([scale, zero], np.float32)),
                values=arrays.output("values", np.float32, *quantized.shape),
            )  # fmt: skip

        return give_back(self._run(call)["values"], out)


def score_outputs(arrays, batch):
    """The addresses of the four scores."""
    names = checks.ExitScores._fields[:4]
    return [
        arrays.output(name, np.int64 if name == "class_index" else np.float32, batch)
        for name in names
    ]


def scores_from(found, logits):
    return checks.ExitScores(*[found[name] for name in checks.ExitScores._fields[:4]], logits)


def give_back(result, out):
    if out is None:
        return result
    out[...] = result
    return out


def fill(out, scores):
    for target, source in zip(out, scores):
        if target is not None:
            target[...] = source
    return out
