"""Facts: gathered from files and libraries, whatever these are."""

import json
import subprocess
import sys

import answers
import boards
import pytest

from edgesdk.doctor import facts
from edgesdk.doctor.__main__ import _plain


@pytest.mark.parametrize("make", [boards.nano, boards.pc])
def test_every_library_is_asked_once_and_told_of_before(make, tmp_path):
    told, asked = [], []

    def asking(name):
        assert told[-1] == name
        asked.append(name)
        return answers.NANO[name]

    found = facts.gather(make(tmp_path).path, asking, told.append)
    assert found.libraries == answers.NANO and asked == told == list(answers.NANO)


def test_facts_are_plain_json(tmp_path):
    found = _plain(facts.gather(boards.nano(tmp_path).path, answers.NANO.__getitem__))
    assert json.loads(json.dumps(found)) == found
    assert found["machine"]["l4t"] == [32, "7.1"]
    assert found["power_mode"]["names"] == {"0": "MAXN", "1": "5W"}
    assert found["libraries"]["cuda"]["told"]["devices"][0]["capability"] == "5.3"
    assert found["sensed"]["power_w"]["POM_5V_IN"] == 2.45


def test_the_environment_is_the_part_that_matters(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SOME_SECRET", "x")
    found = facts.gather(boards.pc(tmp_path).path, answers.PC.__getitem__)
    assert found.environment["CUDA_VISIBLE_DEVICES"] == "" and "x" not in found.environment.values()


def test_the_clock_is_set_or_not_or_not_told(monkeypatch):
    assert facts.is_clock_synchronised() in (True, False, None)

    def told(state):
        monkeypatch.setattr(
            facts.ctypes, "CDLL", lambda _: type("C", (), {"adjtimex": lambda *_: state})()
        )
        return facts.is_clock_synchronised()

    assert [told(state) for state in (0, 1, 5, -1)] == [True, True, False, None]


@pytest.mark.parametrize("shares", [True, False])
def test_an_environment_sees_the_packages_of_the_system_or_not(tmp_path, shares):
    options = ["--system-site-packages"] * shares
    command = [sys.executable, "-m", "venv", "--without-pip", *options, str(tmp_path / "venv")]
    subprocess.check_call(command)
    (tmp_path / "venv" / "pyvenv.cfg").read_text()
    text = "from edgesdk.doctor.facts import read_python; print(*read_python()[3:])"
    out = subprocess.check_output(
        [
            str(tmp_path / "venv/bin/python"),
            "-c",
            "import sys; sys.path += {!r}; ".format(sys.path) + text,
        ],
    )
    assert out.decode().split() == ["True", str(shares)]
