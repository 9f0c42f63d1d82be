"""Merged stages: the same numbers as the segments they are made of."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny

from edgesdk.backends import open_backend
from edgesdk.bundle import read_bundle
from edgesdk.bundle_update import update_bundle
from edgesdk.errors import BundleError
from edgesdk.preprocess import Preprocessor
from edgesdk.train.calibration.costs import spans
from edgesdk.train.calibration.merging import check_merged, merge, merged_stages, stage_file
from edgesdk.train.export import opened
from edgesdk.train.int8 import METHODS, quantized, run

DIGITS = "engines/wrn16_1-digits/1"


def ops(content):
    return [node.op_type for node in onnx.load_from_string(content).graph.node]


@pytest.fixture
def segments():
    files = tiny.tiny_files()
    return [files[f"onnx/segment_{index}.onnx"] for index in range(3)]


def trial_of(bundle, tmp_path, name="trial"):
    """A copy of `bundle` that holds its merged stages."""
    import shutil

    path = tmp_path / name
    shutil.copytree(bundle.path, path)
    for file, content in merged_stages(bundle).items():
        (path / file).write_bytes(content)
    return read_bundle(path)


def test_a_merged_stage_is_the_chain_with_one_input_and_one_output(segments):
    merged = onnx.load_from_string(merge(segments, "here"))
    assert [node.op_type for node in merged.graph.node] == ["Conv"] * 3
    assert len(merged.graph.input) == len(merged.graph.output) == 1
    assert [(entry.domain, entry.version) for entry in merged.opset_import] == [("", 13)]
    assert merged.ir_version == 7


def test_names_that_segments_share_do_not_meet(segments):
    merged = onnx.load_from_string(merge(segments, "here"))
    names = [weight.name for weight in merged.graph.initializer]
    assert len(names) == len(set(names)) == 6


def test_merging_is_deterministic(segments):
    assert merge(segments, "here") == merge(segments, "here")


def test_there_is_a_file_for_every_two_or_more_neighbours(bundle):
    assert sorted(merged_stages(bundle)) == [
        "onnx/stage_0_1.onnx",
        "onnx/stage_0_2.onnx",
        "onnx/stage_1_2.onnx",
    ]


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_merged_stages_of_the_shipped_network_equal_their_segments(backend, tmp_path):
    import torch

    torch.manual_seed(0)
    trial = trial_of(read_bundle(DIGITS), tmp_path)
    part = trial.manifest.parts[0]
    opened = open_backend(backend, 1)
    random = np.random.RandomState(0)
    frames = list(random.randint(0, 256, (2, 32, 32)).astype(np.uint8))
    inputs = [Preprocessor(trial.manifest.preprocessing)(frames)]
    for index, stage in enumerate(part.plans["full"].stages):
        out = np.empty((2, *part.segments[index].output_shape), np.float32)
        opened.load(trial.file(stage.file), part.segments[index].input_shape, out.shape[1:]).run(
            inputs[-1], out
        )
        inputs.append(out)
    for first, last in spans(7):
        if first < last and (first == 0 or last == 6):
            found = check_merged(trial, (first, last), opened, inputs[first])
            assert found == pytest.approx(inputs[last + 1], abs=1e-5)


def test_a_stage_that_computes_something_else_is_refused(bundle, tmp_path):
    trial = trial_of(bundle, tmp_path)
    wrong = tiny.conv_model(
        np.array([[1.0], [-1.0]]).reshape(2, 1, 1, 1), np.array([0.5, 1.0]), (6, 6)
    )
    with open(trial.file(stage_file((0, 1))), "wb") as file:
        file.write(wrong)
    features = np.ones((1, 1, 6, 6), np.float32)
    with pytest.raises(BundleError, match=r"stage_0_1.onnx: differs from its segments by 0\.5"):
        check_merged(trial, (0, 1), open_backend("onnxruntime", 1), features)


def test_int8_may_round_otherwise_but_not_compute_something_else(bundle, tmp_path):
    trial = trial_of(bundle, tmp_path)
    path = Path(trial.file(stage_file((0, 1))))
    features = np.random.RandomState(0).uniform(0, 1, (4, 1, 6, 6)).astype(np.float32)
    backend = open_backend("onnxruntime", 1)
    right = quantized(path.read_bytes(), features, METHODS[0], "stage 0 to 1")
    other = np.array([[1.2], [-1.0]]).reshape(2, 1, 1, 1)
    wrong = tiny.conv_model(other, np.array([0.0, 1.2]), (6, 6))
    path.write_bytes(right)
    chained = check_merged(trial, (0, 1), backend, features)
    found = run(opened(right, "rounded"), features)
    assert 1e-3 < np.abs(found - chained).max() < 0.05  # more than float32 may
    path.write_bytes(quantized(wrong, features, METHODS[0], "stage 0 to 1"))
    with pytest.raises(BundleError, match=r"stage_0_1.onnx: differs from its segments by 0\.1"):
        check_merged(trial, (0, 1), backend, features)


def test_features_that_are_not_finite_are_no_proof(bundle, tmp_path):
    features = np.full((1, 1, 6, 6), np.nan, np.float32)
    with pytest.raises(BundleError, match="differs from its segments by nan"):
        check_merged(trial_of(bundle, tmp_path), (0, 1), open_backend("onnxruntime", 1), features)


def test_another_operator_set_is_refused(segments):
    model = onnx.load_from_string(segments[1])
    model.opset_import[0].version = 17
    with pytest.raises(BundleError, match=r"segments 0 to 1: found operator sets .*17.*, expected"):
        merge([segments[0], model.SerializeToString()], "segments 0 to 1")


def test_a_segment_with_two_outputs_is_refused(segments):
    model = onnx.load_from_string(segments[0])
    model.graph.output.append(model.graph.output[0])
    with pytest.raises(BundleError, match="1 inputs and 2 outputs, expected"):
        merge([model.SerializeToString(), segments[1]], "here")


def test_a_stage_that_the_bundle_holds_is_kept_as_it_is(bundle, tmp_path):
    """Another version of onnx may write other bytes, but files of a bundle never change."""
    path = tmp_path / "1"
    tiny.write_tiny_bundle(path)
    merged = onnx.load_from_string(merged_stages(bundle)["onnx/stage_0_1.onnx"])
    merged.producer_name = "another"
    plan = {
        "stages": [
            {"first_segment": 0, "last_segment": 1, "exit": 1, "file": "onnx/stage_0_1.onnx"},
            {"first_segment": 2, "last_segment": 2, "exit": 2, "file": "onnx/segment_2.onnx"},
        ]
    }
    content = merged.SerializeToString()
    updated = update_bundle(path, {}, {"two": plan}, {"onnx/stage_0_1.onnx": content})
    assert merged_stages(updated)["onnx/stage_0_1.onnx"] == content
