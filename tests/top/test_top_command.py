"""`python -m edgesdk.top`, as a process, on workers that are there, or are not."""

import json
import os
import subprocess
import sys

import pytest
import tiny

zmq = pytest.importorskip("zmq")

from clusters import INSECURE, WAIT_S, Clustered, worker  # noqa: E402
from terminals import ROOT, Person  # noqa: E402

from edgesdk.cluster import read_cluster  # noqa: E402
from edgesdk.keys import make_keys  # noqa: E402

SECURE = ""


@pytest.fixture
def clustered(tmp_path, bundle):
    """Two workers that may be opened."""
    made = Clustered(tmp_path, bundle, "sockets")
    made.describe(worker("camera"), worker("helper"))
    yield made
    made.close()


def command(made, *arguments):
    return [sys.executable, "-m", "edgesdk.top", "--cluster", made.path] + list(arguments)


def once(made, *arguments):
    """Status, standard output and standard error of one look."""
    done = subprocess.run(
        command(made, "--interval", "0.5", *arguments),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=2 * WAIT_S,
    )
    return done.returncode, done.stdout, done.stderr


class TestOnce:
    @pytest.mark.parametrize("security", [SECURE, INSECURE])
    def test_one_object_tells_of_everybody(self, clustered, security):
        if security == SECURE and not zmq.has("curve"):
            pytest.skip("this libzmq has no CURVE")
        clustered.describe(worker("camera"), worker("helper"), security=security)
        if security == SECURE:
            make_keys(read_cluster(clustered.path))
        camera, _ = clustered.open("camera"), clustered.open("helper")
        clustered.meet()
        camera.infer(tiny.image(0.9))
        status, out, err = once(clustered, "--once", "--json")
        assert (status, err) == (0, "")
        found = json.loads(out)
        rows = {row["name"]: row for row in found["workers"]}
        assert {row["state"] for row in rows.values()} == {"up"}
        assert rows["camera"]["answers_per_s"] == 0.0
        assert sum(rows["camera"]["all_exit_counts"]) == 1
        assert rows["helper"]["answers_per_s"] is None
        assert rows["helper"]["resident_bytes"] > 1e6
        links = {(row["source"], row["target"]): row["state"] for row in found["links"]}
        assert links == {("camera", "helper"): "up", ("helper", "camera"): "up"}
        assert (found["totals"]["up_count"], found["notes"]) == (2, [])

    def test_without_a_terminal_there_is_a_plain_table(self, clustered):
        clustered.open("camera")
        status, out, err = once(clustered)
        assert (status, err) == (0, "")
        lines = out.splitlines()
        assert lines[0].split()[:3] == ["worker", "state", "ans/s"]
        assert [line.split()[:2] for line in lines[1:3]] == [["camera", "up"], ["helper", "silent"]]
        assert any(line.startswith("helper has not answered yet") for line in lines)
        assert "\x1b" not in out

    def test_only_those_who_are_named(self, clustered):
        clustered.open("camera")
        clustered.open("helper")
        _, out, _ = once(clustered, "--json", "--name", "helper")
        assert [row["name"] for row in json.loads(out)["workers"]] == ["helper"]

    def test_nobody_answers(self, clustered):
        status, out, err = once(clustered, "--once", "--json")
        assert status == 1
        assert [row["state"] for row in json.loads(out)["workers"]] == ["silent", "silent"]
        address = read_cluster(clustered.path).worker("camera").control_address
        assert "no worker answers" in err and "edgesdk.worker" in err and address in err
        assert "Traceback" not in err and "observer" not in err  # for there are no keys

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--interval", "0.1"], "interval: found 0.1, expected seconds from 0.2"),
            (["--interval", "nan"], "interval: found nan"),
            (["--interval", "inf"], "interval: found inf"),
            (["--name", "camra"], "did you mean camera?"),
        ],
    )
    def test_what_is_refused(self, clustered, arguments, message):
        status, out, err = once(clustered, *arguments)
        assert (status, out) == (1, "") and message in err and "Traceback" not in err

    def test_without_the_key_of_observers(self, clustered):
        if not zmq.has("curve"):
            pytest.skip("this libzmq has no CURVE")
        clustered.describe(worker("camera"), security=SECURE)
        make_keys(read_cluster(clustered.path), names=["camera"])
        status, out, err = once(clustered)
        assert (status, out) == (1, "") and "edgesdk.keys" in err and "Traceback" not in err


class TestOnATerminal:
    @pytest.fixture
    def person(self, clustered):
        pytest.importorskip("rich")
        self.camera = clustered.open("camera")
        environment = dict(os.environ, TERM="xterm", OMP_NUM_THREADS="1")
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        sitting = Person(command(clustered, "--interval", "0.3"), cwd=ROOT, env=environment)
        yield sitting
        sitting.close()

    def test_workers_come_and_go_while_somebody_looks(self, clustered, person):
        person.wait_for(
            "camera up", "helper silent", "1 of 2 answer", "helper has not answered yet"
        )
        helper = clustered.open("helper")
        clustered.meet()
        person.wait_for("2 of 2 answer")
        person.press("l")
        person.wait_for("camera helper up")
        person.press("l")
        helper.close()
        person.wait_for("1 of 2 answer", "helper silent", "helper has not answered since")
        person.press("q")
        assert person.end() == (0, "")

    def test_answers_are_seen_at_their_exits(self, person):
        person.wait_for("camera up")
        self.camera.infer(tiny.image(0.9))
        person.press("e")
        person.wait_for("since start")
        person.press("q")
        assert person.end() == (0, "")

    def test_a_terminal_that_can_do_nothing_gets_the_plain_table(self, clustered):
        clustered.open("camera")
        clustered.open("helper")
        plain = Person(
            command(clustered, "--interval", "0.3"), cwd=ROOT, env=dict(os.environ, TERM="dumb")
        )
        plain.wait_for("worker state", "camera up")
        assert plain.end() == (0, "")
        assert "\x1b" not in plain.seen
        plain.close()


def test_without_rich_it_says_what_to_install(tmp_path, clustered):
    (tmp_path / "rich.py").write_text("raise ImportError('No module named rich')")
    environment = dict(os.environ, TERM="xterm", PYTHONPATH=str(tmp_path))
    person = Person(command(clustered), cwd=ROOT, env=environment)
    status, err = person.end()
    person.close()
    assert status == 1 and "pip install rich" in err and "--once" in err
