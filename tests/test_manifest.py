"""The manifest: what is read, what is refused (with its path), and the identities."""

import copy
import json
import math

import pytest
import tiny

from edgesdk.core.exits import MaxProbability
from edgesdk.core.spec import Exit, Part, Plan, Preprocessing, Segment, Stage
from edgesdk.errors import BundleError
from edgesdk.manifest import (
    FORMAT,
    FORMAT_VERSION,
    complete_manifest,
    lossy_codecs,
    parse_manifest,
    plan_id,
    policy_id,
    sha256,
)

FILES = tiny.tiny_files()
MERGED = "onnx/segments_1_2.onnx"
MISSING = object()
SIZE = tiny.SIZE


def complete(manifest=None, files=None):
    return complete_manifest(manifest or tiny.tiny_manifest(), files or FILES)


def place(document, path):
    """The container and the key that `path` ("parts/0/name") leads to; "~" is a "/" in a name."""
    *way, last = [int(key) if key.isdigit() else key.replace("~", "/") for key in path.split("/")]
    for key in way:
        document = document[key]
    return document, last


def changed(path, value, document=None):
    """A document in which the field at `path` is `value`, or is missing."""
    document = copy.deepcopy(document or complete())
    container, key = place(document, path)
    if value is MISSING:
        del container[key]
    else:
        container[key] = value
    return document


def dotted(path):
    """parts/0/name -> parts[0].name"""
    keys = ["[{}]".format(key) if key.isdigit() else "." + key for key in path.split("/")]
    return "".join(keys).lstrip(".").replace("~", "/")


def refusal(document):
    with pytest.raises(BundleError) as caught:
        parse_manifest(document)
    return str(caught.value)


def with_two_stages(exit_index=0):
    """The tiny manifest and files with a second plan that runs segments 1 and 2 as one stage."""
    manifest = tiny.tiny_manifest()
    manifest["parts"][0]["plans"]["two"] = {
        "stages": [
            {
                "first_segment": 0,
                "last_segment": 0,
                "exit": exit_index,
                "file": "onnx/segment_0.onnx",
            },
            {"first_segment": 1, "last_segment": 2, "exit": 2, "file": MERGED},
        ]
    }
    return manifest, dict(FILES, **{MERGED: FILES["onnx/segment_1.onnx"]})


class TestReading:
    def test_the_tiny_manifest(self):
        manifest = parse_manifest(complete())
        assert manifest.name == "tiny"
        assert manifest.labels == ("bright", "dark")
        assert manifest.preprocessing == Preprocessing(
            "gray", SIZE, SIZE, "refuse", "none", (0.0,), (1.0,)
        )
        assert manifest.default_policy == "calibrated"
        assert manifest.policies["calibrated"].describe() == {
            "kind": "max_probability",
            "thresholds": [0.7, 0.8, 0.0],
        }

    def test_the_part(self):
        shapes = [(1, SIZE, SIZE)] + [(2, SIZE, SIZE)] * 3
        stages = [Stage(i, i, i, "onnx/segment_{}.onnx".format(i)) for i in range(3)]
        assert parse_manifest(complete()).parts == (
            Part(
                name="main",
                segments=tuple(Segment(shapes[i], shapes[i + 1], 100) for i in range(3)),
                exits=tuple(Exit("fused", "heads/exit_{}.npz".format(i), 10) for i in range(3)),
                plans={"full": Plan("full", tuple(stages))},
            ),
        )

    def test_a_document_that_went_through_json_means_the_same(self):
        document = complete()
        again = parse_manifest(json.loads(json.dumps(document)))
        ours = parse_manifest(document)
        assert again._replace(policies={}) == ours._replace(policies={})

    def test_a_merged_plan_beside_the_full_one(self):
        plans = parse_manifest(complete(*with_two_stages())).parts[0].plans
        assert [stage[:3] for stage in plans["two"].stages] == [(0, 0, 0), (1, 2, 2)]
        assert set(plans) == {"full", "two"}

    def test_a_stage_without_an_exit(self):
        plan = parse_manifest(complete(*with_two_stages(exit_index=None))).parts[0].plans["two"]
        assert plan.stages[0].exit_index is None
        assert plan.exit_indices == (2,)

    @pytest.mark.parametrize("path", ["", "parts/0", "parts/0/segments/1", "preprocessing"])
    def test_unknown_keys_are_kept_and_harmless(self, path):
        document = changed(path + "/a_later_idea" if path else "a_later_idea", {"x": [1]})
        manifest = parse_manifest(
            dict(document, model_id=complete(document)["model_id"])  # segments are part of it
        )
        container, key = place(manifest.document, (path + "/" if path else "") + "a_later_idea")
        assert container[key] == {"x": [1]}

    def test_provenance_stands_beside_a_policy(self):
        provenance = {"data": "digits", "accuracy": [0.9, 0.95, 0.97]}
        manifest = parse_manifest(changed("policies/calibrated/provenance", provenance))
        assert manifest.policies["calibrated"].describe()["thresholds"] == [0.7, 0.8, 0.0]
        assert manifest.document["policies"]["calibrated"]["provenance"] == provenance

    def test_a_policy_may_use_a_threshold_that_json_calls_infinity(self):
        thresholds = [math.inf, 0.8, 0.0]
        document = json.loads(json.dumps(changed("policies/calibrated/thresholds", thresholds)))
        assert not parse_manifest(document).policies["calibrated"].evaluates(0, None)


