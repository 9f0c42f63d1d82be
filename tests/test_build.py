"""What `pip install` makes of the source distribution, with and without a compiler."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SWITCHES = ("EDGESDK_BUILD_NATIVE", "EDGESDK_BUILD_CUDA", "EDGESDK_CUDA_ARCHITECTURES")
SWITCHES += ("EDGESDK_KERNELS", "PYTHONPATH")
NO_CUDA = {"CUDACXX": "no-such-nvcc", "EDGESDK_BUILD_CUDA": "yes"}
NVCC = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
NO_COMPILER = {"CC": "no-such-compiler", "CXX": "no-such-compiler"}
REFERENCE_LINE = "edgesdk: native kernels not built ("


def run(*command, cwd=None, **environment):
    """Run a command: status, and everything it printed. Without CUDA, unless it is asked for."""
    environment.setdefault("EDGESDK_BUILD_CUDA", "no")
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    clean["PATH"] = os.path.dirname(sys.executable) + os.pathsep + clean["PATH"]  # cmake lies there
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=str(cwd) if cwd else None,
        env=dict(clean, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    printed, _ = process.communicate()
    return process.returncode, printed


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source distribution, made from a checkout and unpacked."""
    pytest.importorskip("Cython")
    pytest.importorskip("wheel")
    target = tmp_path_factory.mktemp("sdist")
    made = run(
        sys.executable, "setup.py", "-q", "egg_info", "-e", target, "sdist", "-d", target, cwd=ROOT
    )
    assert made[0] == 0, made[1]
    (archive,) = target.glob("edgesdk-*.tar.gz")
    with tarfile.open(str(archive)) as files:
        files.extractall(str(target))
    return target / archive.name[: -len(".tar.gz")]


def build_wheel(sdist, target, **environment):
    """Status, printed text, and the wheels that lie in `target` afterwards."""
    status, printed = run(
        sys.executable, "setup.py", "bdist_wheel", "-d", target, "-b", target / "tree",
        "build", "-b", target / "build", cwd=sdist, **environment
    )  # fmt: skip
    return status, printed, list(Path(str(target)).glob("*.whl"))


def install(wheel, target):
    """A fresh virtual environment with the wheel, which sees this one's numpy: its interpreter."""
    assert run(sys.executable, "-m", "venv", "--without-pip", target)[0] == 0
    (packages,) = target.glob("lib/python*/site-packages")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", packages)
    status, printed = run(*pip, wheel)
    assert status == 0, printed
    import numpy

    numpy_home = Path(numpy.__file__).parent.parent
    for path in numpy_home.glob("numpy*"):  # numpy alone: an editable edgesdk must stay outside
        (packages / path.name).symlink_to(path)
    return target / "bin" / "python"


SHOW = "import edgesdk.kernels as k; print(k.implementation, k.__file__)"


def test_the_source_distribution_has_what_a_build_needs(sdist):
    for name in ("CMakeLists.txt", "csrc/include/edgesdk/kernels.h", "csrc/cpu/dispatch.h"):
        assert (sdist / name).is_file()
    for name in ("exit_head.cu", "launch.h"):
        assert (sdist / "csrc" / "cuda" / name).is_file()
    for name in ("edgesdk_kernels.pxd", "_native.pyx", "edgesdk_cuda.pxd", "_cuda.pyx"):
        assert (sdist / "csrc" / "binding" / name).is_file()
    assert not list(sdist.glob("**/*.so"))
    assert not list(sdist.glob("**/_native.cpp"))


@pytest.mark.slow
def test_a_wheel_from_the_source_distribution_has_native_kernels(sdist, tmp_path):
    status, printed, (wheel,) = build_wheel(sdist, tmp_path / "w", EDGESDK_BUILD_NATIVE="yes")
    assert status == 0, printed
    python = install(wheel, tmp_path / "venv")
    status, printed = run(python, "-c", SHOW, cwd=tmp_path)
    assert printed.startswith("native {}".format(tmp_path)), printed
    with zipfile.ZipFile(str(wheel)) as files:
        assert "edgesdk/py.typed" in files.namelist()
        assert not [name for name in files.namelist() if name.endswith((".cpp", ".pyx", ".a"))]


