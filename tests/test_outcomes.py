"""Outcomes: what they hold, policies replayed on them, the file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgesdk
from edgesdk import digits, kernels
from edgesdk.backends import open_backend
from edgesdk.bundle import read_bundle
from edgesdk.core.exits import (
    CosineDifference,
    Entropy,
    ExitPolicy,
    FinalExit,
    FixedExit,
    Margin,
    MaxProbability,
    NeighbourSimilarity,
    Patience,
    RandomExit,
)
from edgesdk.errors import ConfigError, EdgeError
from edgesdk.outcomes import (
    Outcomes,
    outcomes_from_logits,
    read_outcomes,
    replay,
    write_outcomes,
)

ROOT = Path(__file__).resolve().parent.parent
DIGITS = str(ROOT / "engines" / "wrn16_1-digits" / "1")


def some(count=12, exits=4, classes=3, seed=0):
    random = np.random.RandomState(seed)
    logits = (3 * random.randn(exits, count, classes)).astype(np.float32)
    splits = ["calibration" if i % 2 else "test" for i in range(count)]
    return outcomes_from_logits("model", "noise", splits, random.randint(0, classes, count), logits)


def assert_same(one, other):
    for name in Outcomes._fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


# --- what they hold -----------------------------------------------------------------------------


def test_scores_are_those_of_the_kernels():
    logits = np.array([[[2.0, 0, 0]], [[1, 3, 0]]], np.float32)
    found = outcomes_from_logits("m", "d", ["test"], np.array([1]), logits)
    for exit_index in range(2):
        scores = kernels.exit_scores(logits[exit_index])
        assert found.prediction[0, exit_index] == scores.class_index[0]
        assert found.max_probability[0, exit_index] == scores.max_probability[0]
        assert found.margin[0, exit_index] == scores.margin[0]
        assert found.entropy[0, exit_index] == scores.entropy[0]
    assert found.correct.tolist() == [[False, True]]


def test_comparisons_are_with_the_first_exit_and_with_the_exit_before():
    found = some()
    logits = found.logits.astype(np.float32)
    assert (found.difference[:, 0] == 1).all()
    assert np.isnan(found.similarity[:, 0]).all()
    for later in (1, 2, 3):
        one, first, before = (np.ascontiguousarray(logits[:, i]) for i in (later, 0, later - 1))
        difference = kernels.cosine_difference(one, first)
        finite = np.isfinite(difference) & (difference < 10)
        assert found.difference[finite, later] == pytest.approx(difference[finite], rel=1e-2)
        similarity = 1 / kernels.cosine_difference(one, before)
        assert found.similarity[:, later] == pytest.approx(similarity, abs=1e-2)


def test_a_split_is_selected_with_all_its_rows():
    found = some()
    test = found.select("test")
    assert test.image_count == 6
    assert set(test.split.tolist()) == {"test"}
    assert np.array_equal(test.prediction, found.prediction[::2])
    assert np.array_equal(test.logits, found.logits[::2])


def test_a_split_without_images_is_refused():
    with pytest.raises(ConfigError, match="found no images of the split 'calibration', only test"):
        some().select("test").select("calibration")


def test_logits_beyond_float16_stay_finite():
    logits = np.full((1, 1, 2), 1e30, np.float32)
    found = outcomes_from_logits("m", "d", ["test"], np.array([0]), logits)
    assert np.isfinite(found.logits).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(value):
    with pytest.raises(ConfigError, match="values that are not finite; expected at least one"):
        outcomes_from_logits("m", "d", ["test"], [0], np.full((1, 1, 2), value, np.float32))


def test_no_images_are_refused():
    with pytest.raises(ConfigError, match="found 0 images"):
        outcomes_from_logits("m", "d", [], [], np.zeros((1, 0, 2), np.float32))


def test_a_label_outside_the_classes_is_refused():
    with pytest.raises(ConfigError, match=r"label holds 7\.\.7, expected 0\.\.1"):
        outcomes_from_logits("m", "d", ["test"], [7], np.zeros((1, 1, 2), np.float32))


def test_a_split_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="found the splits train, expected calibration, test"):
        outcomes_from_logits("m", "d", ["train"], [0], np.zeros((1, 1, 2), np.float32))


# --- replay: the policies themselves, on what was recorded --------------------------------------


def test_replay_leaves_at_the_first_exit_that_passes():
    found = some(200)
    policy = MaxProbability([0.9, 1.0, 0.8, 0.0])
    replayed = replay(found, policy, (0, 1, 2, 3))
    for row, left, evaluated in zip(found.max_probability, *replayed):
        expected = 0 if row[0] > 0.9 else 2 if row[2] > 0.8 else 3
        assert left == expected
        assert evaluated.tolist() == [True, False, expected >= 2, expected == 3]


def test_replay_on_a_plan_sees_only_its_exits():
    found = some(50)
    replayed = replay(found, Patience([float("inf"), 1, float("inf"), 1]), (1, 3))
    assert set(replayed.exit_index.tolist()) == {1}
    assert replayed.evaluated[0].tolist() == [False, True, False, False]


def test_replay_refuses_a_policy_that_does_not_fit_the_plan():
    with pytest.raises(ConfigError, match="leaves at exit 0, but the plan only has exits"):
        replay(some(), MaxProbability(0.9), (1, 3))


def test_replay_folds_a_state_and_forgets_it_between_images():
    class Third(ExitPolicy):
        """Leaves at the third evaluation."""

        def start(self, exit_indices, rng):
            return 0

        def step(self, exit_index, scores, state):
            return state == 2, state + 1

    assert (replay(some(), Third(), (0, 1, 2, 3)).exit_index == 2).all()


def test_a_random_replay_follows_its_seed():
    found = some(100)
    one, again, other = (
        replay(found, RandomExit(), (0, 1, 2, 3), seed).exit_index for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert set(one.tolist()) == {0, 1, 2, 3}


POLICIES = [
    FinalExit(),
    FixedExit(2),
    MaxProbability([0.9, 0.8, 0.7, 0.6, 1.0, 0.5, 0.0]),
    Margin(0.8),
    Entropy([0.5, 0.4, 0.0, 0.3, 0.5, 0.6, 1.0]),
    Patience(3),
    CosineDifference([1.0, 3.0, 2.0, 1.2, 1.3, 1.1, 1.0]),
    NeighbourSimilarity([0.9, 0.95, 0.97, 0.99, 0.9, 0.9]),
]


@pytest.fixture(scope="module")
def digits_outcomes():
    pytest.importorskip("torch", reason="recording belongs to the workstation tier")
    from edgesdk.train.calibration.recording import record
    from edgesdk.train.data import data_set

    return record(read_bundle(DIGITS), data_set("digits"), open_backend(threads=1))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.kind)
def test_replay_and_the_real_pipeline_agree_on_every_scan(policy, digits_outcomes):
    scans = digits.load_digits_split("test")
    recorded = digits_outcomes.select("test")
    replayed = replay(recorded, policy, range(7))
    with edgesdk.Pipeline.open(DIGITS, policy=policy, plan="full") as pipe:
        results = [pipe.infer(scan) for scan in scans.images]
    assert [result.exit_index for result in results] == replayed.exit_index.tolist()
    rows = np.arange(len(results))
    assert [result.class_index for result in results] == (
        recorded.prediction[rows, replayed.exit_index].tolist()
    )
    assert recorded.label.tolist() == scans.labels.tolist()


# --- files --------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    path, found = str(tmp_path / "o.npz"), some()
    write_outcomes(path, found)
    assert_same(read_outcomes(path, "model"), found)
    assert os.listdir(str(tmp_path)) == ["o.npz"]


def test_the_file_holds_no_pickles(tmp_path):
    path = str(tmp_path / "o.npz")
    write_outcomes(path, some())
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_another_model_is_refused(tmp_path):
    path = str(tmp_path / "o.npz")
    write_outcomes(path, some())
    with pytest.raises(ConfigError, match=r"outcomes of model model, expected model other; delete"):
        read_outcomes(path, "other")


def changed(path, **arrays):
    with np.load(path) as archive:
        content = {name: archive[name] for name in archive.files}
    content.update(arrays)
    np.savez(path, **{name: array for name, array in content.items() if array is not None})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"format": np.array("something-2")}, "another format; expected edgesdk-outcomes-1"),
        ({"margin": None}, "holds no margin; expected outcomes written by"),
        ({"model_id": None}, "holds no model_id"),
        ({"margin": np.zeros((12, 4))}, "margin is float64, expected float32"),
        ({"logits": np.zeros((12, 4, 3), np.float32)}, "logits is float32, expected float16"),
        ({"label": np.zeros(12, np.int64)}, "label is int64, expected int32"),
        ({"split": np.zeros(12, np.int32)}, "split is int32, expected text"),
        ({"entropy": np.zeros((12, 3), np.float32)}, r"entropy has the shape \[12, 3\], expected"),
        ({"label": np.zeros(11, np.int32)}, r"label has the shape \[11\], expected \[12\]"),
        ({"prediction": np.zeros((12,), np.int32)}, r"prediction has the shape \[12\]"),
        (
            {"prediction": np.full((12, 4), 3, np.int32)},
            r"prediction holds 3\.\.3, expected 0\.\.2",
        ),
        ({"prediction": np.full((12, 4), -1, np.int32)}, r"prediction holds -1\.\.-1"),
        ({"split": np.array(["train"] * 12)}, "found the splits train"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place(tmp_path, arrays, message):
    path = str(tmp_path / "o.npz")
    write_outcomes(path, some())
    changed(path, **arrays)
    with pytest.raises(ConfigError, match=message) as caught:
        read_outcomes(path, "model")
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"x" * 1000])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "o.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as outcomes"):
        read_outcomes(str(path), "model")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "o.npz"
    write_outcomes(str(path), some())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ConfigError, match="cannot be read as outcomes"):
        read_outcomes(str(path), "model")


def test_a_pickle_is_not_run(tmp_path):
    path = str(tmp_path / "o.npz")
    write_outcomes(path, some())
    changed(path, margin=np.array([[object()]], dtype=object))
    with pytest.raises(ConfigError, match="cannot be read as outcomes"):
        read_outcomes(path, "model")


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.npz: cannot be read as outcomes"):
        read_outcomes(str(tmp_path / "nothing.npz"), "model")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = str(tmp_path / "o.npz")
    write_outcomes(path, some())
    before = Path(path).read_bytes()
    os.symlink("/dev/full", path + ".tmp")
    with pytest.raises(EdgeError, match=r"No space left on device.*free some space"):
        write_outcomes(path, some(seed=1))
    assert Path(path).read_bytes() == before
    assert os.listdir(str(tmp_path)) == ["o.npz"]


KILLED = """
import os, signal, numpy as np
from edgesdk import outcomes
import test_outcomes
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
outcomes.write_outcomes({path!r}, test_outcomes.some(seed=1))
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path, old = str(tmp_path / "o.npz"), some()
    write_outcomes(path, old)
    environment = dict(os.environ, PYTHONPATH="{}:{}".format(ROOT, ROOT / "tests"))
    code = subprocess.call(
        [sys.executable, "-c", KILLED.format(path=path)], env=environment, cwd=str(tmp_path)
    )
    assert code == -signal.SIGKILL
    assert_same(read_outcomes(path, "model"), old)
