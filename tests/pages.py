"""The documents as tests read them: blocks, commands, headings, links."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/reference/*.md",
        "engines/*.md",
        "examples/*.md",
        "csrc/*.md",
    )
    for path in ROOT.glob(pattern)
)
FENCED = re.compile(r'^```(\w*)(?: title="([^"\n]*)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# In a block without a language, what begins like this is a command; the rest is output.
COMMAND = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:python3?|make|pip|sudo|git|cp|scp|ssh|mkdir|rm|cd|export|\.|systemctl"
    r"|journalctl|nc)\s"
)
REMARK = re.compile(r"\s{2,}(?:# |[a-z])")


class Block(NamedTuple):
    """A fenced block: its language or "", its title or "", its text."""

    language: str
    title: str
    text: str


def name_of(path: Path) -> str:
    """ "docs/cluster.md"."""
    return path.relative_to(ROOT).as_posix()


def fenced(path: Path) -> List[Block]:
    """The fenced blocks of a document, in order."""
    return [Block(*found) for found in FENCED.findall(path.read_text())]


def blocks(path: Path, language: str) -> List[str]:
    """The texts of the fenced blocks of one language."""
    return [block.text for block in fenced(path) if block.language == language]


def code(path: Path) -> List[str]:
    """Every fenced block and every `inline` piece of a document."""
    rest = FENCED.sub("", path.read_text())
    return [block.text for block in fenced(path)] + re.findall(r"`([^`\n]+)`", rest)


def commands_of(block: Block) -> List[str]:
    """The commands of a block, without remarks; one may go over several lines, within quotes."""
    if block.language not in ("", "sh"):
        return []
    found: List[str] = []
    for line in block.text.splitlines():
        if found and not is_whole(found[-1]):
            found[-1] += "\n" + line
        elif COMMAND.match(line) or block.language == "sh":
            found.append(REMARK.split(line)[0].strip())
    return found


def is_whole(command: str) -> bool:
    """Whether all quotes are closed."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def commands(path: Path) -> List[str]:
    """All commands in the blocks of a document, in order."""
    return [command for block in fenced(path) for command in commands_of(block)]


def links(path: Path) -> List[Tuple[str, str]]:
    """(file, anchor) of every link that stays in the repository; both may be empty."""
    found = re.findall(r"\]\(([^()\s]+)\)", FENCED.sub("", path.read_text()))
    inner = [target for target in found if not target.startswith("https://")]
    return [(target.partition("#")[0], target.partition("#")[2]) for target in inner]


def anchors(path: Path) -> List[str]:
    """The anchors of a document's headings, as repository viewers and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return [heading.replace(" ", "-") for heading in plain]


def environment(folder: Path, programs: Dict[str, str]) -> Dict[str, str]:
    """Where `python` is ours and imports this checkout; `programs` are scripts of sh by name."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    python = 'exec "{}" "$@"\n'.format(sys.executable)
    for name, script in {"python": python, **programs}.items():
        path = bin_folder / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {
        **os.environ,
        "PATH": "{}{}{}".format(bin_folder, os.pathsep, os.environ["PATH"]),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def shipped(folder: Path) -> None:
    """What a checkout has and documents use: bundles and examples."""
    shutil.copytree(str(ROOT / "engines"), str(folder / "engines"))
    shutil.copytree(str(ROOT / "examples"), str(folder / "examples"))


def run(command: str, folder: Path, environment: Dict[str, str]) -> str:
    """Standard output of a command, which must succeed."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=str(folder),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=120,
    )
    assert done.returncode == 0, "{}\n{}\n{}".format(command, done.stdout, done.stderr)
    return done.stdout


def start(command: str, folder: Path, environment: Dict[str, str]) -> "subprocess.Popen[str]":
    """A command that goes on until it is told to end, by `stop`."""
    return subprocess.Popen(
        ["bash", "-c", "exec " + command],
        cwd=str(folder),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )


def stop(worker: "subprocess.Popen[str]") -> str:
    """Tell a worker to leave, as Ctrl-C does, once it has begun; what it said."""
    assert worker.stdout is not None
    said = ""
    for line in iter(worker.stdout.readline, ""):
        said += line
        if "listens at" in line:
            break
    worker.terminate()
    try:
        said += worker.communicate(timeout=30)[0]
    finally:
        worker.kill()
    assert worker.returncode == 0, said
    return said
