"""Placement files: what is written reads back, and what belongs to others is refused."""

import re

import pytest
import tiny
import tiny_ensemble

from edgesdk.bundle import write_bundle
from edgesdk.cluster import read_cluster
from edgesdk.errors import ConfigError
from edgesdk.placement_file import placed, placement_of, read_placement, write_placement

HELD = {"robot": (0,), "nano.1": (1, 2), "camera": ()}


@pytest.fixture
def written(tmp_path, bundle):
    path = str(tmp_path / "placement.toml")
    write_placement(path, placement_of(bundle.manifest, "full", HELD), ["for trials"])
    return path


@pytest.fixture
def refusal(written, bundle):
    """What is said of the file with `old` replaced by `new`, behind its name."""

    def refuse(old, new, names=tuple(HELD)):
        with open(written) as file:
            text = file.read()
        assert re.search(old, text)
        with open(written, "w") as file:
            file.write(re.sub(old, new, text))
        with pytest.raises(ConfigError) as caught:
            read_placement(written, bundle.manifest, "full", names)
        assert str(caught.value).startswith(written + ": ")
        return str(caught.value)[len(written) + 2 :]

    return refuse


def test_what_is_written_reads_back(written, bundle):
    found = read_placement(written, bundle.manifest, "full", tuple(HELD))
    assert found == placement_of(bundle.manifest, "full", HELD)
    assert found.stages == HELD
    with open(written) as file:
        text = file.read()
    assert text.startswith("# for trials\n") and '"nano.1" = [1, 2]\n' in text


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('model_id = "....', 'model_id = "beef', "model_id: found 'beef"),
        ('plan = "full"', 'plan = "fast"', "plan: found 'fast', expected 'full', what runs"),
        ('plan_id = "....', 'plan_id = "beef', "plan_id: found 'beef"),
        ("format_version = 1", "format_version = 2", "format_version: found 2, expected 1"),
        ("edgesdk-placement", "edgesdk-profile", "format: found"),
        ("plan =", "pian =", "pian: unknown key; did you mean plan?"),
        (r"\[1, 2\]", "[1]", "stages: found nobody with stage 2, expected every stage"),
        (r"\[1, 2\]", "[1, 2, 3]", "stages.nano.1[2]: found 3, expected a number below 3"),
        (r"\[1, 2\]", "[2, 1]", "stages.nano.1: found [2, 1], expected whole numbers in rising"),
        ("nano.1", "nano-1", "stages: found the workers robot, nano-1, camera, expected those of"),
        ('"camera" = .*', "", "stages: found the workers robot, nano.1, expected those of the"),
    ],
)
def test_one_that_does_not_fit_is_refused(refusal, old, new, said):
    assert refusal(old, new).startswith(said)


def test_other_workers_are_refused(refusal):
    said = refusal("robot", "robot", ("robot", "nano.1", "camera", "new"))
    assert "expected those of the cluster file: robot, nano.1, camera, new" in said
    assert "python -m edgesdk.plan" in said


def test_what_is_no_file_or_no_toml_is_refused(tmp_path, bundle):
    for path, said in ((tmp_path / "none.toml", "cannot be read"), (tmp_path / "x.toml", "TOML")):
        if said == "TOML":
            path.write_text("stages = [")
        with pytest.raises(ConfigError, match=said):
            read_placement(str(path), bundle.manifest, "full", tuple(HELD))


def test_a_stage_may_be_held_by_several(written, bundle, tmp_path):
    several = dict(HELD, robot=(0, 1))
    write_placement(written, placement_of(bundle.manifest, "full", several))
    assert read_placement(written, bundle.manifest, "full", tuple(HELD)).stages == several


def cluster(folder, top=""):
    lines = ["bundle = {!r}".format("tiny"), top]
    for index, name in enumerate(HELD):
        lines += ["[[worker]]", 'name = "{}"'.format(name), "stages = [2]"]
        lines.append('address = "tcp://127.0.0.1:{}"'.format(5600 + 2 * index))
    path = folder / "robots.toml"
    path.write_text("\n".join(lines))
    return read_cluster(str(path))


def test_its_stages_replace_those_of_the_cluster_file(written, tmp_path, bundle):
    file = cluster(tmp_path, 'placement = "placement.toml"')
    found = placed(file, bundle.manifest, "full")
    assert [entry.stages for entry in found.workers] == list(HELD.values())
    assert found._replace(workers=file.workers) == file


def test_a_cluster_file_without_one_stays_as_it_is(tmp_path, bundle):
    file = cluster(tmp_path)
    assert placed(file, bundle.manifest, "full") is file


def test_an_ensemble_has_none(written, tmp_path):
    ensemble = tiny_ensemble.write_tiny_ensemble(tmp_path / "students" / "1")
    with pytest.raises(ConfigError, match="a placement for an ensemble of 2"):
        read_placement(written, ensemble.manifest, "full", tuple(HELD))


def test_another_network_is_refused(written, tmp_path):
    files = tiny.tiny_files()
    files["onnx/segment_1.onnx"] = files["onnx/segment_2.onnx"][:-1] + b"\0"
    other = write_bundle(tmp_path / "other" / "1", tiny.tiny_manifest(), files)
    with pytest.raises(ConfigError, match=r"model_id: found .* make it again"):
        read_placement(written, other.manifest, "full", tuple(HELD))
