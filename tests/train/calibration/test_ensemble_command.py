"""`python -m edgesdk.train calibrate` of an ensemble, as a person meets it."""

import json

import pytest
from calibration_cases import tiny_data
from ensemble_cases import ensemble_at

from edgesdk.bundle import read_bundle
from edgesdk.train.__main__ import main
from edgesdk.train.calibration import command
from edgesdk.train.data import DATA_SETS


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "tiny", tiny_data())
    monkeypatch.setattr("edgesdk.bench.timing.pin", lambda threads: None)


@pytest.fixture
def path(tmp_path):
    return ensemble_at(tmp_path)


def run(path, *arguments):
    return main(["calibrate", path, "--data", "tiny", *arguments])


def test_an_ensemble_is_calibrated(path, tmp_path, capsys):
    plot, features = str(tmp_path / "plot.png"), str(tmp_path / "f.npz")
    assert run(path, "--max-loss-points", "4", "--plot", plot, "--outcomes", features) == 0
    out = capsys.readouterr().out
    assert "120 images chose, 120 are reported; 2 students" in out
    assert "sends 8 bytes per image" in out
    for name in ("final ", "calibrated (", "calibrated-similarity", "random", "oracle"):
        assert any(line.startswith(name) for line in out.splitlines())
    assert f"updated: {path}" in out
    assert read_bundle(path).manifest.default_policy == "calibrated"
    assert (tmp_path / "plot.png").exists() and (tmp_path / "f.npz").exists()


def test_with_json_standard_output_is_one_object(path, capsys):
    before = read_bundle(path).manifest
    assert run(path, "--json", "--budget-madds", "250") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err.startswith("edgesdk ")
    assert found["model_id"] == before.model_id and found["feature_bytes"] == 8
    rows = {row["name"]: row for row in found["policies"]}
    assert rows["calibrated"]["calibration"]["mean_multiply_adds"] <= 250
    assert rows["final"]["policy"] == {"kind": "final"}
    assert rows["oracle"]["policy"] is None and "exit 2" in rows
    written = read_bundle(path).manifest.policies["calibrated"].describe()
    assert rows["calibrated"]["policy"] == written


def test_without_an_objective_one_point_may_be_lost(path, capsys):
    assert run(path) == 0
    provenance = read_bundle(path).manifest.document["policies"]["calibrated"]["provenance"]
    assert provenance["objective"] == {"max_loss_points": command.MAX_LOSS_POINTS}
    assert provenance["cost"] == "multiply-adds"


def test_the_other_backend_gives_the_same_features(path, tmp_path, capsys):
    features = str(tmp_path / "f.npz")
    assert run(path, "--json", "--outcomes", features) == 0
    one = json.loads(capsys.readouterr().out)
    assert run(path, "--json", "--backend", "torch") == 0
    assert json.loads(capsys.readouterr().out) == one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget-us", "5"], "the times of an ensemble depend on its devices and links"),
        (["--codecs-only"], "is not measured for ensembles: leave --codecs-only away"),
        (["--max-loss-points", "-1"], "max_loss_points: found -1.0, expected 0 to 100"),
        (["--budget-madds", "1"], "the nearest has the exits 0, 1, 2 and needs 108 multiply-adds"),
        (["--data", "digits"], "found the classes 0, 1, 2"),
        (["--name", "final"], "name: found 'final', which has a meaning of its own"),
        (["--outcomes", "."], "cannot be read as features"),
        (["--backend", "quantum"], "backend: found 'quantum', expected one of"),
        (["--plot", "plot.xyz"], "the picture cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(path, capsys, arguments, message):
    before = read_bundle(path).manifest.document
    assert run(path, *arguments) == 1
    assert message in capsys.readouterr().err
    assert read_bundle(path).manifest.document == before
