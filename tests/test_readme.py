"""What the documents say is true: their programs run, their commands and links exist."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgesdk
from edgesdk import digits
from edgesdk.demo.processes import write_cluster

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "engines/*.md", "examples/*.md", "csrc/*.md")
    for path in ROOT.glob(pattern)
)


def blocks(path, language):
    """The fenced blocks of one language in a document."""
    return re.findall(r"```{}\n(.*?)```".format(language), path.read_text(), re.DOTALL)


def test_the_programs_of_the_readme_run(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    images = digits.load_digits_split("test").images
    colour = np.repeat(images[:4, :, :, None], 3, axis=3).repeat(5, 1).repeat(5, 2)
    given = {"image": images[1], "batch": colour, "frame": colour[0], "camera": list(colour)}
    programs = blocks(ROOT / "README.md", "python")
    assert len(programs) == 3
    for program in programs[:2]:
        exec(compile(program, "README.md", "exec"), dict(given))
    first, *rest = capsys.readouterr().out.splitlines()
    promised = re.search(r"# (\w+ \d \w+)$", programs[0], re.MULTILINE).group(1)
    assert first == promised
    assert len(rest) == len(colour) + 1  # one line per frame of the stream, and the counts


def test_the_program_for_several_devices_runs(monkeypatch, tmp_path, capsys):
    scans = digits.load_digits_split("test")
    program = blocks(ROOT / "README.md", "python")[2]
    names = re.findall(r'^name = "(.+)"', (ROOT / "examples" / "robots.toml").read_text(), re.M)
    cluster = write_cluster(str(tmp_path), str(ROOT / "engines/wrn16_1-digits/1"), names, 1)
    Path(cluster).rename(tmp_path / "robots.toml")
    monkeypatch.chdir(tmp_path)
    exec(
        compile(program, "README.md", "exec"),
        {"edgesdk": edgesdk, "camera": list(scans.images[:4])},
    )
    assert sorted(capsys.readouterr().out.split()) == sorted(map(str, scans.labels[:4]))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_exist(path):
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][\w-]+)", "\n".join(code(path)))) <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_take_the_options_shown(path):
    for text in code(path):
        for command, options in re.findall(r"python -m (edgesdk(?:\.\w+)+(?: [a-z]+)?)(.*)", text):
            shown = re.findall(r"--[a-z-]+", options)
            answer = help_of(command)
            assert [option for option in shown if option not in answer] == []


def code(path):
    """Every fenced block and every `inline` piece of a document."""
    text = path.read_text()
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    return fenced + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def help_of(command):
    """What `python -m COMMAND --help` prints; the second word may be no subcommand."""
    words = command.split()
    answer = subprocess.run(
        [sys.executable, "-m", *words, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_version_is_in_the_changelog_or_unreleased():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased" in text or "## {}".format(edgesdk.__version__) in text
