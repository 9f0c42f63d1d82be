"""Metadata and build of edgesdk (the setuptools of Python 3.6 cannot read pyproject.toml).

EDGESDK_BUILD_NATIVE   yes: the native kernels must build; no: leave them out; unset: if possible
EDGESDK_BUILD_CUDA     the same for the CUDA kernels; unset: if possible, where there is an nvcc
EDGESDK_CUDA_ARCHITECTURES   the compute capabilities they are for ("53;87"); unset: see CMakeLists
"""

import os
import re
import shutil
import subprocess
import sys

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def switch(name):
    """True, False or None (if possible) from an environment variable."""
    value = os.environ.get(name, "")
    if value not in ("", "yes", "no"):
        raise SystemExit('{}: found "{}", expected yes, no or nothing'.format(name, value))
    return {"yes": True, "no": False}.get(value)


def find_nvcc():
    """The CUDA compiler: what CUDACXX names, else on PATH, else where JetPack has it."""
    given = os.environ.get("CUDACXX")
    return given or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


class BuildKernels(build_ext):
    """CMake builds the C++ and CUDA kernels, Cython and setuptools the modules around them."""

    def build_extensions(self):
        built = []
        for extension in self.extensions:
            try:
                self.build_extension(extension)
                built.append(extension)
            except Exception as error:  # no compiler, no CMake, no Cython, or one that fails
                if WANTED[extension.name]:
                    raise
                reason = str(error).strip().split("\n")[0] or type(error).__name__
                print(NOT_BUILT[extension.name].format(reason), file=sys.stderr)
        self.extensions = built

    def build_extension(self, extension):
        import numpy
        from Cython.Build import cythonize

        if extension.name == CUDA.name:
            self.add_cuda_kernels(extension)
        else:
            extension.include_dirs.append(numpy.get_include())
            build = self.build_kernels("cmake", "edgesdk_kernels")
            extension.extra_objects.append(os.path.join(build, "libedgesdk_kernels.a"))
        generated = os.path.join(self.build_temp, "cython")
        (compiled,) = cythonize(
            [extension], build_dir=generated, include_path=["csrc/binding"], quiet=True
        )
        compiled._needs_stub = False
        super().build_extension(compiled)

    def add_cuda_kernels(self, extension):
        """With CUDA's runtime inside, so that importing the module needs no library of CUDA's."""
        nvcc = find_nvcc()
        if nvcc is None:
            raise RuntimeError("nvcc not found; CUDACXX names it")
        options = ["-DEDGESDK_BUILD_CUDA=ON", "-DCMAKE_CUDA_COMPILER=" + nvcc]
        architectures = os.environ.get("EDGESDK_CUDA_ARCHITECTURES")
        if architectures:
            options.append("-DEDGESDK_CUDA_ARCHITECTURES=" + architectures)
        build = self.build_kernels("cmake_cuda", "edgesdk_kernels_cuda", *options)
        extension.extra_objects.append(os.path.join(build, "libedgesdk_kernels_cuda.a"))
        with open(os.path.join(build, "cuda_library_dirs")) as file:
            extension.library_dirs += file.read().split(";")
        extension.libraries += ["cudart_static", "dl", "rt", "pthread"]

    def build_kernels(self, folder, target, *options):
        """Build one library of CMakeLists.txt; the folder it then lies in."""
        cmake = shutil.which("cmake")
        if cmake is None:
            raise RuntimeError("cmake not found")
        build = os.path.join(os.path.abspath(self.build_temp), folder)
        os.makedirs(build, exist_ok=True)
        configure = [cmake] + list(options) + [HERE]
        for command in (configure, [cmake, "--build", ".", "--target", target]):
            subprocess.run(command, cwd=build, check=True)  # CMake 3.10 knows no -S, -B
        return build


BUILD_NATIVE = switch("EDGESDK_BUILD_NATIVE")
BUILD_CUDA = switch("EDGESDK_BUILD_CUDA")

