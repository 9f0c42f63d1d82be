"""Stages on both generations of TensorRT's API: the same answers as onnxruntime's."""

from pathlib import Path

import built_engines
import pytest
import test_backends
import tiny
import tiny_ensemble
import trt_names
from gpu_boards import NEWEST, TRAINED, agree, brightnesses, on_cpu, open_here, scans
from test_backends import mixed  # noqa: F401  a fixture of the contract

from edgesdk import FixedExit
from edgesdk.backends.trt import TensorRTBackend


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
    def test_a_batch_of_mixed_exits_is_compacted_there(self, board_of, bundle, version):
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

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    def test_a_head_that_is_a_graph(self, board_of, tmp_path, version):
        board = board_of(version)
        path = board.bundle(tiny.write_with_graph_head(tmp_path / "graph").path)
        images = brightnesses(8)
        with board.installed(), open_here(path, policy=FixedExit(1)) as pipe:
            agree(pipe.infer(images), on_cpu(path, images, policy=FixedExit(1)))

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
                if not manifest.exists() and Path(path).parent.name != "onnx":
                    manifest.write_text("{}")  # the file alone, as a bundle
                built_engines.build_one(path, input_shape, board.version, board.machine, 32)
                return super().load(path, input_shape, output_shape)

        with board.installed():
            made = Building()
            yield made
            made.close()
