"""Profiles: what is written is read; whose times they are is checked; bad files are named."""

import json
import os

import pytest

from edgesdk import profiles
from edgesdk.errors import ConfigError, EdgeError
from edgesdk.profiles import Profile, StageTime, read_profile, write_profile

MODEL, DEVICE = "model-a", "Cortex-A57"
TIMES = (
    StageTime(0, "full", 0, 1, 10.0, 12.5, 2.0, 3.0),
    StageTime(0, "full", 1, 1, 20.0, 20.0, None, None, 1.5, 0.5),
    StageTime(0, "full", 0, 32, 200.0, 210.0, 20.0, 30.0),
    StageTime(0, "full", 1, 32, 400.0, 410.0),
)
PROFILE = Profile(MODEL, DEVICE, "onnxruntime", {"threads": 1, "power_mode": None}, TIMES)


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "profile.json")
    write_profile(path, PROFILE)
    return path


def edited(path, edit):
    """The file at `path` after `edit(document)`."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    edit(document)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)


class TestRoundTrip:
    def test_what_is_written_is_read(self, path):
        assert read_profile(path, MODEL, DEVICE) == PROFILE

    def test_the_file_says_what_it_is(self, path):
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        assert (document["format"], document["format_version"]) == ("edgesdk-profile", 1)
        assert document["stages"][0]["head_p95_us"] == 3.0
        assert document["links"] == []

    def test_what_was_not_measured_is_not_in_the_file(self, path):
        with open(path, encoding="utf-8") as file:
            stages = json.load(file)["stages"]
        assert "energy_mj" not in stages[0] and "head_p50_us" not in stages[1]
        assert (stages[1]["energy_mj"], stages[1]["energy_above_idle_mj"]) == (1.5, 0.5)

    def test_keys_that_are_not_known_are_ignored(self, path):
        edited(path, lambda document: document.update(comment="on battery"))
        assert read_profile(path, MODEL) == PROFILE

    def test_the_device_is_compared_only_if_asked(self, path):
        assert read_profile(path, MODEL).device == DEVICE

    def test_times_of_a_plan_are_in_the_order_of_its_stages(self):
        shuffled = PROFILE._replace(stages=TIMES[::-1])
        assert shuffled.stage_times("full") == list(TIMES[:2])
        assert shuffled.stage_times("full", batch=32) == list(TIMES[2:])


class TestWriting:
    def test_a_failed_write_leaves_what_was_there(self, path, monkeypatch):
        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(EdgeError, match=r"cannot be written \(No space left on device"):
            write_profile(path, PROFILE._replace(device="another"))
        monkeypatch.undo()
        assert read_profile(path, MODEL) == PROFILE
        assert os.listdir(os.path.dirname(path)) == ["profile.json"]

    def test_a_folder_that_cannot_be(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(EdgeError, match="cannot be written"):
            write_profile(str(tmp_path / "file" / "profile.json"), PROFILE)


class TestWhoseTimes:
    @pytest.mark.parametrize(
        ("model", "device", "message"),
        [
            ("model-b", DEVICE, "found the profile of model 'model-a', expected model 'model-b'"),
            (MODEL, "Xeon", "found the profile of device 'Cortex-A57', expected device 'Xeon'"),
        ],
    )
    def test_another_network_or_device_is_refused(self, path, model, device, message):
        with pytest.raises(ConfigError) as raised:
            read_profile(path, model, device)
        assert path in str(raised.value) and message in str(raised.value)
        assert "python -m edgesdk.bench engine" in str(raised.value)

    @pytest.mark.parametrize(("plan", "batch"), [("merged", 1), ("full", 8)])
    def test_a_plan_or_batch_that_was_not_measured(self, plan, batch):
        with pytest.raises(ConfigError, match="only 'full' at 1, 'full' at 32"):
            PROFILE.stage_times(plan, batch)

    def test_a_plan_with_a_gap(self):
        with pytest.raises(ConfigError, match="no times of every stage"):
            PROFILE._replace(stages=TIMES[1:2]).stage_times("full")


def stage(**values):
    return lambda document: document["stages"][1].update(values)


BAD = {
    "format: found 'other', expected one of edgesdk-profile": lambda d: d.update(format="other"),
    "format_version: found 2, expected 1": lambda d: d.update(format_version=2),
    "model_id: missing": lambda d: d.pop("model_id"),
    "device: found '', expected a text": lambda d: d.update(device=""),
    "backend: found 7, expected a text": lambda d: d.update(backend=7),
    "conditions: found [], expected a table": lambda d: d.update(conditions=[]),
    "links: missing": lambda d: d.pop("links"),
    "stages: found [], expected a list of at least 1": lambda d: d.update(stages=[]),
    "stages[1]: found 'fast', expected a table": lambda d: d["stages"].__setitem__(1, "fast"),
    "stages[1].p50_us: found 0, expected a number above 0": stage(p50_us=0),
    "stages[1].p50_us: found nan, expected a finite number": stage(p50_us=float("nan")),
    "stages[1].p95_us: found 19.0, expected at least p50_us, 20.0": stage(p95_us=19.0),
    "stages[1].p95_us: found True, expected a number": stage(p95_us=True),
    "stages[1].batch: found 0, expected a whole number from 1": stage(batch=0),
    "stages[1].stage: found -1, expected a whole number from 0": stage(stage=-1),
    "stages[1].plan: found None, expected a text": stage(plan=None),
    "stages[1].energy_mj: found -2, expected a number above 0": stage(energy_mj=-2),
    "expected head_p50_us and head_p95_us together or neither": stage(head_p50_us=3.0),
    "expected one entry for each part, plan, stage and batch": stage(stage=0),
}


class TestBadFiles:
    @pytest.mark.parametrize("message", sorted(BAD))
    def test_the_file_and_the_field_are_named(self, path, message):
        edited(path, BAD[message])
        with pytest.raises(ConfigError) as raised:
            read_profile(path, MODEL)
        assert str(raised.value).startswith(path + ": ")
        assert message in str(raised.value)

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100000])
    def test_what_is_no_json(self, tmp_path, content):
        path = tmp_path / "profile.json"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"profile\.json: not JSON"):
            read_profile(str(path), MODEL)

    def test_a_file_that_is_missing(self, tmp_path):
        with pytest.raises(ConfigError, match="No such file.*" + profiles.REMEASURE):
            read_profile(str(tmp_path / "none.json"), MODEL)
