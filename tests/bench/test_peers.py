"""`python -m edgesdk.bench peers`: checked before it is timed, JSON, what is left out, errors."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from edgesdk.bench import __main__ as bench
from edgesdk.bench import link, peers, peers_contenders
from edgesdk.bench.contenders import Answers
from edgesdk.bench.images import LabelledImages


@pytest.fixture
def run(whole_bundle, brightnesses, monkeypatch):
    """Runs the command on the tiny bundle and its images, on one core."""
    monkeypatch.setattr(peers, "read_test_images", lambda data, labels: brightnesses)
    monkeypatch.setattr(link, "pin", lambda threads: None)

    def call(*options, bundle=whole_bundle):
        arguments = ["--bundle", bundle.path, "--seconds", "0.001", "--processes", "1"]
        return bench.main(["peers", *arguments, *options])

    return call


@pytest.fixture
def without_earlyon(monkeypatch):
    monkeypatch.setitem(sys.modules, "earlyon", None)
    monkeypatch.setitem(sys.modules, "earlyon.staged", None)


def test_one_json_object(run, capsys):
    pytest.importorskip("earlyon")
    assert run("--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["conditions"]["left_out"] == {}
    assert "earlyon" in found["versions"]
    names = [figure["name"] for figure in found["figures"]]
    assert len(set(names)) == len(names)
    for wanted in (
        "onnxruntime uncut: p95 latency",
        "earlyon, calibrated: p50 latency",
        "edgesdk, nobody leaves: times plain",
        "edgesdk, calibrated: batches of 32, times better than earlyon",
        "static, ends at exit 0: batches of 32",
    ):
        assert wanted in names
    for figure in found["figures"]:
        assert (figure["target"] is None) == (figure["ok"] is None)
    assert "40 test images of brightnesses" in err


def test_who_is_missing_is_named(run, capsys, without_earlyon):
    assert run("--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "pip install" in found["conditions"]["left_out"]["earlyon"]
    assert "left out: earlyon: " in err
    assert not [each for each in found["figures"] if each["name"].startswith("earlyon")]


def test_a_person_sees_tables(run, capsys, without_earlyon):
    assert run() == 0
    out = capsys.readouterr().out
    assert out.index("one image at a time") < out.index("batches of 32") < out.index("left out: ")
    assert "edgesdk, calibrated" in out


@pytest.mark.parametrize("broken", ["class", "exit"])
@pytest.mark.parametrize("batch", [1, 32])
def test_a_wrong_answer_stops_it_before_anything_is_timed(
    run, capsys, monkeypatch, without_earlyon, broken, batch
):
    right = peers_contenders.outcome_answers

    def spoiled(found):
        answers = right(found)
        if len(answers.class_index) == batch:
            classes, exits = answers
            return Answers(1 - classes, exits) if broken == "class" else Answers(classes, exits - 1)
        return answers

    monkeypatch.setattr(peers_contenders, "outcome_answers", spoiled)
    monkeypatch.setattr(peers, "clock", lambda *_: pytest.fail("timed a wrong peer"))
    assert run("--json") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "EdgeError: edgesdk, final exit: found " in err.splitlines()[-1]


def test_images_are_drawn_once_and_mixed():
    images = [np.full((2, 2), value, np.uint8) for value in range(100)]
    data = LabelledImages(images, np.arange(100), "x")
    found = peers._drawn(data, 40)
    rows = found.labels.tolist()
    assert len(set(rows)) == 40 and rows != sorted(rows)
    assert [image[0, 0] for image in found.images] == rows
    assert peers._drawn(data, 40).labels.tolist() == rows
    assert len(peers._drawn(data, 1000).images) == 100


def test_an_image_of_two_batches_counts_once(brightnesses):
    """The darkest one is wrong, and stands in both batches."""
    labels = brightnesses.labels.copy()
    labels[0] = 1 - labels[0]
    data = brightnesses._replace(labels=labels)

    def answers(images):
        classes = np.array([int(image[0, 0] < 128) for image in images])
        return Answers(classes, np.zeros(len(images), np.int64))

    peer = peers_contenders.Peer("p", None, lambda images: images, answers)
    assert peers.checked(peer, 32, data, None, len) == 1 - 1 / len(data.images)


def test_the_last_batch_is_whole():
    assert [rows.tolist() for rows in peers._groups_of(5, 4)] == [[0, 1, 2, 3], [4, 0, 1, 2]]


def test_a_policy_that_others_cannot_follow(run, capsys):
    assert run("--policy", "final") == 1
    assert "--policy: found one of kind final, expected" in capsys.readouterr().err


def test_too_few_images(run, capsys):
    with pytest.raises(SystemExit) as ended:
        run("--images", "31")
    assert ended.value.code == 2
    assert "found 31, expected at least 32" in capsys.readouterr().err


def test_a_bundle_without_the_uncut_network(run, bundle, capsys):
    assert run(bundle=bundle) == 1
    assert "the uncut network to compare with" in capsys.readouterr().err
