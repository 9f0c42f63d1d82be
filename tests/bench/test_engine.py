"""bench engine: every stage and head of a plan, and the profile of it."""

import json

import numpy as np
import pytest
import tiny
import tiny_ensemble

from edgesdk import Pipeline
from edgesdk.backends import open_backend
from edgesdk.bench import __main__ as bench
from edgesdk.bench import energy, engine
from edgesdk.bench.timing import conditions, device_name
from edgesdk.bundle import read_bundle
from edgesdk.errors import ConfigError
from edgesdk.profiles import StageTime, read_profile


@pytest.fixture(autouse=True)
def unpinned(monkeypatch):
    monkeypatch.setattr(bench, "pin", lambda threads: None)


@pytest.fixture
def backend():
    return open_backend("onnxruntime")


def test_a_rig_does_what_the_executor_does(whole_bundle, backend):
    rig = engine.Rig(whole_bundle, "full", backend, 2)
    first, last = rig.arrays[0], rig.arrays[-1]
    assert first.shape == (2, 1, tiny.SIZE, tiny.SIZE)
    np.testing.assert_allclose(last[:, :1], first, rtol=1e-6)
    np.testing.assert_allclose(last[:, 1:], 1 - first, rtol=1e-5, atol=1e-6)


def test_every_stage_and_head_is_timed_at_every_batch(whole_bundle, backend):
    times = engine.measure(whole_bundle, "full", backend, 0.001)
    assert [(t.batch, t.stage) for t in times] == [
        (batch, stage) for batch in engine.BATCHES for stage in range(tiny.EXIT_COUNT)
    ]
    for time in times:
        assert 0 < time.p50_us <= time.p95_us
        assert 0 < time.head_p50_us <= time.head_p95_us


def test_other_plans_have_other_stages(whole_bundle, backend):
    times = engine.measure(whole_bundle, "merged", backend, 0.001)
    assert [(t.plan, t.stage) for t in times] == [("merged", 0)] * len(engine.BATCHES)


def test_every_part_of_an_ensemble_is_timed(tmp_path, backend, capsys):
    path = str(tmp_path / "profile.json")
    ensemble = tiny_ensemble.write_tiny_ensemble(tmp_path / "ensemble" / "1")
    arguments = ["--bundle", ensemble.path, "--seconds", "0.001", "--profile", path]
    assert bench.main(["engine", *arguments]) == 0
    profile = read_profile(path, ensemble.manifest.model_id)
    for part in range(tiny_ensemble.PART_COUNT):
        times = profile.stage_times("full", part=part)
        assert len(times) == tiny_ensemble.EXIT_COUNT and all(t.head_p50_us for t in times)
    out = capsys.readouterr().out
    assert "full 2 " in out and "full 2 of part 1 " in out
    names = [figure["name"] for figure in engine.figures(profile.stages)]
    assert len(set(names)) == len(names) == 4 * len(profile.stages)


class Meter:
    """Notes what it is to measure, in order, and gives the number of items for energy."""

    def __init__(self):
        self.asked = []

    def measure_idle(self):
        self.asked.append("idle")

    def energy(self, call, item_count):
        call()
        self.asked.append(item_count)
        return energy.Energy(10.0 * item_count, None) if len(self.asked) > 2 else None


def test_energy_is_asked_for_each_stage_and_batch_after_idle(whole_bundle, backend):
    meter = Meter()
    times = engine.measure(whole_bundle, "full", backend, 0.001, (1, 4), meter)
    stage_count = tiny.EXIT_COUNT
    assert meter.asked == ["idle"] + [1] * stage_count + ["idle"] + [4] * stage_count
    found = [time.energy_mj for time in times]
    assert found == [None] + [10.0] * (stage_count - 1) + [40.0] * stage_count


def test_a_plan_that_is_not_there(whole_bundle, backend):
    with pytest.raises(ConfigError, match="plan: found 'fast', expected one of full, merged"):
        engine.measure(whole_bundle, "fast", backend, 0.001)


