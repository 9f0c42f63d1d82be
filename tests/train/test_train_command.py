"""`python -m edgesdk.train` as a person meets it."""

import json
import sys
from functools import partial

import pytest
import tiny_images
from tiny_training import TINY, tiny_network

from edgesdk.bundle import read_bundle
from edgesdk.errors import ConfigError
from edgesdk.train import checkpoint, models
from edgesdk.train.__main__ import main
from edgesdk.train.data import DATA_SETS

FIT = ["fit", "--data", "tiny", "--model", "tiny", "--epochs", "2", "--out"]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(DATA_SETS, "tiny", TINY)
    monkeypatch.setitem(models.MODELS, "tiny", partial(tiny_network))


def test_fit_then_export_makes_a_bundle(tmp_path, capsys):
    run, bundle = str(tmp_path / "run"), str(tmp_path / "tiny" / "1")
    assert main([*FIT, run, "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("edgesdk ")
    assert "seed 3" in out.splitlines()[0]
    assert "exit 1" in out
    assert main(["export", run, "--bundle", bundle]) == 0
    out = capsys.readouterr().out
    assert "seed 3" in out.splitlines()[0]
    assert "policy calibrated: accuracy" in out
    assert read_bundle(bundle).manifest.name == "tiny-tiny"


def test_a_network_that_is_cut_goes_the_same_way(tmp_path, capsys):
    run, bundle = str(tmp_path / "run"), str(tmp_path / "1")
    fit = ["fit", "--data", "tiny", "--model", "mobilenetv2", "--epochs", "1", "--out", run]
    assert main(fit) == 0
    assert main(["export", run, "--bundle", bundle]) == 0
    assert "exit 4" in capsys.readouterr().out
    part = read_bundle(bundle).manifest.parts[0]
    assert [each.kind for each in part.exits] == ["fused"] * 5
    assert part.segments[-1].output_shape == (1280, 2, 2)


def test_a_network_for_larger_images_is_refused_before_it_is_trained(tmp_path, capsys):
    fit = ["fit", "--data", "tiny", "--model", "resnet50_224", "--out", str(tmp_path / "run")]
    assert main(fit) == 1
    assert "found resnet50_224, for images of 224 x 224 pixels" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_with_json_standard_output_is_one_object(tmp_path, capsys):
    run, bundle = str(tmp_path / "run"), str(tmp_path / "1")
    assert main([*FIT, run, "--json"]) == 0
    fitted = capsys.readouterr()
    assert json.loads(fitted.out)["epoch"] == 1
    assert fitted.err.startswith("edgesdk ")
    assert main(["export", run, "--bundle", bundle, "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported["bundle"] == bundle
    assert len(exported["thresholds"]) == len(exported["test_accuracy"]) == 2
    assert exported["final"]["image_count"] == 30


def test_a_second_fit_needs_resume_and_a_second_export_force(tmp_path, capsys):
    run, bundle = str(tmp_path / "run"), str(tmp_path / "1")
    assert main([*FIT, run]) == 0
    assert main([*FIT, run]) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*FIT, run, "--resume"]) == 0
    assert main(["export", run, "--bundle", bundle]) == 0
    assert main(["export", run, "--bundle", bundle]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["export", run, "--bundle", bundle, "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "mnist", "--model", "tiny"], "data: found 'mnist', expected one of digits"),
        (["--data", "tiny", "--model", "resnet"], "model: found 'resnet', expected one of wrn16_1"),
    ],
)
def test_a_wrong_argument_is_one_line_without_a_traceback(tmp_path, capsys, arguments, message):
    assert main(["fit", *arguments, "--out", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ConfigError: " + message)


@pytest.mark.parametrize("option", ["--epochs", "--threads", "--batch"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_counts_are_whole_numbers_from_one(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        main([*FIT, str(tmp_path), f"{option}={value}"])
    assert ended.value.code == 2
    assert f"found '{value}', expected a whole number from 1" in capsys.readouterr().err


def test_without_options_the_recipe_is_that_of_the_data_and_each_option_changes_it(
    tmp_path, monkeypatch
):
    slow = TINY.recipe._replace(epochs=1, batch_size=24, peak_learning_rate=0.01)
    monkeypatch.setitem(DATA_SETS, "tiny", TINY._replace(recipe=slow))
    plain = ["fit", "--data", "tiny", "--model", "tiny", "--out"]
    assert main([*plain, str(tmp_path / "plain")]) == 0
    found = checkpoint.load(tmp_path / "plain")["settings"]
    assert found == slow._replace(model="tiny", data="tiny")._asdict()
    options = ["--batch=16", "--peak-rate=0.02", "--weight-decay=0", "--exit-weights=0.5,1"]
    options += ["--schedule=onecycle", "--precision=bfloat16", "--no-decay-all", "--seed=4"]
    assert main([*plain, str(tmp_path / "changed"), *options]) == 0
    changed = ("tiny", "tiny", 1, 4, 16, 0.02, 0.0, (0.5, 1.0), "onecycle", "bfloat16")
    assert tuple(checkpoint.load(tmp_path / "changed")["settings"].values())[:10] == changed


def test_a_fit_may_start_from_another_run(tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert main([*FIT, first]) == 0
    assert main([*FIT, second, "--start-from", first, "--peak-rate=0.001"]) == 0
    before, after = checkpoint.load(tmp_path / "first"), checkpoint.load(tmp_path / "second")
    assert after["settings"]["start"]["peak_learning_rate"] == TINY.recipe.peak_learning_rate
    assert after["history"][0]["train_loss"] < before["history"][0]["train_loss"]
    assert main(["export", second, "--bundle", str(tmp_path / "1")]) == 0
    assert read_bundle(tmp_path / "1").manifest.name == "tiny-tiny"


def test_an_image_folder_becomes_a_bundle(tmp_path, capsys):
    contents = tiny_images.files(train=20)
    path = str(tiny_images.write_tar(tmp_path / "animals.tar.xz", contents))
    run, bundle = str(tmp_path / "run"), str(tmp_path / "1")
    arguments = ["--data", path, "--model", "tiny", "--epochs=3", "--batch=9", "--out", run]
    assert main(["fit", *arguments]) == 0
    assert main(["export", run, "--bundle", bundle]) == 0
    manifest = read_bundle(bundle).manifest
    assert (manifest.name, manifest.labels) == ("tiny-animals", ("cat", "dog", "emu"))
    assert manifest.preprocessing.resize == "area"
    (tmp_path / "animals.tar.xz").unlink()
    capsys.readouterr()
    assert main(["export", run, "--bundle", bundle, "--force"]) == 1
    assert "animals.tar.xz', expected one of digits" in capsys.readouterr().err


def test_unusable_images_are_one_line(tmp_path, capsys):
    contents = {**tiny_images.files(), "train/cat/0000.jpg": b"torn"}
    folder = tiny_images.write_folder(tmp_path / "animals", contents)
    arguments = ["--data", str(folder), "--model", "tiny", "--out", str(tmp_path / "run")]
    assert main(["fit", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "train/cat/0000.jpg: cannot be decoded" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--peak-rate=-1", "peak learning rate: found -1.0, expected a number > 0"),
        ("--weight-decay=2", "weight decay: found 2.0, expected 0 <= value < 1"),
        ("--exit-weights=1", "exit weights: found [1.0], expected 2 finite numbers"),
        ("--device=cuda", "device cuda: found 0 usable GPUs, expected at least 1"),
    ],
)
def test_a_recipe_that_cannot_be_is_one_line(tmp_path, capsys, monkeypatch, option, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert main([*FIT, str(tmp_path / "run"), option]) == 1
    assert message in capsys.readouterr().err


def test_exit_weights_are_numbers(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*FIT, str(tmp_path), "--exit-weights=1,much"])
    assert "found '1,much', expected numbers with commas between them" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ConfigError):
        main(["export", str(tmp_path), "--bundle", str(tmp_path / "1"), "--debug"])


def test_exporting_what_was_never_trained_names_the_command_to_run(tmp_path, capsys):
    assert main(["export", str(tmp_path / "run"), "--bundle", str(tmp_path / "1")]) == 1
    assert "python -m edgesdk.train fit" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "export"])
def test_help_ends_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "example:\n  python -m edgesdk.train " + command in capsys.readouterr().out


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxruntime", "PIL", "matplotlib"])
def test_without_a_package_the_error_says_what_to_install(package, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert main([*FIT, str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"BackendUnavailable: training needs {package}")
    assert 'pip install "edgesdk[train]"' in error
