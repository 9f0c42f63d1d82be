"""Training: by seed, resumed after a kill, stopped when it diverges."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_images
import tiny_training
import torch
from tiny_training import TINY, tiny_network, tiny_trainer
from torch import nn

from edgesdk.errors import BackendUnavailable, ConfigError, EdgeError
from edgesdk.train import checkpoint
from edgesdk.train.trainer import (
    accuracy_per_exit,
    fit,
    keep_depthwise_float32,
    logits_per_exit,
    start_from,
)

PATIENCE_S = 60


def weights(trainer):
    return trainer.network.state_dict()


def assert_equal(first, second):
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


def read_log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    trainer, directory = tiny_trainer(epochs=4), tmp_path_factory.mktemp("run")
    fit(trainer, directory)
    return trainer, directory


def test_training_makes_every_exit_better_than_chance(tmp_path):
    trainer = tiny_trainer(epochs=12)
    fit(trainer, tmp_path)
    first, last = trainer.history[0], trainer.history[-1]
    assert last["train_loss"] < first["train_loss"]
    assert min(last["calibration_accuracy"]) > 0.6  # chance is one third


def test_the_seed_decides_the_weights(uninterrupted, tmp_path):
    again, other = tiny_trainer(epochs=4), tiny_trainer(epochs=4, seed=1)
    fit(again, tmp_path / "again")
    fit(other, tmp_path / "other")
    assert_equal(weights(uninterrupted[0]), weights(again))
    assert not torch.equal(weights(again)["segments.0.weight"], weights(other)["segments.0.weight"])


def test_a_run_leaves_a_checkpoint_and_one_log_line_per_epoch(uninterrupted):
    trainer, directory = uninterrupted
    assert sorted(os.listdir(directory)) == ["checkpoint.pt", "curves.png", "log.jsonl"]
    log = read_log(directory)
    assert log == trainer.history
    assert [entry["epoch"] for entry in log] == [0, 1, 2, 3]
    for entry in log:
        assert len(entry["train_accuracy"]) == len(entry["calibration_accuracy"]) == 2
        assert all(0 <= share <= 1 for share in entry["calibration_accuracy"])


def test_the_checkpoint_holds_the_final_weights_and_the_settings(uninterrupted):
    trainer, directory = uninterrupted
    state = checkpoint.load(directory)
    assert_equal(state["network"], weights(trainer))
    assert state["settings"] == trainer.settings._asdict()


@pytest.mark.parametrize("stop_after", [1, 3])
def test_an_interrupted_run_resumes_to_the_same_weights(
    uninterrupted, tmp_path, monkeypatch, stop_after
):
    stopped = tiny_trainer(epochs=4)
    run_epoch = stopped.run_epoch

    def run_epoch_then_stop(*splits):
        if len(stopped.history) == stop_after:
            raise KeyboardInterrupt
        return run_epoch(*splits)

    monkeypatch.setattr(stopped, "run_epoch", run_epoch_then_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, tmp_path)
    torch.rand(5)  # whatever else happened in between
    resumed = tiny_trainer(epochs=4)
    fit(resumed, tmp_path, resume=True)
    assert_equal(weights(uninterrupted[0]), weights(resumed))
    assert read_log(tmp_path) == read_log(uninterrupted[1])


def start(directory, epochs, images=()):
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, tiny_training.__file__, str(directory), str(epochs), *map(str, images)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("kind", ["scans", "photos"])
def test_a_killed_process_resumes_to_the_same_weights(tmp_path, kind):
    """The real thing: SIGKILL in the middle of an epoch, then the same command again."""
    epochs, killed, whole = 25, tmp_path / "killed", tmp_path / "whole"
    images = []
    if kind == "photos":
        images = [tiny_images.write_tar(tmp_path / "i.tar.xz", tiny_images.files(train=20))]
    with start(killed, epochs, images) as process:
        give_up = time.monotonic() + PATIENCE_S
        while not (killed / "log.jsonl").exists() or len(read_log(killed)) < 3:
            time.sleep(0.01)
            assert process.poll() is None and time.monotonic() < give_up, process.stderr.read()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert 3 <= len(checkpoint.load(killed)["history"]) < epochs
    for directory in (killed, whole):
        with start(directory, epochs, images) as process:
            _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
    assert_equal(checkpoint.load(killed)["network"], checkpoint.load(whole)["network"])
    assert read_log(killed) == read_log(whole)


def test_resuming_a_finished_run_changes_nothing(uninterrupted):
    trainer, directory = uninterrupted
    before = (directory / checkpoint.FILE_NAME).read_bytes()
    resumed = tiny_trainer(epochs=4)
    fit(resumed, directory, resume=True)
    assert (directory / checkpoint.FILE_NAME).read_bytes() == before
    assert_equal(weights(trainer), weights(resumed))


def test_a_run_is_not_overwritten_by_accident(uninterrupted):
    with pytest.raises(ConfigError, match="holds a run already; continue it with --resume"):
        fit(tiny_trainer(epochs=4), uninterrupted[1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 5}, "made with epochs 4; found epochs 5"),
        ({"epochs": 4, "seed": 7}, "made with seed 0; found seed 7"),
        ({"epochs": 4, "exit_weights": (1.0, 2.0)}, "exit_weights None; found exit_weights"),
    ],
)
def test_resuming_with_other_settings_is_refused(uninterrupted, changed, message):
    with pytest.raises(ConfigError, match=message):
        fit(tiny_trainer(**changed), uninterrupted[1], resume=True)


def test_a_damaged_checkpoint_is_not_resumed(tmp_path):
    (tmp_path / checkpoint.FILE_NAME).write_bytes(b"PK damaged")
    with pytest.raises(ConfigError, match="damaged"):
        fit(tiny_trainer(), tmp_path, resume=True)


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_intact(tmp_path, monkeypatch):
    replace, calls = os.replace, []

    def replace_until_full(source, target):
        calls.append(target)
        if len(calls) > 2:  # the first epoch's checkpoint and log
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_until_full)
    with pytest.raises(EdgeError, match="No space left on device"):
        fit(tiny_trainer(), tmp_path)
    assert len(checkpoint.load(tmp_path)["history"]) == 1
    assert sorted(os.listdir(tmp_path)) == ["checkpoint.pt", "log.jsonl"]


def test_a_diverging_run_stops_before_it_spoils_its_checkpoint(tmp_path):
    with pytest.raises(ConfigError, match="diverged; lower the learning rate"):
        fit(tiny_trainer(peak_learning_rate=1e30), tmp_path)
    assert not (tmp_path / checkpoint.FILE_NAME).exists()


def test_settings_that_no_training_can_have_are_refused():
    with pytest.raises(ConfigError, match="epochs: found 0"):
        tiny_trainer(epochs=0)


@pytest.mark.parametrize(
    "changed",
    [{"schedule": "onecycle"}, {"precision": "bfloat16"}, {"decay_all": False}],
    ids=str,
)
def test_every_part_of_the_recipe_changes_the_weights_and_still_trains(
    uninterrupted, tmp_path, changed
):
    trainer = tiny_trainer(epochs=12, peak_learning_rate=0.02, **changed)
    fit(trainer, tmp_path)
    assert trainer.history[-1]["train_loss"] < trainer.history[0]["train_loss"]
    plain = tiny_trainer(epochs=12, peak_learning_rate=0.02)
    fit(plain, tmp_path / "plain")
    name = "segments.0.weight"
    assert not torch.equal(weights(trainer)[name], weights(plain)[name])


def test_reduced_precision_keeps_float32_weights(tmp_path):
    trainer = tiny_trainer(epochs=1, precision="bfloat16")
    fit(trainer, tmp_path)
    assert {value.dtype for value in trainer.network.parameters()} == {torch.float32}


def test_depthwise_convolutions_are_spared_reduced_precision():
    depthwise, other = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3)
    images = torch.randn(2, 4, 8, 8)
    expected = depthwise(images)
    keep_depthwise_float32(nn.Sequential(depthwise, other))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(depthwise(images.bfloat16().float()), depthwise(images.bfloat16()))
        assert torch.equal(depthwise(images), expected)
        assert other(images).dtype == torch.bfloat16


def test_biases_and_batch_norms_are_spared_the_decay_unless_asked():
    """Without a gradient, only the decay changes a parameter."""

    def after_one_step(decay_all):
        trainer = tiny_trainer(weight_decay=0.5, decay_all=decay_all)
        for values in trainer.network.parameters():
            torch.nn.init.ones_(values)
            values.grad = torch.zeros_like(values)
        trainer._optimizer.step()
        return {n: v.detach().flatten()[0].item() for n, v in trainer.network.named_parameters()}

    assert max(after_one_step(True).values()) < 1
    spared = {name for name, value in after_one_step(False).items() if value == 1}
    vectors = {name for name, v in tiny_network().named_parameters() if v.ndim == 1}
    assert spared == vectors
    assert "segments.0.bias" in spared and "exits.0.norm.weight" in spared


def test_a_compiled_network_shares_its_parameters_and_needs_a_compiler(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network: ("compiled", network))
    trainer = tiny_trainer(compiled=True)
    assert trainer._forward == ("compiled", trainer.network)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"C\+\+ compiler.* --no-compile"):
        tiny_trainer(compiled=True)


def test_other_images_than_before_are_not_trained_on(tmp_path):
    fit(tiny_trainer(data=TINY._replace(digest="a")), tmp_path)
    with pytest.raises(ConfigError, match="tiny: found other images or labels than this run was"):
        fit(tiny_trainer(data=TINY._replace(digest="b")), tmp_path, resume=True)


def test_a_run_may_begin_with_the_weights_of_another_and_says_so(uninterrupted, tmp_path):
    first, directory = uninterrupted
    network = tiny_network()
    start = start_from(network, directory)
    assert_equal(network.state_dict(), weights(first))
    assert (start["model"], start["epochs"], start["epochs_done"]) == ("tiny", 4, 4)
    assert "data" not in start
    trainer = tiny_trainer(peak_learning_rate=0.01, start=start)
    trainer.network.load_state_dict(network.state_dict())
    fit(trainer, tmp_path)
    assert trainer.history[0]["train_loss"] < first.history[0]["train_loss"]
    assert checkpoint.load(tmp_path)["settings"]["start"] == start
    with pytest.raises(ConfigError, match="start None; resume with the same settings"):
        fit(tiny_trainer(peak_learning_rate=0.01), tmp_path, resume=True)


def test_weights_of_another_network_are_no_beginning(uninterrupted, tmp_path):
    with pytest.raises(ConfigError, match=r"weights of tiny that do not fit .* as many classes"):
        start_from(tiny_network(classes=4), uninterrupted[1])
    with pytest.raises(ConfigError, match="not found; expected a run"):
        start_from(tiny_network(), tmp_path)


def test_images_may_move_between_two_sittings(tmp_path):
    data = TINY._replace(digest="a")
    fit(tiny_trainer(data=data), tmp_path)
    moved = tiny_trainer(data=data)
    moved.settings = moved.settings._replace(data="elsewhere/tiny")
    fit(moved, tmp_path, resume=True)
    assert len(moved.history) == 3


def test_a_checkpoint_without_a_digest_or_newer_settings_is_resumed(uninterrupted, tmp_path):
    """As versions wrote it that knew neither."""
    state = checkpoint.load(uninterrupted[1])
    del state["data_digest"]
    for name in ("schedule", "precision", "compiled", "decay_all"):
        del state["settings"][name]
    checkpoint.save(tmp_path, {k: v for k, v in state.items() if k != "format_version"})
    fit(tiny_trainer(epochs=4), tmp_path, resume=True)


def test_curves_are_drawn_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    drawn = []

    def curves(history, title):
        drawn.append((len(history), title))
        return b"png"

    monkeypatch.setattr("edgesdk.train.plots.curves", curves)
    monkeypatch.setattr("edgesdk.train.trainer.PLOTS_PER_RUN", 3)
    fit(tiny_trainer(epochs=7), tmp_path)
    assert drawn == [(3, "tiny on tiny"), (6, "tiny on tiny"), (7, "tiny on tiny")]


def test_evaluation_does_not_depend_on_batches_and_changes_nothing(monkeypatch):
    network, split = tiny_network(), TINY.load("calibration")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    whole = logits_per_exit(network, split.images)
    monkeypatch.setattr("edgesdk.train.trainer.EVALUATION_BATCH", 7)
    assert torch.allclose(logits_per_exit(network, split.images), whole, atol=1e-6)
    assert whole.shape == (2, 30, 3)
    assert_equal(before, network.state_dict())


def test_accuracy_is_the_share_of_right_answers_at_each_exit():
    network, split = tiny_network(), TINY.load("test")
    expected = (logits_per_exit(network, split.images).argmax(2) == split.labels).float().mean(1)
    assert accuracy_per_exit(network, split) == pytest.approx(expected.tolist())
