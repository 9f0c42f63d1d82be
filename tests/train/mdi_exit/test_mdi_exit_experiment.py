"""`python -m edgesdk.train reproduce mdi-exit`, from a bundle to the page: on the tiny network in
detail, on digits with real processes."""

import json
import re

import numpy as np
import pytest
import tiny
from PIL import Image

from edgesdk.core.spec import Preprocessing
from edgesdk.profiles import Profile, StageTime, write_profile
from edgesdk.train.__main__ import main
from edgesdk.train.data import DATA_SETS, DataSet, preprocessed
from edgesdk.train.mdi_exit import live, sweeps

TINY = Preprocessing("gray", tiny.SIZE, tiny.SIZE, "refuse", "none", (0.0,), (1.0,))
SHORT = ["--seconds=1", "--seeds=1", "--code-bytes=100"]


def load_tiny(split):
    """Gray images of all brightnesses; the label is wrong for one in ten."""
    random = np.random.RandomState(len(split))
    brightness = random.randint(0, 256, 120)
    images = np.broadcast_to(
        brightness[:, None, None].astype(np.uint8), (120, tiny.SIZE, tiny.SIZE)
    )
    labels = (brightness < 128) ^ (random.rand(120) < 0.1)
    return preprocessed(list(images), labels.astype(np.int64), TINY)


