"""`python -m edgesdk.train distill` and `evaluate` as a person meets them."""

import json

import pytest
import torch
from PIL import Image

from edgesdk.bundle import read_bundle
from edgesdk.features import read_features
from edgesdk.train import checkpoint
from edgesdk.train.__main__ import main

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture(scope="module")
def teacher(registered, tmp_path_factory):
    run = tmp_path_factory.mktemp("teacher") / "run"
    assert main(["fit", "--data=tiny", "--model=tiny", "--epochs=6", "--out", str(run)]) == 0
    return str(run)


@pytest.fixture(scope="module")
def students(teacher, tmp_path_factory):
    run = tmp_path_factory.mktemp("students") / "run"
    assert main([*distill(teacher, run), "--epochs=12", "--peak-rate=0.1", "--depths=2,1"]) == 0
    return run


def distill(teacher, out):
    return ["distill", "--teacher", teacher, "--data=tiny", "--model=tiny", "--out", str(out)]


def test_a_teacher_and_two_students_from_end_to_end(teacher, tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*distill(teacher, run), "--epochs=2", "--depths=2,1", "--seed=3"]) == 0
    first, second, *table = capsys.readouterr().out.splitlines()
    assert first.startswith("edgesdk ") and first.endswith("seed 3")
    assert second == "teacher tiny, 6 of 6 epochs; students with 2, 1 exits"
    assert table[0].split() == [
        *("loss", "(eq.", "4)", "train", "(augmented)", "cross-entropy", "calibration")
    ]
    assert [line.split()[:2] for line in table[2:]] == [["branch", "0"], ["branch", "1"]]
    with Image.open(run / "curves.png") as picture:
        assert picture.format == "PNG"


def test_what_was_trained_is_evaluated_and_recorded(students, tmp_path, capsys):
    files = ["--features", str(tmp_path / "f.npz"), "--filters", str(tmp_path / "filters.png")]
    assert main(["evaluate", str(students), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "2xtiny-tiny, 12 of 12 epochs"
    assert lines[2].split() == ["test", "split", "all", "without", "0", "without", "1"]
    assert [line.split()[0] for line in lines[4:]] == ["branch", "branch", "mixtures"]
    assert read_features(tmp_path / "f.npz").depths == (2, 1)
    with Image.open(tmp_path / "filters.png") as picture:
        assert picture.format == "PNG"


def test_with_json_standard_output_is_one_object(teacher, students, tmp_path, capsys):
    assert main([*distill(teacher, tmp_path / "run"), "--epochs=1", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["epoch"] == 0 and len(trained["train_branch_loss"]) == 2
    assert main(["evaluate", str(students), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["depths"] == [2, 1]
    assert found["teacher"]["model"] == "tiny"
    assert found["filters"]["sizes"] == [4, 4]
    for rule in ("multiply_adds", "table_one"):
        assert [len(student["exits"]) for student in found[rule]] == [2, 1]
    assert found["multiply_adds"][1]["exits"] == [4 * 16 * 16 + 4 * 64]
    assert len(found["test"]["missing"]) == 2


def test_students_may_start_from_another_run(teacher, students, tmp_path, capsys):
    again = [*distill(teacher, tmp_path / "run"), "--start-from", str(students), "--depths=2,1"]
    assert main([*again, "--epochs=1", "--peak-rate=1e-9"]) == 0
    before, after = checkpoint.load(students), checkpoint.load(tmp_path / "run")
    assert after["settings"]["start"]["epochs_done"] == 12
    name = "classifier.weight"
    assert torch.allclose(before["network"][name], after["network"][name], atol=1e-6)
    assert main([*distill(teacher, tmp_path / "other"), "--start-from", str(students)]) == 1
    assert "do not fit this network" in capsys.readouterr().err


def test_every_option_changes_its_setting(teacher, tmp_path):
    run = tmp_path / "run"
    options = ["--students=3", "--soft-weight=0.3", "--temperature=3", "--attention-weight=3"]
    options += ["--mixture-weight=0.25", "--missing-probability=0", "--views=1", "--seed=4"]
    options += ["--epochs=1", "--batch=24", "--exit-weights=1,2", "--precision=bfloat16"]
    assert main([*distill(teacher, run), *options]) == 0
    state = checkpoint.load(run)
    found = state["distillation"]
    assert found.pop("teacher")["epochs_done"] == 6
    assert found == {
        "depths": (2, 2, 2),
        "soft_weight": 0.3,
        "temperature": 3.0,
        "attention_weight": 3.0,
        "mixture_weight": 0.25,
        "missing_probability": 0.0,
        "views": 1,
    }
    settings = state["settings"]
    assert (settings["seed"], settings["batch_size"], settings["epochs"]) == (4, 24, 1)
    assert (settings["exit_weights"], settings["precision"]) == ((1.0, 2.0), "bfloat16")


def test_a_second_run_into_the_same_place_needs_resume(teacher, tmp_path, capsys):
    command = [*distill(teacher, tmp_path / "run"), "--epochs=1"]
    assert main(command) == 0
    assert main(command) == 1
    assert "holds a run already; continue it with --resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depths=2"], "depths: found [2], expected 2 numbers of exits, one per student"),
        (["--depths=2,3"], "depths: found 3, expected 1 to 2, the exits of tiny"),
        (["--students=9"], "students: found 9, expected 1 to 8, the number of filters"),
        (["--soft-weight=2"], "soft weight: found 2.0, expected 0 to 1"),
        (["--temperature=0"], "temperature: found 0.0, expected a number > 0"),
        (["--attention-weight=nan"], "attention weight: found nan, expected a number >= 0"),
        (["--teacher=nowhere"], "nowhere/checkpoint.pt: not found; expected a run made by"),
        (["--model=resnet"], "model: found 'resnet', expected one of wrn16_1"),
        (["--data=digits"], "expected 10 classes and 1 channels; name the data that it was"),
    ],
)
def test_what_cannot_be_is_one_line(teacher, tmp_path, capsys, options, message):
    assert main([*distill(teacher, tmp_path / "run"), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ConfigError: ") and message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("depths", ["2,", "0,2", "two"])
def test_depths_are_whole_numbers(teacher, tmp_path, capsys, depths):
    with pytest.raises(SystemExit):
        main([*distill(teacher, tmp_path), f"--depths={depths}"])
    assert "expected a whole number from 1" in capsys.readouterr().err


def test_an_ensemble_does_not_teach_and_a_network_is_no_ensemble(
    students, teacher, tmp_path, capsys
):
    assert main([*distill(str(students), tmp_path / "run")]) == 1
    assert main(["evaluate", teacher]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "found an ensemble" in first and "expected an ensemble" in second


def test_an_ensemble_becomes_a_bundle(students, tmp_path, capsys):
    assert main(["export", str(students), "--bundle", str(tmp_path / "1")]) == 0
    assert "without student 1" in capsys.readouterr().out
    assert len(read_bundle(str(tmp_path / "1")).manifest.parts) == 2


@pytest.mark.parametrize("command", ["distill", "evaluate"])
def test_help_ends_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "example:\n  python -m edgesdk.train " + command in capsys.readouterr().out
