"""Exit heads and batches where features are on the GPU."""

import numpy as np
import pytest
import tiny_ensemble
from gpu_boards import agree, brightnesses, normal, on_cpu, on_gpu, open_here

from edgesdk.errors import ConfigError
from edgesdk.kernels import reference


class TestWithoutKernels:
    """edgesdk.kernels._cuda was not built, or not for this GPU: the host computes the heads."""

    def test_the_answers_are_the_same_and_the_log_says_how_to_build_them(
        self, board_of, bundle, caplog
    ):  # fmt: skip
        board = board_of()
        path, images = board.bundle(bundle.path), brightnesses(8)
        with board.installed(kernels=False), open_here(path) as pipe:
            agree(pipe.infer(images), on_cpu(path, images))
        said = [record.message for record in caplog.records]
        assert len(said) == 1
        assert "exit heads are computed on the CPU" in said[0]
        assert "EDGESDK_BUILD_CUDA=yes pip install ." in said[0]

    def test_kernels_for_other_gpus(self, board, bundle, caplog):
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


class TestHeads:
    """With the arguments that stages give."""

    PARAMETERS = (normal(1, 5, 3), normal(2, 5), normal(3, 3), normal(4, 3))

    @pytest.mark.parametrize("with_scale", [True, False])
    @pytest.mark.parametrize("with_logits", [True, False])
    def test_scores_of_batches_that_change(self, backend, with_scale, with_logits):
        given = self.PARAMETERS if with_scale else (*self.PARAMETERS[:2], None, None)
        constants = [None if each is None else backend.memory.constant(each) for each in given]
        kept = []
        for batch in (1, 8, 2, 32, 1):
            features = normal(batch, batch, 3, 4, 4)
            found = backend.kernels.exit_head(
                on_gpu(backend, features), *constants, logits=with_logits
            )
            kept.append((found, reference.exit_head(features, *given, logits=with_logits)))
        for found, expected in kept:  # only now: none has changed since
            for one, other in zip(found, expected):
                assert (one is None) == (other is None)
                if one is not None:
                    assert one.dtype == other.dtype and one.shape == other.shape
                    np.testing.assert_array_equal(one, other)

    def test_features_of_the_host(self, backend):
        constants = [backend.memory.constant(each) for each in self.PARAMETERS]
        features = normal(9, 2, 3, 4, 4)
        found = backend.kernels.exit_head(features, *constants)
        expected = reference.exit_head(features, *self.PARAMETERS)
        np.testing.assert_array_equal(found.entropy, expected.entropy)

    @pytest.mark.parametrize("projection", [None, normal(5, 7, 3)], ids=["pooled", "projected"])
    def test_features_of_students(self, backend, projection):
        scale, shift = self.PARAMETERS[2:]
        constants = [
            None if each is None else backend.memory.constant(each)
            for each in (scale, shift, projection)
        ]
        for batch in (1, 16, 3):
            features = normal(batch, batch, 3, 4, 4)
            found = backend.kernels.exit_feature(on_gpu(backend, features), *constants)
            expected = reference.exit_feature(features, scale, shift, projection)
            np.testing.assert_array_equal(found, expected)

    def test_one_copy_and_one_wait_for_each(self, board, backend):
        backend._gpu.is_mapped = False
        constants = [backend.memory.constant(each) for each in self.PARAMETERS]
        array = on_gpu(backend, normal(9, 2, 3, 4, 4))
        with backend.computing():
            before = board.machine.copied_bytes["dtoh"], backend._gpu.compute.wait_count
            backend.kernels.exit_head(array, *constants, logits=True)
            after = board.machine.copied_bytes["dtoh"], backend._gpu.compute.wait_count
        assert (after[0] - before[0], after[1] - before[1]) == (2 * (20 + 5 * 4), 1)


class TestRows:
    @pytest.mark.parametrize("where", ["gpu", "host"])
    def test_they_are_gathered_there(self, board, backend, where):
        values, indices = normal(0, 6, 3, 2), np.array([5, 0, 0, 2])
        rows = values if where == "host" else on_gpu(backend, values)
        out = backend.memory.empty((4, 3, 2))
        before = board.machine.copied_bytes["dtoh"]
        backend.kernels.gather_rows(rows, indices, out=out)
        assert board.machine.copied_bytes["dtoh"] == before
        np.testing.assert_array_equal(out.on_host(), values[indices])

    @pytest.mark.parametrize("index", [-1, 6])
    def test_rows_that_there_are_not(self, backend, index):
        rows, out = backend.memory.empty((6, 2)), backend.memory.empty((1, 2))
        with pytest.raises(ConfigError, match=r"expected 0\.\.5 for 6 rows"):
            backend.kernels.gather_rows(rows, np.array([index]), out=out)
