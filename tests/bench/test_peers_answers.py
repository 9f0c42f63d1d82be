"""What has to be answered, and that a wrong class or exit is found before anything is timed."""

import numpy as np
import pytest
import tiny

pytest.importorskip("onnxruntime")

from edgesdk.bench import peers_answers
from edgesdk.bench.contenders import Answers
from edgesdk.bench.peers_answers import POLICY, TOGETHER, check, comparable, expect
from edgesdk.core.exits import CosineDifference, Entropy, MaxProbability, Patience
from edgesdk.errors import ConfigError, EdgeError

THRESHOLDS = [0.7, 0.8, 0.0]


def expected_of(bundle, images, policy=None):
    """What has to be answered under `policy`; labels are what the final exit says."""
    plan = bundle.manifest.parts[0].plans["full"]
    labels = np.array([int(image[0, 0] < 128) for image in images])
    return expect(bundle, policy or MaxProbability(THRESHOLDS), plan, images, labels, 1)


@pytest.fixture
def expected(whole_bundle, brightnesses):
    return expected_of(whole_bundle, brightnesses.images)


def by_hand(brightness):
    """The exit at which an image of this brightness leaves."""
    pairs = enumerate(THRESHOLDS)
    return next(each for each, least in pairs if tiny.max_probability(brightness, each) > least)


def test_exits_are_those_computed_by_hand(expected, brightnesses):
    rows = np.arange(len(brightnesses.images))
    earliest, latest = expected.exits(rows, POLICY)
    wanted = [by_hand(image[0, 0] / 255) for image in brightnesses.images]
    assert earliest.tolist() == latest.tolist() == wanted
    assert len(set(wanted)) > 1


def test_a_batch_leaves_together_with_its_hardest(expected, brightnesses):
    hardest = len(brightnesses.images) // 2
    alone, _ = expected.exits(np.array([0]), TOGETHER)
    beside, _ = expected.exits(np.array([0, hardest]), TOGETHER)
    assert alone.tolist() == [0]
    assert beside.tolist() == [2, 2]


def test_on_a_threshold_either_exit_will_do(whole_bundle):
    value = 51 / 255
    threshold = tiny.max_probability(value, 0)
    policy = MaxProbability([threshold, 0.8, 0.0])
    expected = expected_of(whole_bundle, [tiny.image(value)], policy)
    earliest, latest = expected.exits(np.array([0]), POLICY)
    assert earliest.tolist() == [0] and latest[0] > 0
    for exit_index in (0, latest[0]):
        answer = Answers(np.array([1]), np.array([exit_index]))
        check("x", POLICY, answer, np.array([0]), expected)


def test_an_exit_that_is_switched_off_is_nobodys(whole_bundle, brightnesses):
    expected = expected_of(whole_bundle, brightnesses.images, Entropy([0.0, 0.5, 1000.0]))
    earliest, _ = expected.exits(np.arange(len(brightnesses.images)), POLICY)
    assert set(earliest.tolist()) == {1, 2}


def test_accuracies(expected):
    assert expected.accuracy_at(0) == expected.policy_accuracy() == 1.0
    wrong = expected._replace(labels=1 - expected.labels)
    assert wrong.accuracy_at(0) == wrong.policy_accuracy() == 0.0


class TestChecks:
    @pytest.fixture
    def right(self, expected, brightnesses):
        rows = np.arange(len(brightnesses.images))
        return Answers(brightnesses.labels.copy(), expected.exits(rows, POLICY)[0].copy()), rows

    def test_the_right_answers_pass(self, right, expected):
        check("x", POLICY, right[0], right[1], expected)

    def test_one_wrong_class(self, right, expected):
        found, rows = right
        found.class_index[3] = 1 - found.class_index[3]
        with pytest.raises(
            EdgeError, match=r"peer: found class 0 for image 3, expected 1, as exit"
        ):
            check("peer", POLICY, found, rows, expected)

    def test_one_wrong_exit(self, right, expected):
        found, rows = right
        found.exit_index[0] += 1
        with pytest.raises(
            EdgeError, match="peer: found image 0 answered by exit 1, expected exit 0"
        ):
            check("peer", POLICY, found, rows, expected)

    def test_who_must_go_to_the_end_may_not_leave(self, right, expected):
        found, rows = right
        with pytest.raises(EdgeError, match="answered by exit 0, expected exit 2;"):
            check("peer", 2, found, rows, expected)

    def test_nan_is_no_agreement(self, right, expected):
        found, rows = right
        broken = expected._replace(logits=np.full_like(expected.logits, np.nan))
        with pytest.raises(EdgeError, match="found class"):
            check("peer", POLICY, found, rows, broken)


@pytest.mark.parametrize("policy", [Patience(2), CosineDifference(1.1)], ids=repr)
def test_policies_that_others_cannot_follow_are_refused(policy):
    with pytest.raises(ConfigError, match="expected max_probability or entropy or margin"):
        comparable(policy)


def test_the_tolerance_is_far_below_what_counts():
    assert peers_answers.SCORE_TOLERANCE <= 1e-4