NATIVE = Extension(
    "edgesdk.kernels._native",
    ["csrc/binding/_native.pyx"],
    include_dirs=["csrc/include"],
    depends=["csrc/binding/edgesdk_kernels.pxd", "csrc/include/edgesdk/kernels.h"],
    language="c++",
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
)
CUDA = Extension(
    "edgesdk.kernels._cuda",
    ["csrc/binding/_cuda.pyx"],
    include_dirs=["csrc/include"],
    depends=["csrc/binding/edgesdk_cuda.pxd", "csrc/include/edgesdk/cuda.h"],
    language="c++",
)
MODULES = [] if BUILD_NATIVE is False else [NATIVE]
if BUILD_CUDA or (BUILD_CUDA is None and MODULES and find_nvcc()):
    MODULES.append(CUDA)
WANTED = {NATIVE.name: BUILD_NATIVE, CUDA.name: BUILD_CUDA}
NOT_BUILT = {
    NATIVE.name: "edgesdk: native kernels not built ({}); the numpy reference will be used. "
    "EDGESDK_BUILD_NATIVE=yes makes this an error.",
    CUDA.name: "edgesdk: CUDA kernels not built ({}). EDGESDK_BUILD_CUDA=yes makes this an error.",
}
MEASURE = ["scikit-learn", "Pillow", "matplotlib"]
DOCS = ["mkdocs-material", "mkdocstrings[python]"]
LINT = ["ruff", "mypy", "clang-format", "vermin"]
EXTRAS = {
    "onnx": ["onnxruntime"],
    "torch": ["torch", "onnx"],
    "tensorrt": ["pycuda"],
    "train": ["torch", "onnx", "tqdm", "networkx"] + MEASURE,
    "demo": ["onnxruntime"] + MEASURE,
    "zstd": ["zstandard"],
    "lz4": ["lz4"],
    "metrics": ["prometheus-client"],
    "top": ["rich"],
    "plan": ['scipy>=1.9; python_version >= "3.8"'],  # milp, which Python 3.6 gets no scipy for
    "docs": [each + '; python_version >= "3.10"' for each in DOCS],
    "bench": ["grpcio"],  # only to compare with
    "peers": ['earlyon; python_version >= "3.10"'],  # the same; brings torchvision
    "lint": LINT,
}
# compiles the CUDA kernels for a Jetson Nano, which nvcc 13 no longer knows
NVRTC = 'nvidia-cuda-nvrtc-cu12; python_version >= "3.9"'
TEST = [
    "pytest",
    "pytest-timeout",
    "hypothesis",
    "vermin",
    "Cython>=3.0",
    "cmake>=3.10",
    "wheel",
    NVRTC,
]
RUN_EVERYTHING = ("onnx", "torch", "train", "demo", "zstd", "lz4", "metrics", "top", "plan", "docs")
EXTRAS["test"] = sorted(set(TEST).union(*(EXTRAS[name] for name in RUN_EVERYTHING)))

setup(
    name="edgesdk",
    version=re.search(r'^__version__ = "(.+)"', read("edgesdk/__init__.py"), re.M).group(1),
    description="Distributed early-exit inference of deep neural networks on edge devices",
    long_description=read("README.md") if os.path.exists(os.path.join(HERE, "README.md")) else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.6",
    packages=find_packages(include=["edgesdk", "edgesdk.*"]),
    package_data={"edgesdk": ["py.typed"]},
    install_requires=[
        "numpy>=1.19",
        # On a Nano its import ends in an illegal instruction.
        'numpy!=1.19.5; python_version < "3.7" and platform_machine == "aarch64"',
        "pyzmq>=25",
        'tomli; python_version < "3.11"',
    ],
    extras_require=EXTRAS,
    ext_modules=MODULES,
    cmdclass={"build_ext": BuildKernels},
    zip_safe=False,
)
