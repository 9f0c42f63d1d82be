"""The CUDA kernels: what they share with no other implementation, and that their tests can fail.

The contract that they share is in the other files here, which run over them too."""

import inspect
import os
import re
import shutil
import subprocess

import cuda_modules
import golden
import numpy as np
import pytest
from cuda_modules import ROOT, SHIM, DeviceKernels, HostMemory
from test_exit_head import make

from edgesdk.errors import BackendUnavailable, ConfigError, KernelError
from edgesdk.kernels import ExitScores, reference

KERNELS = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
# Two launches on any GPU of more than one multiprocessor, several blocks for an image.
LARGE = (2, 512, (9, 9), 200)
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]


@pytest.mark.cuda
def test_the_suite_runs_on_a_gpu():
    """Where it does not, this is the one test that is skipped, with the reason."""
    why = cuda_modules.why_no_gpu()
    if why:
        pytest.skip(why)


def moved(kernels, offset_bytes):
    return DeviceKernels(kernels.module, kernels.memory, kernels.library, offset_bytes)


class TestShapes:
    """Paths that the contract's sizes do not all take."""

    @pytest.mark.parametrize("offset_bytes", [0, 4, 8])
    def test_arrays_that_cannot_be_read_in_packs(self, cuda_on_cpu, offset_bytes):
        kernels = moved(cuda_on_cpu, offset_bytes)
        arguments = make((3, 8, (4, 4), 12))
        assert_heads_agree(kernels, arguments)
        rng = np.random.default_rng(0)
        a, b = rng.standard_normal((2, 3, 64)).astype(np.float32) + 2
        np.testing.assert_allclose(
            kernels.cosine_difference(a, b), reference.cosine_difference(a, b), rtol=2.0**-22
        )
        for count in (64, 40000):
            values = rng.standard_normal(count).astype(np.float32)
            quantized, scale, zero = kernels.quantize_u8(values)
            assert np.array_equal(quantized, reference.quantize_u8(values)[0])
            restored = kernels.dequantize_u8(quantized, scale, zero)
            assert np.array_equal(restored, reference.dequantize_u8(quantized, scale, zero))
        rows = rng.standard_normal((5, 4, 4)).astype(np.float32)
        assert np.array_equal(kernels.gather_rows(rows, np.array([4, 1])), rows[[4, 1]])

    @pytest.mark.parametrize("size", [LARGE, (1, 256, (33, 32), 3), (1, 2, (200, 200), 1)])
    def test_images_that_several_blocks_share(self, cuda_on_cpu, size):
        arguments = make(size)
        assert_heads_agree(cuda_on_cpu, arguments)
        projected = cuda_on_cpu.exit_feature(arguments["features"], projection=arguments["weight"])
        expected = reference.exit_feature(arguments["features"], projection=arguments["weight"])
        np.testing.assert_allclose(projected, expected, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("position", [0, 16384, 20000, 70000])
    def test_a_nan_anywhere_in_a_long_array_is_found(self, cuda_on_cpu, position):
        values = np.ones(70001, np.float32)
        values[position] = np.nan
        with pytest.raises(ConfigError, match="at flat index {}".format(position)):
            cuda_on_cpu.quantize_u8(values)

    def test_many_long_rows_are_gathered(self, cuda_on_cpu):
        rows = np.random.default_rng(0).standard_normal((40, 9000)).astype(np.float32)
        chosen = np.random.default_rng(1).integers(0, 40, 300)
        assert np.array_equal(cuda_on_cpu.gather_rows(rows, chosen), rows[chosen])


def assert_heads_agree(kernels, arguments):
    found = kernels.exit_head(logits=True, **arguments)
    expected = reference.exit_head(logits=True, **arguments)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-4)
    assert np.array_equal(found.class_index, expected.class_index)
    np.testing.assert_allclose(found.entropy, expected.entropy, rtol=0, atol=1e-3)


class TestLaunches:
    """A launch costs a Jetson Nano about 10 us, often more than the kernel."""

    @pytest.mark.parametrize(
        "size, multiprocessors, expected",
        [
            ((1, 16, (32, 32), 10), 1, 1),
            ((1, 16, (32, 32), 10), 132, 1),
            (LARGE, 1, 1),
            (LARGE, 132, 2),
            ((0, 4, (2, 2), 3), 132, 0),
        ],
    )
    def test_exit_head(self, cuda_on_cpu, monkeypatch, size, multiprocessors, expected):
        monkeypatch.setattr(cuda_modules, "CONFIGURATIONS", [(0, multiprocessors)])
        cuda_on_cpu.library.cuda_shim_launches()
        cuda_on_cpu.exit_head(**make(size))
        assert cuda_on_cpu.library.cuda_shim_launches() == expected

    def test_the_others(self, cuda_on_cpu, monkeypatch):
        monkeypatch.setattr(cuda_modules, "CONFIGURATIONS", [(0, 132)])
        wide = np.ones((2, 20000), np.float32)
        for call, expected in (
            (lambda: cuda_on_cpu.exit_scores(wide), 1),
            (lambda: cuda_on_cpu.exit_feature(wide), 1),
            (lambda: cuda_on_cpu.cosine_difference(wide, wide), 1),
            (lambda: cuda_on_cpu.gather_rows(wide, np.array([0])), 1),
            (lambda: cuda_on_cpu.quantize_u8(wide[:1, :10000].copy()), 1),
            (lambda: cuda_on_cpu.quantize_u8(wide), 2),
            (lambda: cuda_on_cpu.dequantize_u8(wide.astype(np.uint8), 1.0, 0.0), 1),
        ):
            cuda_on_cpu.library.cuda_shim_launches()
            call()
            assert cuda_on_cpu.library.cuda_shim_launches() == expected


