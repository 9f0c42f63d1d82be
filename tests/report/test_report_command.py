"""`python -m edgesdk.report` as a stranger meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_runs import WORLD
from traces import SPEC, lines_of, record_world, write_trace

from edgesdk.report.__main__ import main
from edgesdk.sim.scenario import parse_scenario

ROOT = Path(__file__).parent.parent.parent


def run(*arguments, folder=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "edgesdk.report", *map(str, arguments)],
        cwd=str(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "", "LC_ALL": "C"},
    )


def test_help_has_an_example_and_every_option():
    done = run("--help")
    text = done.stdout.decode("utf-8")
    assert done.returncode == 0 and "example:" in text
    for option in ("RUN", "--out", "--labels", "--bundle", "--json"):
        assert option in text


def test_a_folder_becomes_a_page(tmp_path):
    record_world(tmp_path, parse_scenario(dict(WORLD, duration_s=1), ""), 3)
    done = run(tmp_path, folder=tmp_path)
    text = done.stdout.decode("utf-8")
    assert done.returncode == 0, done.stderr
    assert "100 % answered" in text and "latency p50" in text and "report.html" in text
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.count("<figure") == 6
    assert "python -m edgesdk.report {}".format(tmp_path) in page


def test_json_is_one_object_and_no_page(tmp_path):
    trace = write_trace(tmp_path / "a.trace", 6).path
    done = run(trace, "--json", folder=tmp_path)
    found = json.loads(done.stdout.decode("utf-8"))
    assert found["admitted_count"] == 6 and found["versions"]["edgesdk"]
    assert os.listdir(str(tmp_path)) == ["a.trace"]
    assert "6 images" in done.stderr.decode("utf-8")


def test_labels_make_it_accurate(tmp_path, capsys):
    trace = write_trace(tmp_path / "a.trace", 6).path
    (tmp_path / "labels.csv").write_text("tag,label\ntag,1\n")
    out = str(tmp_path / "a.html")
    assert main([trace, "--labels", str(tmp_path / "labels.csv"), "--out", out]) == 0
    assert "100 % right, of 6" in capsys.readouterr().out
    assert "of 6 with a label" in Path(out).read_text("utf-8")


def test_names_of_classes_and_sizes_of_features_are_the_bundles(tmp_path, bundle):
    spec = SPEC._replace(
        identity=SPEC.identity._replace(model_id=bytes.fromhex(bundle.manifest.model_id))
    )
    trace = write_trace(tmp_path / "a.trace", 3, spec=spec).path
    out = tmp_path / "a.html"
    assert main([trace, "--bundle", bundle.path, "--out", str(out)]) == 0
    assert ">{}<".format(bundle.manifest.labels[1]) in out.read_text("utf-8")


def test_another_bundle_is_refused(tmp_path, bundle, capsys):
    trace = write_trace(tmp_path / "a.trace").path
    assert main([trace, "--bundle", bundle.path]) == 1
    assert "name the bundle that ran" in capsys.readouterr().err


def test_a_replay_that_differs_is_status_1_and_a_page_all_the_same(tmp_path, capsys):
    path = tmp_path / "a.trace"
    write_trace(path)
    lines = lines_of(path)
    lines[3] = lines[3].rsplit(b",", 1)[0] + b",5]\n"
    path.write_bytes(b"".join(lines))
    out = tmp_path / "a.html"
    assert main([str(path), "--out", str(out)]) == 1
    assert "NOT what was recorded" in out.read_text("utf-8")
    assert "NOT what was recorded" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["folder", "file/a.html"])
def test_a_place_that_cannot_be_written_is_left_as_it_was(tmp_path, capsys, out):
    trace = write_trace(tmp_path / "a.trace").path
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    before = sorted(os.listdir(str(tmp_path)))
    assert main([trace, "--out", str(tmp_path / out)]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert sorted(os.listdir(str(tmp_path))) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("given", ["", "nothing.trace"])
def test_what_is_not_there_is_one_line(tmp_path, capsys, given):
    assert main([str(tmp_path / given)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("ConfigError: ") and err.count("\n") == 1