# Every field, and a value of the wrong type.
WRONG_TYPES = [
    ("format", 1),
    ("format_version", "1"),
    ("name", 7),
    ("labels", "bright, dark"),
    ("model_id", None),
    ("default_policy", ["calibrated"]),
    ("preprocessing", []),
    ("preprocessing/color", 3),
    ("preprocessing/height", 6.0),
    ("preprocessing/width", "6"),
    ("preprocessing/resize", None),
    ("preprocessing/crop", False),
    ("preprocessing/mean", 0.0),
    ("preprocessing/std", {"gray": 1}),
    ("parts", {}),
    ("parts/0/name", 0),
    ("parts/0/segments", {"0": {}}),
    ("parts/0/segments/1/input_shape", "2x6x6"),
    ("parts/0/segments/1/output_shape", 72),
    ("parts/0/segments/1/multiply_adds", 1.5),
    ("parts/0/exits", None),
    ("parts/0/exits/1/head", "fused"),
    ("parts/0/exits/1/head/kind", 1),
    ("parts/0/exits/1/head/file", ["a"]),
    ("parts/0/exits/1/multiply_adds", True),
    ("parts/0/plans", []),
    ("parts/0/plans/full", []),
    ("parts/0/plans/full/stages", {}),
    ("parts/0/plans/full/stages/1/first_segment", None),
    ("parts/0/plans/full/stages/1/last_segment", "1"),
    ("parts/0/plans/full/stages/1/exit", "1"),
    ("parts/0/plans/full/stages/1/file", 1),
    ("policies", []),
    ("policies/calibrated/kind", ["max_probability"]),
    ("files", ["onnx/segment_0.onnx"]),
    ("files/heads~exit_0.npz/sha256", 12),
    ("files/heads~exit_0.npz/bytes", "12"),
]
# Every field whose right type can hold a wrong value: (path, value, what the message must say).
WRONG_VALUES = [
    ("format", "onnx", "expected one of " + FORMAT),
    ("format_version", 2, "export the bundle again or upgrade"),
    ("format_version", 0, "a whole number from 1"),
    ("name", "", "a text"),
    ("labels", [], "a list of at least 1"),
    ("labels/1", "", "a text"),
    ("labels/1", 5, "a text"),
    ("model_id", "0" * 32, "the hash of what the manifest describes"),
    ("default_policy", "fastest", "a name in policies (calibrated)"),
    ("preprocessing/color", "cmyk", "one of gray, rgb, bgr"),
    ("preprocessing/height", 0, "a whole number from 1"),
    ("preprocessing/width", -6, "a whole number from 1"),
    ("preprocessing/resize", "stretch", "one of refuse, area, bilinear"),
    ("preprocessing/crop", "left", "one of none, center"),
    ("preprocessing/mean", [0.1, 0.2], "1 numbers"),
    ("preprocessing/mean/0", math.nan, "a finite number"),
    ("preprocessing/mean/0", 10**400, "a finite number"),
    ("preprocessing/std", [], "1 numbers above 0"),
    ("preprocessing/std", [0.0], "1 numbers above 0"),
    ("preprocessing/std/0", math.inf, "a finite number"),
    ("parts", [], "a list of at least 1"),
    ("parts/0", 5, "a table"),
    ("parts/0/segments", [], "a list of at least 1"),
    ("parts/0/segments/1/input_shape/1", 0, "a whole number from 1"),
    ("parts/0/segments/1/input_shape/1", 5, "the output of the segment before"),
    ("parts/0/segments/1/output_shape", [], "a list of at least 1"),
    ("parts/0/segments/1/multiply_adds", -1, "a whole number from 0"),
    ("parts/0/exits/1/head/kind", "mlp", "one of fused, graph"),
    ("parts/0/exits/1/head/file", "heads/exit_9.npz", "one of the names in files"),
    ("parts/0/plans/full/stages", [], "a list of at least 1"),
    ("parts/0/plans/full/stages/1/first_segment", 0, "begin at segment 1"),
    ("parts/0/plans/full/stages/1/first_segment", 2, "begin at segment 1"),
    ("parts/0/plans/full/stages/1/last_segment", 0, "begin at segment 1"),
    ("parts/0/plans/full/stages/1/last_segment", 2, "expected 2"),
    ("parts/0/plans/full/stages/1/exit", 0, "expected 1"),
    ("parts/0/plans/full/stages/1/exit", None, "one stage and exit per segment"),
    ("parts/0/plans/full/stages/1/file", "onnx/nowhere.onnx", "one of the names in files"),
    ("policies/calibrated", "max_probability", "a table"),
    ("policies/calibrated", {}, "missing"),
    ("policies/calibrated/kind", "magic", "one of final, fixed"),
    ("policies/calibrated/thresholds", [0.7, math.nan, 0.0], "threshold nan is not a number"),
    ("policies/calibrated/thresholds", [0.7], "expected 3 for 3 exits"),
    ("policies/calibrated/thresholds", [0.7, "0.8", 0.0], "threshold '0.8' is not a number"),
    ("policies/calibrated/thresholds", [0.7, True, 0.0], "threshold True is not a number"),
    ("policies/calibrated/thresholds", None, "does not take these parameters"),
    ("policies/calibrated/treshold", 0.5, "does not take these parameters"),
    ("policies/calibrated", {"kind": "fixed", "exit_index": 3}, "not among the plan's exits"),
    ("policies/calibrated", {"kind": "fixed", "exit_index": math.inf}, "number"),
    ("policies/calibrated", {"kind": "fixed", "exit_index": math.nan}, "number"),
    ("policies/calibrated/thresholds", 10**400, "number"),
    ("policies/calibrated/plan", "two", "one of full"),
    ("policies/calibrated/plan", 3, "one of full"),
    ("files/heads~exit_0.npz", "0" * 64, "a table"),
    ("files/heads~exit_0.npz/sha256", "", "a text"),
    ("files/heads~exit_0.npz/bytes", -1, "a whole number from 0"),
]
FIELDS = sorted({path for path, _ in WRONG_TYPES})


