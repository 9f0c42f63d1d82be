"""`python -m edgesdk.train reproduce distree`, from images to the page: on the tiny network in
detail, on digits with the paper's networks, hardly trained, and with real processes."""

import json
import re

import pytest
from PIL import Image

from edgesdk.bundle import read_bundle
from edgesdk.train import checkpoint
from edgesdk.train.__main__ import main

pytestmark = pytest.mark.usefixtures("registered")

TINY = ["--data=tiny", "--teacher-model=tiny", "--model=tiny", "--live-images=0"]
SHORT = ["--teacher-epochs=6", "--epochs=12", "--students=1,2", "--scaling-epochs=2"]
PICTURES = {"training.png", "criteria.png", "policies.png", "calibration.png", "scaling.png"}


def reproduce(out, *more):
    return main(["reproduce", "distree", *TINY, *SHORT, "--out", str(out), *more])


def checkpoints(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("checkpoint.pt")}


@pytest.fixture(scope="module")
def done(registered, tmp_path_factory):
    out = tmp_path_factory.mktemp("distree") / "out"
    assert reproduce(out) == 0
    return out


def test_everything_is_in_its_place(done):
    assert {path.name for path in (done / "page").iterdir()} == {"README.md", *PICTURES}
    for name in PICTURES:
        with Image.open(done / "page" / name) as picture:
            assert picture.format == "PNG"
    folders = {str(path.parent.relative_to(done)) for path in checkpoints(done)}
    scaled = {"scaling/students-2", "scaling/students-2-2", "scaling/students-2-1"}
    assert folders == {"teacher", "students-2-2", *scaled}
    policies = read_bundle(str(done / "bundle")).manifest.policies
    assert {"final", "random", "calibrated"} <= set(policies)


def test_the_page_has_every_part_and_no_place_of_this_machine(done):
    page = (done / "page" / "README.md").read_text()
    titles = re.findall(r"^## (.*?)(?::.*)?$", page, re.M)
    assert titles == [
        "Training",
        "Table I",
        "Fig. 3",
        "Table II",
        "More students, and unequal ones",
    ]
    assert set(re.findall(r"\]\((\w+\.png)\)", page)) == PICTURES
    assert str(done) not in page and "None" not in page and "nan" not in page
    assert "| `oracle` |" in page and "| `calibrated` |" in page
    assert "--teacher-epochs 6 --epochs 12 --scaling-epochs 2" in page


def test_what_is_done_is_not_done_again(done, capsys, tmp_path):
    before = checkpoints(done)
    capsys.readouterr()
    assert reproduce(done, "--json", "--docs", str(tmp_path / "docs")) == 0
    assert checkpoints(done) == before
    found = json.loads(capsys.readouterr().out)
    assert found["teacher"]["epochs"] == {"done": 6, "before": 0}
    assert found["epochs"] == {"done": 12, "before": 0}
    assert set(found["rows"]["final"]["multiply_adds"]) == {"own", "passed", "slowest"}
    assert [one["depths"] for one in found["sized"]] == [[2], [2, 2], [2, 1]]
    page = (done / "page" / "README.md").read_bytes()
    assert (tmp_path / "docs" / "README.md").read_bytes() == page


def test_other_settings_do_not_continue_what_is_there(done, capsys):
    before = checkpoints(done)
    assert reproduce(done, "--seed=5") == 1
    assert "made with seed 0; found seed 5" in capsys.readouterr().err
    assert checkpoints(done) == before


def test_a_teacher_that_is_there_may_be_named_but_not_half_of_one(done, tmp_path, capsys):
    fit = ["fit", "--data=tiny", "--model=tiny", "--epochs=2", "--out", str(tmp_path / "run")]
    assert main(fit) == 0
    named = ["--teacher", str(tmp_path / "run"), "--epochs=1", "--scaling-epochs=0"]
    assert reproduce(tmp_path / "out", *named) == 0
    page = (tmp_path / "out" / "page" / "README.md").read_text()
    assert "Teacher: tiny, 2 epochs" in page and "More students" not in page
    assert "--teacher runs/teacher --students 1,2" in page
    assert not (tmp_path / "out" / "teacher").exists()
    state = checkpoint.load(tmp_path / "run")
    checkpoint.save(tmp_path / "run", {**state, "settings": {**state["settings"], "epochs": 3}})
    assert reproduce(tmp_path / "out", *named) == 1
    assert "found 2 of 3 epochs of a teacher, expected all" in capsys.readouterr().err


def test_students_that_are_there_may_be_named_if_they_are_this_teachers(done, tmp_path, capsys):
    out, teacher = tmp_path / "out", ["--teacher", str(done / "teacher")]
    named = [*teacher, "--ensemble", str(done / "students-2-2"), "--scaling-epochs=0"]
    assert reproduce(out, *named) == 0
    page = (out / "page" / "README.md").read_text()
    assert "trained together for 12 epochs" in page and "--ensemble runs/students" in page
    assert not checkpoints(out)
    fit = ["fit", "--data=tiny", "--model=tiny", "--epochs=1", "--out", str(tmp_path / "run")]
    assert main(fit) == 0
    other = ["--teacher", str(tmp_path / "run"), *named[2:]]
    assert reproduce(out, *other) == 1
    assert "weights of the teacher: found" in capsys.readouterr().err


def test_digits_from_scans_to_a_student_that_is_killed(tmp_path):
    """The paper's networks with all seven exits: a minute, and too short to learn much."""
    options = ["--data=digits", "--teacher-model=wrn16_1", "--teacher-epochs=1", "--epochs=2"]
    options += ["--students=1", "--scaling-epochs=1", "--live-images=4"]
    assert main(["reproduce", "distree", *options, "--out", str(tmp_path)]) == 0
    page = (tmp_path / "page" / "README.md").read_text()
    for row in ("difference", "similarity", "calibrated-difference", "oracle"):
        assert f"| `{row}` |" in page
    live = page[page.index("## Live") : page.index("## More")]
    killed = re.search(
        r"student 1 was killed under policy `calibrated`.*?(\d+) were answered, (\d+) of them "
        r"marked `degraded`, and\s(\d+) were not",
        live.replace("\n", " "),
    )
    assert killed is not None, live
    answered, degraded, _ = map(int, killed.groups())
    assert answered >= degraded >= 1  # how many came in time is for `bench ensemble` to say
