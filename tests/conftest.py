"""Runs before any test module: one compute thread per library, and no deadlines on properties."""

import contextlib
import gc
import os
import sys

import pytest

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "trt"))

# Read once, when numpy or torch is first imported; several threads per test only fight each other.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

with contextlib.suppress(ImportError):  # absent on a device that runs only some of the tests
    from hypothesis import HealthCheck, settings

    # A slow machine is not a failure.
    slowness = [HealthCheck.too_slow]
    settings.register_profile("edgesdk", deadline=None, suppress_health_check=slowness)
    settings.load_profile("edgesdk")


def pytest_runtest_setup(item):
    """What is asked of the torch backend is skipped where there is no torch, as on a device."""
    parameters = getattr(item, "callspec", None)
    if parameters and any(isinstance(p, str) and p == "torch" for p in parameters.params.values()):
        pytest.importorskip("torch")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The hand-computable bundle of `tiny`."""
    import tiny

    return tiny.write_tiny_bundle(tmp_path_factory.mktemp("engines") / "tiny" / "1")


@pytest.fixture(params=["onnxruntime", "torch"])
def pipe(request, bundle):
    """A pipeline on the tiny bundle, on each backend."""
    import edgesdk

    with edgesdk.Pipeline.open(bundle.path, backend=request.param) as opened:
        yield opened


@pytest.fixture
def gated(bundle):
    """A function that opens pipelines on a backend which waits for the test."""
    from gated import open_gated

    opened = []

    def open_one(*arguments, **options):
        pipe, backend = open_gated(bundle, *arguments, **options)
        opened.append((pipe, backend))
        return pipe, backend

    yield open_one
    for pipe, backend in opened:
        backend.gate.set()
        pipe.close()


@pytest.fixture
def board_of(tmp_path):
    """A function that makes boards; at the end nothing is left on them."""
    from gpu_boards import Board

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
