"""Static networks up to an exit: the same logits as the cut network has there."""

import numpy as np
import pytest
import tiny

pytest.importorskip("onnxruntime")

from edgesdk.bench.peers_static import up_to_exit
from edgesdk.bench.plain import PlainOnnxruntime
from edgesdk.bundle import write_bundle
from edgesdk.core.exits import FixedExit
from edgesdk.errors import BundleError
from edgesdk.pipeline import Pipeline

IMAGES = [tiny.image(value) for value in (0.1, 0.45, 0.9)]


def static_logits(bundle, exit_index):
    """float32 [3, 2]."""
    return PlainOnnxruntime(bundle, network=up_to_exit(bundle, exit_index)).logits(IMAGES)


def cut_logits(bundle, exit_index):
    """The same by the cut network."""
    policy = FixedExit(exit_index)
    with Pipeline.open(bundle.path, policy=policy, backend="onnxruntime", logits=True) as pipe:
        return np.stack([outcome.logits for outcome in pipe.infer(IMAGES)])


@pytest.mark.parametrize("exit_index", range(tiny.EXIT_COUNT))
def test_it_answers_what_the_exit_answers(whole_bundle, exit_index):
    found = static_logits(whole_bundle, exit_index)
    np.testing.assert_allclose(found, cut_logits(whole_bundle, exit_index), atol=1e-5)
    assert np.abs(found[0]).max() > 0.1  # it says something


def test_a_head_that_is_a_graph(tmp_path):
    bundle = tiny.write_with_graph_head(tmp_path / "graph" / "1")
    np.testing.assert_allclose(static_logits(bundle, 1), cut_logits(bundle, 1), atol=1e-5)


def test_the_batch_norm_of_a_head_counts(tmp_path):
    files = tiny.tiny_files()
    weight = np.array([[1, -1], [-1, 1]], np.float32)
    arrays = {"weight": weight, "bias": np.array([0.5, 0.0], np.float32)}
    files["heads/exit_0.npz"] = tiny._npz(
        scale=np.array([3, -2], np.float32), shift=np.array([-0.5, 1], np.float32), **arrays
    )
    files["heads/exit_1.npz"] = tiny._npz(**arrays)  # none: nothing but the ReLU
    bundle = write_bundle(tmp_path / "normed" / "1", tiny.tiny_manifest(), files)
    for exit_index in (0, 1):
        found = static_logits(bundle, exit_index)
        np.testing.assert_allclose(found, cut_logits(bundle, exit_index), atol=1e-5)


def test_files_that_do_not_fit_are_named(tmp_path, monkeypatch):
    bundle = tiny.write_tiny_bundle(tmp_path / "torn" / "1")
    onnx = pytest.importorskip("onnx")
    other = onnx.load_from_string(tiny.tiny_files()["onnx/segment_1.onnx"])
    other.graph.input[0].name = "nobody reads this"
    monkeypatch.setattr(onnx, "load", lambda path: other)
    with pytest.raises(BundleError, match="do not make one network up to exit 1"):
        up_to_exit(bundle, 1)
