"""One engine after the other, in this process, on every double: what it gives, and that nothing of
the GPU is left or misused, whatever fails."""

import gc
import os

import builds
import numpy as np
import pytest
import tiny
import trt_double
import trt_names
from gpu_machine import Machine

from edgesdk.build import build_task, gpu_task, trial
from edgesdk.errors import BackendUnavailable, BundleError, EngineError

EVERY_VERSION = pytest.mark.parametrize("version", trt_names.VERSIONS)
SHAPE = [2, tiny.SIZE, tiny.SIZE]


@pytest.fixture
def request_for(tmp_path):
    """A function that makes requests: the second segment of the tiny network, which passes its
    features on, with golden outputs."""
    features = np.random.RandomState(1).rand(4, *SHAPE).astype(np.float32)

    def make(content=None, golden=features, **changed):
        onnx = tmp_path / "segment_1.onnx"
        onnx.write_bytes(tiny.tiny_files()["onnx/segment_1.onnx"] if content is None else content)
        np.savez(str(tmp_path / "golden.npz"), features=features, features_out=golden)
        request = {
            "onnx": "onnx/segment_1.onnx",
            "path": str(onnx),
            "input_shape": SHAPE,
            "output_shape": SHAPE,
            "precision": "fp16",
            "max_batch": 8,
            "optimum_batch": 1,
            "workspace_bytes": 64 << 20,
            "timing_cache": str(tmp_path / "timing"),
            "out": str(tmp_path / "segment_1.engine"),
            "golden": str(tmp_path / "golden.npz"),
            "checked_as": "fp16",
        }
        return dict(request, **changed)

    return make


def answer(request, version="8.2.1", task=build_task, **machine):
    """What the task answers; then the machine is clean."""
    made = machine.pop("machine", None) or Machine(**machine)
    try:
        with trt_double.installed(version, made):
            return task.answer(request)
    finally:
        gc.collect()
        made.check_clean()


def on_broken(fault):
    machine = Machine()
    machine.broken.add(fault)
    return machine


@EVERY_VERSION
def test_an_engine_is_built_tried_and_written(request_for, version):
    asked = request_for(precision=None if version.startswith("11") else "fp16")
    told = answer(asked, version)
    assert told["bytes"] == os.path.getsize(asked["out"])
    assert told["layer_count"] == 1 and told["error"] < trial.TOLERANCES["fp16"]
    assert (told["notes"], told["skipped_tactic_count"]) == ([], 0)


@EVERY_VERSION
def test_what_a_gpu_offers_is_told(version):
    told = answer({}, version, gpu_task, fast_int8=True, fast_fp16=False)
    assert told["device"] == {
        "tensorrt": version,
        "gpu": "NVIDIA Tegra X1",
        "compute_capability": (5, 3),
    }
    has_flags = not version.startswith("11")
    assert told["has_flags"] is has_flags
    known = (False, True) if has_flags else (None, None)
    assert (told["has_fp16"], told["has_int8"]) == known


@pytest.mark.parametrize("fault", ["no gpu", "old driver", "no driver"])
def test_without_a_gpu_it_is_no_crash(fault):
    with pytest.raises((BackendUnavailable, EngineError)) as caught:
        machine = on_broken(fault)
        try:
            answer({}, task=gpu_task, machine=machine)
        finally:
            machine.broken.clear()
    assert "python -m edgesdk.doctor --for tensorrt" in str(caught.value)


def test_tensorrt_8_0_is_told_from_what_it_lacks():
    machine = Machine()
    with trt_double.installed("8.2.1", machine) as trt:
        del trt.EngineInspector
        trt.__version__ = "8.0.1.6"
        with pytest.raises(BackendUnavailable, match=r"found TensorRT 8\.0\.1\.6, needed 8\.2"):
            gpu_task.answer({})


@pytest.mark.parametrize("version", ["8.2.1", "8.6.1", "10.3.0"])
@pytest.mark.parametrize(
    "fault, said",
    [
        ("memory at build", "the GPU had too little memory"),
        ("build fails", "Could not find any implementation.*--workspace-mib 512"),
        ("memory at deserialize", "the GPU had too little memory"),
        ("memory at context", "the GPU had too little memory"),
        ("memory at alloc", "GPU memory: found .* MB free"),
        ("execute", "TensorRT: found Error Code 3"),
    ],
)
def test_whatever_fails_nothing_is_left_on_the_gpu(request_for, version, fault, said):
    asked = request_for()
    with pytest.raises(EngineError, match="^onnx/segment_1.onnx: .*" + said):
        answer(asked, version, machine=on_broken(fault))
    assert not os.path.exists(asked["out"])


def test_memory_that_ends_only_for_the_features(request_for):
    """pycuda's MemoryError is none of Python's."""
    machine = Machine()
    allocate = machine.allocate

    def refuse(size_bytes):
        is_theirs = size_bytes == 512  # one sample has 288, and room comes in powers of two
        machine.broken = {"memory at alloc"} if is_theirs else set()
        try:
            return allocate(size_bytes)
        finally:
            machine.broken = set()

    machine.allocate = refuse
    with pytest.raises(EngineError, match=r"GPU memory: found .* MB free"):
        answer(request_for(), machine=machine)


