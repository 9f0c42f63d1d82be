"""TensorRT as a backend: which engines it takes, what it says, and fleets in which it computes.

Every test ends with a look at the double of the GPU: nothing leaked, nothing was misused.
"""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import built_engines
import numpy as np
import pytest
import tiny
import trt_double
from clusters import Clustered, worker
from gpu_boards import NEWEST, ROOT, TRAINED, agree, brightnesses, on_cpu, open_here, scans

from edgesdk import CosineDifference, Failed, FixedExit, MaxProbability, Pipeline
from edgesdk.backends import open_backend
from edgesdk.backends.trt import TensorRTBackend
from edgesdk.bundle import read_bundle
from edgesdk.bundle_update import update_bundle
from edgesdk.cluster import read_cluster
from edgesdk.errors import BackendUnavailable, EngineError
from edgesdk.manifest import policy_id


class OnTheGpu(Clustered):
    """A cluster in which the workers whose names begin with "gpu" compute there."""

    def __init__(self, folder, path, policy=None, codec="raw"):
        measured = {"pessimistic_lost_points": 0.0, "provenance": {"policy_id": policy_id(policy)}}
        update_bundle(path, {}, {}, {}, codecs={} if codec == "raw" else {codec: measured})
        super().__init__(folder, read_bundle(path))
        self.top, self.policy = 'codec = "{}"\n'.format(codec), policy

    def start(self, *workers):
        """All of them; the first is returned."""
        self.describe(*workers, top=self.top)
        for entry in read_cluster(self.path).workers:
            backend = "tensorrt" if entry.name.startswith("gpu") else "onnxruntime"
            self.open(entry.name, self.policy, backend=backend, max_batch=8)
        return self.meet()[0]


class TestFleet:
    """One worker computes on the GPU, one on the CPU, and tasks go both ways."""

    @pytest.mark.parametrize("codec", ["raw", "uint8", "float16"])
    @pytest.mark.parametrize("policy", [MaxProbability(0.8), CosineDifference(0.95)], ids=repr)
    def test_from_the_gpu_to_the_cpu_and_back(self, board, tmp_path, bundle, codec, policy):
        path, images = board.bundle(bundle.path), brightnesses(12)
        clustered = OnTheGpu(tmp_path, path, policy, codec)
        try:
            gpu = clustered.start(worker("gpu", stages=[0, 2]), worker("cpu", stages=[1]))
            found, alone = gpu.infer(images), on_cpu(path, images, policy=policy)
            assert [outcome.label for outcome in found] == [outcome.label for outcome in alone]
            if codec == "raw":
                agree(found, alone)
                assert {o.worker for o in found} == {
                    ("gpu", "cpu", "gpu")[o.exit_index] for o in alone
                }
        finally:
            clustered.close()

    @pytest.mark.parametrize(("gpu", "cpu"), [([0], [1, 2]), ([1, 2], [0])])
    def test_through_a_bottleneck(self, board, tmp_path, gpu, cpu):
        """One that swaps the classes: encoded and decoded on either side."""
        coded = tiny.write_with_bottleneck(tmp_path / "coded", border=1, swaps=True)
        path, images = board.bundle(coded.path), brightnesses(12)
        policy = FixedExit(2)
        clustered = OnTheGpu(tmp_path, path, policy, "learned")
        try:
            on_gpu, on_host = worker("gpu", stages=gpu), worker("cpu", stages=cpu)
            first = clustered.start(*([on_gpu, on_host] if 0 in gpu else [on_host, on_gpu]))
            found = [outcome.label for outcome in first.infer(images)]
        finally:
            clustered.close()
        straight = [outcome.label for outcome in on_cpu(path, images, policy=policy)]
        swapped = {"bright": "dark", "dark": "bright"}
        assert found == [swapped[label] for label in straight]

    def test_a_stage_that_hangs_costs_its_items_and_no_others(self, board, tmp_path, bundle):
        path, images = board.bundle(bundle.path), brightnesses(4)
        clustered = OnTheGpu(tmp_path, path, MaxProbability(0.8))
        try:
            gpu = clustered.start(worker("gpu"), worker("cpu", stages=[]))
            gpu.infer(images)
            gpu._loop.stage_us_max = 100_000
            gpu._loop._longest_us.clear()
            gpu._loop._longest_us.update({(0, count): 1e9 for count in range(9)})  # not in the loop
            board.machine.gate = threading.Event()
            (outcome,) = gpu.infer(images[:1])
            assert isinstance(outcome, Failed) and "has run for 0.1 s" in str(outcome)
            gpu._loop.stage_us_max = 30_000_000
            board.machine.gate.set()
            agree(gpu.infer(images), on_cpu(path, images, policy=MaxProbability(0.8)))
        finally:
            clustered.close()

    def test_who_computes_nothing_needs_no_gpu(self, board, tmp_path, bundle):
        path = board.bundle(bundle.path)
        clustered = Clustered(tmp_path, read_bundle(path)).describe(worker("camera", stages=[]))
        with Pipeline.open(cluster=clustered.path, name="camera") as pipe:
            assert pipe.backend.name == "onnxruntime"

    def test_to_a_gpu(self, board, tmp_path, bundle):
        path, images = board.bundle(bundle.path), brightnesses(12)
        clustered = OnTheGpu(tmp_path, path, MaxProbability(0.8))
        try:
            camera = clustered.start(worker("camera", stages=[]), worker("gpu"))
            agree(camera.infer(images), on_cpu(path, images, policy=MaxProbability(0.8)))
        finally:
            clustered.close()

    @pytest.mark.parametrize("codec", ["raw", "uint8"])
    def test_features_are_quantized_before_they_are_copied(self, board, tmp_path, bundle, codec):
        path, images = board.bundle(bundle.path), brightnesses(12)
        board.machine.is_integrated = False
        clustered = OnTheGpu(tmp_path, path, FixedExit(1), codec)
        try:
            gpu = clustered.start(worker("gpu", stages=[0]), worker("cpu", stages=[1, 2]))
            before = board.machine.copied_bytes["dtoh"]
            assert all(outcome.ok for outcome in gpu.infer(images))
            copied = board.machine.copied_bytes["dtoh"] - before
        finally:
            clustered.close()
        value_count = 2 * tiny.SIZE * tiny.SIZE
        each = 4 * value_count if codec == "raw" else value_count + 8
        assert copied == len(images) * each  # exit 0 is not evaluated


