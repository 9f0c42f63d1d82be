"""Probes in processes of their own, on the libraries that are here, and on ones that misbehave."""

import ctypes
import json
import os
import subprocess

import numpy
import pytest

from edgesdk.doctor import probes
from edgesdk.doctor.libraries import command_for

NOISY = "import os, sys\nprint('hello')\nos.write(1, b'from C')\n"


def run(name, folder=None):
    """Status and answer of the probe, with what stands in `folder` before everything else."""
    done = subprocess.run(
        command_for(name),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=str(folder or ""), PYTHONDONTWRITEBYTECODE="1"),
        timeout=120,
    )
    return done.returncode, done.stdout


def test_numpy_is_the_one_that_is_here():
    status, out = run("numpy")
    assert status == 0
    assert json.loads(out.decode()) == {"version": numpy.__version__, "trace": 128.0}


def test_zmq_tells_of_curve():
    zmq = pytest.importorskip("zmq")
    told = json.loads(run("zmq")[1].decode())
    assert told == {
        "version": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "has_curve": zmq.has("curve"),
    }


def test_cuda_answers_with_and_without_a_driver():
    told = json.loads(run("cuda")[1].decode())
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert "libcuda.so.1" in told["driver_failure"] and told["devices"] == []
    else:
        assert told["driver"]


def test_what_is_missing_is_told_from_what_is_broken(tmp_path):
    for name in ("tensorrt", "pycuda"):
        told = json.loads(
            run(name, _library(tmp_path, name, "import not_there_at_all"))[1].decode()
        )
        assert told["is_missing"] is False and "not_there_at_all" in told["failure"]
    (tmp_path / "onnxruntime.py").write_text(
        "raise ModuleNotFoundError('No module', name='onnxruntime')"
    )
    assert json.loads(run("onnxruntime", tmp_path)[1].decode())["is_missing"] is True


def _library(folder, name, text):
    (folder / (name + ".py")).write_text(text)
    return folder


def test_what_a_library_prints_is_no_answer(tmp_path):
    _library(tmp_path, "tensorrt", NOISY + "__version__ = '8.2.1.8'")
    status, out = run("tensorrt", tmp_path)
    assert (status, json.loads(out.decode())) == (0, {"version": "8.2.1.8"})


def test_pycuda_says_what_it_was_built_for(tmp_path):
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda/__init__.py").write_text("VERSION_TEXT = '2022.1'")
    (tmp_path / "pycuda/driver.py").write_text("get_version = lambda: (10, 2, 0)")
    told = json.loads(run("pycuda", tmp_path)[1].decode())
    assert told == {"version": "2022.1", "built_for_cuda": "10.2.0"}


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "raise KeyboardInterrupt", "1 / 0"])
def test_whatever_a_library_raises_is_told(tmp_path, text):
    status, out = run("tensorrt", _library(tmp_path, "tensorrt", text))
    assert status == 0 and json.loads(out.decode())["failure"]


def test_a_library_that_dies_at_the_end_has_answered(tmp_path):
    text = "import atexit, os\natexit.register(os.abort)\n__version__ = '10.3.0'"
    status, out = run("tensorrt", _library(tmp_path, "tensorrt", text))
    assert (status, json.loads(out.decode())) == (0, {"version": "10.3.0"})


def test_versions_of_cuda_are_numbers_with_a_dot():
    assert [probes._dotted(version) for version in (10020, 11040, 12060)] == [
        "10.2",
        "11.4",
        "12.6",
    ]


class Driver:
    """libcuda as its header describes it, with one device or an error; strict about its calls."""

    def __init__(self, status=0):
        self.status, self.is_ready = status, False

    def cuDriverGetVersion(self, version):
        version._obj.value = 10020
        return 0

    def cuInit(self, flags):
        assert flags == 0
        self.is_ready = self.status == 0
        return self.status

    def cuDeviceGetCount(self, count):
        assert self.is_ready
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device, ordinal):
        assert ordinal == 0
        device._obj.value = 40
        return 0

    def cuDeviceGetName(self, name, length, device):
        assert device.value == 40 and length < 256
        name.value = b"NVIDIA Tegra X1"
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = {75: 5, 76: 3}[attribute]
        return 0

    def cuGetErrorName(self, status, name):
        if status != 100:
            return 1
        name._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0


@pytest.mark.parametrize(
    ("status", "failure"), [(0, None), (100, "CUDA_ERROR_NO_DEVICE"), (7, "error 7 of the driver")]
)
def test_a_driver_is_asked_in_order(monkeypatch, status, failure):
    monkeypatch.setattr(probes, "_runtime_version", lambda: "10.2")
    monkeypatch.setattr(probes.ctypes, "CDLL", lambda name: Driver(status))
    told = probes._cuda()
    assert (told["runtime"], told["driver"], told.get("driver_failure")) == (
        "10.2",
        "10.2",
        failure,
    )
    devices = [] if status else [{"name": "NVIDIA Tegra X1", "capability": "5.3"}]
    assert told["devices"] == devices
