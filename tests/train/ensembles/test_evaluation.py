"""What a trained ensemble reaches, from its checkpoint and from its features."""

import numpy as np
import pytest
import torch
from tiny_training import TINY, tiny_trainer

from edgesdk.errors import ConfigError
from edgesdk.features import Features, accuracy, gathered
from edgesdk.train.ensembles.evaluation import MIXTURE_DRAWS, load_ensemble, record_features, report
from edgesdk.train.trainer import fit

pytestmark = pytest.mark.usefixtures("registered")
EPOCHS = 15


@pytest.fixture(scope="module")
def features(run):
    return record_features(run)


def test_an_ensemble_is_loaded_as_it_was_trained(run):
    assert (run.name, run.epochs_done, run.distillation.depths) == ("2xtiny-tiny", 15, (2, 1))
    assert not run.ensemble.training
    assert run.knowledge.provenance()["sizes"] == [4, 4]


def test_features_are_those_of_the_networks_on_both_splits(run, features):
    assert features.split.tolist() == ["calibration"] * 30 + ["test"] * 30
    assert features.depths == (2, 1)
    split = TINY.load("test")
    with torch.no_grad():
        expected = run.ensemble(split.images)
    test = features.select("test")
    assert test.label.tolist() == split.labels.tolist()
    for part, exits in zip(test.students, expected.features):
        assert np.allclose(part, torch.stack(exits, 1).numpy(), atol=1e-5)
    assert np.allclose(gathered(test, np.array([1, 1])), expected.logits[1].numpy(), atol=1e-4)


def test_halved_features_are_nearly_the_same(run, features):
    half = record_features(run, np.float16)
    assert {part.dtype.name for part in half.students} == {"float16"}
    assert np.allclose(half.students[0], features.students[0], atol=1e-2)


def test_the_report_has_every_branch_and_every_student_missing(features):
    test = features.select("test")
    found = report(test)
    assert found.branches == (accuracy(test, np.array([0, 0])), accuracy(test, np.array([1, 0])))
    assert found.missing[1][1] == accuracy(test, np.array([1, 0]), np.array([False, True]))
    assert len(found.missing) == len(found.missing_mixture) == 2
    assert min(found.branches) > 0.6  # chance is one third
    assert found == report(test)


def test_mixtures_are_drawn_from_the_exits_that_students_have(features):
    """With one exit each there is one mixture, which is the branch."""
    first = features._replace(students=tuple(part[:, :1] for part in features.students))
    found = report(first.select("test"))
    assert (found.mixture,) == pytest.approx(found.branches)
    assert found.missing_mixture == pytest.approx([each[0] for each in found.missing])
    assert MIXTURE_DRAWS > 1


def test_every_exit_has_its_share_in_mixtures():
    """One student: its first exit is always right, the others never."""
    size, labels = 2, np.zeros(300, np.int32)
    exits = np.stack([np.eye(size)[[0, 1, 1]]] * len(labels)).astype(np.float32)
    made = Features(
        "one",
        "made",
        np.array(["test"] * len(labels)),
        labels,
        weight=np.eye(size, dtype=np.float32),
        bias=np.zeros(size, np.float32),
        mean_features=np.zeros((1, size), np.float32),
        students=(exits,),
    )
    found = report(made)
    assert found.branches == (1, 0, 0)
    assert found.mixture == pytest.approx(1 / 3, abs=0.05)


def test_a_run_of_fit_is_no_ensemble(tmp_path):
    fit(tiny_trainer(epochs=1), tmp_path)
    with pytest.raises(ConfigError, match=r"single network, made by: .* fit; expected an ensemble"):
        load_ensemble(tmp_path)
