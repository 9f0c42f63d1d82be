"""The model of a scenario: from a bundle and what was measured of it, or from a few numbers."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from worlds import LOCAL, MODEL, world

from edgesdk.core.exits import FinalExit, MaxProbability
from edgesdk.errors import BundleError, ConfigError
from edgesdk.outcomes import outcomes_from_logits, write_outcomes
from edgesdk.profiles import Profile, StageTime, write_profile
from edgesdk.sim.scenario import parse_scenario
from edgesdk.sim.scenario_model import synthetic_images

DIGITS = Path(__file__).parents[2] / "engines" / "wrn16_1-digits" / "1"


def read(model, folder=""):
    return parse_scenario(world(LOCAL, model=model), str(folder)).model


def refusal(model, folder="", error=ConfigError):
    with pytest.raises(error) as caught:
        read(model, folder)
    return str(caught.value)


def leaving(images, policy, exit_indices):
    """(share of the images that leave at each exit, share of answers that are right)"""
    counts, right = dict.fromkeys(exit_indices, 0), 0
    for image in images:
        state = policy.start(exit_indices, Random(0))
        for exit_index in exit_indices:
            leaves, state = policy.step(exit_index, image.scores[exit_index], state)
            if leaves or exit_index == exit_indices[-1]:
                counts[exit_index] += 1
                right += image.scores[exit_index].class_index == image.label
                break
    return [counts[i] / len(images) for i in exit_indices], right / len(images)


class TestSyntheticImages:
    SHARES, ACCURACY = (0.0, 0.5, 0.2, 0.3), (0.5, 0.6, 0.7, 0.9)

    def images(self, threshold=0.8):
        return synthetic_images(range(4), self.SHARES, self.ACCURACY, threshold, 2000)

    @pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
    def test_leave_in_the_shares_asked_for(self, threshold):
        shares, _ = leaving(self.images(threshold), MaxProbability(threshold), range(4))
        assert shares == pytest.approx(self.SHARES, abs=1e-3)

    def test_exits_are_right_as_often_as_asked_for(self):
        images = self.images()
        for exit_index, accuracy in enumerate(self.ACCURACY):
            right = sum(i.scores[exit_index].class_index == i.label for i in images)
            assert right / len(images) == pytest.approx(accuracy, abs=1e-3)

    def test_those_an_exit_is_sure_about_are_mostly_right(self):
        _, accuracy = leaving(self.images(), MaxProbability(0.8), range(4))
        assert 0.85 < accuracy <= 0.9
        assert leaving(self.images(), FinalExit(), range(4))[1] == pytest.approx(0.9, abs=1e-3)

    def test_a_lower_threshold_lets_more_leave_and_loses_accuracy(self):
        found = [leaving(self.images(), MaxProbability(t), range(4)) for t in (0.9, 0.8, 0.6, 0.3)]
        assert [shares[1] for shares, _ in found] == sorted(shares[1] for shares, _ in found)
        assert found[0][1] > found[-1][1]

    def test_an_exit_nobody_leaves_at_is_never_sure(self):
        assert {image.scores[0].max_probability for image in self.images()} == {0.1}

    def test_all_may_leave_at_once(self):
        images = synthetic_images(range(2), [1.0, 0.0], [1.0, 1.0], 0.8, 50)
        assert leaving(images, MaxProbability(0.8), range(2)) == ([1.0, 0.0], 1.0)

    def test_they_are_the_same_every_time(self):
        first, second = self.images(), self.images()
        assert [i.label for i in first] == [i.label for i in second]
        assert repr(first) == repr(second)


class TestNumbers:
    def test_as_they_are(self):
        model = read(dict(MODEL, batch_share=0.25, image_count=7))
        assert (model.exit_indices, model.stage_us) == ((0, 1, 2), (1000, 2000, 3000))
        assert (model.feature_bytes, model.batch_share) == ((100, 200, 300), 0.25)
        assert len(model.images) == 7 and len(model.images[0].scores) == 3

    def test_a_plan_may_have_some_of_the_exits_only(self):
        policy = {"kind": "max_probability", "thresholds": [1, 0.8, 1, 1, 0.8, 1, 0]}
        model = read(dict(MODEL, exit_indices=[1, 4, 6], policy=policy))
        assert model.exit_indices == (1, 4, 6) and len(model.images[0].scores) == 7
        shares, _ = leaving(model.images, MaxProbability(0.8), model.exit_indices)
        assert shares == pytest.approx(MODEL["exit_shares"], abs=1e-3)

    @pytest.mark.parametrize(
        ("changes", "begins", "says"),
        [
            ({"stage_us": []}, "model.stage_us: found []", "at least 1"),
            ({"stage_us": [1, -2, 3]}, "model.stage_us[1]: found -2", "above 0"),
            ({"feature_bytes": [1, 2]}, "model.feature_bytes: found [1, 2]", "3 values"),
            ({"exit_indices": [0, 2, 1]}, "model.exit_indices: ", "rising order"),
            ({"exit_shares": [0.5, 0.2, 0.2]}, "model.exit_shares: ", "add up to 1, not 0.9"),
            ({"exit_shares": [1.5, -0.2, 0]}, "model.exit_shares[0]: found 1.5", "from 0 to 1"),
            ({"exit_accuracy": [1, 1]}, "model.exit_accuracy: ", "3 values"),
            ({"shares_threshold": 1.0}, "model.shares_threshold: found 1.0", "below 1"),
            ({"batch_share": 0}, "model.batch_share: found 0", "above 0"),
            ({"image_count": 0}, "model.image_count: found 0", "from 1"),
            ({"policy": "calibrated"}, "model.policy: found 'calibrated'", "a table such as"),
            ({"policy": {"kind": "magic"}}, "model.policy.kind: found 'magic'", "one of final"),
            ({"policy": {"kind": "fixed"}}, "model.policy: policy fixed does not take", ""),
            ({"policy": {"kind": "margin", "thresholds": 0.5}}, "model.policy.kind: ", "outcomes"),
            ({"exit_indices": [0, 1, 3]}, "model.policy max_probability: leaves at exit 2", ""),
            (
                {"policy": {"kind": "max_probability", "thresholds": [0.5]}},
                "model.policy max_probability: found 1 thresholds",
                "expected 3",
            ),
            ({"profile": "x.json"}, "model.profile: unknown key", "expected exit_indices"),
        ],
    )
    def test_mistakes(self, changes, begins, says):
        message = refusal(dict(MODEL, **changes))
        assert message.startswith(begins) and says in message


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
        assert read(model, folder).stage_us == (110, 210, 310)

    def test_what_travels_is_the_input_of_each_stage(self, model, folder):
        assert read(model, folder).feature_bytes == (4 * 36, 4 * 72, 4 * 72)

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
            index = place.index(image.scores[1].max_probability)
            assert index > 0, "the first image is of the calibration split"
            assert image.label == self.outcomes.label[index]
            assert image.scores[1].class_index == self.outcomes.prediction[index, 1]
            assert image.scores[1].difference == self.outcomes.difference[index, 1]

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
