"""Who uses the GPU, from which thread, and how it ends: nothing is left, nothing hangs on it."""

import threading

import numpy as np
import pytest
from clusters import eventually
from gpu_boards import agree, brightnesses, on_cpu, open_here

from edgesdk import Failed
from edgesdk.backends.trt import TensorRTBackend
from edgesdk.errors import EngineError


class TestEnd:
    def test_closed_twice_and_used_afterwards(self, board, bundle):
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

    def test_by_another_thread_than_opened_it(self, board, bundle):
        path = board.bundle(bundle.path)
        pipe = open_here(path)
        pipe.infer(brightnesses(2))
        thread = threading.Thread(target=pipe.close)
        thread.start()
        thread.join()
        board.machine.check_clean()

    def test_two_pipelines_of_one_process(self, board, bundle):
        path = board.bundle(bundle.path)
        with open_here(path) as one:
            with open_here(path) as other:
                agree(other.infer(brightnesses(4)), one.infer(brightnesses(4)))
            agree(one.infer(brightnesses(4)), on_cpu(path, brightnesses(4)))

    def test_used_from_several_threads(self, board, bundle):
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

    def test_stats_tell_what_the_gpu_has(self, board, bundle):
        with open_here(board.bundle(bundle.path)) as pipe:
            read = pipe.stats()["board"]
        assert "gpu_free_bytes" not in pipe.stats()["board"]  # it is closed
        assert read["gpu_total_bytes"] == board.machine.memory_bytes
        assert 0 < read["gpu_free_bytes"] < read["gpu_total_bytes"]

    def test_a_stage_that_hangs_keeps_its_memory_until_it_ends(self, board, bundle, caplog):
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


class TestComputing:
    """What is around every batch."""

    def test_inner_ones_wait_for_nothing(self, backend):
        lane = backend._gpu.compute
        with backend.computing():
            before = lane.wait_count
            with backend.computing():
                pass
            assert lane.wait_count == before
        assert lane.wait_count == before + 1

    def test_each_thread_has_its_own(self, board, backend):
        found = []

        def use():
            with backend.computing():
                found.append(len(board.machine.stack()))

        with backend.computing():
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
        assert found == [1] and not board.machine.stack()

    def test_the_first_failure_is_the_one_that_is_raised(self, board, backend):
        def fail():
            board.machine.memory(1, 1)

        waiting = backend._gpu.compute.stream.waiting
        with pytest.raises(ZeroDivisionError), backend.computing():
            waiting.append(fail)
            raise ZeroDivisionError
        with pytest.raises(EngineError, match="the GPU failed"), backend.computing():
            waiting.append(fail)
        assert not board.machine.stack()
        del board.machine.complaints[:]

    def test_closed_meanwhile_it_is_freed_at_the_end(self, board, backend):
        with backend.computing():
            thread = threading.Thread(target=backend.close)
            thread.start()
            thread.join()
            assert board.machine.primary_count == 1
        assert board.machine.primary_count == 0

    def test_without_memory_for_a_context(self, board, monkeypatch):
        def none_left(context):
            raise board.cuda.MemoryError("cuDevicePrimaryCtxRetain failed: out of memory")

        monkeypatch.setattr(board.cuda.Device, "retain_primary_context", none_left)
        with pytest.raises(EngineError, match="found no room for a context"):
            TensorRTBackend()
