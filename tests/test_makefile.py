"""What the Makefile promises before it installs anything: the list, clear refusals, repairs.

Each test runs the real Makefile in an empty folder with a stub for an interpreter, which writes
down how it was called. Nothing is installed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TARGETS = [
    "help",
    "demo",
    "test",
    "test-device",
    "test-aarch64",
    "lint",
    "format",
    "docs",
    "bench",
    "bench-deps",
    "soak",
    "clean",
    "distclean",
]


@pytest.fixture
def folder(tmp_path):
    for name in (
        "Makefile",
        "constraints.txt",
        "constraints-device.txt",
        "setup.py",
        "pyproject.toml",
        "CMakeLists.txt",
    ):
        shutil.copy(str(ROOT / name), str(tmp_path / name))
    return tmp_path


def make(folder, *arguments, **environment):
    answer = subprocess.run(
        ["make", "-C", str(folder)] + list(arguments),
        env=dict(os.environ, EDGESDK_BUILD_NATIVE="no", **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    return answer.returncode, answer.stdout


def stub(path, body):
    """An executable that appends its arguments to calls.txt beside it, then runs `body`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('#!/bin/sh\necho "$*" >> "{}"\n{}\n'.format(path.parent / "calls.txt", body))
    path.chmod(0o755)
    return path


def calls(folder):
    return (folder / "calls.txt").read_text().splitlines()


def test_make_alone_lists_every_target(folder):
    status, output = make(folder)
    assert status == 0
    assert [line.split()[1] for line in output.splitlines() if line.startswith("make ")] == TARGETS
    assert not (folder / ".venv").exists()


def test_an_old_python_is_refused_in_one_sentence(folder):
    old = stub(
        folder / "old" / "python", 'if [ "$1" = --version ]; then echo Python 3.8.1; fi; exit 1'
    )
    status, output = make(folder, "demo", "PYTHON={}".format(old))
    assert status != 0
    assert "needs Python 3.9 or newer, found: Python 3.8.1; try make PYTHON=" in output
    assert not (folder / ".venv").exists()


def test_a_python_without_venv_is_refused_in_one_sentence(folder):
    bare = stub(folder / "bare" / "python", 'case "$2" in *ensurepip*) exit 1;; esac')
    status, output = make(folder, "demo", "PYTHON={}".format(bare))
    assert status != 0
    assert "install its venv package" in output
    assert not (folder / ".venv").exists()


def test_a_venv_without_its_configuration_is_made_anew_and_nothing_is_installed_behind_it(folder):
    # .venv/bin/python answers, but as the interpreter it points to: pip would install there.
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    new = stub(folder / "new" / "python", 'case "$1 $2" in "-m venv") exit 1;; esac')
    status, output = make(folder, "demo", "PYTHON={}".format(new))
    assert status != 0, "the stub makes no .venv, so make has to stop there"
    assert calls(folder / "new")[-1] == "-m venv --clear .venv"
    assert "pip" not in output


def test_pip_is_told_to_refuse_anything_but_a_virtual_environment(folder):
    _, output = make(folder, "-n", "demo", "test")
    installs = [line for line in output.splitlines() if " pip " in line]
    assert len(installs) == 3, "build tools, demo, everything"
    assert all("pip --require-virtualenv install" in line for line in installs)
    assert all("-c constraints.txt" in line for line in installs)


def test_the_demo_installs_no_test_tools_and_the_tests_install_everything(folder):
    assert '-e ".[demo]"' in make(folder, "-n", "demo")[1]
    assert '-e ".[test,lint]"' in make(folder, "-n", "test")[1]


def test_without_a_python36_nothing_is_tested_and_that_is_said(folder):
    status, output = make(folder, "test-device", "PYTHON36=")
    assert status == 0
    assert "make test-device: NOTHING TESTED: no python3.6" in output


def test_another_python_than_36_is_refused_in_one_sentence(folder):
    other = stub(
        folder / "other" / "python", 'if [ "$1" = --version ]; then echo Python 3.8.1; fi; exit 1'
    )
    status, output = make(folder, "test-device", "PYTHON36={}".format(other))
    assert status != 0
    assert "found Python 3.8.1, expected Python 3.6" in output
    assert not (folder / ".venv36").exists()


FINDER = str(ROOT / ".ci" / "find-python36")


def find(path, **environment):
    clean = {"PATH": "{}:/usr/bin:/bin".format(path), "HOME": "/nowhere"}
    return subprocess.check_output(
        [FINDER], env=dict(clean, **environment), universal_newlines=True
    )


def test_a_python36_is_one_that_runs(folder):
    """pyenv leaves a stand-in on PATH that only says which versions could be switched on."""
    stand_in = stub(folder / "shims" / "python3.6", "exit 127")
    assert find(stand_in.parent) == ""
    stub(folder / "pyenv" / "versions" / "3.6.15" / "bin" / "python3.6", "echo the real one")
    stub(folder / "shims" / "pyenv", 'echo "{}"'.format(folder / "pyenv"))
    assert find(stand_in.parent) == "the real one\n"


def test_the_python36_of_an_unknown_pyenv_is_under_the_home_folder(folder):
    home = folder / "home"
    stub(home / ".pyenv" / "versions" / "3.6.9" / "bin" / "python3.6", "echo that one")
    assert find(folder / "empty", HOME=str(home)) == "that one\n"


def test_without_qemu_aarch64_is_an_error_that_says_what_to_install(folder):
    tools = folder / "tools"
    tools.mkdir()
    for name in ("make", "sh", "find", "python3"):
        (tools / name).symlink_to(shutil.which(name))
    status, output = make(folder, "test-aarch64", PATH=str(tools))
    assert status != 0
    assert "needs qemu; install it with: apt-get install qemu-user-static" in output
    assert not (folder / ".venv").exists()
