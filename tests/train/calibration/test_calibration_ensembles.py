"""Calibration of an ensemble from end to end, on the bundle of `tiny_ensemble`."""

import json
import os

import numpy as np
import pytest
from calibration_cases import load_tiny, tiny_data
from ensemble_cases import costs_of, ensemble_at, random_features

import edgesdk
from edgesdk.bundle import read_bundle
from edgesdk.core.exits import DISTREE_SIMILARITY, make_policy
from edgesdk.errors import ConfigError
from edgesdk.features import (
    accuracy,
    exits_of,
    gathered,
    outcomes_alone,
    read_features,
    replay_students,
    write_features,
)
from edgesdk.train.calibration import ensembles
from edgesdk.train.calibration.choice import Objective
from edgesdk.train.calibration.ensemble_figures import report
from edgesdk.train.calibration.ensembles import apply, calibrate
from edgesdk.train.calibration.thresholds import kinds
from edgesdk.train.calibration.workflow import Request

REQUEST = Request(Objective(4.0), "multiply-adds", "calibrated", "onnxruntime", 1)


@pytest.fixture
def path(tmp_path):
    return ensemble_at(tmp_path)


def calibrated(path, **changes):
    result = calibrate(path, tiny_data(), REQUEST._replace(**changes))
    return result, apply(result)


def manifest_bytes(path):
    with open(os.path.join(path, "manifest.json"), "rb") as file:
        return file.read()


def made_up(monkeypatch, features):
    """Let the bundle's students be others, with features and costs made up."""
    monkeypatch.setattr(ensembles, "_features", lambda *_: features)
    monkeypatch.setattr(ensembles, "student_costs", lambda _: costs_of(features.depths))


@pytest.mark.parametrize(
    ("objective", "mixtures"),
    [(Objective(4.0), 3), (Objective(20.0), 4), (Objective(None, 200), 2)],
)
def test_deployed_students_leave_where_the_replay_says_image_by_image(path, objective, mixtures):
    result, _ = calibrated(path, objective=objective)
    test, images = result.features.select("test"), load_tiny("test").images.numpy()
    seen = set()
    for row in result.policies:
        exits = exits_of(replay_students(outcomes_alone(test), row.policy))
        expected = gathered(test, exits)
        with edgesdk.Pipeline.open(path, policy=row.name, logits=True) as pipe:
            found = [pipe.infer(image) for image in images]
        assert [one.exit_index for one in found] == exits.max(axis=1).tolist()
        assert np.stack([one.logits for one in found]) == pytest.approx(expected, abs=1e-4)
        seen |= set(map(tuple, exits.tolist()))
    assert len(seen) >= mixtures


def test_the_answers_of_every_mixture_differ(path):
    """Or the test above could not tell them apart."""
    test = calibrate(path, tiny_data(), REQUEST).features.select("test")
    answers = [gathered(test, np.array(mixture)) for mixture in np.ndindex(3, 3)]
    for index, one in enumerate(answers):
        for other in answers[:index]:
            assert (np.abs(one - other).max(axis=1) > 1e-3).all()


@pytest.mark.parametrize("points", [0.0, 2.0, 10.0])
def test_the_loss_limit_holds_on_the_calibration_split(path, monkeypatch, points):
    made_up(monkeypatch, random_features(1, 400, (4, 2), skill=3))
    result = calibrate(path, tiny_data(), REQUEST._replace(objective=Objective(points)))
    for row in result.policies:
        lost = result.final.calibration.accuracy - row.calibration.accuracy
        assert 100 * lost <= points
    main = result.policies[0].calibration
    assert main.mean_multiply_adds == min(
        row.calibration.mean_multiply_adds for row in result.policies
    )
    if points:
        assert main.mean_multiply_adds < result.final.calibration.mean_multiply_adds