def test_what_was_not_measured_is_neither_shown_nor_reported():
    time = StageTime(0, "full", 2, 1, 10.0, 11.0)
    assert engine.row(time) == ("full 2", "1", "10.0", "11.0", "-", "-", "-")
    assert len(engine.row(time)) == len(engine.HEADER)
    names = [figure["name"] for figure in engine.figures([time])]
    assert names == [
        "plan full, stage 2, batch 1, stage p50",
        "plan full, stage 2, batch 1, stage p95",
    ]


def test_energy_is_shown_and_reported():
    time = StageTime(0, "full", 2, 1, 10.0, 11.0, energy_mj=3.25, energy_above_idle_mj=1.0)
    assert engine.row(time)[-1] == "3.25"
    found = {figure["name"]: (figure["value"], figure["unit"]) for figure in engine.figures([time])}
    assert found["plan full, stage 2, batch 1, energy per item"] == (3.25, "mJ")
    assert found["plan full, stage 2, batch 1, energy per item above idle"] == (1.0, "mJ")


def test_what_was_not_measured_is_not_slower():
    time = StageTime(0, "full", 2, 1, 10.0, 11.0, energy_mj=3.0, energy_above_idle_mj=1.0)
    assert engine.slowed([time], 1.5) == [StageTime(0, "full", 2, 1, 15.0, 16.5)]


class TestCommand:
    def run(self, bundle, *options):
        return bench.main(["engine", "--bundle", bundle.path, "--seconds", "0.001", *options])

    def test_json_and_profile(self, whole_bundle, tmp_path, capsys):
        path = str(tmp_path / "profile.json")
        assert self.run(whole_bundle, "--json", "--profile", path) == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert sorted(found) == ["conditions", "figures", "versions"]
        assert len(found["figures"]) == 4 * tiny.EXIT_COUNT * len(engine.BATCHES)
        assert "profile written to " + path in err
        assert ("no energy in it" in err) == (energy.open_meter() is None)
        device = device_name(conditions(1))
        profile = read_profile(path, whole_bundle.manifest.model_id, device)
        assert profile.backend == "onnxruntime" and profile.conditions["threads"] == 1
        assert len(profile.stage_times("full")) == tiny.EXIT_COUNT

    def test_a_profile_of_a_slower_device_says_so(
        self, whole_bundle, tmp_path, capsys, monkeypatch
    ):
        times = engine.measure(whole_bundle, "full", open_backend("onnxruntime"), 0.001)
        monkeypatch.setattr(engine, "measure", lambda *_, **__: times)
        path = str(tmp_path / "profile.json")
        assert self.run(whole_bundle, "--profile", path, "--slower", "4", "--json") == 0
        profile = read_profile(path, whole_bundle.manifest.model_id)
        assert profile.conditions["slower"] == 4 and profile.conditions["threads"] == 1
        assert profile.device.endswith(", made 4 times slower")
        for found, time in zip(profile.stages, times):
            assert found.p50_us == pytest.approx(4 * time.p50_us)
            assert found.head_p95_us == pytest.approx(4 * time.head_p95_us)
        assert json.loads(capsys.readouterr().out)["figures"] == engine.figures(times)
        with pytest.raises(ConfigError, match="made 4 times slower"):
            read_profile(path, whole_bundle.manifest.model_id, device_name(conditions(1)))

    def test_a_profile_has_the_energy_of_every_stage(
        self, whole_bundle, tmp_path, capsys, monkeypatch
    ):
        rails = {"hwmon0/name": "power_meter", "hwmon0/power1_input": "5000000"}
        for name, content in rails.items():
            file = tmp_path / "sys/class/hwmon" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        meter = energy.open_meter(str(tmp_path), seconds=0.01)
        monkeypatch.setattr(energy, "SETTLE_S", 0.0)
        monkeypatch.setattr(energy, "open_meter", lambda: meter)
        path = str(tmp_path / "profile.json")
        assert self.run(whole_bundle, "--profile", path) == 0
        profile = read_profile(path, whole_bundle.manifest.model_id)
        for time in profile.stages:
            us = time.energy_mj / 5.0 * 1e3 * time.batch  # at 5 W; slower than p50 by the loop
            assert time.p50_us / 10 < us < time.p95_us * 100 + 1000
            assert time.energy_above_idle_mj is None  # the same power as at rest
        assert profile.conditions["power_rails"] == ["power_meter"]
        assert profile.conditions["idle_w"] == [5.0] * len(engine.BATCHES)
        assert "no energy" not in capsys.readouterr().out

    @pytest.mark.parametrize("factor", ["0.5", "inf", "nan", "x"])
    def test_slower_is_a_number_from_1(self, whole_bundle, factor, capsys):
        with pytest.raises(SystemExit) as raised:
            self.run(whole_bundle, "--profile", "p.json", "--slower", factor)
        assert raised.value.code == 2 and "--slower" in capsys.readouterr().err

    def test_slower_is_for_a_profile(self, whole_bundle, capsys):
        assert self.run(whole_bundle, "--slower", "4") == 1
        assert "name its file with --profile" in capsys.readouterr().err

    def test_a_person_sees_a_table(self, whole_bundle, capsys):
        assert self.run(whole_bundle, "--plan", "merged") == 0
        assert "merged 0" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--plan", "fast"], "ConfigError: plan: found 'fast'"),
            (["--backend", "abacus"], "ConfigError: backend: found 'abacus'"),
            (["--profile", "/dev/null/profile.json"], "cannot be written"),
        ],
    )
    def test_bad_input_is_one_line_and_status_1(self, whole_bundle, options, message, capsys):
        assert self.run(whole_bundle, *options) == 1
        assert message in capsys.readouterr().err.splitlines()[-1]

    def test_no_bundle(self, tmp_path, capsys):
        assert bench.main(["engine", "--bundle", str(tmp_path / "none")]) == 1
        assert "no such folder" in capsys.readouterr().err


