"""The model of a scenario from files: of a plain network, and of an ensemble."""

import re
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_ensemble as te
from ensemble_worlds import write_mixed_ensemble
from test_scenario_model import read, refusal

from edgesdk.bundle import read_bundle
from edgesdk.errors import BundleError
from edgesdk.features import write_features
from edgesdk.outcomes import outcomes_from_logits, write_outcomes
from edgesdk.profiles import Profile, StageTime, write_profile

DIGITS = Path(__file__).parents[2] / "engines" / "wrn16_1-digits" / "1"


class TestFiles:
    """The bundle of `tiny`, with a profile and outcomes beside it."""

    @pytest.fixture
    def folder(self, bundle, tmp_path):
        self.write(bundle, tmp_path)
        return tmp_path

    @pytest.fixture
    def model(self, bundle):
        return {"bundle": bundle.path, "profile": "p.json", "outcomes": "o.npz"}

    def write(self, bundle, folder, plan="full", batches=(1, 4), model_id=None, split="test"):
        times = [
            StageTime(0, plan, stage, batch, 100.0 * (stage + 1) * size, 1e6, 10.0 * size, 1e6)
            for batch, size in zip(batches, (1.0, 2.5))
            for stage in range(3)
        ]
        model_id = model_id or bundle.manifest.model_id
        profile = Profile(model_id, "nano", "onnxruntime", {}, times)
        write_profile(str(folder / "p.json"), profile)
        logits = np.random.RandomState(0).randn(3, 5, 2).astype(np.float32)
        outcomes = outcomes_from_logits(
            model_id, "noise", ["calibration"] + [split] * 4, np.arange(5) % 2, logits
        )
        write_outcomes(str(folder / "o.npz"), outcomes)
        self.outcomes = outcomes

    def test_stage_times_are_those_of_one_item_with_its_head(self, model, folder):
        assert read(model, folder).parts[0].stage_us == (110, 210, 310)

    def test_what_travels_is_the_input_of_each_stage(self, model, folder):
        assert read(model, folder).parts[0].feature_bytes == (4 * 36, 4 * 72, 4 * 72)

    @pytest.mark.parametrize(
        ("codec", "sizes"),
        [("uint8", (36, 72, 72)), ("float16", (72, 144, 144)), ("learned", (144, 288, 36))],
    )
    def test_a_codec_makes_what_travels_smaller(self, folder, codec, sizes):
        bundle = tiny.write_with_bottleneck(folder / "with", border=2)
        self.write(bundle, folder)
        model = {"bundle": bundle.path, "profile": "p.json", "outcomes": "o.npz", "codec": codec}
        assert read(model, folder).parts[0].feature_bytes == sizes

    def test_encoders_and_decoders_take_as_much_for_a_multiply_add_as_stages(self, folder):
        bundle = tiny.write_with_bottleneck(folder / "with", border=1)
        self.write(bundle, folder)  # 630 us for 330 multiply-adds; 50 and 100 of the bottleneck
        model = {"bundle": bundle.path, "profile": "p.json", "outcomes": "o.npz"}
        part = read(dict(model, codec="learned"), folder).parts[0]
        assert (part.encode_us, part.decode_us) == ((0, 95, 0), (0, 191, 0))
        part = read(dict(model, codec="uint8"), folder).parts[0]
        assert (part.encode_us, part.decode_us) == ((), ())

    def test_the_cost_of_a_further_item_is_that_of_the_largest_batch(self, model, folder):
        assert read(model, folder).batch_share == pytest.approx((2.5 - 1) / 3)
        assert read(dict(model, batch_share=0.9), folder).batch_share == 0.9

    def test_without_batches_they_gain_nothing(self, model, bundle, folder):
        self.write(bundle, folder, batches=(1,))
        assert read(model, folder).batch_share == 1.0

    def test_images_are_those_of_the_test_split(self, model, folder):
        images = read(model, folder).images
        assert sorted(image.label for image in images) == [0, 0, 1, 1]
        place = list(self.outcomes.max_probability[:, 1])
        for image in images:
            index = place.index(image.scores[0][1].max_probability)
            assert index > 0, "the first image is of the calibration split"
            assert image.label == self.outcomes.label[index]
            assert image.scores[0][1].class_index == self.outcomes.prediction[index, 1]
            assert image.scores[0][1].difference == self.outcomes.difference[index, 1]

    def test_images_come_in_no_order_of_their_classes(self, model, bundle, folder):
        logits = np.zeros((3, 200, 2), np.float32)
        labels = np.repeat([0, 1], 100)  # sorted, as data sets often are
        found = outcomes_from_logits(
            bundle.manifest.model_id, "noise", ["test"] * 200, labels, logits
        )
        write_outcomes(str(folder / "o.npz"), found)
        drawn = [image.label for image in read(model, folder).images]
        assert sum(drawn) == 100
        assert 30 < sum(drawn[:100]) < 70
        assert [image.label for image in read(model, folder).images] == drawn

    def test_policies_of_the_bundle_by_name_or_as_a_table(self, model, folder):
        assert read(model, folder).policy.describe()["thresholds"] == [0.7, 0.8, 0.0]
        assert read(dict(model, policy="calibrated"), folder).policy.kind == "max_probability"
        assert read(dict(model, policy="final"), folder).policy.kind == "final"
        entropy = {"kind": "entropy", "thresholds": 0.1}
        assert read(dict(model, policy=entropy), folder).policy.kind == "entropy"

    def test_the_plan_is_that_of_the_policy(self):
        for policy in ("calibrated", None):
            named = {} if policy is None else {"policy": policy}
            message = refusal(dict({"bundle": str(DIGITS), "profile": "no.json"}, **named))
            assert "no.json: cannot be read" in message

    @pytest.mark.parametrize(
        ("changes", "begins", "says"),
        [
            ({"policy": "calibratd"}, "model.policy: found 'calibratd'", "calibrated"),
            ({"plan": "merged"}, "model.plan: found 'merged'", "one of full"),
            ({"stage_us": [1]}, "model.stage_us: unknown key", "bundle, plan"),
            ({"codec": "zstd"}, "model.codec: found 'zstd'", "one of float16, learned, raw, uint8"),
            ({"policy": {"kind": "fixed", "exit_index": 9}}, "model.policy fixed", "exits"),
        ],
    )
    def test_mistakes(self, model, folder, changes, begins, says):
        message = refusal(dict(model, **changes), folder)
        assert message.startswith(begins) and says in message

    @pytest.mark.parametrize("key", ["profile", "outcomes"])
    def test_a_file_that_is_not_named(self, model, folder, key):
        del model[key]
        assert refusal(model, folder).startswith("model.{}: missing".format(key))

    def test_a_profile_without_the_plan(self, model, bundle, folder):
        self.write(bundle, folder, plan="other")
        assert "no times of every stage of plan 'full'" in refusal(model, folder)

    def test_a_profile_that_lacks_a_stage(self, model, bundle, folder):
        times = [StageTime(0, "full", stage, 1, 100.0, 200.0) for stage in range(2)]
        profile = Profile(bundle.manifest.model_id, "nano", "onnxruntime", {}, times)
        write_profile(str(folder / "p.json"), profile)
        message = refusal(model, folder)
        assert message.startswith("model.profile: found times of 2 stages of plan 'full'")

    def test_files_of_another_network(self, model, bundle, folder):
        self.write(bundle, folder, model_id="another")
        assert "p.json: found the profile of model 'another'" in refusal(model, folder)
        times = [StageTime(0, "full", stage, 1, 100.0, 200.0) for stage in range(3)]
        profile = Profile(bundle.manifest.model_id, "nano", "onnxruntime", {}, times)
        write_profile(str(folder / "p.json"), profile)
        assert "o.npz: found the outcomes of model another" in refusal(model, folder)

    def test_outcomes_without_test_images(self, model, bundle, folder):
        self.write(bundle, folder, split="calibration")
        assert "no images of the split 'test'" in refusal(model, folder)

    def test_a_bundle_that_is_not_there(self, model, folder):
        message = refusal(dict(model, bundle="engines/none/1"), folder, BundleError)
        assert "no such folder" in message

    def test_a_policy_that_compares_has_its_vector_travel_too(self, model, folder):
        policy = {"kind": "difference", "thresholds": [1.0, 1.1, 1.0]}
        sizes = read(dict(model, policy=policy), folder).parts[0].feature_bytes
        assert sizes == (4 * 36, 4 * 72 + 4 * 2, 4 * 72 + 4 * 2)  # two classes

    def test_times_from_multiply_adds(self, model, folder):
        del model["profile"]
        found = read(dict(model, multiply_adds_per_us=0.01), folder)
        assert found.parts[0].stage_us == self.multiply_adds(model["bundle"], 100)
        assert found.batch_share == 1.0
        message = refusal(dict(model, profile="p.json", multiply_adds_per_us=5), folder)
        assert message.startswith("model.multiply_adds_per_us: found 5, expected no multi")

    def multiply_adds(self, path, factor):
        part = read_bundle(path).manifest.parts[0]
        pairs = zip(part.segments, part.exits)
        return tuple(factor * (a.multiply_adds + b.multiply_adds) for a, b in pairs)

    def test_features_of_a_plain_network_there_are_none(self, model, folder):
        message = refusal(dict(model, features="f.npz"), folder)
        assert message.startswith("model.features: found 'f.npz', expected outcomes instead")