class TestFailures:
    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    def test_a_stage_that_fails_fails_its_items_and_the_next_are_answered(self, board_of, version):
        board = board_of(version)
        path = board.bundle(TRAINED)
        with board.installed(), open_here(path) as pipe:
            board.machine.broken.add("execute")
            for outcome in pipe.infer(scans(3)):
                assert isinstance(outcome, Failed)
                assert "an illegal instruction was encountered" in str(outcome)
            board.machine.broken.clear()
            agree(pipe.infer(scans(3)), on_cpu(path, scans(3)))

    def test_what_the_gpu_reports_later_fails_the_items_too(self, board, bundle):
        path = board.bundle(bundle.path)
        with open_here(path) as pipe:
            program = pipe._executor._stages[(0, 0)].program
            enqueue = program._enqueue
            program._enqueue = lambda source, target: enqueue(source + (1 << 30), target)
            (outcome,) = pipe.infer(brightnesses(1))
            assert isinstance(outcome, Failed)
            assert "the GPU failed: found an illegal memory access" in str(outcome)
            program._enqueue = enqueue
            agree(pipe.infer(brightnesses(4)), on_cpu(path, brightnesses(4)))
        assert board.machine.complaints.pop().startswith("illegal access")

    @pytest.mark.parametrize(
        ("fault", "version", "said"),
        [
            ("memory at deserialize", "8.2.1", "OutOfMemory"),
            ("memory at context", "8.2.1", "Cuda Runtime (out of memory)"),
            ("memory at context", NEWEST, "Cuda Runtime (out of memory)"),
            ("memory at alloc", "8.2.1", "GPU memory: found"),
            ("memory at alloc", NEWEST, "GPU memory: found"),
        ],
    )
    def test_too_little_memory(self, board_of, bundle, fault, version, said):
        board = board_of(version)
        path = board.bundle(bundle.path)
        with board.installed():
            board.machine.broken.add(fault)
            with pytest.raises(EngineError) as caught:
                open_here(path)
        message = str(caught.value)
        assert said in message and "in use by others" in message
        assert 'backend="onnxruntime"' in message

    def test_memory_of_others_is_told_apart(self, board, bundle):
        path = board.bundle(bundle.path)
        board.machine.others_bytes = 3 << 30
        board.machine.broken.add("memory at deserialize")
        with pytest.raises(EngineError, match="of which 3072 MB were in use by others"):
            open_here(path)

    @pytest.mark.parametrize("fault", ["no gpu", "no driver", "old driver"])
    def test_no_gpu_by_name_and_unasked(self, board_of, bundle, fault):
        board = board_of()
        path = board.bundle(bundle.path)
        board.machine.broken.add(fault)
        with board.installed():
            kind = EngineError if fault == "old driver" else BackendUnavailable
            with pytest.raises(kind, match=r"python -m edgesdk\.doctor --for tensorrt"):
                open_here(path)
            with Pipeline.open(path) as pipe:
                assert pipe.backend.name == "onnxruntime"

    def test_an_older_tensorrt_is_refused(self, board, bundle):
        path = board.bundle(bundle.path)
        trt = sys.modules["tensorrt"]
        del trt.EngineInspector
        trt.__version__ = "8.0.1.6"
        with pytest.raises(BackendUnavailable, match=r"found TensorRT 8\.0\.1\.6, needed 8\.2"):
            open_here(path)