class TestModule:
    """edgesdk.kernels._cuda itself."""

    def test_it_has_the_functions_of_the_reference(self, cuda_on_cpu):
        names = {name for name in vars(reference) if inspect.isfunction(getattr(reference, name))}
        names = {name for name in names if not name.startswith("_")}
        module = cuda_on_cpu.module
        for name in names:
            assert "stream=0" in getattr(module, name).__doc__, name
        assert len(names) == 7

    def test_without_a_gpu_it_says_so(self, cuda_on_cpu):
        cuda_on_cpu.configure(0, 0)
        with pytest.raises(BackendUnavailable, match=r"no usable GPU \(no CUDA-capable device"):
            cuda_on_cpu.module.dequantize_u8(256, 4, 256, values=256)

    def test_a_launch_that_is_refused_says_why(self, cuda_on_cpu):
        cuda_on_cpu.configure(0, 1)
        with pytest.raises(KernelError, match=r"launch was refused \(a grid .*ARCHITECTURES"):
            cuda_on_cpu.module.cosine_difference(256, 256, (2**33 + 1, 1), difference=256)

    def test_the_built_module_imports_without_a_driver(self):
        module = pytest.importorskip(
            "edgesdk.kernels._cuda", reason="edgesdk.kernels._cuda is not built"
        )
        assert module.RANGE_VALUE_COUNT == 512
        if cuda_modules.why_no_gpu() is None:
            pytest.skip("there is a GPU")
        with pytest.raises(BackendUnavailable, match="no usable GPU"):
            module.dequantize_u8(256, 4, 256, values=256)


# The shim runs no two blocks at once, so it cannot see that a block has to be complete before it
# says so to the others: the first barrier of is_last.
UNSEEN_BARRIERS = [("exit_head.cu", 0)]
BARRIERS = [
    (path.name, number)
    for path in KERNELS
    for number in range(path.read_text().count("__syncthreads();"))
    if (path.name, number) not in UNSEEN_BARRIERS
]


@pytest.fixture(scope="module")
def without(tmp_path_factory, cuda_module_source):
    """A function that builds the kernels with something replaced, the n-th time it occurs."""

    def build(file, old, new, occurrence=0):
        folder = tmp_path_factory.mktemp("mutant")
        for path in (ROOT / "csrc" / "cuda").glob("*.*"):
            text = path.read_text()
            if path.name == file:
                pieces = text.split(old)
                assert len(pieces) > occurrence + 1, "nothing to replace"
                text = old.join(pieces[: occurrence + 1]) + new + old.join(pieces[occurrence + 1 :])
            (folder / path.name).write_text(text)
        module, library = cuda_modules.load_module(
            folder, sorted(folder.glob("*.cu")), cuda_module_source
        )
        return DeviceKernels(module, HostMemory(), library)

    return build


def exercise(kernels):
    """Calls that reach every barrier; raises where something is wrong."""
    assert_heads_agree(kernels, make(LARGE))
    assert_heads_agree(kernels, make((2, 64, (8, 8), 10)))
    wide = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    found = kernels.cosine_difference(wide, wide + 1)
    np.testing.assert_allclose(found, reference.cosine_difference(wide, wide + 1), rtol=2.0**-22)
    assert np.array_equal(kernels.quantize_u8(wide)[0], reference.quantize_u8(wide)[0])
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    with pytest.raises(ConfigError):
        kernels.gather_rows(rows, np.arange(300) % 4 + 4 * (np.arange(300) == 299))


class TestTheTestsFindMistakes:
    """Mistakes made on purpose in the kernels are noticed on the CPU."""

    def test_right_kernels_pass(self, cuda_on_cpu):
        exercise(cuda_on_cpu)

    @pytest.mark.slow
    @pytest.mark.parametrize("file, occurrence", BARRIERS)
    def test_a_barrier_less(self, without, file, occurrence):
        kernels = without(file, "__syncthreads();", ";", occurrence)
        with pytest.raises((AssertionError, KernelError)):
            exercise(kernels)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "file, old, new",
        [
            ("gather_rows.cu", "__syncthreads_or(outside)", "outside"),
            ("warp.h", "offset > 0; offset /= 2) {\n    value += __shfl_down", None),
            ("exit_head.cu", "counters__b[b] = 0", ";"),
            ("quantize_u8.cu", "of_warps[warp_index()] = range", "of_warps[0] = range"),
        ],
    )
    def test_other_mistakes(self, without, file, old, new):
        new = old.replace("offset > 0", "offset > 1") if new is None else new
        kernels = without(file, old, new)
        with pytest.raises((AssertionError, KernelError)):
            exercise(kernels)


