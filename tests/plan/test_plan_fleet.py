"""A fleet with a placement computes each stage where the plan says, in real processes."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from clusters import WAIT_S
from gated import BRIGHT, DIM, MEDIUM

from edgesdk import Pipeline
from edgesdk.errors import ConfigError, Expired
from edgesdk.plan import __main__ as command

pytest.importorskip("zmq")
pytest.importorskip("onnxruntime")

ROOT = str(Path(__file__).resolve().parent.parent.parent)
USE_IT = ['placement = "placement.toml"']
IMAGES = [tiny.image(brightness) for brightness in (BRIGHT, MEDIUM, DIM)] * 4


def planned(files, *more):
    """Plan for workers that all list each other, then let the cluster file name the placement."""
    out = str(files.folder / "placement.toml")
    assert command.main(files.arguments("--out", out, *more)) == 0
    with open(files.cluster) as file:
        text = file.read()
    with open(files.cluster, "w") as file:
        file.write("\n".join(USE_IT) + "\n" + text)


class Workers:
    """Processes of `edgesdk.worker`; `stop` gives what each computed: items by stage."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._running = {}

    def start(self, name, *more):
        arguments = ["--cluster", self._cluster, "--name", name, "--json"] + list(more)
        self._running[name] = subprocess.Popen(
            [sys.executable, "-m", "edgesdk.worker"] + arguments,
            cwd=ROOT,
            env=dict(os.environ, OMP_NUM_THREADS="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def stop(self):
        computed, said = {}, {}
        for name, process in self._running.items():
            process.terminate()
            out, said[name] = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0, said[name]
            stages = json.loads(out)["stages"]
            computed[name] = {each["stage"]: each["item_count"] for each in stages}
        return computed, said

    def kill(self):
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.fixture
def workers(files):
    with contextlib.closing(Workers(files.cluster)) as running:
        yield running


Workers.close = Workers.kill


def answers(files, name="robot"):
    """What a source in this process gets for the images, and where it was answered; and the items
    of each stage that it computed itself."""
    with Pipeline.open(cluster=files.cluster, name=name) as pipe:
        assert pipe.wait_until_up(timeout=WAIT_S)
        results = pipe.infer(IMAGES)
        computed = {each["stage"]: each["item_count"] for each in pipe.stats()["stages"]}
    return results, {stage: count for stage, count in computed.items() if count}


@pytest.mark.slow
def test_images_are_computed_where_the_plan_says(files, workers):
    planned(files, "--pin", "0=robot", "--pin", "1=nano-1", "--pin", "2=nano-2")
    workers.start("nano-1")
    workers.start("nano-2")
    results, here = answers(files)
    assert [result.exit_index for result in results] == [0, 1, 2] * 4
    assert [result.worker for result in results] == ["robot", "nano-1", "nano-2"] * 4
    assert here == {0: 12}
    computed, said = workers.stop()
    assert {name: {s: n for s, n in found.items() if n} for name, found in computed.items()} == {
        "nano-1": {1: 8},
        "nano-2": {2: 4},
    }
    assert "stages 1" in said["nano-1"] and "stages 2" in said["nano-2"]


@pytest.mark.slow
def test_a_plan_for_throughput_runs_as_it_is(files, workers):
    more = [
        "--objective",
        "throughput",
        "--link",
        "1gbit,100us",
        "--profile",
        "nano-2=" + files.fast,
    ]
    planned(files, *more)
    names = ("nano-1", "nano-2")
    for name in names:
        workers.start(name)
    results, here = answers(files)
    assert all(result.ok for result in results)
    computed, _ = workers.stop()
    where = dict(computed, robot=here)
    with open(str(files.folder / "placement.toml")) as file:
        text = file.read()
    for name in ("robot",) + names:
        (line,) = [line for line in text.splitlines() if line.startswith('"{}"'.format(name))]
        held = json.loads(line.partition("=")[2])
        assert sorted(stage for stage, count in where[name].items() if count) == held


def test_the_stages_of_entries_are_replaced(files):
    files.describe({"robot": ["stages = [0]"], "nano-1": ["stages = [1, 2]"]})
    out = str(files.folder / "placement.toml")
    assert command.main(files.arguments("--out", out)) == 0
    files.describe({"robot": ["stages = []"], "nano-1": []}, USE_IT)
    with Pipeline.open(cluster=files.cluster, name="robot") as pipe:
        assert pipe.held == ((0, 0),)
    with Pipeline.open(cluster=files.cluster, name="nano-1") as pipe:
        assert pipe.held == ((0, 1), (0, 2))


def test_a_placement_of_another_fleet_is_refused_where_it_is_opened(files):
    planned(files)
    with open(files.cluster) as file:
        text = file.read()
    with open(files.cluster, "w") as file:
        file.write(text.replace('"nano-2"', '"nano-3"'))
    with pytest.raises(
        ConfigError, match="found the workers robot, nano-1, nano-2, expected those"
    ):
        Pipeline.open(cluster=files.cluster, name="robot")


def test_a_placement_that_is_not_there_is_refused(files):
    files.describe({"robot": []}, USE_IT)
    with pytest.raises(ConfigError, match=r"placement\.toml: cannot be read"):
        Pipeline.open(cluster=files.cluster, name="robot")


def test_what_only_an_absent_worker_holds_waits_until_the_deadline(files):
    files.describe({"robot": ["stages = [0]"], "nano-1": ["stages = [1, 2]"]})
    planned(files)
    with Pipeline.open(cluster=files.cluster, name="robot") as pipe:
        assert pipe.infer(tiny.image(BRIGHT)).exit_index == 0
        (answered,) = pipe.map([tiny.image(DIM)], deadline_ms=300)
        assert (answered.exit_index, answered.reason) == (0, "deadline")
        with pytest.raises(Expired):
            pipe.infer(tiny.image(DIM), deadline_ms=300)
