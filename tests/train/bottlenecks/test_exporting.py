"""From a trained bottleneck to a bundle whose pipeline could use it."""

import numpy as np
import pytest
import torch
from tiny_bottlenecks import tiny_run, tiny_trainer_of
from tiny_training import TINY

from edgesdk.backends import open_backend
from edgesdk.bundle import read_bundle
from edgesdk.errors import BundleError, ConfigError
from edgesdk.train import checkpoint, export
from edgesdk.train.bottlenecks.exporting import bottleneck_files, coders
from edgesdk.train.bottlenecks.training import load_bottleneck
from edgesdk.train.bundles import export_run
from edgesdk.train.trainer import fit


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    result = tmp_path_factory.mktemp("bottleneck")
    fit(tiny_trainer_of(tiny_run(), epochs=2), result)
    return result


@pytest.fixture(scope="module")
def bundle(directory, tmp_path_factory):
    path, run = tmp_path_factory.mktemp("engines") / "1", tiny_run()
    export_run(run, path, 100.0, bottlenecks=[bottleneck_files(run, directory)])
    return read_bundle(str(path))


def test_the_manifest_names_it(bundle):
    (found,) = bundle.manifest.parts[0].bottlenecks
    assert (found.border, found.code_shape) == (1, (6, 4, 4))
    assert (found.encoder, found.decoder) == ("onnx/encoder_1.onnx", "onnx/decoder_1.onnx")
    # 3 x 3 from 4 to 16 to 6 channels; back with 3 x 3 and 1 x 1, four times the channels each;
    # norms one per value.
    assert found.encoder_multiply_adds == 64 * (16 * 9 * 4 + 16) + 16 * (6 * 9 * 16 + 6)
    assert found.decoder_multiply_adds == 16 * (64 * 9 * 6 + 64) + 64 * (16 * 16 + 16)
    provenance = bundle.manifest.document["parts"][0]["bottlenecks"][0]["provenance"]
    assert (provenance["method"], provenance["settings"]["epochs"]) == ("ghnd", 2)
    assert provenance["settings"]["data"] == "tiny"


def test_what_the_network_computes_is_the_same_with_and_without(bundle, tmp_path):
    export_run(tiny_run(), tmp_path / "1", 100.0)
    assert read_bundle(str(tmp_path / "1")).manifest.model_id == bundle.manifest.model_id


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_the_files_compute_what_was_trained(bundle, directory, backend):
    trained = load_bottleneck(tiny_run(), directory)
    (spec,), opened = bundle.manifest.parts[0].bottlenecks, open_backend(backend, 1)
    _, features = trained.network.arriving(TINY.load("test").images[:5])
    shape = tuple(features.shape[1:])
    with torch.no_grad():
        code = trained.network.autoencoder.encoder(features)
        decoded = trained.network.autoencoder.decoder(code)
    for file, source, inputs, expected in (
        (spec.encoder, shape, features, code),
        (spec.decoder, spec.code_shape, code, decoded),
    ):
        for batch in (1, 5):
            out = np.empty(expected[:batch].shape, np.float32)
            program = opened.load(bundle.file(file), source, tuple(expected.shape[1:]))
            program.run(inputs[:batch].numpy(), out)
            assert np.abs(out - expected[:batch].numpy()).max() < 1e-4 * float(expected.abs().max())
    opened.close()


def test_files_that_compute_something_else_are_refused(directory, monkeypatch):
    trained = load_bottleneck(tiny_run(), directory)
    run = export._run
    monkeypatch.setattr(export, "_run", lambda *arguments: run(*arguments) + 0.1)
    with pytest.raises(BundleError, match="encoder at border 1, batch of 5: differs from torch by"):
        coders(trained.network, TINY.load("test").images[:5])


def test_a_bottleneck_of_another_network_is_refused_and_nothing_is_written(directory):
    with pytest.raises(ConfigError, match="found a bottleneck of another network"):
        bottleneck_files(tiny_run(seed=1), directory)


def test_a_training_that_is_not_finished_is_refused(tmp_path):
    trainer = tiny_trainer_of(tiny_run(), epochs=2)
    trainer.run_epoch(TINY.load("train"), TINY.load("calibration"))
    checkpoint.save(tmp_path, trainer.state())
    with pytest.raises(ConfigError, match=r"has 1 of 2 epochs; finish it with: .* --resume"):
        bottleneck_files(tiny_run(), tmp_path)


def test_two_at_one_border_are_refused(directory, tmp_path):
    run = tiny_run()
    twice = [bottleneck_files(run, directory)] * 2
    with pytest.raises(BundleError, match=r"found the borders \[1, 1\], expected different ones"):
        export_run(run, tmp_path / "1", 100.0, bottlenecks=twice)
    assert not (tmp_path / "1").exists()