class TestEnsemble:
    """The students of `tiny_ensemble`, with features by hand."""

    @pytest.fixture
    def bundle(self, tmp_path):
        write_features(tmp_path / "f.npz", te.features_by_hand([0.1, 0.9, 0.6]))
        return te.write_tiny_ensemble(tmp_path / "bundle")

    @pytest.fixture
    def model(self, bundle):
        return {"bundle": bundle.path, "features": "f.npz", "multiply_adds_per_us": 0.1}

    def test_has_a_part_for_each_student(self, model, tmp_path):
        found = read(model, tmp_path)
        assert [part.exit_indices for part in found.parts] == [(0, 1, 2)] * 2
        beside = 4 * te.FEATURE_SIZE  # what the cosine difference compares with
        assert found.parts[1].feature_bytes == (4 * 36, 4 * 72 + beside, 4 * 72 + beside)

    def test_images_and_features_are_of_the_test_split_in_the_same_order(self, model, tmp_path):
        found = read(model, tmp_path)
        assert len(found.images) == len(found.features.label) == 3
        for number, image in enumerate(found.images):
            assert image.label == found.features.label[number]
            for part, scores in enumerate(image.scores):
                differences = [each.difference for each in scores]
                assert differences == pytest.approx(te.DIFFERENCES[part], rel=1e-4)

    def test_students_may_differ_in_depth(self, tmp_path):
        bundle = write_mixed_ensemble(tmp_path / "bundle")
        write_features(tmp_path / "f.npz", te.features_by_hand([0.1, 0.9], depths=(3, 2)))
        model = {"bundle": bundle.path, "features": "f.npz", "multiply_adds_per_us": 0.1}
        found = read(model, tmp_path)
        assert [len(part.stage_us) for part in found.parts] == [3, 2]
        assert [len(scores) for scores in found.images[0].scores] == [3, 2]

    def test_a_profile_has_the_times_of_every_part(self, model, bundle, tmp_path):
        del model["multiply_adds_per_us"]
        times = [
            StageTime(part, "full", stage, 1, 100.0 * part + stage + 1, 1e6)
            for part in range(2)
            for stage in range(3)
        ]
        model["profile"] = "p.json"
        model_id = bundle.manifest.model_id
        write_profile(str(tmp_path / "p.json"), Profile(model_id, "nano", "torch", {}, times))
        found = read(model, tmp_path)
        assert [part.stage_us for part in found.parts] == [(1, 2, 3), (101, 102, 103)]
        write_profile(str(tmp_path / "p.json"), Profile(model_id, "nano", "torch", {}, times[:3]))
        assert "no times of every stage of plan 'full'" in refusal(model, tmp_path)

    @pytest.mark.parametrize(
        ("changes", "begins", "says"),
        [
            ({"features": None}, "model.features: missing", ""),
            ({"features": "no.npz"}, "", "no.npz: cannot be read as features"),
            ({"outcomes": "o.npz"}, "model.outcomes: found", "features instead"),
            ({"multiply_adds_per_us": 0}, "model.multiply_adds_per_us: found 0", "above 0"),
            ({"multiply_adds_per_us": None}, "model.profile: missing", ""),
            ({"policy": {"kind": "fixed", "exit_index": 9}}, "model.policy fixed", "exits"),
            ({"plan": "merged"}, "model.plan: found 'merged'", "one of full"),
        ],
    )
    def test_mistakes(self, model, tmp_path, changes, begins, says):
        model = {key: value for key, value in dict(model, **changes).items() if value is not None}
        message = refusal(model, tmp_path)
        assert message.startswith(begins) and says in message

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda f: f._replace(bias=f.bias + 1), "another classifier"),
            (lambda f: f._replace(mean_features=f.mean_features * 2), "another classifier"),
            (
                lambda f: f._replace(students=(f.students[0], f.students[1][:, :2])),
                r"exits of the students: found \[3, 2\], expected \[3, 3\]",
            ),
            (
                lambda f: f._replace(
                    students=f.students[:1],
                    mean_features=f.mean_features[:1],
                    weight=np.ascontiguousarray(f.weight[:, :2]),
                ),
                "students: found 1, expected 2",
            ),
            (
                lambda f: f._replace(bias=np.zeros(3, np.float32), weight=np.eye(3, 4, 0, "f")),
                "classes: found 3, expected 2",
            ),
            (lambda f: f._replace(split=np.array(["calibration"] * 3)), "no images of the split"),
        ],
        ids=range(6),
    )
    def test_features_of_another_ensemble(self, model, tmp_path, change, says):
        write_features(tmp_path / "f.npz", change(te.features_by_hand([0.1, 0.9, 0.6])))
        assert re.search(says, refusal(model, tmp_path))