class TestRefusals:
    """Each message begins with the path of the field that is wrong."""

    @pytest.mark.parametrize("path", FIELDS)
    def test_a_missing_field(self, path):
        name = dotted(path)
        expected = {
            "parts[0].plans.full": 'parts[0].plans: expected a plan named "full"',
        }.get(name, name + ": missing; expected it beside")
        assert refusal(changed(path, MISSING)).startswith(expected)

    @pytest.mark.parametrize(("path", "value"), WRONG_TYPES)
    def test_a_wrong_type(self, path, value):
        message = refusal(changed(path, value))
        name = dotted(path)
        assert message.startswith("{}: found {!r}, expected".format(name, value))

    @pytest.mark.parametrize(("path", "value", "expected"), WRONG_VALUES)
    def test_a_wrong_value(self, path, value, expected):
        message = refusal(changed(path, value))
        name = dotted(path)
        # A contradiction between fields is reported where the fields meet.
        meeting = name.rsplit(".", 1)[0].rsplit(".stages", 1)[0].rsplit("[", 1)[0]
        assert message.startswith((name, meeting))
        assert expected in message

    @pytest.mark.parametrize(
        "name",
        [
            "../outside.onnx",
            "onnx/../../outside.onnx",
            "/etc/passwd",
            "onnx//segment.onnx",
            "./segment.onnx",
            ".hidden",
            "onnx/",
            "",
            "C:\\segment.onnx",
            "onnx\\segment.onnx",
            "C:/segment.onnx",
            "a\0b",
            "\ud800",
            "segment\n.onnx",
            "segment.onnx\n",
            "sp ace.onnx",
        ],
    )
    def test_a_file_outside_the_bundle(self, name):
        document = changed("files/" + "x", {"sha256": "0", "bytes": 0})
        document["files"][name] = document["files"].pop("x")
        message = refusal(document)
        assert message.startswith("files: found the name {!r}, ".format(name))
        assert "onnx/segment_0.onnx" in message

    def test_a_document_that_is_no_table(self):
        assert refusal([]) == "document: found [], expected a table"

    def test_two_parts_without_a_classifier(self):
        document = complete()
        document["parts"] *= 2
        message = refusal(document)
        assert message == "classifier: found none, expected one, for there are 2 parts"

    def test_an_image_that_the_first_segment_does_not_take(self):
        message = refusal(changed("preprocessing/height", SIZE + 1))
        assert message.startswith("preprocessing: found ")
        assert "expected an image of [1, {0}, {0}]".format(SIZE) in message

    def test_a_policy_that_needs_an_exit_its_plan_lacks(self):
        manifest, files = with_two_stages()
        manifest["policies"]["calibrated"]["plan"] = "two"
        message = refusal(complete(manifest, files))
        assert message.startswith("policies.calibrated: policy max_probability: leaves at exit 1")

    def test_a_policy_whose_plan_has_all_the_exits_it_needs(self):
        manifest, files = with_two_stages()
        manifest["policies"]["calibrated"].update(plan="two", thresholds=[0.7, 1.0, 0.0])
        assert parse_manifest(complete(manifest, files)).policies["calibrated"].threshold(1) == 1.0


