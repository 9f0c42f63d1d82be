"""Calibration from end to end, on the bundle of `tiny` and with times made up."""

import json
import os

import numpy as np
import pytest
import tiny
from calibration_cases import load_tiny, one_image, tiny_data

import edgesdk
from edgesdk.bundle import read_bundle
from edgesdk.bundle_update import update_bundle
from edgesdk.core.exits import make_policy
from edgesdk.core.spec import FULL_PLAN
from edgesdk.errors import BundleError, ConfigError, EdgeError
from edgesdk.manifest import lossy_codecs
from edgesdk.outcomes import read_outcomes, replay
from edgesdk.train.calibration import measuring, recording, workflow
from edgesdk.train.calibration.choice import Objective
from edgesdk.train.calibration.costs import Costs, mean_cost, spans
from edgesdk.train.calibration.measuring import Measured
from edgesdk.train.calibration.workflow import Request, apply, calibrate, plan_document

REQUEST = Request(Objective(2.0), "us", "calibrated", "onnxruntime", 1)
# Cuts and heads are cheap beside stages; leaving at exit 1 is right as often as at the end.
TIMES = Costs("us", {(i, j): 100.0 * (j - i + 1) for i, j in spans(3)}, (1.0, 1.0, 1.0), 5, 2, 1, 1)

DEAR_FIRST = TIMES._replace(heads=(500.0, 1.0, 1.0))  # the head of exit 0 costs too much


@pytest.fixture(autouse=True)
def synthetic_times(monkeypatch):
    """No test depends on how fast the machine is; `measure` has tests of its own."""
    monkeypatch.setattr(
        workflow,
        "measure",
        lambda trial, backend, threads: Measured(TIMES, {"backend": backend, "cpu": "synthetic"}),
    )


def calibrated(path, **changes):
    result = calibrate(path, tiny_data(), REQUEST._replace(**changes))
    return result, apply(result)


def contents(path):
    return {
        os.path.relpath(os.path.join(folder, name), path): open(
            os.path.join(folder, name), "rb"
        ).read()
        for folder, _, names in os.walk(path)
        for name in names
    }


def test_the_model_stays_who_it_is(path, bundle):
    _, after = calibrated(path)
    assert after.manifest.model_id == bundle.manifest.model_id
    assert read_bundle(path).manifest.model_id == bundle.manifest.model_id


def test_the_default_policy_becomes_the_calibrated_one_on_its_plan(path):
    result, after = calibrated(path)
    document = after.manifest.document
    assert document["default_policy"] == "calibrated"
    main = result.policies[0]
    assert document["policies"]["calibrated"]["plan"] == main.plan
    assert after.manifest.parts[0].plans[main.plan].exit_indices == main.exit_indices
    with edgesdk.Pipeline.open(path) as pipe:
        assert pipe.plan.exit_indices == main.exit_indices


def test_exits_that_do_not_earn_their_cost_are_merged_away(path):
    """All exits of `tiny` answer alike, so only the first is worth a cut."""
    result, after = calibrated(path)
    assert result.policies[0].exit_indices == (0, 2)
    stages = after.manifest.parts[0].plans["calibrated"].stages
    assert [(s.first_segment, s.last_segment, s.exit_index) for s in stages] == [
        (0, 0, 0),
        (1, 2, 2),
    ]
    assert stages[1].file == "onnx/stage_1_2.onnx"
    added = set(after.manifest.document["files"]) - set(tiny.tiny_files())
    assert added == {"onnx/stage_1_2.onnx"}


def test_every_kind_of_policy_gets_thresholds(path):
    result, after = calibrated(path)
    kinds = {name: policy.kind for name, policy in after.manifest.policies.items()}
    assert kinds == {
        "calibrated": "max_probability",
        "calibrated-margin": "margin",
        "calibrated-entropy": "entropy",
        "calibrated-patience": "patience",
        "calibrated-difference": "difference",
        "calibrated-similarity": "similarity",
    }
    for policy in result.policies:
        with edgesdk.Pipeline.open(path, policy=policy.name) as pipe:
            assert pipe.plan.name == policy.plan
    assert {p.plan for p in result.policies if p.policy.kind == "similarity"} == {FULL_PLAN}


