"""Features stay on the GPU; what the host gives and takes is mapped, or copied."""

import threading

import numpy as np
import pytest
from gpu_boards import (
    NEWEST,
    TRAINED,
    agree,
    brightnesses,
    normal,
    on_cpu,
    on_gpu,
    open_here,
    scans,
)

from edgesdk import codec
from edgesdk.backends.trt import TensorRTBackend
from edgesdk.backends.trt_memory import Staging
from edgesdk.errors import ConfigError, EngineError
from edgesdk.kernels import reference

SCORES_BYTES = 8 + 3 * 4  # of a sample: class, max probability, margin, entropy


@pytest.fixture(params=["mapped", "copied"])
def backend(request, board):
    """Opened, with nothing loaded."""
    made = TensorRTBackend(host_memory=request.param)
    made._gpu.is_mapped = request.param == "mapped"
    yield made
    made.close()


class TestArrays:
    def test_they_hold_what_was_copied(self, backend):
        values = normal(0, 3, 2, 4)
        array = on_gpu(backend, values)
        assert (array.shape, array.nbytes, len(array)) == ((3, 2, 4), 96, 3)
        np.testing.assert_array_equal(array.on_host(), values)
        other = backend.memory.empty((3, 2, 4))
        backend.memory.copy(array, other)
        np.testing.assert_array_equal(other.on_host(), values)

    def test_rows_are_views(self, backend):
        values = normal(0, 4, 5)
        array = on_gpu(backend, values)
        np.testing.assert_array_equal(array[2].on_host(), values[2])
        np.testing.assert_array_equal(array[:3].on_host(), values[:3])
        np.testing.assert_array_equal(array[1:][2].on_host(), values[3])
        np.testing.assert_array_equal(array[2][None].on_host(), values[2:3])
        np.testing.assert_array_equal(np.stack([row.on_host() for row in array]), values)
        backend.memory.copy(np.zeros(5, np.float32), array[1])
        assert array.on_host()[1].tolist() == [0] * 5

    @pytest.mark.parametrize("rows", [4, -1, slice(0, 4, 2)])
    def test_rows_that_there_are_not(self, backend, rows):
        with pytest.raises(IndexError):
            backend.memory.empty((4, 5))[rows]

    def test_copies_of_other_sizes_are_refused(self, backend):
        with pytest.raises(ValueError, match="found"):
            backend.memory.copy(normal(0, 3), backend.memory.empty((4,)))

    def test_read_in_another_thread(self, backend):
        values = normal(0, 3, 7)
        array, found = on_gpu(backend, values), []
        thread = threading.Thread(target=lambda: found.append(array[1:].on_host()))
        thread.start()
        thread.join()
        np.testing.assert_array_equal(found[0], values[1:])

    def test_read_while_it_is_computed_here(self, backend):
        values = normal(0, 3)
        array = backend.memory.empty((3,))
        with backend.computing():
            backend.memory.copy(values, array)  # nobody has waited
            np.testing.assert_array_equal(array.on_host(), values)

    def test_constants_are_converted(self, backend):
        constant = backend.memory.constant(np.arange(6).reshape(2, 3).T)
        np.testing.assert_array_equal(constant.on_host(), np.arange(6).reshape(2, 3).T)


