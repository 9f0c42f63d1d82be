""".ci/system-packages: installs what is missing where that is possible, and else says what is
skipped. It runs where only stand-ins are on PATH; nothing is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "system-packages"
ALL = ("chromium", "sshd", "ssh", "rsync")


@pytest.fixture
def machine(tmp_path):
    """A function that makes a machine with these programs, runs the script there, and gives what
    it says and how it called apt-get."""
    tools = tmp_path / "tools"
    tools.mkdir()
    # Real programs of this machine would be found there.
    text = SCRIPT.read_text().replace("PATH=$PATH:/usr/sbin:/sbin\n", "")
    assert "sbin" not in text
    (tmp_path / "script").write_text(text)

    def program(name, body=""):
        path = tools / name
        path.write_text("#!/bin/sh\n" + body + "\n")
        path.chmod(0o755)

    def run(programs, user=0, apt_get="exit 100"):
        for name in programs:
            program(name)
        program("id", "echo {}".format(user))
        if apt_get:
            log = 'echo "$*" >> "{}"\n'.format(tmp_path / "calls")
            program("apt-get", log + apt_get)
        for name in ("sh", "cp"):
            (tools / name).symlink_to(shutil.which(name))
        said = subprocess.check_output(
            ["/bin/sh", str(tmp_path / "script")], env={"PATH": str(tools)}
        ).decode("utf-8")
        asked = tmp_path / "calls"
        return said, asked.read_text().splitlines() if asked.exists() else []

    run.tools = tools
    return run


def test_where_everything_is_nothing_is_asked_for(machine):
    assert machine(ALL) == ("system packages: all there\n", [])


def test_root_gets_what_is_missing_and_nothing_else(machine):
    works = 'for name in chromium sshd ssh; do cp "{0}/id" "{0}/$name"; done'.format(machine.tools)
    said, asked = machine(["rsync"], apt_get=works)
    assert asked == [
        "-qq update",
        "-qq install -y --no-install-recommends chromium openssh-server openssh-client",
    ]
    assert said == ""


@pytest.mark.parametrize(
    ("options", "called"), [({}, 1), ({"user": 1000}, 0), ({"apt_get": None}, 0)]
)
def test_what_cannot_be_installed_is_said_and_is_no_failure(machine, options, called):
    said, asked = machine(["chromium", "ssh", "sshd"], **options)
    assert len(asked) == called
    assert "no rsync: tests of deliveries over ssh (edgesdk.push) will be SKIPPED" in said
    assert said.endswith("apt-get install rsync\n")
    assert ("apt-get failed" in said) == bool(called)