class TestCompleting:
    def test_derives_format_files_and_identity(self):
        document = complete()
        assert (document["format"], document["format_version"]) == (FORMAT, FORMAT_VERSION)
        assert document["files"] == {
            name: {"bytes": len(content), "sha256": sha256(content)}
            for name, content in FILES.items()
        }
        assert len(document["model_id"]) == 32

    def test_does_not_touch_what_it_is_given(self):
        manifest = tiny.tiny_manifest()
        document = complete(manifest)
        document["parts"][0]["name"] = "other"
        assert manifest == tiny.tiny_manifest()

    @pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", tiny.image(0.5)])
    def test_refuses_what_json_cannot_hold(self, value):
        with pytest.raises(BundleError, match=r"^manifest: .*; expected plain Python values$"):
            complete(dict(tiny.tiny_manifest(), provenance=value))

    @pytest.mark.parametrize("path", ["labels", "parts", "parts/0/plans", "preprocessing"])
    def test_leaves_naming_a_missing_field_to_the_parser(self, path):
        manifest = changed(path, MISSING, tiny.tiny_manifest())
        assert dotted(path) + ": missing" in refusal(complete(manifest))

    def test_an_unhashable_file_name_is_left_to_the_parser_too(self):
        path = "parts/0/plans/full/stages/0/file"
        assert refusal(complete(changed(path, [], tiny.tiny_manifest()))).startswith(dotted(path))


class TestModelId:
    """What the network computes, and nothing else."""

    @staticmethod
    def model_id(manifest=None, files=None):
        return parse_manifest(complete(manifest, files)).model_id

    def test_is_frozen(self):
        # A change here makes every bundle written so far unreadable.
        manifest, files = tiny.tiny_manifest(), {name: name.encode() for name in FILES}
        assert self.model_id(manifest, files) == "e58ff345958785fbe6cbe2a2b5d59db2"

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("policies/fast", {"kind": "fixed", "exit_index": 0}),
            ("policies/calibrated/thresholds", [0.5, 0.5, 0.0]),
            ("policies/calibrated/provenance", {"split": "calibration"}),
            ("a_later_idea", {"key": "value"}),
            ("name", "renamed"),
            ("parts/0/name", "renamed"),
            ("parts/0/exits/0/multiply_adds", 11),
        ],
    )
    def test_stays_when_what_is_computed_stays(self, path, value):
        assert self.model_id(changed(path, value, tiny.tiny_manifest())) == self.model_id()

    def test_stays_when_a_calibrated_plan_is_added(self):
        assert self.model_id(*with_two_stages()) == self.model_id()

    def test_stays_when_files_are_renamed_or_reordered(self):
        manifest = json.loads(json.dumps(tiny.tiny_manifest()).replace("onnx/", "graphs/"))
        files = {name.replace("onnx/", "graphs/"): FILES[name] for name in reversed(list(FILES))}
        assert self.model_id(manifest, files) == self.model_id()

    @pytest.mark.parametrize("name", sorted(FILES))
    def test_changes_with_every_weight(self, name):
        assert self.model_id(files=dict(FILES, **{name: FILES[name] + b"!"})) != self.model_id()

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("labels", ["dark", "bright"]),
            ("labels/0", "light"),
            ("preprocessing/mean", [0.1]),
            ("preprocessing/std", [0.5]),
            ("preprocessing/resize", "area"),
            ("preprocessing/crop", "center"),
            ("parts/0/exits/0/head/kind", "graph"),
        ],
    )
    def test_changes_with_what_is_computed(self, path, value):
        assert self.model_id(changed(path, value, tiny.tiny_manifest())) != self.model_id()