def test_the_manifest_says_what_the_pipeline_does(path):
    """Held-out honesty: shares and accuracy in the manifest are those of real pipelines."""
    _, after = calibrated(path)
    test = load_tiny("test")
    for name, entry in after.manifest.document["policies"].items():
        with edgesdk.Pipeline.open(path, policy=name) as pipe:
            results = [pipe.infer(image) for image in test.images.numpy()]
        reported = entry["provenance"]["test"]
        share = np.bincount([r.exit_index for r in results], minlength=3) / 120
        right = np.mean([r.class_index == label for r, label in zip(results, test.labels.numpy())])
        assert reported["share_per_exit"] == pytest.approx(share)
        assert reported["accuracy"] == pytest.approx(right)


def test_the_figures_are_those_of_the_outcomes_and_the_measured_times(path):
    result, after = calibrated(path)
    for one in result.policies:
        entry = dict(after.manifest.document["policies"][one.name])
        provenance, plan = entry.pop("provenance"), entry.pop("plan")
        exits = after.manifest.parts[0].plans[plan].exit_indices
        for split, figures in (("calibration", provenance), ("test", provenance["test"])):
            outcomes = result.outcomes.select(split)
            replayed = replay(outcomes, make_policy(entry), exits)
            compares = one.policy.kind in ("difference", "similarity")
            assert figures["mean_us"] == mean_cost(replayed, exits, TIMES, compares)
            assert figures["mean_multiply_adds"] == mean_cost(replayed, exits, result.multiply_adds)
            assert figures["image_count"] == 120


def test_the_provenance_says_where_thresholds_came_from(path):
    _, after = calibrated(path)
    found = after.manifest.document["policies"]["calibrated"]["provenance"]
    assert (found["data"], found["split"], found["cost"]) == ("tiny", "calibration", "us")
    assert found["objective"] == {"max_loss_points": 2.0}
    assert found["conditions"] == {"backend": "onnxruntime", "cpu": "synthetic"}
    assert found["test"]["final_exit"]["mean_us"] == 5 + 2 + 300 + 2
    assert len(found["temperature_per_exit"]) == 3
    assert found["temperature_per_exit"][0]["temperature"] > 0


def test_lossy_codecs_are_measured_with_the_new_policy(path):
    result, after = calibrated(path)
    table = after.manifest.document["codecs"]
    assert result.codecs.decider.exit_indices == result.policies[0].exit_indices
    assert {entry["provenance"]["policy"] for entry in table.values()} == {"calibrated"}
    assert lossy_codecs(after.manifest) == ("float16", "uint8")
    other = update_bundle(path, {"other": {"kind": "final"}}, {}, {}, "other")
    assert lossy_codecs(other.manifest) == ()


def test_the_test_split_decides_nothing(path, tmp_path):
    def load(split):
        found = load_tiny(split)
        return found._replace(labels=1 - found.labels) if split == "test" else found

    one = calibrate(path, tiny_data(), REQUEST)
    other = calibrate(path, tiny_data(load=load), REQUEST)
    for a, b in zip(one.policies, other.policies):
        assert (a.policy.describe(), a.exit_indices) == (b.policy.describe(), b.exit_indices)
        assert a.calibration == b.calibration
        assert a.test != b.test


def test_calibrating_again_replaces_what_was_there(path, monkeypatch):
    calibrated(path)
    monkeypatch.setattr(workflow, "measure", lambda *_: Measured(DEAR_FIRST, {}))
    result, after = calibrated(path)
    assert result.policies[0].exit_indices == (1, 2)
    assert after.manifest.parts[0].plans["calibrated"].exit_indices == (1, 2)
    assert "onnx/stage_0_1.onnx" in after.manifest.document["files"]
    assert "onnx/stage_1_2.onnx" not in contents(path)


def test_two_names_stand_side_by_side(path):
    calibrated(path)
    _, after = calibrated(path, name="careful", objective=Objective(0.0))
    assert {"calibrated", "careful", "full"} == set(after.manifest.parts[0].plans)
    assert {"calibrated", "careful"} <= set(after.manifest.policies)
    assert after.manifest.default_policy == "careful"


def test_a_budget_in_multiply_adds_is_kept(path):
    result, after = calibrated(path, objective=Objective(budget=200), unit="multiply-adds")
    assert result.policies[0].calibration.mean_multiply_adds <= 200
    provenance = after.manifest.document["policies"]["calibrated"]["provenance"]
    assert provenance["objective"] == {"budget": 200}
    assert provenance["cost"] == "multiply-adds"


def test_a_budget_in_microseconds_is_kept(path):
    result, _ = calibrated(path, objective=Objective(budget=150.0))
    assert result.policies[0].calibration.mean_us <= 150


