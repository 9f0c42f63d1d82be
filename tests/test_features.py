"""Features in a file: what comes back, what is refused, what can be done with them."""

import numpy as np
import pytest

from edgesdk import CosineDifference, FixedExit
from edgesdk.errors import ConfigError
from edgesdk.features import (
    Features,
    accuracy,
    differences,
    exits_of,
    gathered,
    outcomes_alone,
    read_features,
    replay_students,
    similarities,
    write_features,
)


def features(count=6, depths=(3, 2), size=4, classes=3, dtype=np.float32):
    random = np.random.default_rng(0)
    return Features(
        "2xtiny-tiny",
        "tiny",
        np.array(["calibration", "test"] * (count // 2)),
        np.arange(count, dtype=np.int32) % classes,
        random.normal(size=(classes, size * len(depths))).astype(np.float32),
        random.normal(size=classes).astype(np.float32),
        random.normal(size=(len(depths), size)).astype(np.float32),
        tuple(random.normal(size=(count, m, size)).astype(dtype) for m in depths),
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_written_is_read(tmp_path, dtype):
    written = features(dtype=dtype)
    write_features(tmp_path / "f.npz", written)
    found = read_features(tmp_path / "f.npz")
    assert (found.ensemble, found.data, found.depths) == ("2xtiny-tiny", "tiny", (3, 2))
    for name in ("split", "label", "weight", "bias", "mean_features"):
        assert np.array_equal(getattr(found, name), getattr(written, name))
    for one, other in zip(found.students, written.students):
        assert one.dtype == dtype and np.array_equal(one, other)


def test_classification_gathers_each_students_feature_at_its_own_exit():
    all_of = features()
    exits = np.array([[0, 1], [2, 0], [1, 1], [0, 0], [2, 1], [1, 0]])
    for image, row in enumerate(gathered(all_of, exits)):
        parts = [all_of.students[i][image, exits[image, i]] for i in (0, 1)]
        expected = all_of.weight @ np.concatenate(parts) + all_of.bias
        assert row == pytest.approx(expected, rel=1e-5)


def test_a_shallow_student_gives_its_last_and_one_row_is_for_all():
    all_of = features()
    assert np.array_equal(gathered(all_of, np.array([2, 2])), gathered(all_of, np.array([2, 1])))


def test_a_missing_student_gives_its_mean():
    all_of = features()
    found = gathered(all_of, np.array([0, 0]), np.array([False, True]))
    mean = np.broadcast_to(all_of.mean_features[1], (6, 4))
    parts = np.concatenate([all_of.students[0][:, 0], mean], axis=1)
    assert np.allclose(found, parts @ all_of.weight.T + all_of.bias, atol=1e-5)
    one_only = np.zeros((6, 2), bool)
    one_only[3, 1] = True
    mixed = gathered(all_of, np.array([0, 0]), one_only)
    assert np.array_equal(mixed[3], found[3])
    assert np.array_equal(mixed[:3], gathered(all_of, np.array([0, 0]))[:3])


def test_accuracy_is_the_share_of_right_answers():
    all_of = features()
    exits = np.array([1, 1])
    right = gathered(all_of, exits).argmax(1) == all_of.label
    assert accuracy(all_of, exits) == right.mean()
    perfect = all_of._replace(label=gathered(all_of, exits).argmax(1).astype(np.int32))
    assert accuracy(perfect, exits) == 1


def test_scores_of_policies_are_those_of_the_paper():
    values = np.array([[[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]], np.float16)
    assert differences(values)[0] == pytest.approx([1, 2**0.5, np.inf])
    assert similarities(values)[0, 1:] == pytest.approx([0.5**0.5, 0])
    assert np.isnan(similarities(values)[0, 0])


def test_one_split_is_chosen_of_everything_that_has_a_row_per_image():
    test = features().select("test")
    assert (len(test.label), set(test.split.tolist())) == (3, {"test"})
    assert np.array_equal(test.students[1], features().students[1][1::2])
    with pytest.raises(ConfigError, match="no images of the split 'test'"):
        features().select("calibration").select("test")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": np.arange(6)}, r"label is int64 \[6\], expected int32 \[6\]"),
        ({"label": np.full(6, 3, np.int32)}, r"label holds 3..3, expected 0..2"),
        ({"split": np.array(["train"] * 6)}, "expected one of calibration, test for each of 6"),
        ({"split": np.array(["test"] * 5)}, "for each of 6 images"),
        ({"weight": np.ones((3, 7), np.float32)}, r"weight is float32 \[3, 7\], expected"),
        ({"bias": np.full(3, np.nan, np.float32)}, "bias has values that are not finite"),
        ({"mean_features": np.ones((1, 4), np.float32)}, r"mean_features is float32 \[1, 4\]"),
        ({"students": (np.ones((6, 3, 4)),) * 2}, r"student_0 is float64 .* float16 or float32"),
        ({"students": (np.ones((5, 3, 4), np.float32),) * 2}, r"student_0 is float32 \[5, 3, 4\]"),
        ({"students": (np.ones((6, 0, 4), np.float32),) * 2}, "not empty"),
    ],
)
def test_what_contradicts_itself_is_neither_written_nor_read(tmp_path, changed, message):
    with pytest.raises(ConfigError, match=message):
        write_features(tmp_path / "f.npz", features()._replace(**changed))
    assert not list(tmp_path.iterdir())


def save(path, **changed):
    """A file as somebody else might have written it."""
    arrays = features()._asdict()
    for index, values in enumerate(arrays.pop("students")):
        arrays[f"student_{index}"] = values
    arrays = {"format": "edgesdk-features-1", **arrays, **changed}
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "edgesdk-features-9"}, "found edgesdk-features-9, expected .* calibrate"),
        ({"student_0": None}, "found no student_0"),
        ({"label": None, "bias": None}, "found no label, bias"),
        ({"student_1": None}, r"weight is float32 \[3, 8\], expected float32 \[3, 4\]"),
        ({"student_1": None, "student_7": np.ones(1)}, "student_1 is float64"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, changed, message):
    path = save(tmp_path / "f.npz", **changed)
    with pytest.raises(ConfigError, match=f"{path}: .*{message}"):
        read_features(path)