class TestQuantizing:
    @pytest.mark.parametrize("shape", [(1,), (3, 5, 7), (8,)])
    def test_as_the_kernels_of_the_host(self, board, backend, shape):
        values = normal(1, *shape)
        array = on_gpu(backend, values)
        before = board.machine.copied_bytes["dtoh"]
        found, expected = array.quantize_u8(), reference.quantize_u8(values)
        moved = board.machine.copied_bytes["dtoh"] - before
        assert moved == (0 if backend._gpu.is_mapped else values.size + 8)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[0].dtype == np.uint8 and found[0].shape == shape
        assert found[1:] == expected[1:]

    def test_what_was_given_stays_when_others_are_quantized(self, backend):
        first, second = on_gpu(backend, normal(1, 9)), on_gpu(backend, normal(2, 9))
        quantized = first.quantize_u8()[0]
        kept = quantized.copy()
        second.quantize_u8()
        np.testing.assert_array_equal(quantized, kept)

    @pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
    def test_what_the_host_refuses(self, backend, value):
        values = normal(1, 5)
        values[2], values[3] = value, -3e38
        array = on_gpu(backend, values)
        with pytest.raises(ConfigError, match="expected a range that float32 can scale"):
            array.quantize_u8()
        encoded = codec.encode(array, "uint8")
        assert encoded.codec == "raw" and bytes(encoded.body) == values.tobytes()

    def test_without_kernels_the_host_does_it(self, board_of):
        board = board_of()
        with board.installed(kernels=False):
            made = TensorRTBackend()
            values = normal(1, 5)
            found = on_gpu(made, values).quantize_u8()
            np.testing.assert_array_equal(found[0], reference.quantize_u8(values)[0])
            made.close()


class TestStaging:
    def test_what_is_put_twice_before_anyone_waits_is_not_mixed_up(self, backend):
        gpu = backend._gpu
        staging, first, second = Staging(gpu, gpu.compute), normal(0, 4), normal(1, 4)
        copies = [backend.memory.empty((4,)) for _ in range(2)]
        with backend.computing():
            for values, copy in zip((first, second), copies):
                place = staging.put(values)
                gpu.cuda.memcpy_dtod_async(copy.address, place, 16, gpu.compute.stream)
        for values, copy in zip((first, second), copies):
            np.testing.assert_array_equal(copy.on_host(), values)

    def test_it_grows_while_what_it_held_is_in_use(self, backend):
        gpu = backend._gpu
        staging, small, large = Staging(gpu, gpu.compute), normal(0, 4), normal(1, 400)
        copies = [backend.memory.empty(values.shape) for values in (small, large)]
        with backend.computing():
            for values, copy in zip((small, large), copies):
                place = staging.put(values)
                gpu.cuda.memcpy_dtod_async(copy.address, place, copy.nbytes, gpu.compute.stream)
        for values, copy in zip((small, large), copies):
            np.testing.assert_array_equal(copy.on_host(), values)

    def test_too_little_memory(self, board, backend):
        gpu = backend._gpu
        staging = Staging(gpu, gpu.compute)
        board.machine.broken.add("memory at alloc")
        with backend.computing():
            with pytest.raises(EngineError, match=r"needed 0\.0 MB for page-locked memory"):
                staging.reserve(100)
            board.machine.broken.clear()
            assert staging.put(normal(0, 25))


class TestFeaturesStay:
    """On the GPU, from the first stage to the last."""

    @pytest.mark.parametrize("version", ["8.2.1", NEWEST])
    @pytest.mark.parametrize("is_mapped", [False, True])
    def test_only_scores_come_to_the_host(self, board_of, bundle, version, is_mapped):
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

    def test_what_comes_one_by_one_meets_in_a_batch(self, board, bundle):
        path = board.bundle(bundle.path)
        with open_here(path) as pipe:
            images = brightnesses(8)
            futures = [pipe.submit(image) for image in images]
            agree([future.result() for future in futures], on_cpu(path, images))

    @pytest.mark.parametrize("choice", ["mapped", "copied"])
    def test_the_kind_of_host_memory_that_was_measured_is_taken(self, board, bundle, choice):
        path = board.bundle(bundle.path, conditions={"host_memory": choice})
        with open_here(path) as pipe:
            agree(pipe.infer(brightnesses(4)), on_cpu(path, brightnesses(4)))
            assert bool(board.machine.copied_bytes["dtoh"]) == (choice == "copied")

    def test_another_kind_is_refused(self, board):
        with pytest.raises(ConfigError, match="found 'shared', expected one of mapped, copied"):
            TensorRTBackend(host_memory="shared")
