"""From distilled students to a bundle, and what a pipeline makes of it."""

import json

import numpy as np
import pytest

from edgesdk import CosineDifference, FixedExit, Pipeline
from edgesdk.errors import BundleError, ConfigError
from edgesdk.features import gathered
from edgesdk.train import __main__ as command
from edgesdk.train.ensembles.ensemble_bundles import export_ensemble
from edgesdk.train.ensembles.evaluation import record_features

pytestmark = pytest.mark.usefixtures("registered")
EPOCHS = 4


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    return export_ensemble(run, tmp_path_factory.mktemp("engines") / "tiny" / "1")


def images_of(run):
    """As the network takes them: float32 [n, C, H, W]."""
    return run.data.load("test").images.numpy()


@pytest.mark.parametrize("exits", [(0, 0), (1, 0)])
def test_a_pipeline_says_what_torch_says(run, bundle, exits):
    """The second student has one exit: where more is asked for, it gives that."""
    features = record_features(run).select("test")
    expected = gathered(features, np.array(exits))
    policy = FixedExit(0) if exits == (0, 0) else "final"
    with Pipeline.open(bundle.path, policy=policy, logits=True) as pipe:
        found = np.stack([outcome.logits for outcome in pipe.infer(images_of(run))])
    assert found == pytest.approx(expected, abs=1e-3)


def test_each_student_leaves_by_itself(run, bundle):
    with Pipeline.open(bundle.path, policy=CosineDifference([1.0, 1.0])) as pipe:
        outcomes = pipe.infer(images_of(run))
    assert all(outcome.ok and not outcome.degraded for outcome in outcomes)


def test_the_manifest_says_what_it_is_worth_and_nothing_of_places(run, bundle):
    document = bundle.manifest.document
    test = document["provenance"]["test"]
    assert len(test["branches"]) == 2 and len(test["missing"]) == 2
    assert [len(part.exits) for part in bundle.manifest.parts] == [2, 1]
    assert bundle.manifest.default_policy == "final"
    assert document["provenance"]["filters"]["sizes"] == [4, 4]
    assert document["provenance"]["settings"]["data"] == "tiny"
    assert document["classifier"]["multiply_adds"] == 3 * 64 * 2


def test_one_that_is_not_finished_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"3 of 4 epochs; finish it with.*distill"):
        export_ensemble(run._replace(epochs_done=3), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_nothing_is_replaced_unless_asked(run, bundle):
    with pytest.raises(BundleError, match="exists"):
        export_ensemble(run, bundle.path)
    assert export_ensemble(run, bundle.path, overwrite=True).manifest.model_id == (
        bundle.manifest.model_id
    )


def test_the_command_exports_ensembles_too(directory, tmp_path, capsys):
    arguments = ["export", str(directory), "--bundle", str(tmp_path / "bundle")]
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "without student 1" in printed and "written: " in printed
    assert command.main([*arguments, "--force", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["test"]["missing"]) == 2
