"""Who goes on, and how often exits are right: from the manifest, or from outcomes."""

import copy

import pytest
import tiny
from plan_files import outcomes

from edgesdk.bundle import write_bundle
from edgesdk.core.exits import FinalExit, MaxProbability
from edgesdk.core.spec import Plan, Stage
from edgesdk.errors import ConfigError
from edgesdk.plan.shares import accuracies, exit_shares, reach

FULL = Plan("full", tuple(Stage(i, i, i, "") for i in range(3)))
MERGED = Plan("fast", (Stage(0, 0, None, ""), Stage(1, 1, 1, ""), Stage(2, 2, 2, "")))


@pytest.fixture
def manifest_with(tmp_path):
    """The manifest of a tiny bundle whose policy has this provenance."""

    def make(provenance):
        document = copy.deepcopy(tiny.tiny_manifest())
        document["policies"]["calibrated"]["provenance"] = provenance
        return write_bundle(tmp_path / "b" / "1", document, tiny.tiny_files()).manifest

    return make


def test_from_the_policy_s_provenance(manifest_with):
    manifest = manifest_with({"share_per_exit": [0.5, 0.3, 0.2]})
    policy = manifest.policies["calibrated"]
    found = exit_shares(manifest, FULL, policy, None, None)
    assert found == ((0.5, 0.3, 0.2), "the policy's provenance")


def test_from_outcomes_by_the_calibration_split(bundle):
    known = outcomes(bundle.manifest.model_id)
    policy = bundle.manifest.policies["calibrated"]
    found, said = exit_shares(bundle.manifest, FULL, policy, None, known)
    assert found == pytest.approx((0.5, 0.3, 0.2)) and said == "outcomes of 10 images"
    everybody = exit_shares(bundle.manifest, FULL, MaxProbability(0.0), None, known)
    assert everybody[0] == (1.0, 0.0, 0.0)


def test_without_early_exits_all_go_to_the_end(bundle):
    shares, _ = exit_shares(bundle.manifest, FULL, FinalExit(), "final", None)
    assert shares == (0.0, 0.0, 1.0) and reach(FULL, shares) == (1.0, 1.0, 1.0)


def test_unknown_shares_say_what_to_do(bundle):
    policy = bundle.manifest.policies["calibrated"]
    with pytest.raises(
        ConfigError, match=r"policy calibrated: found no share_per_exit .*--outcomes"
    ):
        exit_shares(bundle.manifest, FULL, policy, None, None)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0.3, 0.3], [0.5, 0.7, -0.2], "half", None])
def test_shares_that_are_none(manifest_with, shares):
    manifest = manifest_with({"share_per_exit": shares})
    with pytest.raises(ConfigError, match=r"policies\.calibrated\.provenance\.share_per_exit"):
        exit_shares(manifest, FULL, manifest.policies["calibrated"], None, None)


def test_nobody_may_leave_where_the_plan_has_no_exit(manifest_with):
    manifest = manifest_with({"share_per_exit": [0.5, 0.3, 0.2]})
    with pytest.raises(ConfigError, match="nobody to leave but at the exits of plan 'fast': 1, 2"):
        exit_shares(manifest, MERGED, manifest.policies["calibrated"], None, None)


def test_who_comes_to_a_stage():
    assert reach(FULL, (0.5, 0.3, 0.2)) == pytest.approx((1.0, 0.5, 0.2))
    assert reach(MERGED, (0.75, 0.25)) == (1.0, 1.0, 0.25)
    assert reach(FULL, (0.7, 0.3, 0.0))[2] == 0.0  # though 1 - 0.7 - 0.3 is not quite
    assert reach(FULL, (0.7, 0.3001, 0.0))[2] == 0.0


def test_how_often_exits_are_right(bundle):
    known = outcomes(bundle.manifest.model_id)
    found, said = accuracies(bundle.manifest, FULL, known)
    assert found == pytest.approx((0.5, 0.8, 1.0)) and said == "outcomes"
    assert accuracies(bundle.manifest, MERGED, known)[0][0] is None


def test_the_manifest_knows_it_of_test_images(tmp_path):
    document = tiny.tiny_manifest()
    document["provenance"] = {"test": {"accuracy_per_exit": [0.6, 0.7, 0.8]}}
    manifest = write_bundle(tmp_path / "b" / "1", document, tiny.tiny_files()).manifest
    assert accuracies(manifest, FULL, None) == ((0.6, 0.7, 0.8), "the manifest, of test images")


def test_accuracy_that_nobody_knows(bundle):
    with pytest.raises(ConfigError, match=r"accuracy: found that of 0 exits .*--outcomes"):
        accuracies(bundle.manifest, FULL, None)
