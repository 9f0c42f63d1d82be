"""`python -m edgesdk.train bottleneck` as a person meets it, from a run to a calibrated bundle."""

import json

import pytest
from PIL import Image

from edgesdk.bundle import read_bundle
from edgesdk.manifest import lossy_codecs
from edgesdk.train.__main__ import main
from edgesdk.train.bottlenecks.methods import METHODS

pytestmark = pytest.mark.usefixtures("registered")


def bottleneck(directory, out, *options):
    command = ["bottleneck", str(directory), "--border=1", "--ratio=40", "--epochs=2"]
    return [*command, "--batch=16", "--out", str(out), *options]


@pytest.fixture(scope="module")
def trained(directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("bottlenecks") / "b1"
    assert main(bottleneck(directory, out)) == 0
    return out


def test_the_table_has_sizes_accuracies_and_costs(directory, tmp_path, capsys):
    assert main(bottleneck(directory, tmp_path / "b", "--method=hnd", "--seed=2")) == 0
    first, sizes, *table = capsys.readouterr().out.splitlines()
    assert first.endswith("seed 2")
    assert sizes == (
        "border 1: features 4x16x16, 4096 bytes; code 6x4x4, 96 bytes as uint8, 42.7 times "
        "smaller (384 as float32, 10.7 times)"
    )
    assert table[0].split() == ["test", "split", "without", "hnd"]
    assert [line.split()[:2] for line in table[2:3]] == [["exit", "1"]]  # exit 0 is not touched
    assert [line.split()[0] for line in table[5:7]] == ["encoder", "decoder"]
    assert [line.split()[:2] for line in table[7:9]] == [["segment", "0"], ["segment", "1"]]
    assert all(float(line.split()[-1]) > 0 for line in table[5:9])


def test_all_methods_give_one_table_a_page_and_a_picture(directory, tmp_path, capsys):
    out = tmp_path / "all"
    assert main(bottleneck(directory, out, "--method=all")) == 0
    said = capsys.readouterr().out.splitlines()
    assert [folder.name for folder in sorted(out.iterdir()) if folder.is_dir()] == sorted(METHODS)
    (row,) = [line.split() for line in said if line.startswith("exit 1")]
    page = (out / "README.md").read_text()
    (shown,) = [line for line in page.splitlines() if line.startswith("| exit 1 |")]
    assert shown.replace("|", " ").split() == row
    assert len([word for word in row if word == "%"]) == 1 + len(METHODS)
    assert "--border 1 --method all --ratio 40 --epochs 2" in page
    assert str(tmp_path) not in page
    with Image.open(out / "bottlenecks.png") as picture:
        assert picture.format == "PNG"


def test_programs_get_plain_values(directory, trained, capsys):
    assert main(bottleneck(directory, trained, "--resume", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["code_bytes"], found["feature_bytes"]) == (96, 4096)
    assert found["code_shape"] == [6, 4, 4]
    assert len(found["straight"]) == len(found["arrived"]["ghnd"]) == 1
    assert [cost["name"] for cost in found["costs"]][:2] == ["encoder", "decoder"]


def test_it_goes_into_a_bundle_and_is_calibrated(directory, trained, tmp_path, capsys):
    bundle = str(tmp_path / "1")
    export = ["export", str(directory), "--bundle", bundle, "--max-loss-points=5"]
    assert main([*export, "--bottleneck", str(trained)]) == 0
    assert read_bundle(bundle).manifest.parts[0].bottlenecks[0].code_shape == (6, 4, 4)
    assert "learned" not in lossy_codecs(read_bundle(bundle).manifest, 100.0)
    assert main(["calibrate", bundle, "--data=tiny", "--codecs-only"]) == 0
    said = capsys.readouterr().out
    assert [line.split()[:2] for line in said.splitlines() if line.startswith("learned")] == [
        ["learned", "1"]
    ]
    entry = read_bundle(bundle).manifest.document["codecs"]["learned"]
    assert [border["segment"] for border in entry["borders"]] == [1]
    assert entry["provenance"]["image_count"] == 30
    assert "learned" in lossy_codecs(read_bundle(bundle).manifest, 100.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--border=5"], "border: found 5, expected 1 to 1, a segment that takes features"),
        (["--method=magic"], "method: found 'magic', expected one of reconstruction"),
        (["--ratio=2"], "ratio: found 2, expected a number above 4"),
        (["--ratio=257"], "at most 256 for features [4, 16, 16]"),
        (["--peak-rate=-1"], "peak learning rate: found -1.0, expected a number > 0"),
    ],
)
def test_what_cannot_be_is_one_line(directory, tmp_path, capsys, options, message):
    assert main(bottleneck(directory, tmp_path / "b", *options)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ConfigError: ") and message in line
    assert not (tmp_path / "b").exists()


def test_a_bottleneck_is_no_network_and_a_network_no_bottleneck(
    directory, trained, tmp_path, capsys
):
    assert main(bottleneck(trained, tmp_path / "b")) == 1
    export = ["export", str(directory), "--bundle", str(tmp_path / "1")]
    assert main([*export, "--bottleneck", str(directory)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "found a bottleneck, made by" in first and "expected a bottleneck" in second
    assert not (tmp_path / "1").exists()


def test_a_second_training_into_the_same_place_needs_resume(directory, trained, capsys):
    assert main(bottleneck(directory, trained)) == 1
    assert "holds a run already; continue it with --resume" in capsys.readouterr().err
