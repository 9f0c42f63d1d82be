"""Joint training of an ensemble: what it logs and keeps, and that a kill only delays it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_distilling
import torch
import torch.nn.functional as F
from tiny_distilling import TEACHER, tiny_distiller
from tiny_training import TINY, tiny_trainer

from edgesdk.errors import ConfigError
from edgesdk.train import checkpoint
from edgesdk.train.bundles import load_run
from edgesdk.train.ensembles.distiller import restored_knowledge
from edgesdk.train.ensembles.teacher import Knowledge, load_teacher
from edgesdk.train.trainer import fit, start_from

PATIENCE_S = 120


@pytest.fixture(autouse=True, scope="module")
def registered():
    with pytest.MonkeyPatch.context() as patch:
        tiny_distilling.register(patch)
        yield


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    distiller, directory = tiny_distiller(epochs=4), tmp_path_factory.mktemp("run")
    fit(distiller, directory)
    return distiller, directory


def weights(distiller):
    return distiller.network.state_dict()


def different(first, second):
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def read_log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def test_every_branch_and_mixtures_learn(tmp_path):
    distiller = tiny_distiller(epochs=15, soft_weight=0.1, peak_learning_rate=0.1)
    fit(distiller, tmp_path)
    first, last = distiller.history[0], distiller.history[-1]
    for now, then in zip(last["train_branch_loss"], first["train_branch_loss"]):
        assert now < then
    assert last["train_mixture_loss"] < first["train_mixture_loss"]
    assert last["train_loss"] < first["train_loss"]
    assert min(last["calibration_accuracy"]) > 0.6  # chance is one third


def test_the_log_has_loss_and_accuracy_of_every_branch(uninterrupted):
    distiller, directory = uninterrupted
    assert sorted(os.listdir(directory)) == ["checkpoint.pt", "curves.png", "log.jsonl"]
    log = read_log(directory)
    assert log == distiller.history
    for entry in log:
        for name in ("train_branch_loss", "train_accuracy", *distiller.evaluations):
            assert len(entry[name]) == 2
        branches = sum(w * x for w, x in zip(distiller.weights, entry["train_branch_loss"]))
        total = branches + entry["train_mixture_loss"]
        assert entry["train_loss"] == pytest.approx(total, rel=1e-5)


def test_evaluation_is_that_of_the_whole_ensemble(uninterrupted):
    distiller, _ = uninterrupted
    split = TINY.load("calibration")
    distiller.network.eval()
    with torch.no_grad():
        logits = distiller.network(split.images).logits
    accuracies, losses = distiller.evaluated(split)
    right = [(values.argmax(1) == split.labels).float().mean().item() for values in logits]
    assert accuracies == pytest.approx(right)
    expected = [F.cross_entropy(values, split.labels).item() for values in logits]
    assert losses == pytest.approx(expected, rel=1e-5)


def test_the_checkpoint_holds_all_that_evaluation_needs(uninterrupted):
    distiller, directory = uninterrupted
    state = checkpoint.load(directory)
    assert not different(state["network"], weights(distiller))
    assert state["distillation"] == distiller.distillation._asdict()
    kept, own = restored_knowledge(state["knowledge"]), distiller.knowledge
    assert torch.equal(kept.projection, own.projection)
    assert kept.filters == own.filters and kept.kept == own.kept
    assert torch.equal(kept.graph, own.graph)
    assert weights(distiller)["mean_features"].abs().min() > 0


def test_the_teacher_stays_as_it_was(uninterrupted):
    distiller, _ = uninterrupted
    again = tiny_distiller()
    assert not different(distiller.teacher.state_dict(), again.teacher.state_dict())
    assert not distiller.teacher.training


def test_what_students_learn_from_does_not_change_on_resuming(uninterrupted, monkeypatch):
    """It is read from the checkpoint: the teacher is not asked again."""
    monkeypatch.setattr("edgesdk.train.ensembles.distiller.divided", None)
    resumed = tiny_distiller(epochs=4)
    fit(resumed, uninterrupted[1], resume=True)
    assert torch.equal(resumed.knowledge.projection, uninterrupted[0].knowledge.projection)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, monkeypatch, precision):
    whole = tiny_distiller(epochs=3, precision=precision)
    fit(whole, tmp_path / "whole")
    stopped = tiny_distiller(epochs=3, precision=precision)
    run_epoch = stopped.run_epoch

    def run_epoch_then_stop(*splits):
        if len(stopped.history) == 2:
            raise KeyboardInterrupt
        return run_epoch(*splits)

    monkeypatch.setattr(stopped, "run_epoch", run_epoch_then_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, tmp_path / "stopped")
    torch.rand(5)  # whatever else happened in between
    resumed = tiny_distiller(epochs=3, precision=precision)
    fit(resumed, tmp_path / "stopped", resume=True)
    assert not different(weights(whole), weights(resumed))
    assert read_log(tmp_path / "stopped") == read_log(tmp_path / "whole")


def test_with_views_the_teacher_is_asked_once_and_a_resumed_run_asks_again(tmp_path, monkeypatch):
    """Two views, five epochs, stopped after three: the fourth epoch meets a view again."""
    asked = []
    vectors = Knowledge.vectors

    def counting(knowledge, pooled):
        asked.append(len(pooled))
        return vectors(knowledge, pooled)

    monkeypatch.setattr(Knowledge, "vectors", counting)
    whole, stopped, resumed = (tiny_distiller(epochs=5, views=2) for _ in range(3))
    fit(whole, tmp_path / "whole")
    assert asked == [16, 16, 16] * 2
    splits = TINY.load("train"), TINY.load("calibration")
    for _ in range(3):
        stopped.run_epoch(*splits)
    checkpoint.save(tmp_path / "stopped", stopped.state())
    fit(resumed, tmp_path / "stopped", resume=True)
    assert not different(weights(whole), weights(resumed))
    assert whole.history == resumed.history


def test_what_the_teacher_said_may_be_kept_for_a_run_that_goes_on(tmp_path, monkeypatch):
    whole, stopped, resumed, other = (
        tiny_distiller(epochs=5, views=2, answers=tmp_path / "answers", seed=seed)
        for seed in (0, 0, 0, 1)
    )
    fit(whole, tmp_path / "whole")
    assert len(list((tmp_path / "answers").iterdir())) == 2
    splits = TINY.load("train"), TINY.load("calibration")
    stopped.run_epoch(*splits)
    checkpoint.save(tmp_path / "stopped", stopped.state())
    asked = []
    monkeypatch.setattr(Knowledge, "vectors", lambda *arguments: asked.append(1))
    fit(resumed, tmp_path / "stopped", resume=True)
    assert not asked and whole.history == resumed.history
    with pytest.raises(TypeError):  # for the patch says nothing: another seed does ask
        fit(other, tmp_path / "other")
    assert asked


def test_answers_that_are_damaged_are_asked_for_again(tmp_path):
    one, other = (tiny_distiller(epochs=2, views=1, answers=tmp_path / "a") for _ in range(2))
    fit(one, tmp_path / "one")
    (file,) = (tmp_path / "a").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    fit(other, tmp_path / "other")
    assert one.history == other.history and file.read_bytes() == content


def test_without_views_the_teacher_is_asked_of_every_batch(tmp_path, monkeypatch):
    """And what it says is of the very copies that the students see."""
    distiller, seen = tiny_distiller(epochs=2), []
    for module in (distiller.teacher, distiller.network):
        module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    splits = TINY.load("train"), TINY.load("calibration")
    distiller.run_epoch(*splits)
    teacher_and_students = seen[1:7]  # before: calibration; behind: evaluation
    for theirs, ours in zip(teacher_and_students[::2], teacher_and_students[1::2]):
        assert torch.equal(theirs, ours)


def start(directory, epochs):
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, tiny_distilling.__file__, str(directory), str(epochs)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )


def test_a_killed_process_resumes_to_the_same_weights(tmp_path):
    """SIGKILL in the middle of an epoch, then the same command again."""
    epochs, killed, whole = 20, tmp_path / "killed", tmp_path / "whole"
    with start(killed, epochs) as process:
        give_up = time.monotonic() + PATIENCE_S
        while not (killed / "log.jsonl").exists() or len(read_log(killed)) < 2:
            time.sleep(0.01)
            assert process.poll() is None and time.monotonic() < give_up, process.stderr.read()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert 2 <= len(checkpoint.load(killed)["history"]) < epochs
    for directory in (killed, whole):
        with start(directory, epochs) as process:
            _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
    first, second = checkpoint.load(killed), checkpoint.load(whole)
    assert not different(first["network"], second["network"])
    assert torch.equal(first["knowledge"]["projection"], second["knowledge"]["projection"])
    assert read_log(killed) == read_log(whole)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"soft_weight": 0.25}, "made with soft_weight 0.5; found soft_weight 0.25"),
        ({"depths": (2, 2)}, r"made with depths \(2, 1\); found depths \(2, 2\)"),
        ({"teacher": {**TEACHER, "weights": "other"}}, "made with teacher"),
        ({"epochs": 5}, "made with epochs 4; found epochs 5"),
    ],
)
def test_resuming_with_other_settings_is_refused(uninterrupted, changed, message):
    with pytest.raises(ConfigError, match=message):
        fit(tiny_distiller(**{"epochs": 4, **changed}), uninterrupted[1], resume=True)


def test_networks_and_ensembles_are_not_mistaken_for_each_other(uninterrupted, tmp_path):
    _, directory = uninterrupted
    single = "found an ensemble, made by: python -m edgesdk.train distill; expected a single"
    for reader in (load_run, lambda path: load_teacher(path, TINY)):
        with pytest.raises(ConfigError, match=single):
            reader(directory)
    with pytest.raises(ConfigError, match="weights of tiny that do not fit"):
        start_from(tiny_trainer().network, directory)
    fit(tiny_trainer(epochs=1), tmp_path)
    with pytest.raises(ConfigError, match=r"single network, made by: .* fit; expected an ensemble"):
        fit(tiny_distiller(epochs=1), tmp_path, resume=True)


def test_the_parts_of_the_loss_that_are_ours_can_be_switched_off(uninterrupted, tmp_path):
    plain = tiny_distiller(epochs=4, mixture_weight=0.0)
    fit(plain, tmp_path)
    assert {entry["train_mixture_loss"] for entry in plain.history} == {0.0}
    assert "classifier.weight" in different(weights(plain), weights(uninterrupted[0]))
    branches = sum(w * x for w, x in zip(plain.weights, plain.history[0]["train_branch_loss"]))
    assert plain.history[0]["train_loss"] == pytest.approx(branches, rel=1e-5)


def test_more_students_than_filters_are_refused_before_anything_is_trained():
    with pytest.raises(ConfigError, match="students: found 9, expected 1 to 8"):
        tiny_distiller(depths=(1,) * 9)


def test_a_compiled_run_compiles_students_and_teacher(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    distiller = tiny_distiller(compiled=True)
    assert compiled == [distiller.network, distiller.teacher]