class TestTheCheck:
    def test_an_engine_that_computes_something_else_is_not_written(self, request_for):
        asked = request_for(golden=np.zeros([4, *SHAPE], np.float32) + 0.5)
        with pytest.raises(EngineError, match="computes something else than the CPU: found an err"):
            answer(asked)
        assert not os.path.exists(asked["out"])

    def test_nan_is_no_answer(self, request_for):
        weight = np.full((2, 2, 1, 1), np.inf)
        content = tiny.conv_model(weight, np.zeros(2), (tiny.SIZE, tiny.SIZE))
        with pytest.raises(EngineError, match="computes something else"):
            answer(request_for(content))

    @pytest.mark.parametrize("precision, limit", sorted(trial.TOLERANCES.items()))
    def test_each_precision_has_its_tolerance(self, request_for, precision, limit):
        features = np.random.RandomState(1).rand(4, *SHAPE).astype(np.float32)
        for factor, is_good in ((0.8, True), (1.3, False)):
            golden = features + np.float32(factor * limit)  # the largest is then about 1 + limit
            asked = request_for(golden=golden, precision="fp32", checked_as=precision)
            if is_good:
                assert 0.6 * limit < answer(asked)["error"] < limit
            else:
                with pytest.raises(EngineError, match="expected at most"):
                    answer(asked)

    def test_other_shapes_than_golden_are_refused(self, request_for):
        asked = request_for(golden=np.zeros((4, 2), np.float32))
        with pytest.raises(EngineError, match=r"found golden features and outputs of .* needed"):
            answer(asked)

    def test_a_largest_batch_of_one_is_tried_with_one(self, request_for):
        assert answer(request_for(max_batch=1))["error"] < 1e-3

    def test_without_golden_outputs_it_is_loaded_and_not_run(self, request_for):
        asked = request_for(golden=np.zeros([4, *SHAPE], np.float32))
        assert answer(dict(asked, golden=None))["error"] is None

    def test_golden_outputs_that_are_none_are_named(self, request_for, tmp_path):
        (tmp_path / "other").write_bytes(b"rubbish")
        with pytest.raises(EngineError, match=r"other: found .*; needed golden outputs"):
            answer(dict(request_for(), golden=str(tmp_path / "other")))


class TestTheNetwork:
    def test_shapes_that_the_manifest_does_not_say_are_refused(self, request_for):
        with pytest.raises(BundleError, match=r"onnx/segment_1.onnx: input is float \[any, 2, 6"):
            answer(request_for(input_shape=[3, 6, 6]))
        with pytest.raises(BundleError, match="output is float"):
            answer(request_for(output_shape=[3, 6, 6]))

    def test_rubbish_is_named(self, request_for):
        with pytest.raises(EngineError, match="cannot read it: found Failed to parse ONNX model"):
            answer(request_for(b"rubbish"))

    def test_a_missing_file_is_named(self, request_for):
        with pytest.raises(EngineError, match=r"onnx/segment_1.onnx: cannot be read"):
            answer(request_for(path="no such file"))

    def test_int8_of_q_dq_nodes_needs_no_calibration(self, request_for):
        features = np.random.RandomState(1).rand(4, *SHAPE).astype(np.float32)
        golden = np.round(features * 64) / 64
        content = builds.quantized()
        asked = request_for(content, golden, precision="int8", checked_as="int8")
        assert answer(asked, "8.5.3", fast_int8=True)["error"] < 0.01


class TestTimingCache:
    def test_a_second_build_times_less(self, request_for):
        machine = Machine()
        answer(request_for(), machine=machine)
        first_count = machine.timed_tactic_count
        machine.primary = None
        answer(request_for(), machine=machine)
        assert machine.timed_tactic_count == first_count > 0

    @pytest.mark.parametrize("content", [b"rubbish", b"\0" * 1000])
    def test_rubbish_is_left_aside_and_written_over(self, request_for, tmp_path, content):
        (tmp_path / "timing").write_bytes(content)
        (note,) = answer(request_for())["notes"]
        assert "damaged, or of another GPU or TensorRT; begun anew" in note
        assert answer(request_for())["notes"] == []

    def test_that_of_another_gpu_is_left_aside(self, request_for):
        answer(request_for(), **builds.ORIN)
        (note,) = answer(request_for())["notes"]
        assert "another GPU" in note

    def test_one_that_cannot_be_kept_is_no_failure(self, request_for, tmp_path):
        (tmp_path / "place").write_text("a file")
        told = answer(request_for(timing_cache=str(tmp_path / "place" / "timing")))
        assert "the timing cache was not kept" in told["notes"][-1]

    def test_none_is_needed(self, request_for):
        assert answer(request_for(timing_cache=None))["notes"] == []