def test_a_budget_is_kept(path, monkeypatch):
    made_up(monkeypatch, random_features(2, 100))
    result = calibrate(path, tiny_data(), REQUEST._replace(objective=Objective(budget=500)))
    assert all(row.calibration.mean_multiply_adds <= 500 for row in result.policies)
    with pytest.raises(ConfigError, match=r"found 5 multiply-adds .* needs 82 multiply-adds"):
        calibrate(path, tiny_data(), REQUEST._replace(objective=Objective(budget=5)))


def test_every_kind_is_written_with_what_it_does(path):
    result, after = calibrated(path)
    document = after.manifest.document
    assert document["default_policy"] == "calibrated" == after.manifest.default_policy
    names = {row.name for row in result.policies}
    assert len(names) == len(kinds()) and names | {"difference"} == set(document["policies"])
    main = result.policies[0].policy.kind
    assert f"calibrated-{main}" not in names
    for row in result.policies:
        entry = document["policies"][row.name]
        found = entry.pop("provenance")
        assert entry.pop("plan") == "full"
        assert (found["data"], found["split"], found["cost"]) == (
            "tiny",
            "calibration",
            "multiply-adds",
        )
        assert found["objective"] == {"max_loss_points": 4.0}
        for split, figures in (("calibration", found), ("test", found["test"])):
            selected = result.features.select(split)
            replays = replay_students(outcomes_alone(selected), make_policy(entry))
            expected = json.loads(json.dumps(report(selected, replays, result.costs)._asdict()))
            assert {name: figures[name] for name in expected} == expected
            final = accuracy(selected, np.array([2, 2]))
            assert figures["final_exit"]["accuracy"] == final
            assert figures["final_exit"]["mean_multiply_adds"] == 300 + 8


def test_the_network_stays_what_it_was(path):
    before = read_bundle(path).manifest
    _, after = calibrated(path)
    assert after.manifest.model_id == before.model_id
    for unchanged in ("files", "parts", "classifier"):
        assert after.manifest.document[unchanged] == before.document[unchanged]


def test_calibrating_again_replaces_what_was_there(path, monkeypatch):
    def first_kind(kind):
        real = ensembles.choose_all

        def choose_all(*arguments):
            found = real(*arguments)
            return {kind: found.pop(kind), **found}

        monkeypatch.setattr(ensembles, "choose_all", choose_all)

    first_kind("margin")
    calibrated(path)
    first_kind("entropy")
    _, after = calibrated(path)
    policies = after.manifest.policies
    assert policies["calibrated"].kind == "entropy" and "calibrated-margin" in policies
    assert "calibrated-entropy" not in policies
    _, after = calibrated(path, name="other")
    assert {"calibrated", "other"} < set(after.manifest.policies)


def test_the_test_split_decides_nothing(path):
    def load(split):
        found = load_tiny(split)
        return found._replace(labels=1 - found.labels) if split == "test" else found

    one = calibrate(path, tiny_data(), REQUEST)
    other = calibrate(path, tiny_data(load=load), REQUEST)
    for a, b in zip(one.policies, other.policies):
        assert a.policy.describe() == b.policy.describe() and a.calibration == b.calibration
        assert a.test.accuracy != b.test.accuracy


def test_calibrating_alone_writes_nothing(path):
    before = manifest_bytes(path)
    calibrate(path, tiny_data(), REQUEST)
    assert manifest_bytes(path) == before


def test_rows_compare_with_everything_else(path, monkeypatch):
    features = random_features(3, 50, (4, 2))
    made_up(monkeypatch, features)
    result = calibrate(path, tiny_data(), REQUEST)
    assert [row.name for row in result.branches] == [f"exit {index}" for index in range(4)]
    test = features.select("test")
    for index, row in enumerate(result.branches):
        assert row.test.accuracy == accuracy(test, np.array([index, index]))
    assert result.branches[-1].test == result.final.test == result.rows[0].test
    assert [row.name for row in result.others] == ["random", "oracle"]
    best = result.others[-1].test.accuracy
    assert all(row.test.accuracy <= best for row in result.rows)
    assert result.feature_bytes == 4 * 5


