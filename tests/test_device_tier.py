"""What holds on every machine that runs the device side: a light import, modules that load without
what is not installed, commands that answer."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgesdk.errors import BackendUnavailable

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text("utf-8")
    for path in sorted((ROOT / "edgesdk").rglob("*.py"))
}
COMMANDS = [name for name, text in FILES.items() if 'if __name__ == "__main__":' in text]
DEVICE_MODULES = [
    name for name in FILES if not name.startswith("edgesdk.train") and name not in COMMANDS
]


def run(*arguments):
    """Status, standard output and standard error of this Python."""
    done = subprocess.run(
        [sys.executable] + list(arguments),
        cwd=str(ROOT),
        env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    return done.returncode, done.stdout, done.stderr


LOADED = """
import sys, numpy
before = set(sys.modules)
import edgesdk
for name in sorted(set(sys.modules) - before):
    if "site-packages" in (getattr(sys.modules[name], "__file__", None) or ""):
        print(name)
"""


def test_importing_edgesdk_imports_nothing_but_numpy():
    status, out, err = run("-c", LOADED)
    assert (status, err) == (0, "")
    ours = [name for name in out.split() if name.split(".")[0] in ("edgesdk", "numpy")]
    assert out.split() == ours


@pytest.mark.parametrize("module", DEVICE_MODULES)
def test_a_module_loads_or_says_what_to_install(module):
    try:
        importlib.import_module(module.replace(".__init__", ""))
    except BackendUnavailable as missing:
        assert "pip install" in str(missing)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command):
    if command.startswith("edgesdk.train"):
        pytest.importorskip("torch")  # a workstation's
    status, out, err = run("-m", command.replace(".__main__", ""), "--help")
    assert status == 0, err
    assert "example" in out


def test_there_are_commands():
    assert "edgesdk.demo.__main__" in COMMANDS and "edgesdk.bench.__main__" in COMMANDS
