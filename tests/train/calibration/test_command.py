"""`python -m edgesdk.train calibrate` as a person meets it."""

import json

import pytest
from calibration_cases import tiny_data

from edgesdk.bundle import read_bundle
from edgesdk.train.__main__ import main
from edgesdk.train.calibration import command, measuring
from edgesdk.train.data import DATA_SETS


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "tiny", tiny_data())
    monkeypatch.setattr(measuring, "SECONDS", 0.05)
    monkeypatch.setattr("edgesdk.bench.timing.pin", lambda threads: None)


def run(path, *arguments):
    return main(["calibrate", path, "--data", "tiny", *arguments])


def test_a_bundle_is_calibrated_by_real_times(path, tmp_path, capsys):
    plot, outcomes = str(tmp_path / "plot.png"), str(tmp_path / "o.npz")
    assert run(path, "--max-loss-points", "2", "--plot", plot, "--outcomes", outcomes) == 0
    out = capsys.readouterr().out
    assert out.startswith("edgesdk ")
    assert "120 images chose, 120 are reported" in out
    for name in ("full network, uncut", "calibrated", "calibrated-similarity"):
        assert any(line.startswith(name) for line in out.splitlines())
    assert f"updated: {path}" in out
    assert read_bundle(path).manifest.default_policy == "calibrated"
    assert (tmp_path / "plot.png").exists()
    assert (tmp_path / "o.npz").exists()


def test_with_json_standard_output_is_one_object(path, bundle, capsys):
    assert run(path, "--json", "--budget-madds", "250") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err.startswith("edgesdk ")
    assert found["model_id"] == bundle.manifest.model_id
    assert found["policies"][0]["name"] == "full network, uncut"
    assert found["policies"][1]["calibration"]["mean_multiply_adds"] <= 250
    assert found["conditions"]["batch"] == 1
    assert sorted(found["codecs"]) == ["float16", "uint8"]


def test_the_other_backend_is_measured_where_it_is_asked_for(path, capsys):
    assert run(path, "--backend", "torch", "--name", "torch", "--json") == 0
    assert json.loads(capsys.readouterr().out)["conditions"]["backend"] == "torch"
    assert "torch" in read_bundle(path).manifest.policies


def test_codecs_alone_change_nothing_else(path, bundle, capsys):
    assert run(path, "--codecs-only", "--json") == 0
    captured = capsys.readouterr()
    after = read_bundle(path).manifest.document
    found = json.loads(captured.out)
    assert found["model_id"] == bundle.manifest.model_id
    assert found["codecs"] == after.pop("codecs")
    assert after == bundle.manifest.document
    assert "lossy codecs, policy calibrated" in captured.err
    assert "uint8               all     0       0         0.00         0.00" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-loss-points", "-1"], "max_loss_points: found -1.0, expected 0 to 100"),
        (["--max-loss-points", "nan"], "max_loss_points: found nan"),
        (["--budget-madds", "1"], "no plan meets it; the nearest has the exits 0, 2 and needs 110"),
        (["--budget-us", "0"], "budget: found 0.0, expected a number above 0"),
        (["--budget-us", "0.001"], "no plan meets it; the nearest has the exits"),
        (["--threads", "0"], "threads: found 0, expected a whole number from 1"),
        (["--backend", "quantum"], "backend: found 'quantum', expected one of"),
        (["--name", "full"], "name: found 'full', which has a meaning of its own"),
        (["--codecs-only", "--data", "digits"], "found the classes 0, 1, 2"),
        (["--data", "digits"], "found the classes 0, 1, 2"),
        (["--data", "nowhere"], "data: found 'nowhere', expected one of"),
        (["--outcomes", "."], "cannot be read as outcomes"),
        (["--plot", "plot.xyz"], "the picture cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(path, capsys, arguments, message):
    before = read_bundle(path).manifest.document
    assert run(path, *arguments) == 1
    assert message in capsys.readouterr().err
    assert read_bundle(path).manifest.document == before


def test_two_objectives_at_once_are_a_usage_error(path, capsys):
    with pytest.raises(SystemExit) as caught:
        run(path, "--budget-us", "5", "--codecs-only")
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_without_an_objective_one_point_may_be_lost(path, capsys):
    assert run(path, "--json") == 0
    capsys.readouterr()
    provenance = read_bundle(path).manifest.document["policies"]["calibrated"]["provenance"]
    assert provenance["objective"] == {"max_loss_points": command.MAX_LOSS_POINTS}
    assert provenance["cost"] == "us"


def test_a_bundle_that_is_not_there_is_named(tmp_path, capsys):
    assert run(str(tmp_path / "nothing")) == 1
    assert "no such folder" in capsys.readouterr().err


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["calibrate", "--help"])
    assert command.EXAMPLE in capsys.readouterr().out