def test_without_a_compiler_the_reference_is_installed_and_one_line_says_so(sdist, tmp_path):
    status, printed, (wheel,) = build_wheel(sdist, tmp_path / "w", **NO_COMPILER)
    assert status == 0, printed
    said = [line for line in printed.splitlines() if line.startswith(REFERENCE_LINE)]
    assert len(said) == 1, printed
    assert "EDGESDK_BUILD_NATIVE=yes" in said[0]
    python = install(wheel, tmp_path / "venv")
    status, printed = run(python, "-c", SHOW, cwd=tmp_path)
    assert (status, printed.startswith("reference {}".format(tmp_path))) == (0, True), printed
    assert len(printed.splitlines()) == 1


CALL = """
import edgesdk.kernels._cuda as cuda
try:
    cuda.dequantize_u8(256, 0, 256, values=0)
    cuda.exit_scores(256, (1, 2), scores=(256, 256, 256, 256))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="no nvcc")
@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="a GPU: these are no addresses of it")
def test_a_wheel_with_cuda_kernels_needs_no_driver_to_be_imported(sdist, tmp_path):
    status, printed, (wheel,) = build_wheel(
        sdist, tmp_path / "w", EDGESDK_BUILD_CUDA="yes", EDGESDK_CUDA_ARCHITECTURES="87;90"
    )
    assert status == 0, printed
    python = install(wheel, tmp_path / "venv")
    status, printed = run(python, "-c", CALL, cwd=tmp_path)
    assert printed.startswith("BackendUnavailable CUDA kernels: found no usable GPU ("), printed


@pytest.mark.slow
def test_yes_without_nvcc_fails(sdist, tmp_path):
    status, printed, wheels = build_wheel(sdist, tmp_path / "w", **NO_CUDA)
    assert (status != 0, wheels) == (True, [])
    assert "no-such-nvcc" in printed


@pytest.mark.slow
def test_an_nvcc_that_fails_leaves_the_cuda_kernels_out_and_one_line_says_so(sdist, tmp_path):
    status, printed, (wheel,) = build_wheel(
        sdist, tmp_path / "w", **dict(NO_CUDA, EDGESDK_BUILD_CUDA="")
    )
    assert status == 0, printed
    said = [line for line in printed.splitlines() if line.startswith("edgesdk: CUDA kernels not")]
    assert len(said) == 1, printed
    with zipfile.ZipFile(str(wheel)) as files:
        names = " ".join(files.namelist())
    assert "_native" in names
    assert "_cuda" not in names


def test_no_means_no_even_with_a_compiler(sdist, tmp_path):
    status, printed, (wheel,) = build_wheel(sdist, tmp_path / "w", EDGESDK_BUILD_NATIVE="no")
    assert status == 0, printed
    assert wheel.name.endswith("-py3-none-any.whl")
    assert REFERENCE_LINE not in printed


def test_yes_without_a_compiler_fails(sdist, tmp_path):
    status, printed, wheels = build_wheel(
        sdist, tmp_path / "w", EDGESDK_BUILD_NATIVE="yes", **NO_COMPILER
    )
    assert status != 0
    assert wheels == []
    assert "no-such-compiler" in printed


@pytest.mark.parametrize(
    "switch, value, message",
    [
        ("EDGESDK_BUILD_CUDA", "1", 'found "1", expected yes, no or nothing'),
        ("EDGESDK_BUILD_NATIVE", "maybe", 'found "maybe", expected yes, no or nothing'),
    ],
)
def test_switches_that_cannot_be_honoured_end_the_build(switch, value, message):
    status, printed = run(sys.executable, "setup.py", "--version", cwd=ROOT, **{switch: value})
    assert status != 0
    assert message in printed
    assert "Traceback" not in printed


def test_the_version_is_the_packages_own():
    import edgesdk

    status, printed = run(sys.executable, "setup.py", "--version", cwd=ROOT)
    assert (status, printed.splitlines()[-1]) == (0, edgesdk.__version__)


def test_a_plain_checkout_imports(sdist, tmp_path):
    status, printed = run(sys.executable, "-c", SHOW, cwd=sdist, PYTHONPATH=str(sdist))
    assert status == 0
    assert printed.startswith("reference {}".format(sdist)), printed