HEADER = '#include "launch.h"\n#include "warp.h"\n'
WRONG_KERNELS = {
    "divergent barrier": (
        "if (threadIdx.x < 40) __syncthreads();",
        "threads that diverge: thread 0 waits at .*, thread 40 has ended",
    ),
    "two barriers": (
        "if (threadIdx.x < 32) { __syncthreads(); } else {\n __syncthreads(); }",
        "threads that diverge: thread 0 waits at .*:5, thread 32 waits at .*:6",
    ),
    "divergent shuffle": (
        "if (threadIdx.x % 2) values[0] = __shfl_xor_sync(kAllLanes, 1.0f, 2);",
        "threads that diverge: thread 0 has ended, thread 1 waits at ",
    ),
    "half a warp": ("__shfl_xor_sync(0xffffu, 1.0f, 2);", "a mask that is not the whole warp at "),
    "misaligned": (
        "values[0] = __ldg(reinterpret_cast<const float4 *>(values + 1)).x;",
        "a misaligned address at ",
    ),
}
LAUNCH = """
extern "C" const char *launch_it(float *values) {
  return launch(wrong, 1, 64, nullptr, values) == EDGESDK_OK ? "" :
    cudaGetErrorString(cudaGetLastError());
}
"""


@pytest.mark.parametrize("name", sorted(WRONG_KERNELS))
def test_the_shim_finds(name, tmp_path, cuda_on_cpu):
    body, message = WRONG_KERNELS[name]
    source = tmp_path / "wrong.cu"
    source.write_text(
        HEADER + "__global__ void wrong(float *values) {\n(void)values;\n" + body + "\n}" + LAUNCH
    )
    library = cuda_modules.compile_shim(
        tmp_path, [source], "wrong.so", "-I{}".format(ROOT / "csrc" / "cuda"), "-w"
    )
    launch = cuda_modules.ctypes.CDLL(str(library)).launch_it
    launch.restype = cuda_modules.ctypes.c_char_p
    values = np.zeros(16, np.float32)
    assert re.search(message, launch(cuda_modules.ctypes.c_void_p(values.ctypes.data)).decode())


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """A function that runs kernels_test on the CUDA kernels of a folder, under sanitizers."""
    cases = tmp_path_factory.mktemp("golden") / "cases"
    golden.write(cases)

    programs = {}

    def build(folder):
        program = tmp_path_factory.mktemp("sanitized") / "kernels_test"
        words = ["c++", "-DEDGESDK_CUDA_SHIM", "-x", "c++"] + cuda_modules.FLAGS + SANITIZE
        words += ["-I{}".format(path) for path in (SHIM, ROOT / "csrc" / "include")]
        words += [str(path) for path in sorted(folder.glob("*.cu"))] + [str(SHIM / "cuda_shim.cpp")]
        words += [
            str(ROOT / "csrc" / "test" / name) for name in ("on_cuda.cpp", "kernels_test.cpp")
        ]
        subprocess.run(words + ["-o", str(program)], check=True)
        return program

    def run(folder, multiprocessors):
        if folder not in programs:
            programs[folder] = build(folder)
        program = programs[folder]
        done = subprocess.run(
            [str(program), str(cases)],
            env=dict(os.environ, CUDA_SHIM_MULTIPROCESSORS=str(multiprocessors)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        return done.returncode, done.stdout

    if not shutil.which("c++"):
        pytest.skip("no C++ compiler")
    return run


@pytest.mark.slow
@pytest.mark.parametrize("multiprocessors", [1, 132])
def test_nothing_beside_the_arrays_is_read(sanitized, multiprocessors):
    status, printed = sanitized(ROOT / "csrc" / "cuda", multiprocessors)
    assert status == 0, printed
    assert printed.endswith("all agree\n")


@pytest.mark.slow
def test_a_read_behind_an_array_is_found(sanitized, tmp_path):
    for path in (ROOT / "csrc" / "cuda").glob("*.*"):
        text = path.read_text().replace("i < pack_count; i +=", "i <= pack_count; i +=")
        (tmp_path / path.name).write_text(text)
    status, printed = sanitized(tmp_path, 1)
    assert status != 0
    assert "heap-buffer-overflow" in printed


def test_scores_are_given_as_addresses(cuda_on_cpu):
    with pytest.raises(ConfigError, match=r"^scores: found .*, expected the addresses of class_i"):
        cuda_on_cpu.module.exit_scores(256, (1, 2), scores=ExitScores(0, 0, 0, 0, None)[:3])
