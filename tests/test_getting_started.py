"""A newcomer's first hour: docs/getting-started.md, every command and program, in its order.

The folder is a scratch one. Programs and files get the names of their titles, blocks of text are
what the command before them has to print. ssh and scp go to a folder that stands for the other
machine: what the page copies there has to be enough.
"""

import re
import shutil
import sys
from pathlib import Path

import pages
import pytest

from edgesdk.addresses import free_port_pairs

PAGE = pages.ROOT / "docs" / "getting-started.md"
NOT_RUN = {
    "sudo apt-get install git make g++ python3-venv": "needs root and a network",
    "git clone REPOSITORY edgesdk": "the folder is made of this checkout instead",
    "cd edgesdk": "the same",
    "make demo": "installs; its parts are run by tests/demo, its rules by tests/test_makefile.py",
    ". .venv/bin/activate": "`python` is that of the tests",
    "sudo ufw allow proto tcp from 192.168.1.0/24 to any port 5600:5601": "changes the machine",
    "pip install -c constraints.txt torch onnx tqdm": "needs a network; the tests have them",
}
# What makes it cheap: one epoch, few images, short measurements.
CHANGES = [("--epochs 8", "--epochs 1"), ("bench pipeline", "bench pipeline --seconds 0.05")]
IMAGES_LEFT = {"train": 4, "test": 2}  # of each class
OTHER_TERMINALS = ("second terminal", "helper-pc")
SSH = 'host="$1"; shift; mkdir -p "$HOSTS/$host"; cd "$HOSTS/$host" && exec sh -c "$*"\n'
SCP = 'for last; do :; done; exec cp -r "${@:1:$(($# - 1))}" "$HOSTS/${last%%:*}/${last#*:}"\n'


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "edgesdk"
    folder.mkdir()
    pages.shipped(folder)
    for name in ("README.md", "constraints.txt"):
        shutil.copy(str(pages.ROOT / name), str(folder))
    environment = pages.environment(tmp_path, {"ssh": SSH, "scp": SCP})
    scp = tmp_path / "bin" / "scp"
    scp.write_text(scp.read_text().replace("/bin/sh", "/bin/bash"))
    environment["HOSTS"] = str(tmp_path / "hosts")
    return folder, environment


class Newcomer:
    """Does what the page says, block after block."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.hosts = Path(environment["HOSTS"])
        self.environment = environment
        self.output = ""
        self.workers = []
        ports = free_port_pairs(4)
        self.addresses = {
            "127.0.0.1:5600": "127.0.0.1:{}".format(ports[0]),
            "127.0.0.1:5610": "127.0.0.1:{}".format(ports[1]),
            "192.168.1.10:5600": "127.0.0.1:{}".format(ports[2]),
            "192.168.1.11:5600": "127.0.0.1:{}".format(ports[3]),
        }

    def do(self, block):
        if block.title in OTHER_TERMINALS:
            (command,) = pages.commands_of(block)
            folder = self.folder
            if block.title != "second terminal":
                folder = self.hosts / block.title / "edgesdk"
            self.workers.append(pages.start(command, folder, self.environment))
        elif block.title:
            text = block.text
            if block.language == "toml":
                for given, free in self.addresses.items():
                    text = text.replace(given, free)
            (self.folder / block.title).write_text(text)
        elif block.language == "sh":
            for command in pages.commands_of(block):
                self.run(command)
        elif block.language == "text":
            assert block.text == self.output

    def run(self, command):
        if command in NOT_RUN:
            return
        for given, cheap in CHANGES:
            command = command.replace(given, cheap)
        self.output = pages.run(command, self.folder, self.environment)
        if "application.py" in command:
            said = pages.stop(self.workers.pop())
            assert re.search(r"^ *\d+  tasks computed$", said, re.MULTILINE), said
            assert "the helper answered some" in self.output
        if "write_photos.py" in command:
            self.leave_few_photos()

    def leave_few_photos(self):
        for folder in (self.folder / "photos").glob("*/*"):
            for path in sorted(folder.glob("*.png"))[IMAGES_LEFT[folder.parent.name] :]:
                path.unlink()


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 9), reason="training needs Python 3.9")
def test_every_step_works(place):
    newcomer = Newcomer(*place)
    try:
        for block in pages.fenced(PAGE):
            newcomer.do(block)
    finally:
        for worker in newcomer.workers:
            worker.kill()
    assert (newcomer.folder / "plot.png").exists()
    assert not (newcomer.hosts / "helper-pc/edgesdk/keys/robot.secret").exists()


def test_what_is_not_run_is_there():
    assert set(NOT_RUN) <= set(pages.commands(PAGE))


def test_every_block_has_a_place():
    """A program without a title would be shown, and never run."""
    for block in pages.fenced(PAGE):
        assert block.title or block.language in ("sh", "text"), block.text
