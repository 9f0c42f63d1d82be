"""A bundle that is updated: all of it, or nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny

from edgesdk import bundle_update
from edgesdk.bundle import MANIFEST, read_bundle
from edgesdk.bundle_update import update_bundle
from edgesdk.errors import BundleError

FILE = "onnx/stage_1_2.onnx"
OTHER = "onnx/stage_0_1.onnx"
# What the file computes is not read here; any bytes will do.
FILES = {FILE: b"segments 1 and 2", OTHER: b"segments 0 and 1"}
PLAN = {
    "stages": [
        {"first_segment": 0, "last_segment": 0, "exit": 0, "file": "onnx/segment_0.onnx"},
        {"first_segment": 1, "last_segment": 2, "exit": 2, "file": FILE},
    ]
}
OTHER_PLAN = {
    "stages": [
        {"first_segment": 0, "last_segment": 1, "exit": 1, "file": OTHER},
        {"first_segment": 2, "last_segment": 2, "exit": 2, "file": "onnx/segment_2.onnx"},
    ]
}
POLICY = {"kind": "max_probability", "thresholds": [0.7, 1.0, 0.0], "plan": "fast"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tiny" / "1"
    tiny.write_tiny_bundle(path)
    return path


def update(path, policies=None, plans=None, files=FILES, default_policy=None):
    return update_bundle(
        str(path),
        {"fast": POLICY} if policies is None else policies,
        {"fast": PLAN} if plans is None else plans,
        files,
        default_policy,
    )


def contents(path):
    return {
        str(found.relative_to(path)): found.read_bytes()
        for found in Path(str(path)).rglob("*")
        if found.is_file()
    }


def test_policies_plans_and_their_files_are_added(path):
    before = read_bundle(path).manifest
    after = update(path, default_policy="fast").manifest
    assert after.parts[0].plans["fast"].exit_indices == (0, 2)
    assert after.policies["fast"].thresholds == (0.7, 1.0, 0.0)
    assert after.default_policy == "fast"
    assert after.document["policies"]["calibrated"] == before.document["policies"]["calibrated"]
    assert set(after.document["files"]) == set(before.document["files"]) | {FILE}


def test_the_identity_of_the_network_stays(path):
    before = read_bundle(path).manifest.model_id
    assert update(path).manifest.model_id == before


def test_files_that_no_plan_uses_are_not_written(path):
    update(path)
    assert not (path / OTHER).exists()


def test_what_only_a_replaced_plan_used_is_deleted(path):
    update(path)
    after = update(path, {"fast": dict(POLICY, thresholds=[1.0, 0.7, 0.0])}, {"fast": OTHER_PLAN})
    assert not (path / FILE).exists()
    assert (path / OTHER).read_bytes() == FILES[OTHER]
    assert FILE not in after.manifest.document["files"]


def test_none_takes_away(path):
    update(path)
    after = update(path, {"fast": None}, {"fast": None}).manifest
    assert sorted(after.parts[0].plans) == ["full"]
    assert sorted(after.policies) == ["calibrated"]
    assert not (path / FILE).exists()


def test_segments_heads_and_the_uncut_network_are_never_deleted(path):
    before = contents(path)
    update(path)
    update(path, {"fast": None}, {"fast": None})
    after = contents(path)
    del before[MANIFEST], after[MANIFEST]
    assert after == before


def test_unknown_keys_of_the_manifest_are_kept(path):
    document = json.loads((path / MANIFEST).read_text("utf-8"))
    document["note"] = {"from": "somebody"}
    (path / MANIFEST).write_text(json.dumps(document), "utf-8")
    assert update(path).manifest.document["note"] == {"from": "somebody"}


def test_the_same_update_twice_changes_nothing(path):
    update(path)
    before = contents(path)
    update(path)
    assert contents(path) == before


CODECS = {"uint8": {"pessimistic_lost_points": 0.2, "provenance": {"policy_id": "somebody's"}}}


def test_the_table_of_codecs_is_replaced_whole_and_otherwise_kept(path):
    update_bundle(str(path), {}, {}, {}, codecs=dict(CODECS, float16=CODECS["uint8"]))
    assert update_bundle(str(path), {}, {}, {}, codecs=CODECS).manifest.document["codecs"] == CODECS
    assert update(path).manifest.document["codecs"] == CODECS


@pytest.mark.parametrize(
    ("codecs", "message"),
    [
        ({"uint8": {}}, "codecs.uint8.provenance: missing"),
        ({"uint8": {"lost_points": {1, 2}}}, "expected plain Python values"),
    ],
)
def test_a_table_of_codecs_that_would_not_read_changes_nothing(path, codecs, message):
    before = contents(path)
    with pytest.raises(BundleError) as caught:
        update_bundle(str(path), {}, {}, {}, codecs=codecs)
    assert message in str(caught.value)
    assert contents(path) == before


# --- refused, and then nothing has changed ------------------------------------------------------

BAD = [
    ({"policies": {"fast": {"kind": "guess"}}}, "policies.fast.kind: found 'guess'"),
    ({"policies": {"fast": dict(POLICY, plan="slow")}}, "policies.fast.plan: found 'slow'"),
    (
        {"policies": {"fast": dict(POLICY, thresholds=[0.7, 0.7, 0.0])}},
        "leaves at exit 1, but the plan only has exits [0, 2]",
    ),
    ({"policies": {"fast": dict(POLICY, thresholds=[0.7])}}, "found 1 thresholds, expected 3"),
    ({"policies": {"fast": {"kind": {1, 2}}}}, "expected plain Python values"),
    ({"policies": {"calibrated": None}}, "default_policy: found 'calibrated', expected a name"),
    ({"default_policy": "nobody"}, "default_policy: found 'nobody'"),
    ({"plans": {"fast": {"stages": PLAN["stages"][:1]}}}, "ends after segment 0, expected all 3"),
    ({"plans": {"fast": {"stages": PLAN["stages"][1:]}}}, "expected it to begin at segment 0"),
    ({"plans": {"full": None}, "policies": {}}, 'expected a plan named "full"'),
    ({"files": {}}, "stages[1].file: found 'onnx/stage_1_2.onnx', expected one of the names"),
    (
        {
            "plans": {
                "fast": {"stages": [PLAN["stages"][0], dict(PLAN["stages"][1], file="../up")]}
            },
            "files": {"../up": b""},
        },
        "found the name '../up', expected a path inside the bundle",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=range(len(BAD)))
def test_what_would_not_read_is_refused_and_nothing_changes(path, changes, message):
    before = contents(path)
    with pytest.raises(BundleError) as caught:
        update(path, **changes)
    assert message in str(caught.value)
    assert contents(path) == before


def test_a_file_of_a_bundle_never_changes(path):
    update(path)
    before = contents(path)
    with pytest.raises(BundleError, match=r"stage_1_2\.onnx: the bundle holds this file with oth"):
        update(path, files={FILE: b"something else"})
    assert contents(path) == before


def test_a_bundle_that_is_damaged_is_not_updated(path):
    (path / "onnx" / "segment_0.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="the file has changed"):
        update(path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        update(tmp_path / "nothing")


# --- full disks and kills -----------------------------------------------------------------------


@pytest.mark.parametrize("after_calls", [0, 1])
@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_the_bundle_as_it_was(path, monkeypatch, name, after_calls):
    real, calls = getattr(os, name), []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > after_calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    before = contents(path)
    monkeypatch.setattr(bundle_update.os, name, full)
    with pytest.raises(BundleError, match=r"could not be updated .*No space left.*; it is as it w"):
        update(path)
    monkeypatch.undo()
    assert contents(path) == before
    assert update(path).manifest.policies["fast"]


KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
import test_bundle_update
calls, real = [], getattr(os, {name!r})
def killed(*arguments):
    calls.append(arguments)
    if len(calls) > {after_calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
os.{name} = killed
test_bundle_update.update({path!r})
"""


@pytest.mark.parametrize(
    ("name", "after_calls"), [("fsync", 0), ("replace", 0), ("fsync", 1), ("replace", 1)]
)
def test_a_killed_update_leaves_the_old_bundle_and_can_be_done_again(path, name, after_calls):
    before = read_bundle(path).manifest.document
    tests = Path(__file__).resolve().parent
    code = KILLED.format(
        paths=[str(tests.parent), str(tests)], name=name, after_calls=after_calls, path=str(path)
    )
    assert subprocess.call([sys.executable, "-c", code]) == -signal.SIGKILL
    assert read_bundle(path).manifest.document == before
    update(path)
    assert sorted(read_bundle(path).manifest.policies) == ["calibrated", "fast"]
    assert not list(path.rglob("*.tmp"))


def test_readers_see_the_old_bundle_or_the_new_one(path):
    """Only added to, it is whole at any moment."""
    stop, wrong, seen = threading.Event(), [], set()

    def read():
        while not stop.is_set():
            try:
                seen.add(len(read_bundle(path).manifest.policies))
            except BundleError as error:
                wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for index in range(20):
        update(path, {"fast{}".format(index): POLICY})
    stop.set()
    reader.join()
    assert wrong == []
    assert seen <= set(range(1, 22))
