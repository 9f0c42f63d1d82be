"""The model of a scenario: from a bundle and what was measured of it, or from a few numbers."""

from pathlib import Path
from random import Random

import pytest
from worlds import LOCAL, MODEL, world

from edgesdk.core.exits import FinalExit, MaxProbability
from edgesdk.errors import ConfigError
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
            leaves, state = policy.step(exit_index, image.scores[0][exit_index], state)
            if leaves or exit_index == exit_indices[-1]:
                counts[exit_index] += 1
                right += image.scores[0][exit_index].class_index == image.label
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
            right = sum(i.scores[0][exit_index].class_index == i.label for i in images)
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
        assert {image.scores[0][0].max_probability for image in self.images()} == {0.1}

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
        assert (model.exit_indices, model.parts[0].stage_us) == ((0, 1, 2), (1000, 2000, 3000))
        assert (model.parts[0].feature_bytes, model.batch_share) == ((100, 200, 300), 0.25)
        assert len(model.images) == 7 and len(model.images[0].scores[0]) == 3

    def test_a_plan_may_have_some_of_the_exits_only(self):
        policy = {"kind": "max_probability", "thresholds": [1, 0.8, 1, 1, 0.8, 1, 0]}
        model = read(dict(MODEL, exit_indices=[1, 4, 6], policy=policy))
        assert model.exit_indices == (1, 4, 6) and len(model.images[0].scores[0]) == 7
        shares, _ = leaving(model.images, MaxProbability(0.8), model.exit_indices)
        assert shares == pytest.approx(MODEL["exit_shares"], abs=1e-3)

    def test_what_encoders_and_decoders_take_may_be_left_out(self):
        part = read(MODEL).parts[0]
        assert (part.encode_us, part.decode_us) == ((), ())
        part = read(dict(MODEL, encode_us=[0, 10, 0], decode_us=[0, 20, 5])).parts[0]
        assert (part.encode_us, part.decode_us) == ((0, 10, 0), (0, 20, 5))

    @pytest.mark.parametrize(
        ("changes", "begins", "says"),
        [
            ({"encode_us": [1, 2]}, "model.encode_us: found [1, 2]", "3 values"),
            ({"decode_us": [1, 2, -3]}, "model.decode_us[2]: found -3", "from 0"),
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