class TestHostMemory:
    """--memory: on the double of a GPU, where both are as fast as the other."""

    @pytest.fixture
    def path(self, board, bundle):
        return board.bundle(bundle.path, max_batch=4)

    def run(self, path, *more):
        return bench.main(["engine", "--bundle", path, "--seconds", "0.001", *more])

    def test_the_better_of_both_is_kept_and_taken(self, board, path, capsys):
        assert self.run(path, "--memory", "both") == 0
        out = capsys.readouterr().out
        said = [line for line in out.splitlines() if line.endswith("with these engines")]
        best = said[0].split(" ")[0]
        assert best in ("mapped", "copied") and len(said) == 1
        assert "mapped: one image takes" in out and "copied: one image takes" in out
        with Pipeline.open(path, backend="tensorrt", max_batch=4) as pipe:
            before = board.machine.copied_bytes["dtoh"]
            pipe.infer(tiny.image(0.9))
            assert bool(board.machine.copied_bytes["dtoh"] - before) == (best == "copied")

    def test_one_kind_is_measured_and_not_kept(self, path, capsys):
        assert self.run(path, "--memory", "copied") == 0
        out = capsys.readouterr().out
        assert "copied: one image takes" in out and "mapped" not in out and "from now" not in out

    def test_batches_are_no_larger_than_engines_take(self, path, tmp_path):
        profile = str(tmp_path / "profile.json")
        assert self.run(path, "--backend", "tensorrt", "--profile", profile) == 0
        read = read_profile(profile, read_bundle(path).manifest.model_id)
        assert read.backend == "tensorrt"
        assert sorted({time.batch for time in read.stages}) == [1, 4]

    def test_other_backends_have_none(self, path, capsys):
        assert self.run(path, "--memory", "both", "--backend", "onnxruntime") == 1
        assert "--memory: found --backend onnxruntime" in capsys.readouterr().err
