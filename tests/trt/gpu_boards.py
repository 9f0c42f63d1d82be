"""Boards with a GPU: a machine, a version of TensorRT, and bundles with engines for them; and what
their tests share."""

import contextlib
import sys
from pathlib import Path

import built_engines
import kernels_double
import numpy as np
import pytest
import tiny
import trt_double
import trt_names
from gpu_machine import Machine

from edgesdk import Pipeline

ROOT = Path(__file__).resolve().parents[2]
TRAINED = str(ROOT / "engines" / "wrn16_1-digits" / "1")
NEWEST = trt_names.VERSIONS[-1]


class Board:
    """A machine with a version of TensorRT, and bundles whose engines are built for it."""

    def __init__(self, version, folder):
        self.version, self.folder, self.machine = version, folder, Machine()

    @property
    def cuda(self):
        """pycuda.driver, while it is installed."""
        return sys.modules["pycuda.driver"]

    def bundle(self, path, **options):
        """A copy of the bundle in folder `path`, with engines."""
        copy = built_engines.copy_of(path, self.folder)
        built_engines.build(copy, self.version, self.machine, **options)
        return copy

    @contextlib.contextmanager
    def installed(self, kernels=True):
        """In there TensorRT, pycuda and, unless they were not built, the CUDA kernels are."""
        built = kernels_double.installed(self.machine if kernels else None)
        with trt_double.installed(self.version, self.machine) as trt, built:
            yield trt


def normal(seed, *shape):
    """float32 numbers."""
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def on_gpu(backend, values):
    """A copy of `values` in the memory of a backend."""
    array = backend.memory.empty(values.shape)
    backend.memory.copy(values, array)
    return array


def scans(count):
    """Images of which some leave at every exit."""
    return list(np.random.RandomState(0).randint(0, 256, (count, 32, 32)).astype(np.uint8))


def brightnesses(count):
    """Images of the tiny network, of which some leave at every exit."""
    return [tiny.image(b) for b in np.linspace(0, 1, count)]


def agree(found, expected):
    """The same exits and classes; numbers of engines and of kernels differ in their last bits."""
    for one, other in zip(found, expected):
        assert one.ok, one
        assert (one.label, one.exit_index, one.reason) == (
            other.label, other.exit_index, other.reason,
        )  # fmt: skip
        for name in ("max_probability", "margin", "entropy"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=2e-6)
    assert len(found) == len(expected)


def on_cpu(path, images, **options):
    """What onnxruntime answers."""
    with Pipeline.open(path, backend="onnxruntime", max_batch=8, **options) as pipe:
        return pipe.infer(images)


def open_here(path, **options):
    """A pipeline on TensorRT."""
    return Pipeline.open(path, **dict({"backend": "tensorrt", "max_batch": 8}, **options))
