"""What lossy codecs cost: counted image by image, and written where programs look for it."""

import numpy as np
import pytest
import tiny
from calibration_cases import load_tiny, tiny_data

import edgesdk
from edgesdk.backends import open_backend
from edgesdk.bundle_update import update_bundle
from edgesdk.core.exits import MaxProbability
from edgesdk.errors import ConfigError
from edgesdk.manifest import lossy_codecs, policy_id
from edgesdk.train.calibration import codecs
from edgesdk.train.calibration.codecs import (
    Journey,
    codecs_document,
    default_decider,
    measure_codecs,
)

NAMES = ("float16", "uint8")
EVERY_WAY = [(0,), (1,), (2,), (0, 1, 2)]


def measured(bundle, **changes):
    decider = default_decider(bundle.manifest)
    return measure_codecs(bundle, tiny_data(**changes), open_backend(None, 1), decider)


def spoil(monkeypatch, name):
    """Whatever travels by the codec `name` arrives as zeros."""
    right = codecs._travelled
    monkeypatch.setattr(
        codecs,
        "_travelled",
        lambda features, by: np.zeros_like(features) if by == name else right(features, by),
    )


@pytest.fixture
def straight(bundle):
    """Of each calibration image: its exit, and whether the pipeline answers it rightly."""
    split = load_tiny("calibration")
    with edgesdk.Pipeline.open(bundle.path) as pipe:
        results = [pipe.infer(image) for image in split.images.numpy()]
    exits = np.array([result.exit_index for result in results])
    return exits, np.array([r.class_index for r in results]) == split.labels.numpy()


def test_every_border_and_all_of_them_are_crossed_by_every_lossy_codec(bundle):
    found = measured(bundle)
    assert [(one.codec, one.borders) for one in found.journeys] == [
        (name, borders) for name in NAMES for borders in EVERY_WAY
    ]
    assert {one.image_count for one in found.journeys} == {120}


def test_without_codecs_it_is_the_pipelines_accuracy(bundle, straight):
    assert measured(bundle).accuracy == straight[1].mean()


def test_codecs_that_change_no_answer_lose_nothing(bundle):
    """Features of `tiny` have two values, which uint8 keeps, and float16 nearly."""
    for one in measured(bundle).journeys:
        assert (one.lost, one.gained) == (0, 0)
        assert one.lost_points == one.pessimistic_lost_points == 0


def test_lost_and_gained_images_are_counted(bundle, straight, monkeypatch):
    """Who left before the border is not touched. A black image is "dark"; zeros further on make
    both classes as likely, and the first is answered."""
    spoil(monkeypatch, "uint8")
    exits, right = straight
    labels = load_tiny("calibration").labels.numpy()
    for one in measured(bundle).journeys:
        answer = labels == (1 if one.borders[0] == 0 else 0)
        spoiled = np.where(exits < one.borders[0], right, answer)
        arrived = spoiled if one.codec == "uint8" else right
        assert one.lost == (right & ~arrived).sum()
        assert one.gained == (arrived & ~right).sum()
        assert (one.lost > 0) == (one.codec == "uint8")


def test_all_borders_means_every_one_of_them(bundle, monkeypatch):
    """Three borders alone and three together, in each of four batches of 120 images."""
    crossed, right = [], codecs._travelled
    monkeypatch.setattr(
        codecs, "_travelled", lambda features, by: crossed.append(by) or right(features, by)
    )
    measured(bundle)
    assert crossed == (["float16"] * 6 + ["uint8"] * 6) * 4


def test_points_are_percent_of_images_and_pessimistic_ones_hold_back_two_deviations():
    one = Journey("uint8", (0,), lost=12, gained=4, image_count=2000)
    assert one.lost_points == pytest.approx(100 * 8 / 2000)
    assert one.pessimistic_lost_points == pytest.approx(100 * (8 + 2 * 4) / 2000)


def test_features_really_pass_through_the_codec():
    features = np.random.RandomState(0).standard_normal((3, 4, 5)).astype(np.float32)
    for name, most in (("float16", 2e-3), ("uint8", 1e-2)):
        arrived = codecs._travelled(features, name)
        assert 0 < np.abs(arrived - features).max() < most
    alone = codecs._travelled(features[1:2], "uint8")
    assert np.array_equal(alone[0], codecs._travelled(features, "uint8")[1])