class TestPlanAndPolicyId:
    def test_a_plan_is_its_stages_and_their_contents(self):
        manifest, files = with_two_stages()
        two = parse_manifest(complete(manifest, files))
        assert plan_id(two, 0, "full") == plan_id(parse_manifest(complete()), 0, "full")
        assert plan_id(two, 0, "two") != plan_id(two, 0, "full")
        other = parse_manifest(complete(manifest, dict(files, **{MERGED: b"other"})))
        assert plan_id(other, 0, "two") != plan_id(two, 0, "two")
        assert plan_id(other, 0, "full") == plan_id(two, 0, "full")

    def test_switching_an_exit_off_is_another_plan(self):
        with_exit, without = (
            parse_manifest(complete(*with_two_stages(exit_index))) for exit_index in (0, None)
        )
        assert plan_id(with_exit, 0, "two") != plan_id(without, 0, "two")

    def test_a_policy_is_its_kind_and_parameters(self):
        manifest = parse_manifest(changed("policies/calibrated/provenance", {"data": "digits"}))
        described = policy_id(manifest.policies["calibrated"])
        assert described == policy_id(MaxProbability([0.7, 0.8, 0.0]))
        assert described != policy_id(MaxProbability([0.7, 0.9, 0.0]))
        assert described != policy_id(MaxProbability(0.7))


# --- codecs -------------------------------------------------------------------------------------


def with_codecs(**lost_points):
    """A document whose default policy was measured with these codecs."""
    document = complete()
    policy = parse_manifest(document).policies[document["default_policy"]]
    document["codecs"] = {
        name: {
            "lost_points": 0.0,
            "pessimistic_lost_points": points,
            "provenance": {"policy_id": policy_id(policy), "note": "kept"},
        }
        for name, points in lost_points.items()
    }
    return document


def test_a_manifest_without_codecs_allows_no_lossy_one():
    assert lossy_codecs(parse_manifest(complete())) == ()


def test_lossy_codecs_are_allowed_up_to_a_loss():
    manifest = parse_manifest(with_codecs(float16=-0.1, uint8=0.5, learned=0.6))
    assert lossy_codecs(manifest) == ("float16", "uint8")
    assert lossy_codecs(manifest, 0.6) == ("float16", "uint8", "learned")
    assert lossy_codecs(manifest, 0.499) == ("float16",)
    assert lossy_codecs(manifest, -1) == ()


def test_what_was_measured_with_another_policy_allows_nothing():
    manifest = parse_manifest(with_codecs(uint8=0.0))
    same = MaxProbability([0.7, 0.8, 0.0])
    assert lossy_codecs(manifest, policy=same) == ("uint8",)
    assert lossy_codecs(manifest, policy=MaxProbability([0.7, 0.9, 0.0])) == ()


def test_codecs_that_this_version_does_not_know_are_kept_and_not_allowed():
    manifest = parse_manifest(with_codecs(jpeg=0.0, zstd=0.0))
    assert lossy_codecs(manifest) == ()
    assert sorted(manifest.document["codecs"]) == ["jpeg", "zstd"]


def test_codecs_do_not_change_who_the_model_is():
    assert parse_manifest(with_codecs(uint8=0.0)).model_id == parse_manifest(complete()).model_id


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("codecs", [], "a table"),
        ("codecs/uint8/pessimistic_lost_points", "0", "a number"),
        ("codecs/uint8/pessimistic_lost_points", math.nan, "a finite number"),
        ("codecs/uint8/provenance/policy_id", 7, "a text"),
    ],
)
def test_codecs_that_mean_nothing_are_refused(path, value, expected):
    message = refusal(changed(path, value, with_codecs(uint8=0.0)))
    assert message.startswith(dotted(path) + ": found ") and "expected " + expected in message
