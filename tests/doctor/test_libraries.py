"""Asking in a process: whatever it does, there is an answer, and in time."""

import os
import signal
import sys
import time

import pytest

from edgesdk.doctor import libraries
from edgesdk.doctor.libraries import answer_of, ask


def program(text, **options):
    return answer_of([sys.executable, "-c", text], **options)


def test_a_library_tells():
    assert ask("numpy").version and ask("numpy").failure == ""


def test_variables_that_hide_a_fault_are_taken_away(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "ARMV8")
    text = "import json, os; print(json.dumps({'version': os.environ.get('OPENBLAS_CORETYPE')}))"
    assert program(text).version == "ARMV8"
    assert program(text, hidden=libraries.HIDDEN_FROM["numpy"]).told == {"version": None}


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGKILL", "SIGABRT"])
def test_one_that_is_killed_says_by_what(name):
    number = int(getattr(signal, name))
    answer = program("import os; os.kill(os.getpid(), {})".format(number))
    assert answer == ({}, "killed by " + name, False)


def test_one_that_really_crashes_takes_nobody_with_it():
    assert program("import ctypes; ctypes.string_at(0)").failure == "killed by SIGSEGV"


def test_one_that_hangs_is_ended_with_its_children(tmp_path):
    """The child holds the pipe: who waits for its end only, waits long."""
    note = tmp_path / "child"
    text = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open({!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)".format(str(note))
    )
    begin = time.monotonic()
    assert program(text, timeout_s=3.0).failure == "no answer within 3 s"
    assert time.monotonic() - begin < 60
    child = int(note.read_text())
    deadline = time.monotonic() + 60
    while _is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_running(process):
    try:
        with open("/proc/{}/stat".format(process)) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("import sys; sys.stderr.write('a\\nlast words\\n'); sys.exit(3)", "status 3: last words"),
        ("pass", "ended with status 0 and no answer"),
        ("print('[1, 2]')", "no answer"),
        ("print('{')", "no answer"),
        ("print('[' * 100000)", "no answer"),
        ("import os; os.write(1, b'\\xff\\xfe')", "no answer"),
        ('print(\'{"failure": "one\\\\n two"}\')', "one two"),
    ],
)
def test_what_is_no_answer_is_a_failure(text, failure):
    answer = program(text)
    assert failure in answer.failure and answer.told == {} and answer.version == ""


def test_failures_are_not_endless():
    answer = program("import sys; sys.stderr.write('x' * 100000); sys.exit(1)")
    assert len(answer.failure) < 2 * libraries.FAILURE_LENGTH_MAX


def test_where_no_process_can_be_started():
    answer = answer_of([os.path.join("no", "such", "python")])
    assert "no process can be started" in answer.failure
