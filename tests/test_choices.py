"""What a caller may choose: names and objects, counts, deadlines, and how mistakes are told."""

import math

import pytest
import tiny

from edgesdk.bundle import write_bundle
from edgesdk.choices import check_count, choose_plan, choose_policy, deadline_us_of, wants_best
from edgesdk.core.exits import FinalExit, MaxProbability, Patience
from edgesdk.errors import ConfigError


@pytest.fixture(scope="module")
def two_plans(tmp_path_factory):
    """A bundle with a plan beside the full one, and a policy that was calibrated for it."""
    manifest = tiny.tiny_manifest()
    manifest["parts"][0]["plans"]["two"] = {
        "stages": [
            {"first_segment": 0, "last_segment": 0, "exit": 0, "file": "onnx/segment_0.onnx"},
            {"first_segment": 1, "last_segment": 2, "exit": 2, "file": "onnx/segment_1.onnx"},
        ]
    }
    manifest["policies"]["fast"] = {
        "kind": "max_probability",
        "thresholds": [0.6, 1.0, 0.0],
        "plan": "two",
    }
    return write_bundle(tmp_path_factory.mktemp("b") / "two", manifest, tiny.tiny_files())


class TestPolicy:
    def test_none_is_the_default_of_the_bundle(self, two_plans):
        assert choose_policy(two_plans, None) is two_plans.manifest.policies["calibrated"]

    def test_a_name_is_that_of_the_bundle(self, two_plans):
        assert choose_policy(two_plans, "fast").thresholds == (0.6, 1.0, 0.0)

    def test_final_is_the_whole_network_of_every_bundle(self, two_plans):
        assert isinstance(choose_policy(two_plans, "final"), FinalExit)

    def test_an_object_is_taken_as_it_is(self, two_plans):
        policy = Patience(2)
        assert choose_policy(two_plans, policy) is policy

    def test_another_name_is_told_with_those_there_are(self, two_plans):
        with pytest.raises(
            ConfigError, match=r'found \'best\', expected one of calibrated, fast .*"final"'
        ):
            choose_policy(two_plans, "best")


class TestPlan:
    @pytest.mark.parametrize(
        ("policy", "name", "plan"),
        [
            (None, None, "full"),
            ("calibrated", None, "full"),
            ("final", None, "full"),
            ("fast", None, "two"),
            ("fast", "full", "full"),
            (None, "two", "two"),
            (MaxProbability(0.5), None, "full"),
            (MaxProbability(0.5), "two", "two"),
        ],
    )
    def test_is_the_one_asked_for_or_that_of_the_policy(self, two_plans, policy, name, plan):
        assert choose_plan(two_plans, policy, name).name == plan

    def test_another_name_is_told_with_those_there_are(self, two_plans):
        with pytest.raises(ConfigError, match="plan: found 'fast', expected one of full, two"):
            choose_plan(two_plans, None, "fast")


class TestCounts:
    @pytest.mark.parametrize("value", [1, 32, 10**6])
    def test_whole_numbers_from_one(self, value):
        check_count("threads", value)

    @pytest.mark.parametrize("value", [0, -1, 1.0, "4", None, True, math.nan])
    def test_nothing_else(self, value):
        with pytest.raises(ConfigError, match=r"threads: found .*, expected a whole number from 1"):
            check_count("threads", value)


class TestDeadlines:
    @pytest.mark.parametrize(
        ("deadline_ms", "at_us"),
        [(None, None), (1, 1007), (0.5, 507), (0.001, 8), (1e9 - 1, 999_999_999_007)],
    )
    def test_are_points_in_time(self, deadline_ms, at_us):
        assert deadline_us_of(deadline_ms, 7) == at_us

    @pytest.mark.parametrize("value", [0, -0.1, 1e9, math.inf, math.nan])
    def test_must_be_above_zero_and_finite(self, value):
        with pytest.raises(ConfigError, match=r"deadline_ms: found .*, expected milliseconds"):
            deadline_us_of(value, 0)

    @pytest.mark.parametrize("value", ["5", True, [5], b"5"])
    def test_must_be_numbers(self, value):
        with pytest.raises(ConfigError, match=r"deadline_ms: found .*, expected a number"):
            deadline_us_of(value, 0)

    @pytest.mark.parametrize(("word", "best"), [("best", True), ("expire", False)])
    def test_end_in_one_of_two_ways(self, word, best):
        assert wants_best(word) is best

    @pytest.mark.parametrize("word", ["", "Best", None, True])
    def test_and_in_no_other(self, word):
        with pytest.raises(ConfigError, match='expected "best" or "expire"'):
            wants_best(word)
