"""Metadata and build of edgesdk (the setuptools of Python 3.6 cannot read pyproject.toml).

EDGESDK_BUILD_NATIVE   yes: the native kernels must build; no: leave them out; unset: if possible
EDGESDK_BUILD_CUDA     reserved: this version has no CUDA kernels, so yes is refused
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


class BuildKernels(build_ext):
    """CMake builds the C++ kernels, Cython and setuptools the module around them."""

    def run(self):
        try:
            super().run()
        except Exception as error:  # no compiler, no CMake, no Cython, or one that fails
            if BUILD_NATIVE:
                raise
            self.extensions = []
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            print(
                "edgesdk: native kernels not built ({}); the numpy reference will be used. "
                "EDGESDK_BUILD_NATIVE=yes makes this an error.".format(reason),
                file=sys.stderr,
            )

    def build_extension(self, extension):
        import numpy
        from Cython.Build import cythonize

        library = self.build_kernels()
        extension.include_dirs.append(numpy.get_include())
        extension.extra_objects.append(library)
        generated = os.path.join(self.build_temp, "cython")
        (compiled,) = cythonize(
            [extension], build_dir=generated, include_path=["csrc/binding"], quiet=True
        )
        compiled._needs_stub = False
        super().build_extension(compiled)

    def build_kernels(self):
        cmake = shutil.which("cmake")
        if cmake is None:
            raise RuntimeError("cmake not found")
        build = os.path.join(os.path.abspath(self.build_temp), "cmake")
        os.makedirs(build, exist_ok=True)
        for command in ([cmake, HERE], [cmake, "--build", "."]):  # CMake 3.10 knows no -S, -B
            subprocess.run(command, cwd=build, check=True)
        return os.path.join(build, "libedgesdk_kernels.a")


BUILD_NATIVE = switch("EDGESDK_BUILD_NATIVE")
if switch("EDGESDK_BUILD_CUDA"):
    raise SystemExit(
        "EDGESDK_BUILD_CUDA: found yes, but this version of edgesdk has no CUDA kernels; unset it"
    )

NATIVE = Extension(
    "edgesdk.kernels._native",
    ["csrc/binding/_native.pyx"],
    include_dirs=["csrc/include"],
    depends=["csrc/binding/edgesdk_kernels.pxd", "csrc/include/edgesdk/kernels.h"],
    language="c++",
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
)
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
    "docs": [each + '; python_version >= "3.10"' for each in DOCS],
    "bench": ["grpcio"],  # only to compare with
    "lint": LINT,
}
TEST = ["pytest", "pytest-timeout", "hypothesis", "vermin", "Cython>=3.0", "cmake>=3.10", "wheel"]
RUN_EVERYTHING = ("onnx", "torch", "train", "demo", "zstd", "lz4", "metrics", "top", "docs")
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
    ext_modules=[] if BUILD_NATIVE is False else [NATIVE],
    cmdclass={"build_ext": BuildKernels},
    zip_safe=False,
)
