"""`python -m edgesdk.demo` as a stranger meets it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
import trace_events

from edgesdk import digits
from edgesdk.demo import exits

ROOT = Path(__file__).parent.parent


def run_demo(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "edgesdk.demo", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The demo as it ends, and the folder with its picture."""
    out = tmp_path_factory.mktemp("demo")
    return run_demo("--out", out), out


class TestTheDemo:
    def test_ends_well(self, shown):
        done, _ = shown
        assert (done.returncode, done.stderr) == (0, "")
        assert "FAILED" not in done.stdout

    def test_says_first_what_runs(self, shown):
        first = shown[0].stdout.splitlines()[0]
        assert first.startswith("edgesdk ") and "kernels" in first and "onnxruntime" in first

    def test_compares_with_what_one_would_run_instead(self, shown):
        for row in ("early exit", "full network, cut", "plain onnxruntime"):
            assert "\n" + row in shown[0].stdout

    def test_draws_a_picture(self, shown):
        content = (shown[1] / "exits.png").read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 10_000

    def test_what_it_promises_holds(self, tmp_path):
        done = run_demo("--json", "--out", tmp_path)
        report = json.loads(done.stdout)
        assert all(report["checks"].values())
        value = {figure["name"]: figure["value"] for figure in report["figures"]}
        assert value["full network, cut: accuracy"] >= 97
        lost = value["full network, cut: accuracy"] - value["early exit: accuracy"]
        assert lost <= 0.5
        assert value["early exit: multiply-adds"] < value["full network, cut: multiply-adds"]
        assert value["plain onnxruntime: accuracy"] == value["full network, cut: accuracy"]
        assert "355 scans" in done.stderr  # what is for people goes there

    def test_finds_its_bundle_from_anywhere(self, tmp_path):
        assert run_demo("--out", tmp_path, cwd=tmp_path).returncode == 0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """The demo with two workers as it ends, and the folder with its picture."""
    out = tmp_path_factory.mktemp("fleet")
    options = ("--json", "--out", out, "--timeline", out / "fleet.json")
    return run_demo("--workers", 2, "--phase-s", 0.7, *options), out


class TestAFleet:
    def test_ends_well(self, fleet):
        assert fleet[0].returncode == 0, fleet[0].stderr
        assert all(json.loads(fleet[0].stdout)["checks"].values())

    def test_tells_what_happens_in_order(self, fleet):
        happened = re.findall(r"^ +[0-9.]+ s  (.+)$", fleet[0].stderr, re.MULTILINE)
        assert happened == [
            "alone",
            "workers start",
            "all up",
            "board-1 killed",
            "board-1 missed",
            "board-1 started again",
            "board-1 up",
            "board-2 told to leave",
            "board-2 gone",
            "end",
        ]

    def test_says_who_computed_how_much(self, fleet):
        words = r"\s+(\d+)\s+(\d+)\s+\d+\s+[0-9.]+ %$"
        for name in ("source", "board-1, again", "board-2"):
            row = re.search("^" + name + words, fleet[0].stderr, re.MULTILINE)
            assert row is not None and int(row.group(1)) > 0, name

    def test_is_faster_than_one_of_its_processes(self, fleet):
        figures = json.loads(fleet[0].stdout)["figures"]
        value = {figure["name"]: figure["value"] for figure in figures}
        assert value["with 2 workers"] > value["source alone"] > 0  # bench says by how much
        assert value["death seen after"] < 5

    def test_draws_a_picture(self, fleet):
        content = (fleet[1] / "fleet.png").read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) > 10_000

    def test_draws_a_timeline_of_all_processes(self, fleet):
        events = trace_events.read(fleet[1] / "fleet.json")
        assert trace_events.problems(events) == []
        names = list(trace_events.processes(events).values())
        assert names[0] == "source" and {"board-1", "board-2"} < set(names)
        labels = [e["args"]["labels"] for e in events if e["name"] == "process_labels"]
        assert labels == ["the clock of the timeline"] + ["the clock of source"] * (len(names) - 1)
        assert list(trace_events.unordered_flows(events)) == []
        assert trace_events.slices(events, "to board-2: tasks")

    @pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks for processes in /proc")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_leaves_no_process_and_no_file_when_it_is_interrupted(self, number, tmp_path):
        command = [sys.executable, "-m", "edgesdk.demo", "--workers", "2", "--phase-s", "0.5"]
        process = subprocess.Popen(
            command + ["--out", str(tmp_path / "out")],
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            env=dict(os.environ, PYTHONPATH=str(ROOT), TMPDIR=str(tmp_path)),
        )
        while "workers start" not in process.stdout.readline():
            assert process.poll() is None
        while len(children_of(process.pid)) < 2:
            time.sleep(0.01)
        workers = children_of(process.pid)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (130, "interrupted\n")
        assert not [pid for pid in workers if os.path.exists("/proc/{}".format(pid))]
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]

    def test_a_timeline_needs_one(self):
        done = run_demo("--timeline", "t.json")
        assert done.returncode == 2 and "expected --workers beside it" in done.stderr

    def test_takes_a_sensible_number_of_workers(self):
        done = run_demo("--workers", 0)
        assert done.returncode == 2 and "found 0, expected 1 to 8" in done.stderr


