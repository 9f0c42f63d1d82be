"""A network of one's own: checked before it is trained, trained, exported."""

import numpy as np
import pytest
import tiny_images
import torch
from tiny_training import TINY, tiny_network
from torch import nn

import edgesdk
from edgesdk.bundle import read_bundle
from edgesdk.errors import ConfigError
from edgesdk.train.__main__ import main
from edgesdk.train.calibration import measuring
from edgesdk.train.own import (
    ExitHead,
    MultiExit,
    Settings,
    check_network,
    data_set,
    export_run,
    train_network,
)
from edgesdk.train.trainer import logits_per_exit

SETTINGS = Settings("mine", "", epochs=2, batch_size=16)


class Residual(nn.Module):
    """Layers in a module of its own, with two ways through it."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features):
        return features + torch.sigmoid(self.conv(features))


def own_network(classes=3, in_channels=1):
    torch.manual_seed(0)
    segments = [
        nn.Sequential(nn.Conv2d(in_channels, 5, 3, 2, 1), nn.ReLU(), nn.Conv2d(5, 6, 1)),
        nn.Sequential(Residual(6), nn.MaxPool2d(2), nn.Conv2d(6, 7, 3, padding=1)),
    ]
    return MultiExit(segments, [ExitHead(6, classes), ExitHead(7, classes)])


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_it_computes_in_a_pipeline_what_torch_computes(tmp_path, backend):
    network = own_network()
    run = train_network(network, TINY, SETTINGS, tmp_path / "run")
    exported = export_run(run, tmp_path / "mine" / "1")
    images = TINY.load("test").images
    expected = logits_per_exit(network, images)[-1].numpy()
    with edgesdk.Pipeline.open(
        tmp_path / "mine" / "1", policy="final", backend=backend, logits=True
    ) as pipe:
        assert pipe.bundle.manifest.name == "mine-tiny"
        found = np.stack([outcome.logits for outcome in pipe.infer(images.numpy())])
    assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    right = (expected.argmax(1) == TINY.load("test").labels.numpy()).mean()
    assert exported.final.accuracy == pytest.approx(right)


def test_the_network_that_was_given_is_trained_and_ready_to_classify(tmp_path):
    network = own_network()
    before = network.segments[0][0].weight.clone()
    run = train_network(network, TINY, SETTINGS, tmp_path)
    assert run.network is network and not network.training and run.epochs_done == 2
    assert not torch.equal(before, network.segments[0][0].weight)
    assert run.settings == SETTINGS._replace(data="tiny")


def test_a_training_goes_on_where_it_was_killed(tmp_path):
    whole = train_network(own_network(), TINY, SETTINGS._replace(epochs=3), tmp_path / "whole")

    class Killed(Exception):
        pass

    calls = []

    def augment(images, generator):
        calls.append(None)
        if len(calls) == 5:  # in the second epoch of three batches
            raise Killed
        return TINY.augment(images, generator)

    dying = TINY._replace(augment=augment)
    with pytest.raises(Killed):
        train_network(own_network(), dying, SETTINGS._replace(epochs=3), tmp_path / "part")
    again = train_network(
        own_network(), TINY, SETTINGS._replace(epochs=3), tmp_path / "part", resume=True
    )
    for name, values in whole.network.state_dict().items():
        assert torch.equal(values, again.network.state_dict()[name]), name


def test_a_run_of_another_network_is_not_resumed(tmp_path):
    train_network(own_network(), TINY, SETTINGS, tmp_path)
    with pytest.raises(ConfigError, match="the weights of another network"):
        train_network(tiny_network(), TINY, SETTINGS, tmp_path, resume=True)


def test_a_check_leaves_the_network_as_it_was():
    network = own_network().train()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    check_network(network, TINY)
    assert network.training
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def two(first, second, heads):
    return MultiExit([first, second], heads)


CONV = nn.Conv2d(1, 4, 3, 2, 1)
HEADS = (ExitHead(4, 3), ExitHead(8, 3))
WRONG = {
    r"segment 0: found that it does not take float32 \[2, 1, 32, 32\], the images: .*channels": (
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(4, 8, 3),
        HEADS,
    ),
    r"segment 1: found that it does not take float32 \[2, 4, 16, 16\], what segment 0 gives": (
        CONV,
        nn.Conv2d(5, 8, 3),
        HEADS,
    ),
    r"segment 1: found that it gives \[2, 1024\], expected one tensor \[B, C, H, W\]": (
        CONV,
        nn.Flatten(),
        HEADS,
    ),
    r"exit 1: found that it does not take float32 \[2, 8, 14, 14\], what segment 1 gives": (
        CONV,
        nn.Conv2d(4, 8, 3),
        (ExitHead(4, 3), nn.Sequential(nn.Flatten(), nn.Linear(8, 3))),
    ),
    r"exit 1: found that it gives \[2, 4\] for 2 images, expected \[2, 3\]": (
        CONV,
        nn.Conv2d(4, 8, 3),
        (ExitHead(4, 3), nn.Sequential(nn.Flatten(), nn.Linear(8 * 14 * 14, 4))),
    ),
    r"exit 0: found ExitHead\(8, 3\), expected ExitHead\(4, 3\)": (
        CONV,
        nn.Conv2d(4, 8, 3),
        (ExitHead(8, 3), ExitHead(8, 3)),
    ),
    r"exit 1: found ExitHead\(8, 10\), expected ExitHead\(8, 3\)": (
        CONV,
        nn.Conv2d(4, 8, 3),
        (ExitHead(4, 3), ExitHead(8, 10)),
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_become_a_bundle_is_refused_before_it_is_trained(message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train_network(two(*WRONG[message]), TINY, SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_layer_that_cannot_be_exported_is_refused_before_it_is_trained(tmp_path):
    class Fourier(nn.Module):
        def forward(self, features):
            return torch.fft.fft2(features).real

    network = two(CONV, nn.Sequential(Fourier(), nn.Conv2d(4, 8, 3)), HEADS)
    with pytest.raises(ConfigError, match=r"segment 1: .*fft.* put another layer"):
        train_network(network, TINY, SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_layer_that_cannot_be_counted_is_refused_before_it_is_trained(tmp_path):
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = nn.GRU(4 * 16, 8, batch_first=True)

        def forward(self, features):
            found, _ = self.rows(features.flatten(1, 2).transpose(1, 2))
            return found.transpose(1, 2)[:, :, None]

    with pytest.raises(ConfigError, match="segment 1, rows: found a GRU, whose multiply-adds are"):
        train_network(two(CONV, Rows(), HEADS), TINY, SETTINGS, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", [["--max-loss-points", "100"], ["--codecs-only"]])
def test_images_of_another_size_than_the_shipped_networks_take(tmp_path, monkeypatch, what):
    """Trained, exported and calibrated on 48 x 48 pixels, with photos of 60 x 50."""
    monkeypatch.setattr(measuring, "SECONDS", 0.05)
    monkeypatch.setattr("edgesdk.bench.timing.pin", lambda threads: None)
    folder = tiny_images.write_folder(tmp_path / "images", tiny_images.files(size=(60, 50)))
    data = data_set(str(folder), size=48)
    assert data.load("train").images.shape[1:] == (3, 48, 48)
    settings = data.recipe._replace(model="mine", epochs=1, batch_size=16, precision="float32")
    run = train_network(own_network(len(data.labels), 3), data, settings, tmp_path / "run")
    bundle = str(tmp_path / "bundle")
    export_run(run, bundle)
    assert main(["calibrate", bundle, "--data", str(folder), *what]) == 0
    found = read_bundle(bundle).manifest
    assert found.preprocessing.shape == (3, 48, 48)
    assert "codecs" in found.document
