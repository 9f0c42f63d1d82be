"""`python -m edgesdk.simulate` as a stranger meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trace_events
from traces import lines_of, write_trace

from edgesdk import simulate
from edgesdk.sim.simulator import Simulator

ROOT = Path(__file__).parent.parent
LOCAL = "examples/scenarios/local.toml"
MESH = "examples/scenarios/3-node-mesh.toml"
SHORT = ("--duration-s", "5")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "edgesdk.simulate", *map(str, arguments)],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
    )


def figures(done):
    found = json.loads(done.stdout)
    return {figure["name"]: figure["value"] for figure in found["figures"]}


class TestHelp:
    def test_has_an_example_and_every_option(self):
        done = run("--help")
        assert done.returncode == 0 and "example:" in done.stdout
        for option in ("seed", "duration-s", "rate-hz", "set", "sweep", "plot", "replay"):
            assert "--" + option in done.stdout

    @pytest.mark.parametrize(
        "arguments",
        [(), (LOCAL, "--seed", "x"), (LOCAL, "--rate-hz", "0"), (LOCAL, "--warmup-s", "-1")],
        ids=" ".join,
    )
    def test_wrong_arguments_are_usage_errors(self, arguments):
        done = run(*arguments)
        assert done.returncode == 2 and "usage" in done.stderr and done.stdout == ""


class TestARun:
    def test_says_first_what_runs_then_tables(self):
        done = run(MESH, "--seed", 3, *SHORT)
        assert (done.returncode, done.stderr) == (0, "")
        first = done.stdout.splitlines()[0]
        assert first.startswith("edgesdk ") and "kernels" in first and "seed 3" in first
        for word in ("source ", "bound", "left at exit", "worker2", "source->worker1"):
            assert word in done.stdout

    def test_json_is_the_only_thing_on_standard_output(self):
        done = run(MESH, "--json", *SHORT)
        found = json.loads(done.stdout)
        assert sorted(found) == ["figures", "replay", "scenario", "seed", "versions"]
        for figure in found["figures"]:
            assert sorted(figure) == ["name", "ok", "target", "unit", "value"]
        value = figures(done)
        assert value["source: results"] == value["source: admitted"] > 0
        assert value["source: throughput"] <= 1.1 * value["source: bound of the throughput"]
        assert "left at exit" in done.stderr

    def test_equal_seeds_are_equal_runs(self):
        hashes = [
            json.loads(run(MESH, "--json", "--trace-hash", "--seed", seed, *SHORT).stdout)[
                "trace_hash"
            ]
            for seed in (1, 1, 2)
        ]
        assert hashes[0] == hashes[1] != hashes[2]

    def test_a_value_may_be_changed(self):
        done = run(LOCAL, "--json", "--set", 'model.policy={kind="final"}', *SHORT)
        assert figures(done)["source: left at exit 6"] == 1.0

    def test_a_rate_makes_a_paced_source_poisson(self):
        done = run(MESH, "--json", "--rate-hz", 10, "--duration-s", 100)
        assert 800 < figures(done)["source: admitted"] < 1200

    def test_it_draws(self, tmp_path):
        pytest.importorskip("matplotlib")
        picture = tmp_path / "run.png"
        done = run(LOCAL, "--plot", picture, *SHORT)
        assert done.stdout.endswith("picture: {}\n".format(picture))
        assert picture.read_bytes().startswith(b"\x89PNG")


class TestASweep:
    def test_has_one_row_for_each_value(self):
        done = run(LOCAL, "--sweep", 'model.policy={kind="final"},{kind="random"}', *SHORT)
        assert done.returncode == 0
        rows = done.stdout.splitlines()[-2:]
        assert rows[0].startswith("final ") and rows[1].startswith("random ")

    def test_and_one_object_for_each_in_json(self, tmp_path):
        pytest.importorskip("matplotlib")
        picture = tmp_path / "sweep.png"
        done = run(MESH, "--json", "--sweep", "node[1].count=0,2", "--plot", picture, *SHORT)
        found = json.loads(done.stdout)
        assert found["sweep"] == "node[1].count"
        assert [each["value"] for each in found["runs"]] == [0, 2]
        assert all(each["figures"] for each in found["runs"])
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_every_value_is_read_before_anything_runs(self):
        done = run(LOCAL, "--sweep", "workload.item_count=5,-5")
        assert done.returncode == 1
        assert "workload[0].item_count: found -5" in done.stderr


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (("none.toml",), "ConfigError: none.toml: cannot be read"),
            (("README.md",), "ConfigError: README.md: not TOML"),
            ((LOCAL, "--set", "duraton_s=3"), "did you mean duration_s?"),
            ((LOCAL, "--set", "duration_s"), "expected KEY.PATH=VALUE"),
            ((LOCAL, "--set", "node[7].speed=1"), "node[7].speed: the scenario has no 7"),
            ((LOCAL, "--set", "model.policy.kind=magic"), "model.policy.kind: found 'magic'"),
            ((LOCAL, "--sweep", "mode=udp,tcp"), "mode: found 'udp'"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_are_one_line(self, arguments, says):
        done = run(*arguments)
        assert done.returncode == 1
        assert says in done.stderr and done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


class TestATrace:
    @pytest.fixture
    def trace(self, tmp_path):
        return write_trace(tmp_path / "worker.trace").path

    def break_it(self, trace):
        lines = lines_of(trace)
        with open(trace, "wb") as file:
            file.write(b"".join(lines).replace(b"0.95", b"0.05", 1))

    def test_says_what_happened_and_that_it_happens_again(self, trace):
        done = run("--replay", trace)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert lines[0].startswith("edgesdk ") and lines[1].startswith("recorded by worker ")
        assert "device: test" in lines and "10 events in 0.006 s" in lines
        assert lines[-1] == "the same actions"
        counts = [line.split() for line in lines]
        assert ["StageDone", "6"] in counts and ["result.final", "1"] in counts

    def test_json_is_the_only_thing_on_standard_output(self, trace):
        done = run("--replay", trace, "--json")
        found = json.loads(done.stdout)
        assert found["same"] and found["complete"] and found["difference"] is None
        assert found["kinds"] == {"PeerFound": 1, "Submit": 3, "StageDone": 6}
        assert found["ended"] == {"result.threshold": 2, "result.final": 1}
        assert (found["events"], found["note"], found["raised"]) == (10, {"device": "test"}, "")
        assert "the same actions" in done.stderr

    def test_tells_the_first_difference(self, trace):
        self.break_it(trace)
        done = run("--replay", trace)
        assert done.returncode == 1 and done.stderr == ""
        assert "NOT the same actions, first at line 4, 1001500 us:\n  StageDone(" in done.stdout
        assert "now the core does\n  RunStage(" in done.stdout
        assert "the same actions" not in done.stdout.splitlines()

    def test_and_in_json(self, trace):
        self.break_it(trace)
        done = run("--replay", trace, "--json")
        found = json.loads(done.stdout)
        assert done.returncode == 1 and not found["same"]
        assert (found["difference"]["line"], found["difference"]["now_us"]) == (4, 1_001_500)
        assert found["difference"]["actions"][0].startswith("RunStage(")

    def test_a_file_that_was_cut_off_is_told(self, trace):
        with open(trace, "rb+") as file:
            file.truncate(len(b"".join(lines_of(trace))) - 30)
        done = run("--replay", trace)
        assert done.returncode == 0
        assert "the file ends before its writer closed it" in done.stdout

    def test_what_is_no_trace_is_one_line(self):
        done = run("--replay", "README.md")
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "ConfigError: README.md:1: not JSON" in done.stderr

    @pytest.mark.parametrize("more", [(LOCAL,), ("--seed", "3"), ("--set", "a=1")], ids=" ".join)
    def test_it_takes_nothing_else(self, trace, more):
        done = run("--replay", trace, *more)
        assert done.returncode == 2 and "--replay takes no scenario" in done.stderr


def call(*arguments):
    return simulate.main([str(each) for each in arguments])


class TestFailures:
    def test_items_without_an_end_after_all_healed_are_one(self, capsys, monkeypatch):
        totals = Simulator.totals

        def one_left(self):
            found = totals(self)
            sources = [source._replace(open_count=1) for source in found.sources]
            return found._replace(sources=tuple(sources))

        monkeypatch.setattr(Simulator, "totals", one_left)
        assert call(LOCAL, *SHORT) == 0
        assert call(LOCAL, "--seed", 5, "--set", "heal_s=4", *SHORT) == 1
        err = capsys.readouterr().err
        assert "FAILED: 1 items have no end" in err
        replay = "python -m edgesdk.simulate {} --seed 5 --duration-s 5 --set heal_s=4"
        assert replay.format(LOCAL) in err

    def test_a_bug_is_not_hidden_and_can_be_seen_again(self, capsys, monkeypatch):
        def broken(self):
            raise AssertionError("a bug")

        monkeypatch.setattr(Simulator, "run", broken)
        with pytest.raises(AssertionError):
            call(MESH, "--seed", 9, "--set", "name=x y")
        err = capsys.readouterr().err
        assert "python -m edgesdk.simulate {} --seed 9 --set 'name=x y'".format(MESH) in err


class TestProgress:
    def test_is_shown_on_a_terminal_only(self, capsys):
        bar = simulate.Progress(10, "x")
        bar.move(5)
        bar.close()
        assert capsys.readouterr().err == ""

    def test_moves_with_the_virtual_time(self, capsys, monkeypatch):
        pytest.importorskip("tqdm")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        bar = simulate.Progress(10_000_000, "world")
        bar.move(5_000_000)
        bar._bar.refresh()
        bar.move(99_000_000)  # it drains
        bar.close()
        assert "world  50%" in capsys.readouterr().err

    def test_moves_with_the_bytes_of_a_trace(self, tmp_path, capsys, monkeypatch):
        pytest.importorskip("tqdm")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        path = write_trace(tmp_path / "worker.trace").path
        moves = []
        monkeypatch.setattr(simulate.Progress, "move", lambda self, at: moves.append(at))
        assert call("--replay", path) == 0
        assert moves == sorted(moves) and len(moves) == 10
        assert "replay   0%" in capsys.readouterr().err


class TestTimeline:
    def test_draws_every_worker(self, tmp_path):
        path = tmp_path / "mesh.json"
        done = run(MESH, *SHORT, "--timeline", path, "--json")
        assert done.returncode == 0 and "timeline: " + str(path) in done.stderr
        events = trace_events.read(path)
        assert trace_events.problems(events) == []
        assert list(trace_events.processes(events).values()) == ["source", "worker1", "worker2"]
        assert figures(done) == figures(run(MESH, *SHORT, "--json"))

    def test_draws_one_run(self, tmp_path):
        done = run(MESH, "--timeline", tmp_path / "t", "--sweep", "node[1].speed=1,2")
        assert done.returncode == 2 and "--timeline draws one run" in done.stderr
