"""Which kernels are used, that both have the same functions, and that threads may share them."""

import inspect
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from edgesdk import kernels
from edgesdk.kernels import reference

OPERATIONS = sorted(name for name in kernels.__all__ if inspect.isroutine(getattr(kernels, name)))


def run(code, **environment):
    """Run `code` in a fresh interpreter: status, standard output, standard error."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=dict(os.environ, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    out, err = process.communicate()
    return process.returncode, out.strip(), err.strip()


# Makes the native module impossible to import, as where it was not built.
HIDE = "import sys; sys.modules['edgesdk.kernels._native'] = None; "
SHOW = "import edgesdk.kernels as k; print(k.implementation)"


def test_seven_operations():
    assert len(OPERATIONS) == 7


@pytest.mark.parametrize("name", OPERATIONS)
def test_native_has_every_function_with_the_same_signature(name):
    native = pytest.importorskip("edgesdk.kernels._native")
    ours = inspect.signature(getattr(reference, name)).parameters.values()
    theirs = inspect.signature(getattr(native, name)).parameters.values()
    assert [(p.name, p.default, p.kind) for p in theirs] == [
        (p.name, p.default, p.kind) for p in ours
    ]


def test_native_exports_nothing_else():
    native = pytest.importorskip("edgesdk.kernels._native")
    functions = [
        name
        for name, value in vars(native).items()
        if not name.startswith("_") and callable(value) and not inspect.isclass(value)
    ]
    assert sorted(functions) == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_public_function_is_the_chosen_one(name):
    module = getattr(kernels, name).__module__
    assert module.endswith("_native" if kernels.implementation == "native" else "reference")
    assert getattr(reference, name).__doc__


def test_native_is_chosen_where_it_is_built():
    pytest.importorskip("edgesdk.kernels._native")
    assert run(SHOW, EDGESDK_KERNELS="") == (0, "native", "")


def test_reference_is_chosen_silently_where_native_is_missing():
    assert run(HIDE + SHOW, EDGESDK_KERNELS="") == (0, "reference", "")
    _, out, _ = run(HIDE + "import edgesdk.kernels as k; print(k.native_failure)")
    assert "_native" in out


def test_reference_on_demand():
    assert run(SHOW, EDGESDK_KERNELS="reference") == (0, "reference", "")


def test_native_on_demand_fails_with_the_first_cause_and_the_command():
    status, _, err = run(HIDE + SHOW, EDGESDK_KERNELS="native")
    last = err.splitlines()[-1]
    assert status == 1
    assert last.startswith("edgesdk.errors.KernelError: EDGESDK_KERNELS")
    assert "edgesdk.kernels._native" in last
    assert last.endswith("EDGESDK_BUILD_NATIVE=yes pip install .")


def test_another_value_is_a_configuration_error():
    status, _, err = run(SHOW, EDGESDK_KERNELS="fast")
    assert status == 1
    assert 'ConfigError: EDGESDK_KERNELS: found "fast", expected "native"' in err


def test_threads_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((4, 16, 9, 9)).astype(np.float32) for _ in range(4)]
    weight = rng.standard_normal((10, 16)).astype(np.float32)
    bias = np.zeros(10, np.float32)
    expected = [kernels.exit_head(features, weight, bias).entropy for features in inputs]
    wrong = []

    def repeat(index):
        for _ in range(200):
            found = kernels.exit_head(inputs[index], weight, bias).entropy
            if not np.array_equal(found, expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_native_kernels_release_the_interpreter():
    """Another thread counts while this one is inside a kernel.

    With a long switch interval nothing else lets it in between the two readings of the counter.
    """
    native = pytest.importorskip("edgesdk.kernels._native")
    values = np.zeros((1, 4000000), np.float32)
    stop, number = threading.Event(), [0]

    def count():
        while not stop.is_set():
            number[0] += 1

    def counted_meanwhile():
        before = number[0]
        native.cosine_difference(values, values)
        return number[0] > before

    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.5)
    thread = threading.Thread(target=count)
    try:
        thread.start()
        assert any(counted_meanwhile() for _ in range(100))  # a busy machine may not let it run
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
