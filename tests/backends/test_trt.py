"""TensorRT as a backend of pipelines: the same answers as onnxruntime, on doubles of a GPU.

Every test ends with a look at the double: nothing leaked, nothing was misused.
"""

import logging
import subprocess
import sys
import threading
from pathlib import Path

import engines
import numpy as np
import pytest
import test_backends
import tiny
import tiny_ensemble
import trt_double
import trt_names
from clusters import Clustered, eventually, worker
from test_backends import bundle, mixed  # noqa: F401  fixtures of the contract

from edgesdk import CosineDifference, Failed, FixedExit, MaxProbability, Pipeline
from edgesdk.backends import open_backend
from edgesdk.backends.trt import TensorRTBackend
from edgesdk.bundle import read_bundle
from edgesdk.bundle_update import update_bundle
from edgesdk.cluster import read_cluster
from edgesdk.errors import BackendUnavailable, ConfigError, EngineError
from edgesdk.manifest import policy_id

ROOT = Path(__file__).resolve().parents[2]
TRAINED = str(ROOT / "engines" / "wrn16_1-digits" / "1")
SCORES_BYTES = 8 + 3 * 4  # of a sample: class, max probability, margin, entropy
NEWEST = trt_names.VERSIONS[-1]


def scans(count):
    """Images of which some leave at every exit."""
    return list(np.random.RandomState(0).randint(0, 256, (count, 32, 32)).astype(np.uint8))


def brightnesses(count):
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
    with Pipeline.open(path, backend="onnxruntime", max_batch=8, **options) as pipe:
        return pipe.infer(images)


def open_here(path, **options):
    return Pipeline.open(path, **dict({"backend": "tensorrt", "max_batch": 8}, **options))


class TestEveryVersion:
    """Of TensorRT: bindings below 8.5, names above."""

    @pytest.mark.parametrize("version", trt_names.VERSIONS)
    def test_a_trained_network_answers_as_on_the_cpu(self, board_of, version):
        board = board_of(version)
        path = board.bundle(TRAINED)
        images = scans(20)
        with board.installed(), open_here(path) as pipe:
            agree(pipe.infer(images), on_cpu(path, images))
            agree([pipe.infer(image) for image in images[:3]], on_cpu(path, images[:3]))
            futures = [pipe.submit(image) for image in images]
            agree([future.result() for future in futures], on_cpu(path, images))
            agree(list(pipe.map(images[:5], in_flight=4, ordered=True)), on_cpu(path, images[:5]))

    @pytest.mark.parametrize("version", trt_names.VERSIONS)
    def test_a_batch_of_mixed_exits_is_compacted_there(self, board_of, bundle, version):  # noqa: F811
        board = board_of(version)
        path = board.bundle(bundle.path)
        images = brightnesses(8)
        expected = on_cpu(path, images)
        assert len({outcome.exit_index for outcome in expected}) == 3
        with board.installed(), open_here(path) as pipe:
            agree(pipe.infer(images), expected)

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    def test_an_ensemble(self, board_of, tmp_path, version):
        board = board_of(version)
        path = board.bundle(tiny_ensemble.write_tiny_ensemble(tmp_path / "ensemble").path)
        images = brightnesses(8)
        with board.installed(), open_here(path) as pipe:
            agree(pipe.infer(images), on_cpu(path, images))

    @pytest.mark.parametrize("version", ["8.2.1", "8.5.3", "10.3.0"])
    def test_half_precision(self, board_of, version):
        board = board_of(version)
        path = board.bundle(TRAINED, precision="fp16")
        with board.installed(), open_here(path, policy="final") as pipe:
            expected = on_cpu(path, scans(4), policy="final")
            for one, other in zip(pipe.infer(scans(4)), expected):
                assert one.max_probability == pytest.approx(other.max_probability, abs=2e-2)


