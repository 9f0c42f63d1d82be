"""What only the onnxruntime backend does: bindings kept per pair of arrays."""

import os
import subprocess
import sys
import weakref
from pathlib import Path

import graphs
import numpy as np
import pytest
import tiny

from edgesdk.errors import BundleError

onnx_runtime = pytest.importorskip("edgesdk.backends.onnx_runtime")

ROOT = str(Path(tiny.__file__).parents[1])
SHAPE = (1, tiny.SIZE, tiny.SIZE)
BINDINGS_MAX = onnx_runtime._BINDINGS_MAX


@pytest.fixture
def program(tmp_path):
    """y = 2x on images of the tiny network."""
    path = tmp_path / "double.onnx"
    path.write_bytes(tiny.conv_model(np.full((1, 1, 1, 1), 2.0), np.zeros(1), SHAPE[1:]))
    return onnx_runtime.OnnxRuntimeBackend(1).load(str(path), SHAPE, SHAPE)


@pytest.fixture
def bound(program, monkeypatch):
    """The sizes of the batches that were bound anew."""
    sizes, original = [], program._bind

    def bind(features, out):
        sizes.append(len(features))
        return original(features, out)

    monkeypatch.setattr(program, "_bind", bind)
    return sizes


def arrays(batch):
    return graphs.normal(batch, batch, *SHAPE), np.empty((batch, *SHAPE), np.float32)


class TestBindings:
    def test_one_per_pair_of_arrays(self, program, bound):
        features, out = arrays(4)
        for _ in range(5):
            program.run(features, out)
        assert bound == [4]

    def test_a_pair_is_an_input_and_an_output(self, program, bound):
        (features, out), (other_features, other_out) = arrays(4), arrays(4)
        for _ in range(2):
            program.run(features, out)
            program.run(features, other_out)
            program.run(other_features, out)
        assert bound == [4, 4, 4]

    def test_a_view_of_other_rows_is_another_array(self, program, bound):
        features, out = arrays(4)
        program.run(features, out)
        program.run(features[:3], out[:3])
        assert bound == [4, 3]
        np.testing.assert_array_equal(out, 2 * features)

    def test_their_number_is_bounded_and_all_answers_are_right(self, program, bound):
        count = 2 * BINDINGS_MAX + 1
        features, out = arrays(count)
        for row in range(count):
            program.run(features[row : row + 1], out[row : row + 1])
            assert len(program._bindings) <= BINDINGS_MAX
        np.testing.assert_array_equal(out, 2 * features)
        assert len(bound) == count

    def test_what_they_keep_alive_is_bounded(self, program):
        alive = []
        for seed in range(40):
            features = graphs.normal(seed, 30_000, *SHAPE)
            out = np.empty_like(features)
            program.run(features, out)
            np.testing.assert_array_equal(out, 2 * features)
            alive += [weakref.ref(features), weakref.ref(out)]
            size = features.nbytes
            del features, out
        kept_bytes = size * sum(each() is not None for each in alive)
        assert size < kept_bytes <= onnx_runtime._BOUND_BYTES_MAX + 2 * size < 20 * size

    def test_a_full_table_still_serves_what_it_holds(self, program, bound):
        pairs = [arrays(1) for _ in range(BINDINGS_MAX)]
        for _ in range(2):
            for features, out in pairs:
                program.run(features, out)
        assert len(bound) == BINDINGS_MAX

    def test_an_array_that_is_gone_is_never_taken_for_a_new_one(self, program):
        # Python hands identities out again, numpy memory: a binding must outlive neither.
        for seed in range(2 * BINDINGS_MAX):
            features, out = graphs.normal(seed, 2, *SHAPE), np.empty((2, *SHAPE), np.float32)
            program.run(features, out)
            np.testing.assert_array_equal(out, 2 * features)
            del features, out


class TestOptions:
    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_those_asked_for_and_never_spin(self, threads):
        options = onnx_runtime.OnnxRuntimeBackend(threads)._options
        assert options.intra_op_num_threads == threads
        assert options.inter_op_num_threads == 1
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"

    def test_only_the_cpu_is_used(self, program):
        assert program._session.get_providers() == ["CPUExecutionProvider"]


def test_an_operator_it_does_not_know_is_named(tmp_path):
    nodes = [graphs.node("Conjure", ["features"])]
    path = graphs.save_nodes(tmp_path / "odd.onnx", nodes, SHAPE, SHAPE, check=False)
    with pytest.raises(BundleError, match=r"odd\.onnx: onnxruntime cannot load it: .*Conjure"):
        onnx_runtime.OnnxRuntimeBackend(1).load(path, SHAPE, SHAPE)


def test_a_failure_inside_a_kernel_is_raised_and_not_printed_as_well(tmp_path, capfd):
    # Images can be regrouped by seven only if their number can be divided by seven.
    by_seven = (7, *SHAPE[1:])
    nodes, weights = [graphs.node("Reshape", ["features", "to"])], {"to": np.array([-1, *by_seven])}
    path = graphs.save_nodes(tmp_path / "seven.onnx", nodes, SHAPE, by_seven, weights)
    program = onnx_runtime.OnnxRuntimeBackend(1).load(path, SHAPE, by_seven)
    with pytest.raises(Exception, match="Reshape"):
        program.run(arrays(2)[0], np.empty((1, *by_seven), np.float32))
    assert capfd.readouterr() == ("", "")


def test_it_leaves_nothing_in_the_home_folder(tmp_path):
    """onnxruntime from 1.29 on would keep a device id there, and collect what is run."""
    program = "from edgesdk.backends import open_backend; open_backend('onnxruntime')"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": ROOT}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
