"""From a finished run to a bundle, with where it came from."""

import os

import numpy as np
import pytest
from tiny_training import TINY, tiny_network

from edgesdk.bundle import read_bundle
from edgesdk.errors import BundleError, ConfigError
from edgesdk.train import checkpoint
from edgesdk.train.bundles import Run, export_run, load_run
from edgesdk.train.trainer import logits_per_exit


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("engines") / "tiny" / "1"
    return export_run(run, path, max_loss_points=5.0, overwrite=False), read_bundle(path)


def test_a_run_is_loaded_as_it_was_trained(run, directory):
    state = checkpoint.load(directory)
    assert run.settings._asdict() == state["settings"]
    assert (run.data.name, run.epochs_done, run.network.training) == ("tiny", 12, False)
    assert np.array_equal(
        run.network.state_dict()["segments.0.weight"], state["network"]["segments.0.weight"]
    )


def test_the_bundle_describes_the_network(written):
    manifest = written[1].manifest
    assert manifest.name == "tiny-tiny"
    assert manifest.labels == TINY.labels
    assert manifest.preprocessing == TINY.preprocessing
    (part,) = manifest.parts
    assert [segment.output_shape for segment in part.segments] == [(4, 16, 16), (8, 8, 8)]
    assert part.segments[0].multiply_adds == 4 * 256 * 9
    assert part.exits[1].multiply_adds == 8 * 64 + 8 * 3
    assert part.plans["full"].exit_indices == (0, 1)


def test_the_default_policy_is_calibrated_and_the_full_network_stands_beside_it(written):
    exported, bundle = written
    assert sorted(bundle.manifest.policies) == ["calibrated", "final"]
    assert bundle.manifest.default_policy == "calibrated"
    assert bundle.manifest.policies["calibrated"].thresholds == exported.thresholds


def test_the_provenance_says_how_thresholds_were_chosen_and_what_they_do(written):
    exported, bundle = written
    provenance = bundle.manifest.document["policies"]["calibrated"]["provenance"]
    assert provenance["split"] == "calibration"
    assert provenance["image_count"] == 30
    assert provenance["max_loss_points"] == 5.0
    assert sum(provenance["share_per_exit"]) == pytest.approx(1)
    assert provenance["accuracy"] >= provenance["final_exit_accuracy"] - 0.05
    assert provenance["test"]["accuracy"] == exported.calibrated.accuracy
    assert bundle.manifest.document["provenance"]["settings"]["epochs"] == 12


def test_what_is_reported_is_the_test_split(run, written):
    test = TINY.load("test")
    right = logits_per_exit(run.network, test.images).argmax(2) == test.labels
    assert written[0].test_accuracy == pytest.approx(right.float().mean(1).tolist())
    assert written[0].final.accuracy == pytest.approx(written[0].test_accuracy[-1])
    assert written[0].final.share_per_exit == (0, 1)


def test_the_test_split_decides_nothing(run, written, tmp_path):
    """With other test images the bundle has the same files and thresholds."""

    def load(split):
        found = TINY.load(split)
        return found._replace(images=-found.images) if split == "test" else found

    exported = export_run(
        run._replace(data=run.data._replace(load=load)), tmp_path / "1", 5.0, False
    )
    assert exported.thresholds == written[0].thresholds
    assert read_bundle(tmp_path / "1").manifest.model_id == written[1].manifest.model_id
    assert exported.test_accuracy != written[0].test_accuracy


def test_a_bundle_names_its_images_but_not_their_path(run, tmp_path):
    moved = run._replace(settings=run.settings._replace(data="disk/of/somebody/tiny.tar"))
    export_run(moved, tmp_path / "1", 5.0, False)
    assert "somebody" not in (tmp_path / "1" / "manifest.json").read_text()


def test_a_run_whose_images_changed_is_not_exported(directory, tmp_path):
    state = {k: v for k, v in checkpoint.load(directory).items() if k != "format_version"}
    checkpoint.save(tmp_path, {**state, "data_digest": "of other images"})
    with pytest.raises(ConfigError, match="tiny: found other images or labels"):
        load_run(tmp_path)


def test_a_bundle_is_only_replaced_when_asked(run, written):
    path = written[1].path
    with pytest.raises(BundleError, match="exists"):
        export_run(run, path, 5.0, overwrite=False)
    export_run(run, path, 5.0, overwrite=True)
    assert read_bundle(path).manifest.model_id == written[1].manifest.model_id


def test_an_unfinished_run_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"has 7 of 12 epochs; finish it with: .*--resume"):
        export_run(run._replace(epochs_done=7), tmp_path / "1", 5.0, False)
    assert not (tmp_path / "1").exists()


def test_a_network_that_is_not_finite_leaves_nothing_behind(run, tmp_path):
    network = tiny_network()
    network.state_dict()["segments.0.weight"][:] = float("nan")
    broken = Run(network, run.data, run.settings, run.epochs_done)
    with pytest.raises(ConfigError, match="NaN"):
        export_run(broken, tmp_path / "tiny" / "1", 5.0, False)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing_behind(run, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgesdk.bundle._write_files", full)
    with pytest.raises(BundleError, match="No space left on device"):
        export_run(run, tmp_path / "1", 5.0, False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("key", "name"), [("data", "mnist"), ("model", "resnet")])
def test_a_checkpoint_of_an_unknown_model_or_data_set_is_refused(directory, tmp_path, key, name):
    state = checkpoint.load(directory)
    state["settings"][key] = name
    checkpoint.save(tmp_path, state)
    with pytest.raises(ConfigError, match=f"{key}: found '{name}', expected one of"):
        load_run(tmp_path)