class TestTheContract(test_backends.TestRunning):
    """What every backend computes, with engines that are built when they are asked for."""

    @pytest.fixture(params=["8.2.1", NEWEST])
    def backend(self, request, board_of):
        board = board_of(request.param)

        class Building(TensorRTBackend):
            def load(self, path, input_shape, output_shape):
                manifest = Path(path).parent / "manifest.json"
                if not manifest.exists() and not (Path(path).parents[1] / "manifest.json").exists():
                    manifest.write_text("{}")
                engines.build_one(path, input_shape, board.version, board.machine, max_batch=32)
                return super().load(path, input_shape, output_shape)

        with board.installed():
            made = Building()
            yield made
            made.close()


class TestFeaturesStay:
    """On the GPU, from the first stage to the last."""

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    @pytest.mark.parametrize("is_mapped", [False, True])
    def test_only_scores_come_to_the_host(self, board_of, bundle, version, is_mapped):  # noqa: F811
        board = board_of(version)
        board.machine.is_integrated = is_mapped
        path, images = board.bundle(bundle.path), brightnesses(8)
        with board.installed(), open_here(path) as pipe:
            before = dict(board.machine.copied_bytes)
            outcomes = pipe.infer(images)
            moved = board.machine.copied_bytes
            evaluated_count = sum(outcome.exit_index + 1 for outcome in outcomes)
            down, up = (moved[way] - before.get(way, 0) for way in ("dtoh", "htod"))
        sizes = 4 * sum(image.nbytes for image in images)  # float32
        if is_mapped:
            assert (down, up) == (0, 0)
        else:
            assert down == evaluated_count * SCORES_BYTES
            assert sizes <= up <= sizes + 8 * 2 * 8  # and the rows of two gathered batches

    def test_stages_share_the_memory_of_their_layers_where_the_api_can(self, board_of):
        used = {}
        for version in ("8.4.1.5", "8.5.3", NEWEST):
            board = board_of(version)
            path = board.bundle(TRAINED)
            with board.installed(), open_here(path):
                used[version] = board.machine.used_bytes
        assert used["8.5.3"] == used[NEWEST] < used["8.4.1.5"] / 2

    def test_blocks_are_used_again(self, board):
        path = board.bundle(TRAINED)
        with open_here(path) as pipe:
            pipe.infer(scans(8))
            used = board.machine.used_bytes
            for _ in range(5):
                pipe.infer(scans(8))
            assert board.machine.used_bytes == used

    def test_what_comes_one_by_one_meets_in_a_batch(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        with open_here(path) as pipe:
            images = brightnesses(8)
            futures = [pipe.submit(image) for image in images]
            agree([future.result() for future in futures], on_cpu(path, images))

    @pytest.mark.parametrize("choice", ["mapped", "copied"])
    def test_the_kind_of_host_memory_that_was_measured_is_taken(self, board, bundle, choice):  # noqa: F811
        path = board.bundle(bundle.path, conditions={"host_memory": choice})
        with open_here(path) as pipe:
            agree(pipe.infer(brightnesses(4)), on_cpu(path, brightnesses(4)))
            assert bool(board.machine.copied_bytes["dtoh"]) == (choice == "copied")

    def test_another_kind_is_refused(self, board):
        with pytest.raises(ConfigError, match="found 'shared', expected one of mapped, copied"):
            TensorRTBackend(host_memory="shared")


class TestWithoutKernels:
    """edgesdk.kernels._cuda was not built, or not for this GPU: the host computes the heads."""

    def test_the_answers_are_the_same_and_the_log_says_how_to_build_them(
        self, board_of, bundle, caplog  # noqa: F811
    ):  # fmt: skip
        board = board_of()
        path, images = board.bundle(bundle.path), brightnesses(8)
        with board.installed(kernels=False), open_here(path) as pipe:
            agree(pipe.infer(images), on_cpu(path, images))
        said = [record.message for record in caplog.records]
        assert len(said) == 1
        assert "exit heads are computed on the CPU" in said[0]
        assert "EDGESDK_BUILD_CUDA=yes pip install ." in said[0]

    def test_kernels_for_other_gpus(self, board, bundle, caplog):  # noqa: F811
        path, images = board.bundle(bundle.path), brightnesses(8)
        board.machine.broken.add("kernels for other gpus")
        with open_here(path) as pipe:
            agree(pipe.infer(images), on_cpu(path, images))
        assert "no kernel image" in caplog.text

    def test_an_ensemble(self, board_of, tmp_path):
        board = board_of()
        path = board.bundle(tiny_ensemble.write_tiny_ensemble(tmp_path / "ensemble").path)
        with board.installed(kernels=False), open_here(path) as pipe:
            agree(pipe.infer(brightnesses(8)), on_cpu(path, brightnesses(8)))


class OnTheGpu(Clustered):
    """A cluster in which the workers whose names begin with "gpu" compute there."""

    def __init__(self, folder, board, path, policy=None, codec="raw"):
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
    def test_from_the_gpu_to_the_cpu_and_back(self, board, tmp_path, bundle, codec, policy):  # noqa: F811
        path, images = board.bundle(bundle.path), brightnesses(12)
        clustered = OnTheGpu(tmp_path, board, path, policy, codec)
        try:
            gpu = clustered.start(worker("gpu", stages=[0, 2]), worker("cpu", stages=[1]))
            found, alone = gpu.infer(images), on_cpu(path, images, policy=policy)
            assert [outcome.label for outcome in found] == [outcome.label for outcome in alone]
            if codec == "raw":
                agree(found, alone)
                assert {o.worker for o in found} == {("gpu", "cpu", "gpu")[o.exit_index] for o in alone}
        finally:
            clustered.close()

    def test_to_a_gpu(self, board, tmp_path, bundle):  # noqa: F811
        path, images = board.bundle(bundle.path), brightnesses(12)
        clustered = OnTheGpu(tmp_path, board, path, MaxProbability(0.8))
        try:
            camera = clustered.start(worker("camera", stages=[]), worker("gpu"))
            agree(camera.infer(images), on_cpu(path, images, policy=MaxProbability(0.8)))
        finally:
            clustered.close()

    @pytest.mark.parametrize("codec", ["raw", "uint8"])
    def test_features_are_quantized_before_they_are_copied(self, board, tmp_path, bundle, codec):  # noqa: F811
        path, images = board.bundle(bundle.path), brightnesses(12)
        board.machine.is_integrated = False
        clustered = OnTheGpu(tmp_path, board, path, FixedExit(1), codec)
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

    def test_what_the_gpu_reports_later_fails_the_items_too(self, board, bundle):  # noqa: F811
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

    def test_a_stage_that_hangs_keeps_its_memory_until_it_ends(self, board, bundle, caplog):  # noqa: F811
        path = board.bundle(bundle.path)
        pipe = open_here(path)
        pipe.infer(brightnesses(2))
        board.machine.gate = threading.Event()
        future = pipe.submit(brightnesses(1)[0])
        eventually(lambda: any(stream.waiting for stream in board.machine.streams.values()))
        pipe.close(drain=False, timeout=0.2)
        assert board.machine.used_bytes and board.machine.primary_count
        assert "a stage still runs on the GPU" in caplog.text
        with pytest.raises(Failed):
            future.result(timeout=5)
        board.machine.gate.set()
        eventually(lambda: not board.machine.primary_count)

    @pytest.mark.parametrize(
        ("fault", "version", "said"),
        [
            ("memory at deserialize", "8.2.1", "OutOfMemory"),
            ("memory at context", "8.2.1", "Cuda Runtime (out of memory)"),
            ("memory at alloc", "8.2.1", "GPU memory: found"),
            ("memory at alloc", NEWEST, "GPU memory: found"),
        ],
    )
    def test_too_little_memory(self, board_of, bundle, fault, version, said):  # noqa: F811
        board = board_of(version)
        path = board.bundle(bundle.path)
        with board.installed():
            board.machine.broken.add(fault)
            with pytest.raises(EngineError) as caught:
                open_here(path)
        message = str(caught.value)
        assert said in message and "in use by others" in message
        assert 'backend="onnxruntime"' in message

    def test_memory_of_others_is_told_apart(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        board.machine.others_bytes = 3 << 30
        board.machine.broken.add("memory at deserialize")
        with pytest.raises(EngineError, match="of which 3072 MB were in use by others"):
            open_here(path)

    @pytest.mark.parametrize("fault", ["no gpu", "no driver", "old driver"])
    def test_no_gpu_by_name_and_unasked(self, board_of, bundle, fault):  # noqa: F811
        board = board_of()
        path = board.bundle(bundle.path)
        board.machine.broken.add(fault)
        with board.installed():
            kind = EngineError if fault == "old driver" else BackendUnavailable
            with pytest.raises(kind, match="python -m edgesdk.doctor --for tensorrt"):
                open_here(path)
            with Pipeline.open(path) as pipe:
                assert pipe.backend.name == "onnxruntime"

    def test_an_older_tensorrt_is_refused(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        trt = sys.modules["tensorrt"]
        del trt.EngineInspector
        trt.__version__ = "8.0.1.6"
        with pytest.raises(BackendUnavailable, match=r"found TensorRT 8\.0\.1\.6, needed 8\.2"):
            open_here(path)


class TestEngines:
    """Which are taken."""

    def test_without_engines_by_name(self, board, bundle):  # noqa: F811
        path = engines.copy_of(bundle.path, board.folder)
        with pytest.raises(EngineError) as caught:
            open_here(path)
        message = str(caught.value)
        assert "found none; needed TensorRT 8.2.1 on NVIDIA Tegra X1 (5.3)" in message
        assert "python -m edgesdk.build " + path in message

    def test_without_engines_unasked_the_next_computes_and_the_log_says_so_once(
        self, board, bundle, caplog  # noqa: F811
    ):  # fmt: skip
        path = engines.copy_of(bundle.path, board.folder)
        for _ in range(2):
            with Pipeline.open(path) as pipe:
                assert pipe.backend.name == "onnxruntime"
        (said,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert said.message.startswith("tensorrt is here and not used: ")
        assert "python -m edgesdk.build " + path in said.message

    def test_with_engines_it_is_the_best_unasked(self, board, bundle, caplog):  # noqa: F811
        path = board.bundle(bundle.path)
        with Pipeline.open(path, max_batch=8) as pipe:
            assert pipe.backend.name == "tensorrt"
        assert not caplog.records

    def test_where_no_bundle_is_known_it_is_taken_by_name_only(self, board):
        assert open_backend().name == "onnxruntime"
        backend = open_backend("tensorrt")
        assert backend.name == "tensorrt"
        backend.close()

    def test_of_another_version(self, board_of, bundle):  # noqa: F811
        board = board_of("8.2.1")
        path = board.bundle(bundle.path)
        other = board_of("8.5.3")
        with other.installed(), pytest.raises(EngineError, match=r"found TensorRT 8\.2\.1 on"):
            open_here(path)

    def test_cut_short(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        (engine,) = Path(path).glob("compiled/*/onnx/segment_1.engine")
        engine.write_bytes(engine.read_bytes()[:-10])
        with pytest.raises(EngineError, match=r"the engine has changed.*--force"):
            open_here(path)

    def test_that_no_tensorrt_can_read(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        engines.replace_engine(path, "onnx/segment_1.onnx", b"no engine at all")
        with pytest.raises(EngineError, match=r"Serialization assertion failed.*--force"):
            open_here(path)

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    def test_of_another_stage(self, board_of, bundle, version):  # noqa: F811
        board = board_of(version)
        path = board.bundle(bundle.path)
        (first,) = Path(path).glob("compiled/*/onnx/segment_0.engine")
        engines.replace_engine(path, "onnx/segment_1.onnx", first.read_bytes())
        with board.installed(), pytest.raises(EngineError) as caught:
            open_here(path)
        assert (
            "found input float32 [-1, 1, 6, 6], output float32 [-1, 2, 6, 6], needed input "
            "[-1, 2, 6, 6] and output [-1, 2, 6, 6] of float32" in str(caught.value)
        )

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    @pytest.mark.parametrize("value", [3.0, np.nan])
    def test_that_give_other_numbers(self, board_of, bundle, version, value):  # noqa: F811
        board = board_of(version)
        path = board.bundle(bundle.path)
        (golden,) = Path(path).glob("compiled/*/onnx/segment_1.npz")
        with np.load(str(golden)) as arrays:
            kept = dict(arrays)
        kept["features_out"][1, 0, 2, 2] += value
        np.savez(str(golden), **kept)
        with board.installed(), pytest.raises(EngineError, match="found outputs that are wrong by"):
            open_here(path)

    def test_whose_golden_features_are_gone(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        (golden,) = Path(path).glob("compiled/*/onnx/segment_1.npz")
        golden.unlink()
        with pytest.raises(EngineError, match=r"segment_1\.npz: found FileNotFoundError"):
            open_here(path)

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    def test_for_smaller_batches(self, board_of, bundle, version):  # noqa: F811
        board = board_of(version)
        path = board.bundle(bundle.path, max_batch=4)
        with board.installed():
            with pytest.raises(EngineError) as caught:
                open_here(path, max_batch=5)
            message = str(caught.value)
            assert "max_batch: found 5, needed at most 4" in message
            assert "python -m edgesdk.build {} --max-batch 5".format(path) in message
            with open_here(path, max_batch=4) as pipe:
                agree(pipe.infer(brightnesses(9)), on_cpu(path, brightnesses(9)))
            backend = TensorRTBackend()
            program = backend.load(path + "/onnx/segment_0.onnx", (1, 6, 6), (2, 6, 6))
            features, out = np.zeros((5, 1, 6, 6), np.float32), np.zeros((5, 2, 6, 6), np.float32)
            with pytest.raises(EngineError, match="needed a batch of 5, of at most 4"):
                program.run(features, out)
            program.run(features[:4], out[:4])  # the next one is no worse for it
            backend.close()


class TestEnd:
    def test_closed_twice_and_used_afterwards(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        backend = TensorRTBackend()
        program = backend.load(path + "/onnx/segment_0.onnx", (1, 6, 6), (2, 6, 6))
        array = backend.memory.empty((2, 2, 6, 6))
        backend.close()
        backend.close()
        zeros = np.zeros((2, 1, 6, 6), np.float32)
        for use in (
            lambda: program.run(zeros, np.zeros((2, 2, 6, 6), np.float32)),
            array.on_host,
            array.quantize_u8,
            lambda: backend.memory.empty((1,)),
            lambda: backend.load(path + "/onnx/segment_0.onnx", (1, 6, 6), (2, 6, 6)),
        ):
            with pytest.raises(EngineError, match="the tensorrt backend was closed"):
                use()

    def test_by_another_thread_than_opened_it(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        pipe = open_here(path)
        pipe.infer(brightnesses(2))
        thread = threading.Thread(target=pipe.close)
        thread.start()
        thread.join()
        board.machine.check_clean()

    def test_two_pipelines_of_one_process(self, board, bundle):  # noqa: F811
        path = board.bundle(bundle.path)
        with open_here(path) as one:
            with open_here(path) as other:
                agree(other.infer(brightnesses(4)), one.infer(brightnesses(4)))
            agree(one.infer(brightnesses(4)), on_cpu(path, brightnesses(4)))

    def test_used_from_several_threads(self, board, bundle):  # noqa: F811
        path, images = board.bundle(bundle.path), brightnesses(8)
        expected = on_cpu(path, images)
        with open_here(path) as pipe:
            found = []
            threads = [
                threading.Thread(target=lambda: found.append(pipe.infer(images))) for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for outcomes in found:
                agree(outcomes, expected)
            assert len(found) == 4

    def test_stats_tell_what_the_gpu_has(self, board, bundle):  # noqa: F811
        with open_here(board.bundle(bundle.path)) as pipe:
            read = pipe.stats()["board"]
        assert read["gpu_total_bytes"] == board.machine.memory_bytes
        assert 0 < read["gpu_free_bytes"] < read["gpu_total_bytes"]


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


def test_nothing_of_ours_imports_another_runtime(board_of, bundle):  # noqa: F811
    """The double computes by onnxruntime; so it is asked who imports."""
    board = board_of()
    path = board.bundle(bundle.path)
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(path=path)],
        cwd=str(ROOT),
        env=trt_double.environment("8.2.1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert done.stdout == "tensorrt bright []\n", done.stderr
    assert "the double of a GPU" not in done.stderr
