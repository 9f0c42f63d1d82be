"""A run becomes an INT8 bundle that says what it cost, or none at all."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_distilling
import torch
from tiny_training import TINY, tiny_network

import edgesdk
from edgesdk.backends import open_backend
from edgesdk.bundle import read_bundle
from edgesdk.errors import ConfigError
from edgesdk.manifest import UNCUT_FILE
from edgesdk.outcomes import replay
from edgesdk.train import int8_network
from edgesdk.train.__main__ import main
from edgesdk.train.bundles import Run, export_run
from edgesdk.train.calibration import measuring
from edgesdk.train.calibration.merging import merged_stages
from edgesdk.train.calibration.recording import record
from edgesdk.train.heads import PooledHead, build_head
from edgesdk.train.int8 import METHODS
from edgesdk.train.models import MultiExit
from edgesdk.train.recipe import Settings
from edgesdk.train.trainer import fit

RUINOUS = METHODS[1]._replace(name="percentile 30", options={"CalibPercentile": 30.0})


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("engines") / "tiny-int8" / "1")
    return export_run(run, path, 5.0, int8_loss_points=5.0), read_bundle(path)


def has_pairs(path):
    return any(node.op_type == "QuantizeLinear" for node in onnx.load(path).graph.node)


def test_every_stage_is_rounded_and_the_name_says_so(written):
    bundle = written[1]
    assert bundle.manifest.name == "tiny-tiny-int8"
    stages = bundle.manifest.parts[0].plans["full"].stages
    assert [has_pairs(bundle.file(stage.file)) for stage in stages] == [True, True]


def test_the_provenance_says_where_ranges_came_from_and_what_each_exit_lost(written, run):
    exported, bundle = written
    found = bundle.manifest.document["provenance"]["quantization"]
    assert (found["type"], found["split"], found["image_count"]) == ("int8", "calibration", 30)
    assert sorted(found["tried"]) == sorted(method.name for method in METHODS)
    assert found["method"] in found["tried"]
    accuracies = found["accuracy_per_exit"]
    assert sorted(accuracies) == ["calibration", "test"]
    floats = export_accuracy(run)
    assert accuracies["test"]["float32"] == pytest.approx(floats)
    assert accuracies["test"]["int8"] == pytest.approx(exported.test_accuracy)
    assert found["tried"][found["method"]] == pytest.approx(
        np.mean(accuracies["calibration"]["int8"])
    )
    assert found["tried"][found["method"]] == max(found["tried"].values())


def export_accuracy(run):
    from edgesdk.train.trainer import accuracy_per_exit

    return accuracy_per_exit(run.network, TINY.load("test"))


def test_every_backend_answers_as_the_report_says(written):
    exported, bundle = written
    for backend, tolerance in (("onnxruntime", 0.0), ("torch", 0.04)):
        outcomes = record(bundle, TINY, open_backend(backend)).select("test")
        found = outcomes.correct.mean(axis=0)
        np.testing.assert_allclose(found, exported.test_accuracy, rtol=0, atol=tolerance + 1e-9)


def test_the_policy_is_calibrated_on_what_int8_answers(written):
    exported, bundle = written
    outcomes = record(bundle, TINY, open_backend("onnxruntime")).select("test")
    policy = bundle.manifest.policies["calibrated"]
    replayed = replay(outcomes, policy, (0, 1))
    right = outcomes.correct[np.arange(outcomes.image_count), replayed.exit_index]
    assert exported.calibrated.accuracy == pytest.approx(right.mean())


def test_the_uncut_network_is_made_of_the_same_stages_and_a_float32_head(written, run):
    bundle = written[1]
    graph = onnx.load(bundle.file(UNCUT_FILE)).graph
    rounded = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    stages = bundle.manifest.parts[0].plans["full"].stages
    parts = [onnx.load(bundle.file(stage.file)).graph for stage in stages]
    assert len(rounded) == sum(n.op_type == "QuantizeLinear" for p in parts for n in p.node)
    images = TINY.load("test").images.numpy()
    session = int8_network.opened(Path(bundle.file(UNCUT_FILE)).read_bytes(), "uncut")
    heads = [int8_network.fused_classifier(bundle.head(0, index)) for index in range(2)]
    files = [Path(bundle.file(stage.file)).read_bytes() for stage in stages]
    expected = int8_network.logits_of(files, heads, images)[-1]
    np.testing.assert_allclose(int8_network.run(session, images), expected, atol=0.05)


def test_heads_of_every_kind_stay_float32(tmp_path):
    torch.manual_seed(0)
    body = tiny_network()
    heads = [build_head("linear", (4, 16, 16), 3), PooledHead(torch.nn.Linear(8, 3))]
    network = MultiExit(body.segments, heads).eval()
    cut = Run(network, TINY, Settings("tiny", "tiny", epochs=1), 1)
    exported = export_run(cut, tmp_path / "1", 100.0, int8_loss_points=100.0)
    bundle = read_bundle(tmp_path / "1")
    assert [each.kind for each in bundle.manifest.parts[0].exits] == ["graph", "fused"]
    assert not has_pairs(bundle.file("heads/exit_0.onnx"))
    outcomes = record(bundle, TINY, open_backend("onnxruntime")).select("test")
    assert outcomes.correct.mean(axis=0) == pytest.approx(exported.test_accuracy)


def test_the_test_split_decides_nothing(run, written, tmp_path):
    def load(split):
        found = TINY.load(split)
        return found._replace(images=-found.images) if split == "test" else found

    changed = run._replace(data=run.data._replace(load=load))
    export_run(changed, tmp_path / "1", 5.0, int8_loss_points=5.0)
    assert read_bundle(tmp_path / "1").manifest.model_id == written[1].manifest.model_id


def test_the_calibration_split_decides_the_ranges(run, written, tmp_path):
    def load(split):
        found = TINY.load(split)
        return found._replace(images=2 * found.images) if split == "calibration" else found

    changed = run._replace(data=run.data._replace(load=load))
    export_run(changed, tmp_path / "1", 100.0, int8_loss_points=100.0)
    assert read_bundle(tmp_path / "1").manifest.model_id != written[1].manifest.model_id


def test_a_network_that_loses_too_much_is_not_exported(run, tmp_path, monkeypatch):
    monkeypatch.setattr(int8_network, "METHODS", (RUINOUS,))
    with pytest.raises(ConfigError) as caught:
        export_run(run, tmp_path / "tiny" / "1", 5.0, int8_loss_points=1.0)
    message = str(caught.value)
    assert "percent points on the calibration split, expected at most 1.0 (exit 0 " in message
    assert "--int8-loss-points" in message
    assert os.listdir(tmp_path) == []


def test_the_better_method_is_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(int8_network, "METHODS", (RUINOUS, METHODS[0]))
    exported = export_run(run, tmp_path / "1", 5.0, int8_loss_points=5.0)
    assert exported.quantization["method"] == METHODS[0].name
    assert exported.quantization["tried"][RUINOUS.name] < max(
        exported.quantization["tried"].values()
    )


@pytest.mark.parametrize("points", [-1.0, 101.0, float("nan")])
def test_an_impossible_limit_is_refused(run, tmp_path, points):
    with pytest.raises(ConfigError, match=r"int8_loss_points: found .*, expected 0 to 100"):
        export_run(run, tmp_path / "1", 5.0, int8_loss_points=points)


def test_the_command_shows_what_each_exit_loses(directory, tmp_path, capfd):
    arguments = ["export", str(directory), "--max-loss-points=5", "--int8-loss-points=5", "--int8"]
    assert main([*arguments, "--bundle", str(tmp_path / "1")]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "INT8: ranges of 30 calibration images, " in out
    assert "accuracy  calibration, float32" in out
    assert main([*arguments, "--bundle", str(tmp_path / "2"), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["quantization"]["type"] == "int8"


def test_a_limit_without_int8_is_refused(directory, tmp_path, capsys):
    arguments = ["export", str(directory), "--bundle", str(tmp_path / "1")]
    assert main([*arguments, "--int8-loss-points", "1"]) == 1
    assert "--int8-loss-points: found without --int8" in capsys.readouterr().err
    assert not (tmp_path / "1").exists()


def test_without_the_tools_of_onnxruntime_nothing_is_written(
    directory, tmp_path, capsys, monkeypatch
):
    for name in ("edgesdk.train.int8", "edgesdk.train.int8_network"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    monkeypatch.delattr("onnxruntime.quantization", raising=False)
    assert main(["export", str(directory), "--bundle", str(tmp_path / "1"), "--int8"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("BackendUnavailable: INT8 needs onnxruntime.quantization")
    assert main(["export", str(directory), "--bundle", str(tmp_path / "2")]) == 0
    assert not (tmp_path / "1").exists()


def test_an_ensemble_is_refused(registered, tmp_path, capsys):
    fit(tiny_distilling.tiny_distiller(epochs=1), tmp_path / "run")
    arguments = ["export", str(tmp_path / "run"), "--bundle", str(tmp_path / "1")]
    assert main([*arguments, "--int8"]) == 1
    assert "is an ensemble, expected a plain network; export it without" in capsys.readouterr().err


def test_an_int8_bundle_is_calibrated_like_any_other(written, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "SECONDS", 0.05)
    monkeypatch.setattr("edgesdk.bench.timing.pin", lambda threads: None)
    path = str(tmp_path / "1")
    shutil.copytree(written[1].path, path)
    assert main(["calibrate", path, "--data", "tiny", "--max-loss-points", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model_id"] == written[1].manifest.model_id
    merged = merged_stages(read_bundle(path))["onnx/stage_0_1.onnx"]
    rounded = [node.op_type for node in onnx.load_from_string(merged).graph.node]
    assert rounded.count("QuantizeLinear") == 7  # two convolutions share an input
    with edgesdk.Pipeline.open(path) as pipe:
        assert pipe.infer(np.zeros((32, 32), np.uint8)).ok
