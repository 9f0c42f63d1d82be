"""`python -m edgesdk.soak`, as a person runs it."""

import json
import subprocess
import sys

import pytest

from edgesdk.sim.trial import Cuts
from edgesdk.soak import main, replay_command


def soak(*arguments):
    command = [sys.executable, "-m", "edgesdk.soak", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)


def test_help_shows_an_example():
    found = soak("--help")
    assert found.returncode == 0 and b"--seeds 10000" in found.stdout


def test_many_worlds_in_processes():
    found = soak("--seeds", "30", "--first", "5", "--processes", "2", "--json")
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout.decode())
    assert result["seeds"] == 30 and result["failures"] == []
    assert result["outcomes"] > 0


def test_one_world(capsys):
    assert main(["--seed", "7", "--without-faults", "0,1", "--items", "3", "--smooth"]) == 0
    assert "every check held; " in capsys.readouterr().out


def test_a_failure_is_shrunk_and_told_how_to_replay(monkeypatch, capsys):
    from edgesdk.core.fleet import FleetWorker

    place = FleetWorker.place
    monkeypatch.setattr(FleetWorker, "place", lambda self, task: task.guest or place(self, task))
    assert main(["--seeds", "40", "--processes", "1"]) == 1
    printed = capsys.readouterr().out
    assert "Violation: " in printed and "replay: python -m edgesdk.soak --seed " in printed
    line = printed.split("replay: python -m edgesdk.soak ")[1].splitlines()[0]
    assert main(line.split()) == 1
    assert "Violation: " in capsys.readouterr().out


def test_the_replay_command_names_every_cut():
    found = replay_command(9, Cuts((1, 4), 6, smooth=True, steady=True))
    assert (
        found == "python -m edgesdk.soak --seed 9 --without-faults 1,4 --items 6 --smooth --steady"
    )
    assert replay_command(9, Cuts()) == "python -m edgesdk.soak --seed 9"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "found --seeds 0"),
        (["--processes", "0"], "--processes 0"),
        (["--seed", "1", "--without-faults", "first"], "found 'first', expected positions"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