def test_the_table_names_the_worst_and_where_it_came_from(bundle, monkeypatch):
    spoil(monkeypatch, "uint8")
    found = measured(bundle)
    table = codecs_document(found)
    assert sorted(table) == ["float16", "uint8"]
    entry = table["uint8"]
    assert [border["segment"] for border in entry["borders"]] == [0, 1, 2]
    all_points = [b["pessimistic_lost_points"] for b in entry["borders"] + [entry["all_borders"]]]
    assert entry["pessimistic_lost_points"] == max(all_points) > 0.5
    assert entry["provenance"] == {
        "data": "tiny",
        "split": "calibration",
        "image_count": 120,
        "accuracy": found.accuracy,
        "policy": "calibrated",
        "policy_id": policy_id(bundle.manifest.policies["calibrated"]),
    }


def test_programs_read_from_the_bundle_what_is_allowed(path, bundle, monkeypatch):
    assert lossy_codecs(bundle.manifest) == ()
    spoil(monkeypatch, "uint8")
    after = update_bundle(path, {}, {}, {}, codecs=codecs_document(measured(bundle)))
    assert after.manifest.model_id == bundle.manifest.model_id
    assert lossy_codecs(after.manifest) == ("float16",)
    assert lossy_codecs(after.manifest, max_lost_points=100.0) == NAMES
    assert lossy_codecs(after.manifest, policy=MaxProbability(0.5)) == ()


def test_the_decider_is_the_default_policy_on_its_plan(path):
    plans = {
        "short": {
            "stages": [
                {"first_segment": 0, "last_segment": 1, "exit": 1, "file": "onnx/stage_0_1.onnx"},
                {"first_segment": 2, "last_segment": 2, "exit": 2, "file": "onnx/segment_2.onnx"},
            ]
        }
    }
    policy = {"kind": "max_probability", "thresholds": [1.0, 0.8, 0.0], "plan": "short"}
    after = update_bundle(path, {"short": policy}, plans, {"onnx/stage_0_1.onnx": b"x"}, "short")
    found = default_decider(after.manifest)
    assert (found.name, found.exit_indices) == ("short", (1, 2))


class TestBottlenecks:
    """The codec "learned": at the borders that have one, by the bundle's encoder and decoder."""

    @pytest.fixture
    def swapping(self, tmp_path):
        """What travels to the last segment is taken for the other class."""
        return tiny.write_with_bottleneck(tmp_path / "swapping", border=2, swaps=True)

    def test_their_borders_alone_are_crossed(self, swapping, straight):
        exits, right = straight
        (found,) = [one for one in measured(swapping).journeys if one.codec == "learned"]
        travelled = exits >= 2
        assert travelled.any() and found.borders == (2,)
        assert found.lost == (right & travelled).sum()
        assert found.gained == (~right & travelled).sum()

    def test_what_one_loses_is_written_and_forbids_it(self, swapping):
        assert lossy_codecs(swapping.manifest) == ("learned",)  # until it is measured
        found = codecs_document(measured(swapping))
        entry = found["learned"]
        assert [border["segment"] for border in entry["borders"]] == [2]
        assert entry["pessimistic_lost_points"] == entry["all_borders"]["pessimistic_lost_points"]
        after = update_bundle(swapping.path, {}, {}, {}, codecs=found)
        assert lossy_codecs(after.manifest) == NAMES
        assert lossy_codecs(after.manifest, max_lost_points=100.0) == (*NAMES, "learned")

    def test_one_that_changes_nothing_is_allowed(self, tmp_path):
        kind = tiny.write_with_bottleneck(tmp_path / "kind", border=1)
        after = update_bundle(kind.path, {}, {}, {}, codecs=codecs_document(measured(kind)))
        assert lossy_codecs(after.manifest) == (*NAMES, "learned")


def test_data_of_other_classes_are_refused(bundle):
    with pytest.raises(ConfigError, match="data: found the classes a, b, expected bright, dark"):
        measured(bundle, labels=("a", "b"))


def test_only_the_calibration_split_is_looked_at(bundle):
    def load(split):
        assert split == "calibration"
        return load_tiny(split)

    measured(bundle, load=load)


def test_batches_that_are_not_full_count_as_well(bundle):
    def load(split):
        found = load_tiny(split)
        return found._replace(images=found.images[:33], labels=found.labels[:33])

    assert measured(bundle, load=load).journeys[0].image_count == 33
