"""The double of the CUDA kernels: the functions of the real module, as strict as it is."""

import inspect
import re
from pathlib import Path

import kernels_double
import numpy as np
import pytest
from cuda_double import current
from gpu_machine import Machine

from edgesdk.errors import ConfigError, KernelError

BINDING = Path(__file__).resolve().parents[2] / "csrc" / "binding" / "_cuda.pyx"


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def cuda(machine):
    with current(machine) as made:
        yield made
    machine.check_clean()


@pytest.fixture
def kernels(machine):
    return kernels_double.double(machine)


def real_functions():
    """{name: its arguments, as they are written}."""
    text = re.sub(r"\s+", " ", BINDING.read_text("utf-8"))
    return dict(re.findall(r" def (\w+)\((.*?)\): ", text))


@pytest.mark.parametrize("name", sorted(real_functions()))
def test_functions_take_what_the_real_ones_take(kernels, name):
    assert str(inspect.signature(getattr(kernels, name))) == "({})".format(real_functions()[name])


def test_there_are_no_others(kernels):
    found = {name for name, value in vars(kernels).items() if inspect.ismethod(value)}
    assert found == set(real_functions()) and len(found) == 7
    assert "RANGE_VALUE_COUNT" in BINDING.read_text("utf-8") and kernels.RANGE_VALUE_COUNT


def test_nothing_is_computed_before_somebody_waits(cuda, kernels):
    stream, memory, target = cuda.Stream(), cuda.mem_alloc(64), np.zeros(2, np.uint8)
    cuda.memcpy_htod(memory, np.arange(8, dtype=np.uint8))
    where, handle = int(memory), stream.handle
    cuda.memcpy_htod_async(where + 16, np.array([3, 1]), stream)
    kernels.gather_rows(where, 8, 1, where + 16, 2, gathered=where + 32, stream=handle)
    cuda.memcpy_dtoh_async(target, where + 32, stream)
    assert target.tolist() == [0, 0]
    stream.synchronize()
    assert target.tolist() == [3, 1]
    memory.free()


def test_past_an_end_and_without_a_stream(cuda, machine, kernels):
    stream, memory = cuda.Stream(), cuda.mem_alloc(64)
    where = int(memory)
    kernels.exit_scores(where, (2, 8), scores=[where] * 4, stream=stream.handle)
    stream.synchronize()  # fits exactly
    kernels.exit_scores(where, (2, 9), scores=[where] * 4, stream=stream.handle)
    with pytest.raises(cuda.LogicError, match="illegal memory access"):
        stream.synchronize()
    kernels.exit_scores(where, (2, 8), scores=[where] * 4)
    assert [text.split(":")[0] for text in machine.complaints] == [
        "illegal access",
        "a kernel was launched on no stream of ours",
    ]
    del machine.complaints[:]
    memory.free()


def test_what_the_real_one_refuses(cuda, machine, kernels):
    with pytest.raises(ConfigError, match="a multiple of 4"):
        kernels.exit_scores(6, (2, 8), scores=[8] * 4)
    machine.broken.add("kernels for other gpus")
    with pytest.raises(KernelError, match="no kernel image"):
        kernels.exit_scores(8, (2, 8), scores=[8] * 4, stream=cuda.Stream().handle)