def children_of(pid):
    """The processes that were started by the main thread of `pid`."""
    path = Path("/proc/{0}/task/{0}/children".format(pid))
    return path.read_text().split()


class TestWhenItCannot:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--bundle", "nowhere"), "BundleError: nowhere: no such folder; run the demo from"),
            (("--backend", "tpu"), "ConfigError: backend: found 'tpu', expected one of"),
        ],
    )
    def test_it_says_why_in_one_line(self, arguments, message, tmp_path):
        done = run_demo("--out", tmp_path, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert len(done.stderr.strip().splitlines()) == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("missing", ["sklearn", "matplotlib", "onnxruntime"])
    def test_a_missing_extra_is_named_with_its_command(self, missing, tmp_path):
        (tmp_path / (missing + ".py")).write_text("raise ImportError('absent')")
        done = subprocess.run(
            [sys.executable, "-m", "edgesdk.demo", "--out", str(tmp_path / "out")],
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            env={"PYTHONPATH": "{}:{}".format(tmp_path, ROOT), "PATH": ""},
        )
        assert done.returncode == 1
        assert done.stderr.startswith("BackendUnavailable: ") and done.stderr.count("\n") == 1
        assert 'pip install "edgesdk[' in done.stderr
        assert not (tmp_path / "out").exists()

    def test_debug_shows_the_traceback(self):
        assert "Traceback" in run_demo("--bundle", "nowhere", "--debug").stderr

    def test_a_bundle_without_the_uncut_network_has_nothing_to_compare_with(self, tmp_path):
        path = tiny.write_tiny_bundle(tmp_path / "b").path
        assert "holds no onnx/uncut.onnx" in run_demo("--bundle", path).stderr


def test_the_checks_can_fail():
    """A network that always answers 0, or that never leaves early, does not pass."""
    labels = digits.load_digits_split("test").labels
    zeros, costs = np.zeros(len(labels), np.int64), np.full(len(labels), 100)

    def made(classes, indices, cost):
        return exits.Run("", classes, indices, costs * cost, costs)

    good = exits._check(
        made(labels, zeros + labels % 2, 1), made(labels, zeros, 2), *_plain(labels)
    )
    assert list(good.values()) == [True] * 4
    bad = exits._check(made(zeros, zeros, 2), made(labels, zeros, 2), *_plain(zeros, labels))
    assert list(bad.values()) == [False] * 4


def _plain(classes, labels=None):
    run = exits.Run("", classes, classes, classes, classes)
    return run, classes if labels is None else labels
