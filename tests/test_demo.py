"""`python -m edgesdk.demo` as a stranger meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

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

    def made(classes, exits, cost):
        return exits.Run("", classes, exits, costs * cost, costs)

    good = exits._check(made(labels, zeros + labels % 2, 1), made(labels, zeros, 2), *_plain(labels))
    assert list(good.values()) == [True] * 4
    bad = exits._check(made(zeros, zeros, 2), made(labels, zeros, 2), *_plain(zeros, labels))
    assert list(bad.values()) == [False] * 4


def _plain(classes, labels=None):
    run = exits.Run("", classes, classes, classes, classes)
    return run, classes if labels is None else labels
