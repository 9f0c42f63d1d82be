"""python -m edgesdk.doctor: on this machine, and what a person reads of others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import answers
import boards
import pytest

from edgesdk.doctor import __main__ as doctor
from edgesdk.doctor import library_checks
from edgesdk.doctor.checks import CPU, NOTE, OK, PROBLEM, TENSORRT, Check

ROOT = Path(__file__).resolve().parent.parent.parent


def text_of(tree, known, use, **others):
    checks = library_checks.all_checks(answers.facts(tree, known, **others), use)
    return doctor.report(checks, use)


@pytest.fixture(scope="module")
def ran():
    """For each use: status, the object that was printed, what a person reads."""
    found = {}
    for use in (CPU, TENSORRT):
        done = subprocess.run(
            [sys.executable, "-m", "edgesdk.doctor", "--for", use, "--json"],
            cwd=str(ROOT),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        found[use] = (done.returncode, json.loads(done.stdout), done.stderr)
    return found


class TestThisMachine:
    def test_computes_on_its_cpu(self, ran):
        status, told, text = ran[CPU]
        assert (status, told["for"], told["is_ready"]) == (0, CPU, True)
        assert "ready for cpu" in text.splitlines()[-1] and "Traceback" not in text

    @pytest.mark.parametrize("use", [CPU, TENSORRT])
    def test_the_status_is_what_is_told(self, ran, use):
        status, told, text = ran[use]
        problems = [each for each in told["checks"] if each["level"] == PROBLEM]
        assert status == (1 if problems else 0) and told["is_ready"] == (not problems)
        assert text.splitlines()[-1].startswith("NOT ready" if problems else "ready")
        assert not [each for each in told["checks"] if "cannot be judged" in each["found"]]

    def test_the_facts_are_there(self, ran):
        facts = ran[CPU][1]["facts"]
        assert facts["python"]["version"] == sys.version.split()[0]
        assert facts["libraries"]["numpy"]["told"]["version"]
        assert facts["machine"]["kernel"] == os.uname().release


def test_nothing_is_written(tmp_path):
    done = subprocess.run(
        [sys.executable, "-B", "-m", "edgesdk.doctor", "--for", CPU],
        cwd=str(tmp_path),
        env=dict(os.environ, PYTHONPATH=str(ROOT), HOME=str(tmp_path)),
        stdout=subprocess.DEVNULL,
    )
    assert done.returncode == 0 and list(tmp_path.iterdir()) == []


def test_another_use_is_refused(capsys):
    with pytest.raises(SystemExit) as raised:
        doctor.main(["--for", "gaming"])
    assert raised.value.code == 2 and "--for" in capsys.readouterr().err


def test_a_person_reads_what_stops_it_and_the_command_below(tmp_path):
    known = dict(answers.NANO, pycuda=answers.MISSING)
    lines = text_of(boards.nano(tmp_path), known, TENSORRT)
    assert lines[1].startswith("PROBLEM  pycuda") and "not installed" in lines[1]
    assert lines[3].strip() == "$ PATH=/usr/local/cuda/bin:$PATH pip install pycuda==2022.1"
    assert lines[-1] == "NOT ready for tensorrt: 1 problem, 3 notes, 16 ok"
    commands = [line for line in lines if "$ " in line]
    assert max(len(line) for line in lines if line not in commands) <= doctor.COLUMNS


def test_commands_are_whole_to_be_copied(tmp_path):
    (swap,) = [
        line for line in text_of(boards.nano(tmp_path), answers.NANO, TENSORRT) if "4G" in line
    ]
    assert swap.strip().startswith("$ sudo fallocate") and swap.endswith("sudo swapon /swapfile")


@pytest.mark.parametrize(("level", "is_ready"), [(OK, True), (NOTE, True), (PROBLEM, False)])
def test_only_problems_stop(level, is_ready):
    assert doctor.is_ready([Check("a", OK, "x"), Check("b", level, "y", "do")]) is is_ready


def test_the_default_is_what_the_machine_is(tmp_path, monkeypatch, capsys):
    facts = answers.facts(boards.nano(tmp_path), answers.NANO)
    monkeypatch.setattr(doctor, "gather", lambda progress: facts)
    assert doctor.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["for"] == TENSORRT


def test_a_machine_that_shows_nothing_at_all(tmp_path):
    """No /proc, no /sys, no library: still a report."""
    lines = text_of(boards.Tree(tmp_path), dict.fromkeys(answers.NANO, answers.SEGFAULT), CPU)
    assert any(line.startswith("PROBLEM") and "numpy" in line for line in lines)
    assert lines[-1].startswith("NOT ready for cpu")
