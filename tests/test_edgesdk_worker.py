"""`python -m edgesdk.worker`: joins, says what happens, leaves when told, says what was done."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
import tiny
import trace_events
from clusters import CAMERA, HELPER, WAIT_S, Clustered, eventually
from clusters import worker as entry
from gated import dim

from edgesdk import ConfigError, cli, worker

pytest.importorskip("zmq")

ROOT = str(Path(__file__).resolve().parent.parent)


class Command:
    """The worker as a process; `said` are the lines of its standard output so far."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgesdk.worker"] + list(arguments),
            cwd=ROOT,
            env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        self.said = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Its status and standard error; it must end by itself."""
        status = self.process.wait(WAIT_S)
        self._reading.join(WAIT_S)
        complaint = self.process.stderr.read()
        self.close()
        return status, complaint

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reading.join(WAIT_S)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def made(tmp_path, bundle):
    made = Clustered(tmp_path, bundle, "sockets").describe(CAMERA, HELPER)
    yield made
    made.close()


@pytest.fixture
def start(made):
    """A function that starts the helper as a process."""
    started = []

    def start_one(*arguments):
        started.append(Command("--cluster", made.path, "--name", "helper", *arguments))
        return started[-1]

    yield start_one
    for each in started:
        if not each.process.stdout.closed:
            each.close()


class TestAProcess:
    def test_computes_for_its_neighbours_and_leaves_when_told(self, made, start):
        command, camera = start(), made.open("camera")
        futures = [camera.submit(dim()[0], tag=tag) for tag in range(20)]
        assert [future.result(WAIT_S).exit_index for future in futures] == [2] * 20
        eventually(lambda: "camera: up" in command.said)
        command.signal(signal.SIGTERM)
        eventually(lambda: camera.stats()["neighbours"]["helper"]["state"] == "absent")
        status, complaint = command.end()
        assert (status, complaint) == (0, "")
        text = "\n".join(command.said)
        assert "helper listens at tcp://127.0.0.1:" in text
        assert "plan full, policy " in text and "stages 0, 1, 2" in text
        assert "leaving; the tasks that are here are ended first" in text
        assert "      20  tasks received" in text
        assert camera.stats()["counters"].get("leases_expired", 0) == 0

    def test_prints_one_json_object_if_asked(self, made, start, tmp_path):
        options = ("--trace", str(tmp_path / "t"), "--timeline", str(tmp_path / "t.json"))
        command, camera = start("--json", *options), made.open("camera")
        assert camera.infer(tiny.image(1.0)).label == "bright"
        command.signal(signal.SIGINT)
        status, said = command.end()
        assert status == 0 and "helper listens at" in said  # beside the object, not in it
        stats = json.loads("\n".join(command.said))
        assert stats["worker"] == "helper" and stats["counters"]["tasks_received"] == 1
        assert (tmp_path / "t").stat().st_size > 1000
        events = trace_events.read(tmp_path / "t.json")
        assert trace_events.problems(events) == []
        assert trace_events.processes(events) == {1: "helper"}
        assert [e["name"] for e in trace_events.slices(events, "to camera: results")] == ["result"]

    def test_shows_metrics_where_it_says(self, made, start):
        pytest.importorskip("prometheus_client")
        command = start("--metrics-port", "0", "--metrics-host", "127.0.0.2")
        camera = made.open("camera")
        assert camera.infer(dim()[0]).ok
        eventually(lambda: any(line.startswith("metrics at ") for line in command.said))
        (said,) = [line for line in command.said if line.startswith("metrics at ")]
        url = said.split()[-1]
        assert url.startswith("http://127.0.0.2:")
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            assert b'edgesdk_events_total{event="tasks_received"} 1.0' in answer.read()
        command.signal(signal.SIGTERM)
        assert command.end() == (0, "")

    def test_a_second_signal_ends_it_at_once(self, made, start):
        command, camera = start(), made.open("camera")
        assert camera.infer(tiny.image(1.0)).ok
        # The camera stands still, so there is nobody who could say that it knows.
        with camera._loop._driving:
            command.signal(signal.SIGTERM)
            eventually(lambda: any(line.startswith("leaving") for line in command.said))
            command.signal(signal.SIGTERM)
            status, _ = command.end()
        assert status in (128 + signal.SIGTERM, 0)  # 0: it was faster


class TestMistakes:
    def run(self, capsys, *arguments):
        """Status and what is said on standard error."""
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            status = cli.run(worker.main, worker._arguments(list(arguments)))
        finally:
            signal.signal(signal.SIGTERM, before[0])
            signal.signal(signal.SIGINT, before[1])
        return status, capsys.readouterr().err

    def test_are_one_line(self, made, capsys):
        status, said = self.run(capsys, "--cluster", made.path, "--name", "helpe")
        assert status == 1 and said.count("\n") == 1
        assert said.startswith("ConfigError: ") and "did you mean helper" in said

    def test_without_a_cluster_file(self, made, capsys):
        status, said = self.run(capsys, "--cluster", made.path + "x", "--name", "helper")
        assert status == 1 and said.startswith("ConfigError: ") and "examples/robots.toml" in said

    def test_what_must_be_given(self, capsys):
        with pytest.raises(SystemExit):
            worker._arguments(["--cluster", "robots.toml"])
        assert "--name" in capsys.readouterr().err

    def test_processors_that_the_machine_has_not(self, made, capsys):
        made.describe(entry("helper", cpus=[1023]), CAMERA)
        status, said = self.run(capsys, "--cluster", made.path, "--name", "helper")
        assert status == 1
        assert "worker helper: cpus: found [1023], which this machine refuses" in said

    def test_a_pin_that_is_allowed(self):
        before = os.sched_getaffinity(0)
        try:
            worker._pin("helper", sorted(before)[:1])
            assert os.sched_getaffinity(0) == set(sorted(before)[:1])
            with pytest.raises(ConfigError, match="it has \\["):
                worker._pin("helper", (1022,))
        finally:
            os.sched_setaffinity(0, before)


class TestWatch:
    class Pipe:
        def __init__(self):
            self.states = {"camera": "greeting"}

        def stats(self):
            return {"neighbours": {name: {"state": s} for name, s in self.states.items()}}

    def test_says_what_changes_and_nothing_else(self, capsys, monkeypatch):
        monkeypatch.setattr(worker, "LOOK_S", 0.0)
        pipe, leave = self.Pipe(), threading.Event()
        watch = worker.Watch(pipe, leave, False)
        for state in ("greeting", "up", "up", "leaving", "absent"):
            pipe.states["camera"] = state
            assert not watch()
        assert capsys.readouterr().out.splitlines() == [
            "camera: up",
            "camera: leaving",
            "camera: absent",
        ]
        leave.set()
        assert watch()

    def test_looks_only_now_and_then(self, monkeypatch):
        looks = []
        pipe = self.Pipe()
        pipe.stats = lambda: looks.append(1) or {"neighbours": {}}
        watch = worker.Watch(pipe, threading.Event(), False)
        for _ in range(1000):
            watch()
        assert len(looks) <= 3
