"""What the documents say is true: their programs and commands run, their links lead somewhere."""

import contextlib
import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_ensemble as te
from pages import (
    DOCUMENTS,
    ROOT,
    anchors,
    blocks,
    code,
    commands,
    environment,
    fenced,
    links,
    name_of,
    run,
    shipped,
    start,
    stop,
)

import edgesdk
from edgesdk import digits
from edgesdk.bundle import read_bundle
from edgesdk.cluster import local_cluster_text, read_cluster
from edgesdk.demo.processes import write_cluster
from edgesdk.features import write_features
from edgesdk.keys import make_keys
from edgesdk.outcomes import outcomes_from_logits, write_outcomes

INSTALLS = "installs packages"
TRAINS = "trains for minutes or hours; tests/test_getting_started.py runs its like"
NEEDS_ROOT = "changes the machine"
MEASURES = "measures for minutes; tests/bench runs it briefly"
# Commands that no test runs as they stand, and why not. All others run, in a scratch folder.
NOT_RUN = {
    "git clone REPOSITORY edgesdk && cd edgesdk": "this is the clone",
    "make demo": INSTALLS + "; tests/demo runs its parts",
    "make test": "this is it",
    "make lint": INSTALLS,
    "make docs": INSTALLS + "; tests/test_docs.py builds the site",
    "make test-device": INSTALLS,
    "make soak SEEDS=100000": "takes hours; tests/test_soak.py does some",
    "python -m edgesdk.train fit": TRAINS,
    "python -m edgesdk.train export": TRAINS,
    "python -m edgesdk.train calibrate": TRAINS,
    "python -m edgesdk.train distill": TRAINS,
    "python -m edgesdk.train compare": TRAINS + "; tests/train/strategies runs it short",
    "python -m edgesdk.train evaluate": TRAINS,
    "python -m edgesdk.train bottleneck": TRAINS + "; tests/train/bottlenecks runs it short",
    "python -m edgesdk.train reproduce distree": TRAINS + "; tests/train/distree runs it short",
    "python -m edgesdk.train reproduce mdi-exit": "takes minutes; tests/train/mdi_exit runs it",
    "python -m edgesdk.bench pipeline": MEASURES,
    "python -m edgesdk.bench peers": MEASURES,
    "python -m edgesdk.bench link": MEASURES,
    "python -m edgesdk.bench plan": MEASURES,
    "python -m edgesdk.bench scale": MEASURES,
    "python -m edgesdk.bench ensemble engines/students": "needs what was trained before",
    "python -m edgesdk.bench ensemble DIR": "names a place; tests/bench/test_ensemble.py has one",
    "python -m edgesdk.bench engine --bundle DIR --profile FILE": "names a place; run where one is",
    "python -m edgesdk.build engines": "needs a GPU; tests/build runs it on doubles",
    "pip wheel": "needs a cross compiler",
    "export CC=": "the same",
    "pip install": INSTALLS,
    "EDGESDK_BUILD_NATIVE=yes ": INSTALLS,
    "python3 -m venv ": INSTALLS,
    "export PATH=": INSTALLS,
    "python -m edgesdk.bench engine --backend tensorrt": "needs a GPU",
    ". ~/edgesdk-venv/bin/activate": INSTALLS,
    "sudo ": NEEDS_ROOT,
    "python -m edgesdk.top": "looks at workers that run; tests/top does",
    "python -m edgesdk.push": "needs ssh to other machines; tests/push has one",
    "journalctl -u edgesdk-worker -f": NEEDS_ROOT,
}
CHEAPER = {  # what is added, by the begin of the command
    "python -m edgesdk.simulate examples/scenarios/chaos.toml": "",  # its faults take their time
    "python -m edgesdk.simulate examples/scenarios/slow-worker.toml": "",  # so does what it shows
    "python -m edgesdk.simulate examples": "--duration-s 8",
    "python -m edgesdk.simulate students.toml": "",  # a student is killed at 20 s
    "python -m edgesdk.bench engine": "--seconds 0.05",
    "python -m edgesdk.bench": "--seconds 0.01",
}
RUNS_UNTIL_TOLD = "python -m edgesdk.worker"
PIECES = {  # programs that need what stands around them
    "docs/upgrades.md": "tests/faults/test_upgrades.py does it all, with real processes",
}
RUN_ANYWAY = "python -m edgesdk.bench engine --bundle engines"  # a like of it is not run
ELSEWHERE = {"docs/getting-started.md"}  # tests/test_getting_started.py


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


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A scratch checkout with the files that documents speak of, and the environment there."""
    folder = tmp_path_factory.mktemp("documents")
    shipped(folder)
    for name in ("robots.toml", "fleet.toml"):
        names = re.findall(r'^name = "(.+)"', (ROOT / "examples/robots.toml").read_text(), re.M)
        names = names + ["nano-2"] if name == "robots.toml" else ["robot", "helper"]
        bundle = str(folder / "engines/wrn16_1-digits/1")
        text = local_cluster_text(bundle, {each: [] for each in names})
        (folder / name).write_text(text)
        make_keys(read_cluster(str(folder / name)))
    shutil.copytree(str(folder / "engines/wrn16_1-digits/1"), str(folder / "engines/mine/2"))
    given = "from edgesdk import digits\ncamera = digits.load_digits_split('test').images[:40]\n"
    program = blocks(ROOT / "README.md", "python")[2]
    (folder / "application.py").write_text("import edgesdk\n" + given + program)
    write_outcomes(str(folder / "cifar10.npz"), drawn_outcomes(folder))
    write_traces(folder)
    write_students(folder)
    return folder, environment(folder, {})


def drawn_outcomes(folder):
    """Some answers of the CIFAR-10 network, made up: its images are not in the repository."""
    model_id = read_bundle(str(folder / "engines/wrn16_1-cifar10/1")).manifest.model_id
    logits = np.random.RandomState(0).randn(7, 60, 10).astype(np.float32) * 4
    labels = logits[-1].argmax(axis=1)
    split = ["test", "calibration"] * 30
    return outcomes_from_logits(model_id, "cifar10", split, labels, logits)


def write_students(folder):
    """Two students that are computed by hand, what they say of some images, and a fleet of them."""
    te.write_tiny_ensemble(folder / "engines/students/1")
    write_features(folder / "students.npz", te.features_by_hand([0.1, 0.3, 0.45, 0.55, 0.9]))
    (block,) = [b for b in fenced(ROOT / "docs/simulation.md") if b.title == "students.toml"]
    (folder / block.title).write_text(block.text)


def write_traces(folder):
    """A fleet of three did something, and each worker wrote down what it was told."""
    names = ("camera", "nano-1", "nano-2")
    insecure = "\n[security]\ninsecure = true\n"
    bundle = str(folder / "engines/wrn16_1-digits/1")
    cluster = folder / "three.toml"
    cluster.write_text(local_cluster_text(bundle, {name: [] for name in names}) + insecure)
    (folder / "traces").mkdir()
    with contextlib.ExitStack() as fleet:
        for name in names:
            trace = str(folder / "traces" / (name + ".trace"))
            pipe = edgesdk.Pipeline.open(cluster=str(cluster), name=name, trace=trace)
            fleet.enter_context(pipe)
        assert pipe.wait_until_up(timeout=60)
        pipe.infer(digits.load_digits_split("test").images[:3])
    for path in (folder / "traces").iterdir():
        shutil.copy(str(path), str(folder))
    shutil.copy(trace, str(folder / "robot.trace"))


@pytest.mark.slow
@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_commands_run(path, place):
    folder, surroundings = place
    workers = []
    try:
        for command in [] if name_of(path) in ELSEWHERE else commands(path):
            if command.startswith(RUNS_UNTIL_TOLD):
                workers.append(start(command, folder, surroundings))
            elif not command.startswith(tuple(NOT_RUN)) or command.startswith(RUN_ANYWAY):
                more = [CHEAPER[begin] for begin in CHEAPER if command.startswith(begin)]
                run(" ".join([command] + more[:1]), folder, surroundings)
    finally:
        for said in [stop(worker) for worker in workers]:
            assert "listens at" in said


def test_what_is_not_run_is_there():
    found = [command for path in DOCUMENTS for command in commands(path)]
    found = [command for command in found if not command.startswith(RUN_ANYWAY)]
    stale = [begin for begin in NOT_RUN if not any(each.startswith(begin) for each in found)]
    assert stale == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_the_programs_run(path, place, monkeypatch, capsys):
    if name_of(path) in ELSEWHERE | {"README.md"} | set(PIECES):
        pytest.skip(PIECES.get(name_of(path), "has a test of its own"))
    monkeypatch.chdir(place[0])
    for program in blocks(path, "python"):
        given = {"edgesdk": edgesdk, "camera": list(digits.load_digits_split("test").images[:9])}
        exec(compile(program, name_of(path), "exec"), given)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    for file, anchor in links(path):
        target = path.parent / file if file else path
        assert target.exists(), file
        if anchor:
            assert anchor in anchors(target), "{}#{}".format(file, anchor)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_make_targets_exist(path):
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][\w-]+)", "\n".join(code(path)))) <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_take_the_options_shown(path):
    for text in code(path):
        for command, options in re.findall(r"python -m (edgesdk(?:\.\w+)+(?: [a-z]+)?)(.*)", text):
            shown = re.findall(r"--[a-z-]+", options)
            answer = help_of(command)
            assert [option for option in shown if option not in answer] == []


@functools.lru_cache(maxsize=None)
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