def test_thresholds_of_the_paper_are_there_for_its_seven_exits(path, monkeypatch):
    features = random_features(4, 20, (7, 3))
    made_up(monkeypatch, features)
    others = {row.name: row for row in calibrate(path, tiny_data(), REQUEST).others}
    assert others["DistrEE's similarity"].policy.thresholds == DISTREE_SIMILARITY
    test = features.select("test")
    difference = others["DistrEE's difference"]
    replays = replay_students(outcomes_alone(test), edgesdk.CosineDifference())
    assert difference.test == report(test, replays, costs_of((7, 3)))


# --- the file of features -----------------------------------------------------------------------


def test_features_are_written_once_and_then_read(path, tmp_path, monkeypatch):
    file = str(tmp_path / "f.npz")
    first = calibrate(path, tiny_data(), REQUEST._replace(outcomes_file=file))
    assert read_features(file).depths == (3, 3)
    monkeypatch.setattr(ensembles, "record_ensemble", None)  # would fail if it were called
    second = calibrate(path, tiny_data(), REQUEST._replace(outcomes_file=file))
    assert [row.test for row in second.rows] == [row.test for row in first.rows]


def changed_classifier(features):
    return features._replace(weight=features.weight * np.float32(1.01))


def one_student_less_deep(features):
    return features._replace(students=(features.students[0][:, :2], features.students[1]))


def one_class_more(features):
    weight = np.concatenate([features.weight, features.weight[:1]])
    return features._replace(weight=weight, bias=np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_classifier, "found features for another classifier than"),
        (one_student_less_deep, r"exits of the students: found \[2, 3\], expected \[3, 3\]"),
        (one_class_more, "classes: found 3, expected 2"),
        (
            lambda each: each._replace(data="other"),
            "found features of the data other, expected tiny; delete",
        ),
    ],
)
def test_features_of_another_ensemble_are_refused(path, tmp_path, change, message):
    file = str(tmp_path / "f.npz")
    recorded = calibrate(path, tiny_data(), REQUEST).features
    write_features(file, change(recorded))
    with pytest.raises(ConfigError, match=rf"f\.npz: {message}"):
        calibrate(path, tiny_data(), REQUEST._replace(outcomes_file=file))


def test_features_of_one_split_only_are_refused(path, tmp_path):
    file = str(tmp_path / "f.npz")
    write_features(file, calibrate(path, tiny_data(), REQUEST).features.select("test"))
    with pytest.raises(ConfigError, match="no images of the split 'calibration'"):
        calibrate(path, tiny_data(), REQUEST._replace(outcomes_file=file))


# --- what is refused ----------------------------------------------------------------------------


def test_times_are_refused(path):
    with pytest.raises(
        ConfigError, match=r"unit: found 'us' .*--budget-madds.* edgesdk.bench ensemble"
    ):
        calibrate(path, tiny_data(), REQUEST._replace(unit="us"))


def test_a_plain_network_is_refused(bundle):
    with pytest.raises(ConfigError, match="found a plain network, expected an ensemble"):
        calibrate(bundle.path, tiny_data(), REQUEST)


def test_data_of_other_classes_are_refused(path):
    with pytest.raises(ConfigError, match="found the classes dark, bright, expected bright, dark"):
        calibrate(path, tiny_data(labels=("dark", "bright")), REQUEST)


def test_a_name_with_a_meaning_of_its_own_is_refused(path):
    with pytest.raises(ConfigError, match="name: found 'final', which has a meaning of its own"):
        calibrate(path, tiny_data(), REQUEST._replace(name="final"))


def test_one_student_is_an_ensemble_too(path, monkeypatch):
    features = random_features(5, 100, (3,))
    made_up(monkeypatch, features)
    result = calibrate(path, tiny_data(), REQUEST)
    for row in result.rows:
        assert row.test.mean_multiply_adds == pytest.approx(row.test.slowest_multiply_adds)
