"""The autoencoder learns, the network around it stays, and a kill only delays it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_bottlenecks import tiny_run, tiny_trainer_of
from tiny_training import TINY, tiny_trainer

from edgesdk.errors import ConfigError
from edgesdk.train import checkpoint
from edgesdk.train.bottlenecks import training
from edgesdk.train.bottlenecks.methods import METHODS
from edgesdk.train.bottlenecks.training import AllLogits, load_bottleneck, new_trainer
from edgesdk.train.bundles import load_run
from edgesdk.train.trainer import fit, logits_per_exit

PATIENCE_S = 120
PROGRAM = Path(__file__).with_name("tiny_bottlenecks.py")


def weights(trainer):
    return trainer.network.state_dict()


def different(first, second):
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bottleneck")
    trainer = tiny_trainer_of(tiny_run(), epochs=4)
    fit(trainer, directory)
    return trainer, directory


@pytest.mark.parametrize("method", METHODS)
def test_every_method_reduces_its_loss_and_leaves_the_network_as_it_was(method):
    run = tiny_run()
    before = {name: values.clone() for name, values in run.network.state_dict().items()}
    trainer = tiny_trainer_of(run, method, epochs=12)
    train, calibration = TINY.load("train"), TINY.load("calibration")
    losses = [trainer.run_epoch(train, calibration)["train_loss"] for _ in range(12)]
    assert losses[-1] < (1.0 if method == "cross-entropy" else 0.8) * losses[0]
    whole = trainer.network.whole
    assert not different(before, whole.state_dict()) and not whole.training
    assert not different(before, run.network.state_dict())


def test_exits_in_front_of_the_border_say_what_they_said(uninterrupted):
    images, network = TINY.load("test").images, uninterrupted[0].network
    found = logits_per_exit(AllLogits(network), images)
    straight = logits_per_exit(network.whole, images)
    assert torch.equal(found[0], straight[0])
    assert not torch.equal(found[1], straight[1])


def test_the_log_has_the_accuracy_of_every_exit(uninterrupted):
    trainer, directory = uninterrupted
    assert sorted(os.listdir(directory)) == ["checkpoint.pt", "curves.png", "log.jsonl"]
    log = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    assert log == trainer.history
    straight = logits_per_exit(trainer.network.whole, TINY.load("calibration").images)
    right = (straight[0].argmax(1) == TINY.load("calibration").labels).double().mean()
    assert [entry["calibration_accuracy"][0] for entry in log] == pytest.approx([float(right)] * 4)


def test_the_checkpoint_holds_the_autoencoder_alone(uninterrupted):
    trainer, directory = uninterrupted
    state = checkpoint.load(directory)
    assert all(name.startswith("autoencoder.") for name in state["network"])
    loaded = load_bottleneck(tiny_run(), directory)
    assert not different(loaded.network.state_dict(), weights(trainer))
    assert loaded.wanted == trainer.wanted and not loaded.network.training
    assert (loaded.epochs_done, loaded.settings.epochs) == (4, 4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_interrupted_training_resumes_to_the_same_weights(tmp_path, monkeypatch, precision):
    whole, stopped, resumed = (
        tiny_trainer_of(tiny_run(), epochs=3, precision=precision) for _ in range(3)
    )
    fit(whole, tmp_path / "whole")
    run_epoch = stopped.run_epoch

    def run_epoch_then_stop(*splits):
        if len(stopped.history) == 2:
            raise KeyboardInterrupt
        return run_epoch(*splits)

    monkeypatch.setattr(stopped, "run_epoch", run_epoch_then_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, tmp_path / "stopped")
    torch.rand(5)  # whatever else happened in between
    fit(resumed, tmp_path / "stopped", resume=True)
    assert not different(weights(whole), weights(resumed))
    assert whole.history == resumed.history


def test_a_killed_training_resumes_to_the_same_weights(uninterrupted, tmp_path):
    def start():
        return subprocess.Popen([sys.executable, str(PROGRAM), str(tmp_path), "4"])

    killed = start()
    end = time.monotonic() + PATIENCE_S
    while not (tmp_path / checkpoint.FILE_NAME).exists():
        assert killed.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert start().wait(PATIENCE_S) == 0
    assert not different(checkpoint.load(tmp_path)["network"], weights(uninterrupted[0]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "hnd"}, "made with method 'ghnd'; found method 'hnd'"),
        ({"ratio": 20.0}, "made with ratio 40.0; found ratio 20.0"),
        ({"epochs": 5}, "made with epochs 4; found epochs 5"),
    ],
)
def test_resuming_with_other_settings_is_refused(uninterrupted, changed, message):
    trainer = tiny_trainer_of(tiny_run(), **{"epochs": 4, **changed})
    with pytest.raises(ConfigError, match=message):
        fit(trainer, uninterrupted[1], resume=True)


def test_a_bottleneck_belongs_to_the_network_it_was_trained_in(uninterrupted):
    other = tiny_run(seed=1)
    with pytest.raises(ConfigError, match="found a bottleneck of another network"):
        load_bottleneck(other, uninterrupted[1])
    with pytest.raises(ConfigError, match="the checkpoint was made with network"):
        fit(tiny_trainer_of(other, epochs=4), uninterrupted[1], resume=True)


def test_networks_and_bottlenecks_are_not_mistaken_for_each_other(uninterrupted, tmp_path):
    with pytest.raises(ConfigError, match=r"found a bottleneck, made by: .* bottleneck; expected"):
        load_run(uninterrupted[1])
    fit(tiny_trainer(epochs=1), tmp_path)
    with pytest.raises(ConfigError, match="that of a network; expected a bottleneck"):
        load_bottleneck(tiny_run(), tmp_path)
    with pytest.raises(ConfigError, match="that of a network; expected a bottleneck"):
        fit(tiny_trainer_of(tiny_run(), epochs=1), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"border": 0}, "border: found 0, expected 1 to 1, a segment that takes features"),
        ({"border": 2}, "border: found 2, expected 1 to 1"),
        ({"method": "magic"}, "method: found 'magic', expected one of reconstruction, cross-"),
        ({"ratio": 3}, "ratio: found 3, expected a number above 4"),
    ],
)
def test_what_cannot_be_is_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        tiny_trainer_of(tiny_run(), **changed)


def test_labels_teach_only_where_the_method_says_so(monkeypatch):
    """GHND, with all labels wrong, learns the same."""
    run = tiny_run()
    wrong = run._replace(
        data=TINY._replace(load=lambda s: TINY.load(s)._replace(labels=0 * TINY.load(s).labels))
    )
    ends = {}
    for method in ("ghnd", "cross-entropy"):
        for name, one in (("right", run), ("wrong", wrong)):
            trainer = new_trainer(one, tiny_trainer_of(run, method, 1).settings, 1, method, 40.0)
            trainer.run_epoch(one.data.load("train"), one.data.load("calibration"))
            ends[method, name] = weights(trainer)
    assert not different(ends["ghnd", "right"], ends["ghnd", "wrong"])
    assert different(ends["cross-entropy", "right"], ends["cross-entropy", "wrong"])


def test_only_as_many_segments_run_as_the_method_needs(monkeypatch):
    ran = []
    onward = training.Bottlenecked.onward
    monkeypatch.setattr(
        training.Bottlenecked,
        "onward",
        lambda self, features, segments=None: (
            ran.append(segments) or onward(self, features, segments)
        ),
    )
    for method in ("reconstruction", "hnd", "ghnd"):
        trainer = tiny_trainer_of(tiny_run(), method, epochs=1)
        random = torch.Generator().manual_seed(0)
        split = TINY.load("train")
        trainer.learn(training.trainer.Batch(split.images, split.labels, split.labels), random)
    assert ran == [0, 0, 1, 1, None, None]