@pytest.fixture(scope="module", autouse=True)
def few():
    """Few short points, and the data of the tiny network by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            DATA_SETS, "brightness", DataSet("brightness", tiny.LABELS, TINY, load_tiny, None)
        )
        patch.setattr(sweeps, "THRESHOLDS", (0.6, 0.8))
        patch.setattr(sweeps, "LOADS", (0.5, 2.0))
        patch.setattr(sweeps, "IMAGES_MIN", 20)
        yield


def reproduce(bundle, out, *more):
    options = [f"--bundle={bundle.path}", "--data=brightness", "--live-images=0", *SHORT]
    return main(["reproduce", "mdi-exit", *options, "--out", str(out), *more])


@pytest.fixture(scope="module")
def done(bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("mdi-exit") / "out"
    assert reproduce(bundle, out) == 0
    return out


def page_of(out):
    return (out / "page" / "README.md").read_text()


def test_everything_is_in_its_place(done):
    pictures = {f"{kind}-tiny.png" for kind in ("fixed", "poisson", "channel")}
    assert {path.name for path in (done / "page").iterdir()} == {"README.md", *pictures}
    for name in pictures:
        with Image.open(done / "page" / name) as picture:
            assert picture.format == "PNG"
    assert {path.name for path in (done / "tiny").iterdir()} == {"outcomes.npz", "points.jsonl"}


def test_the_page_has_every_part_and_no_place_of_this_machine(done):
    page = page_of(done)
    assert re.findall(r"^##+ (.*)$", page, re.M) == [
        "tiny",
        "tiny, fixed threshold (as Fig. 3)",
        "tiny, Poisson arrivals (as Fig. 5)",
        "tiny, what the channel carries",
        "Where our curves differ from the paper's shape, and why",
        "tiny, beside the paper",
    ]
    assert str(done) not in page and "None" not in page and "nan" not in page
    assert set(re.findall(r"\]\(([\w-]+\.png)\)", page)) == {
        path.name for path in (done / "page").glob("*.png")
    }
    assert "--live-images 0" in page and "--seconds 1" in page and "--seeds 1" in page
    assert "has no auto-encoder: 100 bytes instead of the 288" in page


def test_every_rate_stands_beside_its_bound(done):
    page = page_of(done)
    names = ["Local", "2-Node", "3-Node-Mesh", "3-Node-Circular", "5-Node-Mesh"]
    names += ["Data-distributed, 5", "Full offload", "3-Node-Mesh, AE", "5-Node-Mesh, AE"]
    fixed = page[page.index("answered per second / bound") : page.index("Accuracy:")]
    rows = re.findall(r"^\| ([\w,\- ]+?) \| (.*) \|$", fixed, re.M)
    assert [name for name, _ in rows[2:]] == names
    for name, cells in rows[2:]:
        pairs = [tuple(map(float, cell.split("/"))) for cell in cells.split("|")]
        assert len(pairs) == 3
        for rate, bound in pairs:
            assert 0 < rate < 1.3 * bound, name  # a short run may end its backlog of easy images
    bounds = {name: float(cells.split("/")[-1]) for name, cells in rows[2:]}
    assert bounds["Local"] == pytest.approx(25, rel=0.1)  # 40 ms an image, no exits
    assert bounds["3-Node-Mesh"] == pytest.approx(75, rel=0.1)


def test_what_is_there_is_not_done_again_and_the_answer_is_the_same(
    bundle, done, tmp_path, capsys, monkeypatch
):
    page = page_of(done)
    assert reproduce(bundle, tmp_path) == 0  # elsewhere, all of it anew
    assert page_of(tmp_path) == page
    monkeypatch.setattr("edgesdk.train.mdi_exit.points.simulate", None)
    monkeypatch.setattr("edgesdk.train.calibration.recording.record", None)
    capsys.readouterr()
    assert reproduce(bundle, done, "--json", "--docs", str(tmp_path / "docs")) == 0
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert network["name"] == "tiny" and network["test_count"] == 120
    assert len(network["exits"]) == 3 and not network["live"]
    row = network["rows"][0]
    assert row["job"]["topology"]["name"] == "Local" and row["job"]["threshold"] == 0.6
    assert row["found"]["mean"]["items_per_s"] > 0
    assert (tmp_path / "docs" / "README.md").read_text() == page


def test_another_seed_gives_other_points(bundle, done):
    before = (done / "tiny" / "points.jsonl").read_text()
    assert reproduce(bundle, done, "--seed=1", "--docs", str(done / "other")) == 0
    lines = (done / "tiny" / "points.jsonl").read_text().split("\n")
    assert len(lines) == 2 * len(before.split("\n")) - 1
    assert (done / "other" / "README.md").read_text() != page_of(done)


def test_a_trained_auto_encoder_and_a_profile(tmp_path):
    bundle = tiny.write_with_bottleneck(tmp_path / "tiny" / "1", border=1)
    times = [StageTime(0, "full", i, 1, us, us, 50, 50) for i, us in enumerate((100, 200, 650))]
    profile = Profile(bundle.manifest.model_id, "a small board", "x", {}, times)
    write_profile(str(tmp_path / "board.json"), profile)
    assert reproduce(bundle, tmp_path, "--profile", str(tmp_path / "board.json")) == 0
    page = page_of(tmp_path)
    assert "Its auto-encoder makes 36 bytes of the 288" in page
    assert "by a profile of a small board" in page and "--profile board.json" in page


def test_what_does_not_fit_is_refused(bundle, tmp_path, capsys):
    def said(*arguments):
        assert reproduce(bundle, tmp_path, *arguments) == 1
        return capsys.readouterr().err

    assert "found tiny, tiny, expected networks of different names" in said(
        f"--bundle={bundle.path}"
    )
    assert "found 20, expected at least --board-ms, 40" in said("--live-board-ms=20")
    assert "expected one of" in said("--data=nothing")
    assert "found the classes" in said("--data=digits")
    times = [StageTime(0, "full", 0, 1, 1.0, 1.0)]
    write_profile(str(tmp_path / "p.json"), Profile("other", "x", "x", {}, times))
    assert "found the profile of model 'other'" in said(f"--profile={tmp_path / 'p.json'}")
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("option", ["--board-ms=0", "--wifi-mbit-s=fast", "--seconds=nan"])
def test_numbers_are_above_zero(bundle, tmp_path, option, capsys):
    with pytest.raises(SystemExit) as ended:
        reproduce(bundle, tmp_path, option)
    assert ended.value.code == 2
    assert "expected a number above 0" in capsys.readouterr().err


def test_digits_on_real_processes(tmp_path, monkeypatch):
    """A minute: two fleets of paced workers, and what the simulator says of them."""
    monkeypatch.setattr(sweeps, "THRESHOLDS", (0.8,))
    monkeypatch.setattr(sweeps, "LOADS", (1.0,))
    monkeypatch.setattr(live, "TOPOLOGIES", live.TOPOLOGIES[:2])
    monkeypatch.setattr(live, "THRESHOLDS", (0.8, None))
    monkeypatch.setattr(live, "BOARD_TIMES_MIN", 20)
    options = ["--data=digits", "--seconds=1", "--seeds=1", "--live-images=30"]
    options += ["--bundle=engines/wrn16_1-digits/1", f"--out={tmp_path}"]
    assert main(["reproduce", "mdi-exit", *options]) == 0
    page = page_of(tmp_path)
    table = page[page.index("wrn16_1-digits, live") : page.index("## Where our curves")]
    rows = re.findall(r"^\| (Local|2-Node) \| (0\.8|No EE) \| (.*) \|$", table, re.M)
    assert [row[:2] for row in rows] == [
        ("Local", "0.8"),
        ("Local", "No EE"),
        ("2-Node", "0.8"),
        ("2-Node", "No EE"),
    ]
    for _, _, cells in rows:
        live_per_s, _, _, bound, accuracy, *_ = cells.split(" | ")
        assert 0 < float(live_per_s) < 1.5 * float(bound)
        assert float(accuracy.rstrip(" %")) > 80
    assert (tmp_path / "page" / "live-wrn16_1-digits.png").exists()
    monkeypatch.setattr(live, "run", None)  # a second call measures nothing again
    assert main(["reproduce", "mdi-exit", *options]) == 0
    assert page_of(tmp_path) == page
