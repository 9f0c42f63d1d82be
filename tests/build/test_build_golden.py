"""Golden outputs: of every stage, from what stands in front of it, and the same again and again."""

import os
import shutil

import builds
import numpy as np
import pytest
import tiny
import tiny_ensemble

from edgesdk.backends import open_backend
from edgesdk.build import cpu_task, golden
from edgesdk.build.planning import as_json, stage_files
from edgesdk.bundle import read_bundle
from edgesdk.errors import BackendUnavailable, EngineError
from edgesdk.golden import read_golden

DIGITS = builds.ROOT / "engines" / "wrn16_1-digits" / "1"


def written(bundle, folder):
    """What the task writes, by ONNX file."""
    files = stage_files(bundle.manifest)
    request = {"bundle": bundle.path, "folder": str(folder)}
    golden.answer(dict(request, files=[as_json(file) for file in files]))
    return {
        file.onnx: read_golden(os.path.join(str(folder), file.onnx.replace(".onnx", ".npz")))
        for file in files
    }


def test_the_outputs_of_a_stage_are_the_inputs_of_the_next(tmp_path):
    bundle = builds.with_graph_head(tmp_path / "1")
    found = written(bundle, tmp_path)
    assert sorted(found) == ["heads/exit_2.onnx"] + sorted(tiny.tiny_files())[3:]
    pictures = found["onnx/segment_0.onnx"]
    assert pictures.features.shape == (golden.SAMPLE_COUNT, 1, tiny.SIZE, tiny.SIZE)
    first = np.concatenate([pictures.features, 1 - pictures.features], axis=1)
    np.testing.assert_allclose(pictures.features_out, first, rtol=1e-6)
    np.testing.assert_array_equal(found["onnx/segment_1.onnx"].features, pictures.features_out)
    head = found["heads/exit_2.onnx"]
    np.testing.assert_allclose(head.features_out, head.features.mean(axis=(2, 3)), rtol=1e-5)


def test_a_decoder_reads_what_its_encoder_makes_of_the_features(tmp_path):
    found = written(tiny.write_with_bottleneck(tmp_path / "1"), tmp_path)
    encoder, decoder = (found["onnx/{}.onnx".format(name)] for name in ("encoder", "decoder"))
    np.testing.assert_array_equal(encoder.features, found["onnx/segment_2.onnx"].features)
    np.testing.assert_array_equal(decoder.features, encoder.features_out)
    np.testing.assert_allclose(decoder.features_out, encoder.features, atol=1e-6)


def test_two_builds_draw_the_same(tmp_path, bundle):
    one, two = (written(bundle, tmp_path / name) for name in "ab")
    for name in one:
        np.testing.assert_array_equal(one[name].features_out, two[name].features_out)


def test_a_real_network_sees_values_of_its_range(tmp_path):
    found = written(read_bundle(str(DIGITS)), tmp_path)
    spread = [each.features_out.std() for each in found.values()]
    assert len(found) == 7 and min(spread) > 0.01, spread


def test_each_student_has_its_own(tmp_path):
    tiny_ensemble.write_tiny_ensemble(tmp_path / "1")
    bundle = read_bundle(str(tmp_path / "1"))
    assert len(written(bundle, tmp_path)) == len(stage_files(bundle.manifest))


@pytest.mark.parametrize("color, shape", [("gray", (9, 7)), ("rgb", (9, 7, 3))])
def test_pictures_have_patches_of_several_sizes(color, shape):
    spec = read_bundle(str(DIGITS)).manifest.preprocessing
    drawn = list(golden.pictures(spec._replace(color=color, height=9, width=7)))
    assert [picture.shape for picture in drawn] == [shape] * golden.SAMPLE_COUNT
    assert all(picture.dtype == np.uint8 for picture in drawn)
    assert (drawn[1][0:2, 0:2] == drawn[1][0, 0]).all()
    assert (drawn[0][0, 0] != drawn[0][0, 1]).any()


def test_without_a_backend_both_ways_out_are_named(monkeypatch):
    def missing(name):
        raise BackendUnavailable("no {} here; pip install it".format(name))

    monkeypatch.setattr(golden, "open_backend", missing)
    with pytest.raises(BackendUnavailable, match=r"no onnx.*; no torch.*without the check: --unch"):
        golden.cpu_backend()


class TestTheOtherBackend:
    def request(self, bundle):
        files = [as_json(file) for file in stage_files(bundle.manifest)]
        return {"bundle": bundle.path, "files": files, "backend": "onnxruntime"}

    def test_it_is_compared_where_there_is_one(self, bundle):
        pytest.importorskip("torch")
        told = cpu_task.answer(self.request(bundle))
        assert told["compared_with"] == "torch"
        assert max(stage["error"] for stage in told["stages"]) < 1e-5

    def test_alone_it_is_loaded_and_timed(self, bundle, monkeypatch):
        def only(name, threads=1):
            if name == "torch":
                raise BackendUnavailable("none")
            return open_backend(name, threads)

        monkeypatch.setattr(cpu_task, "open_backend", only)
        told = cpu_task.answer(self.request(bundle))
        assert told["compared_with"] is None and len(told["stages"]) == 3
        assert all(stage["error"] is None for stage in told["stages"])
        assert all(stage["load_seconds"] > 0 for stage in told["stages"])

    def test_backends_that_differ_are_named(self, tmp_path, monkeypatch):
        """One of them reads another file."""
        bundle = tiny.write_tiny_bundle(tmp_path / "1")
        other = open_backend("onnxruntime")
        load = other.load
        wrong = str(tmp_path / "wrong.onnx")
        shutil.copy(bundle.file("onnx/segment_1.onnx"), wrong)
        with open(wrong, "wb") as file:
            file.write(builds.one_node("Neg"))
        other.load = lambda path, *shapes: load(wrong if "segment_1" in path else path, *shapes)
        monkeypatch.setattr(cpu_task, "_other", lambda name: other)
        with pytest.raises(EngineError, match=r"segment_1.onnx: the backends of the CPU differ"):
            cpu_task.answer(self.request(bundle))