@pytest.mark.parametrize("content", [b"", b"PK damaged", None])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "f.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot be read as features .* record them again"):
        read_features(path)


def test_objects_are_never_unpickled(tmp_path):
    path = save(tmp_path / "f.npz", bias=np.array([object()]))
    with pytest.raises(ConfigError, match="cannot be read as features"):
        read_features(path)


def test_a_student_alone_says_what_the_answer_would_be_without_the_others():
    all_of = features()
    found = outcomes_alone(all_of)
    for student, others in ((0, [False, True]), (1, [True, False])):
        alone = found[student]
        assert alone.exit_count == all_of.depths[student]
        for exit_index in range(alone.exit_count):
            exits = np.full(2, exit_index)
            logits = gathered(all_of, exits, np.array(others))
            assert alone.logits[:, exit_index] == pytest.approx(logits, rel=2e-3, abs=2e-3)
            assert np.array_equal(alone.prediction[:, exit_index], logits.argmax(axis=1))
        values = all_of.students[student]
        assert np.array_equal(alone.difference, differences(values))
        assert np.array_equal(alone.similarity, similarities(values), equal_nan=True)


def test_students_leave_by_themselves_a_shallow_one_at_its_last():
    all_of = features()
    replays = replay_students(outcomes_alone(all_of), CosineDifference([1.0, 1.5, 1.0]))
    exits = exits_of(replays)
    deep = np.where(differences(all_of.students[0])[:, 1] > 1.5, 1, 2)
    assert np.array_equal(exits[:, 0], deep) and len(set(deep)) == 2
    assert np.array_equal(exits[:, 1], np.ones(6))
    assert [each.evaluated.shape for each in replays] == [(6, 3), (6, 2)]
    assert np.array_equal(
        exits_of(replay_students(outcomes_alone(all_of), FixedExit(0))), np.zeros((6, 2))
    )


def test_a_policy_that_does_not_fit_the_deepest_is_refused():
    with pytest.raises(ConfigError, match="found 7 thresholds, expected 3"):
        replay_students(outcomes_alone(features()), CosineDifference())
