"""The doubles of a GPU, of TensorRT and of the CUDA kernels, for the tests of this folder."""

import contextlib
import gc
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trt"))


class Board:
    """A machine with a version of TensorRT, and bundles whose engines are built for it."""

    def __init__(self, version, folder):
        from gpu_machine import Machine

        self.version, self.folder, self.machine = version, folder, Machine()

    def bundle(self, path, **options):
        """A copy of the bundle in folder `path`, with engines."""
        import engines

        copy = engines.copy_of(path, self.folder)
        engines.build(copy, self.version, self.machine, **options)
        return copy

    @contextlib.contextmanager
    def installed(self, kernels=True):
        """In there TensorRT, pycuda and, unless they were not built, the CUDA kernels are."""
        import kernels_double
        import trt_double

        with trt_double.installed(self.version, self.machine) as trt:
            with kernels_double.installed(self.machine if kernels else None):
                yield trt


@pytest.fixture
def board_of(tmp_path):
    """A function that makes boards; at the end nothing is left on them."""
    made = []

    def make(version="8.2.1"):
        made.append(Board(version, tmp_path / str(len(made))))
        made[-1].folder.mkdir()
        return made[-1]

    yield make
    gc.collect()
    for board in made:
        board.machine.gate = None
        board.machine.check_clean()


@pytest.fixture
def board(board_of):
    """A Jetson Nano with JetPack 4.6.1, on which everything is installed."""
    made = board_of()
    with made.installed():
        yield made