class TestEngines:
    """Which are taken."""

    def test_without_engines_by_name(self, board, bundle):
        path = built_engines.copy_of(bundle.path, board.folder)
        with pytest.raises(EngineError) as caught:
            open_here(path)
        message = str(caught.value)
        assert "found none; needed TensorRT 8.2.1 on NVIDIA Tegra X1 (5.3)" in message
        assert "python -m edgesdk.build " + path in message

    def test_without_engines_unasked_the_next_computes_and_the_log_says_so_once(
        self, board, bundle, caplog
    ):  # fmt: skip
        path = built_engines.copy_of(bundle.path, board.folder)
        for _ in range(2):
            with Pipeline.open(path) as pipe:
                assert pipe.backend.name == "onnxruntime"
        (said,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert said.message.startswith("tensorrt is here and not used: ")
        assert "python -m edgesdk.build " + path in said.message

    def test_with_engines_it_is_the_best_unasked(self, board, bundle, caplog):
        path = board.bundle(bundle.path)
        with Pipeline.open(path, max_batch=8) as pipe:
            assert pipe.backend.name == "tensorrt"
        assert not caplog.records

    def test_where_no_bundle_is_known_it_is_taken_by_name_only(self, board):
        assert open_backend().name == "onnxruntime"
        backend = open_backend("tensorrt")
        assert backend.name == "tensorrt"
        backend.close()

    def test_of_another_version(self, board_of, bundle):
        board = board_of("8.2.1")
        path = board.bundle(bundle.path)
        other = board_of("8.5.3")
        with other.installed(), pytest.raises(EngineError, match=r"found TensorRT 8\.2\.1 on"):
            open_here(path)

    def test_cut_short(self, board, bundle):
        path = board.bundle(bundle.path)
        (engine,) = Path(path).glob("compiled/*/onnx/segment_1.engine")
        engine.write_bytes(engine.read_bytes()[:-10])
        with pytest.raises(EngineError, match=r"the engine has changed.*--force"):
            open_here(path)

    def test_that_no_tensorrt_can_read(self, board, bundle):
        path = board.bundle(bundle.path)
        built_engines.replace_engine(path, "onnx/segment_1.onnx", b"no engine at all")
        with pytest.raises(EngineError, match=r"Serialization assertion failed.*--force"):
            open_here(path)

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    def test_of_another_stage(self, board_of, bundle, version):
        board = board_of(version)
        path = board.bundle(bundle.path)
        (first,) = Path(path).glob("compiled/*/onnx/segment_0.engine")
        built_engines.replace_engine(path, "onnx/segment_1.onnx", first.read_bytes())
        with board.installed(), pytest.raises(EngineError) as caught:
            open_here(path)
        assert (
            "found input float32 [-1, 1, 6, 6], output float32 [-1, 2, 6, 6], needed input "
            "[-1, 2, 6, 6] and output [-1, 2, 6, 6] of float32" in str(caught.value)
        )

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    @pytest.mark.parametrize("value", [3.0, np.nan])
    def test_that_give_other_numbers(self, board_of, bundle, version, value):
        board = board_of(version)
        path = board.bundle(bundle.path)
        (golden,) = Path(path).glob("compiled/*/onnx/segment_1.npz")
        with np.load(str(golden)) as arrays:
            kept = dict(arrays)
        kept["features_out"][1, 0, 2, 2] += value
        np.savez(str(golden), **kept)
        with board.installed(), pytest.raises(EngineError, match="found outputs that are wrong by"):
            open_here(path)

    def test_whose_golden_features_are_gone(self, board, bundle):
        path = board.bundle(bundle.path)
        (golden,) = Path(path).glob("compiled/*/onnx/segment_1.npz")
        golden.unlink()
        with pytest.raises(EngineError, match=r"segment_1\.npz: found FileNotFoundError"):
            open_here(path)

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    def test_for_smaller_batches(self, board_of, bundle, version):
        board = board_of(version)
        path = board.bundle(bundle.path, max_batch=4)
        with board.installed():
            with pytest.raises(EngineError) as caught:
                open_here(path, max_batch=5)
            message = str(caught.value)
            assert "max_batch: found 5, needed at most 4" in message
            assert "python -m edgesdk.build {} --max-batch 5".format(path) in message
            with open_here(path, max_batch=None) as pipe:  # what the engines take
                agree(pipe.infer(brightnesses(9)), on_cpu(path, brightnesses(9)))
            backend = TensorRTBackend()
            program = backend.load(path + "/onnx/segment_0.onnx", (1, 6, 6), (2, 6, 6))
            features, out = np.zeros((5, 1, 6, 6), np.float32), np.zeros((5, 2, 6, 6), np.float32)
            for _ in range(2):
                with pytest.raises(EngineError, match="needed a batch of 5, of at most 4"):
                    program.run(features, out)
            program.run(features[:4], out[:4])  # the next one is no worse for it
            backend.close()


@pytest.mark.parametrize("version", ["8.2.1", NEWEST])
def test_what_the_builder_leaves_is_found_and_run(board_of, bundle, version):
    board = board_of(version)
    path, images = built_engines.copy_of(bundle.path, board.folder), brightnesses(8)
    subprocess.check_output(
        [sys.executable, "-m", "edgesdk.build", path, "--precision", "fp32"],
        cwd=str(ROOT),
        env=trt_double.environment(version),
    )
    with board.installed(), Pipeline.open(path) as pipe:
        assert pipe.backend.name == "tensorrt"
        agree(pipe.infer(images), on_cpu(path, images))


ALONE = """
import builtins, sys
import numpy as np
asked = []
original = builtins.__import__

def spy(name, globals=None, *rest, **more):
    whose = (globals or {{}}).get("__name__", "")
    if whose.startswith("edgesdk") and name.split(".")[0] in ("torch", "onnxruntime", "onnx"):
        asked.append((whose, name))
    return original(name, globals, *rest, **more)

builtins.__import__ = spy
import edgesdk
with edgesdk.Pipeline.open({path!r}, max_batch=8) as pipe:
    print(pipe.backend.name, pipe.infer(np.full((6, 6), 250, np.uint8)).label, asked)
"""


def on_its_own(program):
    """What a process said that ran `program` where TensorRT is the double of 8.2.1."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=str(ROOT),
        env=trt_double.environment("8.2.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )


def test_nothing_of_ours_imports_another_runtime(board_of, bundle):
    """The double computes by onnxruntime; so it is asked who imports."""
    board = board_of()
    path = board.bundle(bundle.path)
    done = on_its_own(ALONE.format(path=path))
    assert done.stdout == "tensorrt bright []\n", done.stderr
    assert "the double of a GPU" not in done.stderr


LEFT_OPEN = """
import os, sys
import numpy as np
from edgesdk.backends import open_backend
backend = open_backend("tensorrt")
program = backend.load({path!r}, (1, 6, 6), (2, 6, 6))
kept = backend.memory.empty((4,))
if not os.fork():
    sys.exit()  # as an application's child does
os.wait()
print(backend.name)
"""


def test_a_process_that_closes_nothing_leaves_nothing(board_of, bundle):
    board = board_of()
    path = board.bundle(bundle.path) + "/onnx/segment_0.onnx"
    done = on_its_own(LEFT_OPEN.format(path=path))
    assert (done.stdout, done.returncode) == ("tensorrt\n", 0), done.stderr
    told = done.stderr.count("the double of a GPU")
    assert told == 1, done.stderr  # only by the fork, which touched nothing