def test_a_budget_that_no_plan_meets_names_the_nearest_and_changes_nothing(path):
    before = contents(path)
    with pytest.raises(
        ConfigError,
        match=r"budget: found 50 us per image, but no plan meets it; the nearest has the exits "
        r"0, 2 and needs 109 us at an accuracy of \d+\.\d\d %; allow at least that",
    ):
        calibrate(path, tiny_data(), REQUEST._replace(objective=Objective(budget=50.0)))
    assert contents(path) == before


def test_a_kind_without_a_policy_within_the_budget_is_left_out(path):
    """Similarity cannot leave before the second exit."""
    calibrated(path)
    result, after = calibrated(path, objective=Objective(budget=120.0))
    assert "calibrated-similarity" not in after.manifest.policies
    assert len(result.policies) < 6


def test_one_image_is_enough_to_choose_by(path):
    result = calibrate(path, tiny_data(load=one_image), REQUEST)
    assert result.policies[0].calibration.image_count == 1


# --- the outcomes file --------------------------------------------------------------------------


def test_outcomes_are_written_once_and_then_read(path, tmp_path, monkeypatch):
    file = str(tmp_path / "o.npz")
    first, _ = calibrated(path, outcomes_file=file)
    assert read_outcomes(file, first.bundle.manifest.model_id).image_count == 240
    monkeypatch.setattr(recording, "record", None)  # would fail if it were called
    second, _ = calibrated(path, outcomes_file=file)
    assert [one.test for one in second.policies] == [one.test for one in first.policies]


def test_outcomes_of_other_data_are_refused(path, tmp_path):
    file = str(tmp_path / "o.npz")
    calibrated(path, outcomes_file=file)
    request = REQUEST._replace(outcomes_file=file)
    with pytest.raises(ConfigError, match="outcomes of the data tiny, expected other; delete"):
        calibrate(path, tiny_data(name="other"), request)


def test_outcomes_that_cannot_be_written_change_nothing(path):
    before = contents(path)
    with pytest.raises(EdgeError, match=r"o\.npz: cannot be written"):
        calibrated(path, outcomes_file=path + "/manifest.json/o.npz")
    assert contents(path) == before


# --- what is refused, and what failure leaves behind --------------------------------------------


@pytest.mark.parametrize("name", ["", "full", "final", "uncut"])
def test_a_name_with_a_meaning_of_its_own_is_refused(path, name):
    with pytest.raises(ConfigError, match=r"name: found .*, which has a meaning of its own"):
        calibrate(path, tiny_data(), REQUEST._replace(name=name))


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        calibrate(str(tmp_path / "nothing"), tiny_data(), REQUEST)


def test_calibrating_alone_writes_nothing(path):
    before = contents(path)
    calibrate(path, tiny_data(), REQUEST)
    assert contents(path) == before


def test_a_failure_while_measuring_leaves_nothing_behind(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def fail(trial, backend, threads):
        assert os.path.isdir(trial.path)
        raise ConfigError("no")

    monkeypatch.setattr(workflow, "measure", fail)
    before = contents(path)
    with pytest.raises(ConfigError, match="no"):
        calibrate(path, tiny_data(), REQUEST)
    assert contents(path) == before
    assert not [name for name in os.listdir(str(tmp_path)) if name.startswith("edgesdk-")]


def test_the_trial_bundle_holds_every_stage(path, monkeypatch):
    def look(trial, backend, threads):
        assert trial.manifest.parts[0].plans[measuring.UNCUT_PLAN].exit_indices == (2,)
        for first, last in spans(3):
            if first < last:
                assert os.path.exists(trial.file(f"onnx/stage_{first}_{last}.onnx"))
        return Measured(TIMES, {"backend": backend})

    monkeypatch.setattr(workflow, "measure", look)
    calibrate(path, tiny_data(), REQUEST)


def test_a_plan_document_covers_every_segment_once():
    found = plan_document((1, 2, 5))["stages"]
    assert [(s["first_segment"], s["last_segment"], s["exit"]) for s in found] == [
        (0, 1, 1),
        (2, 2, 2),
        (3, 5, 5),
    ]
    assert [s["file"] for s in found] == [
        "onnx/stage_0_1.onnx",
        "onnx/segment_2.onnx",
        "onnx/stage_3_5.onnx",
    ]


def test_the_manifest_stays_json_that_python_reads(path):
    calibrated(path)
    with open(os.path.join(path, "manifest.json"), encoding="utf-8") as file:
        assert json.load(file)["policies"]["calibrated-difference"]["kind"] == "difference"
