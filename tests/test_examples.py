"""Every example runs in a process of its own, from the repository, and passes its own check.

04_ros2_node.py runs until it is told to end: tests/test_ros2_node.py does it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgesdk import digits

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
ENDLESS = "04_ros2_node.py"
# What some need beyond `make demo`, and which arguments make them need it.
NEEDS = [
    ("03_camera.py", "cv2", ["0"], "pip install opencv-python-headless"),
    (ENDLESS, "rclpy", [], "needs ROS 2"),
    ("07_own_network.py", "torch", [], 'pip install ".[train]"'),
    ("08_compare_policies.py", "matplotlib", [], 'pip install ".[demo]"'),
]
# What clusters log on standard error: somebody is not up yet, or no more.
LOGGED = re.compile(r"\S+ \S+ WARNING edgesdk\.|robot-\d: (sessions_lost|leases_expired)")
CLUSTERS = ("02_two_processes.py", "05_shared_shelf.py")
WITHOUT = "import runpy, sys; sys.modules[{!r}] = None; sys.argv = {!r}; runpy.run_path({!r})"


def run(*arguments):
    """The process of `python ARGUMENTS`, ended."""
    return subprocess.run(
        (sys.executable,) + arguments,
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=240,
    )


def skip_without(library):
    """What is not installed is not tested; `pytest -ra` says so."""
    pytest.importorskip(library, reason="{} is not installed".format(library))


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_ends_in_a_check(name):
    last = (ROOT / "examples" / name).read_text().rstrip().splitlines()[-1]
    assert last.strip().startswith("assert ")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != ENDLESS])
def test_it_runs(name):
    if name == "07_own_network.py":  # on a device there is no torch
        skip_without("torch")
    done = run("examples/" + name)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert [line for line in said if name not in CLUSTERS or not LOGGED.match(line)] == []
    assert 0 < len(done.stdout.splitlines()) < 100


@pytest.mark.parametrize(("name", "library", "arguments", "said"), NEEDS)
def test_one_sentence_says_what_has_to_be_installed(name, library, arguments, said):
    path = "examples/" + name
    done = run("-c", WITHOUT.format(library, [path] + arguments, path))
    assert done.returncode == 1 and done.stdout == ""
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A folder of frames and, where OpenCV is installed, the same as a film of 50 Hz; blue ink."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("film") / "frames"
    folder.mkdir()
    for number, scan in enumerate(digits.load_digits_split("test").images[:40]):
        gray = Image.fromarray(scan).resize((320, 240), Image.BILINEAR)
        name = "{:03}.{}".format(number, "jpg" if number % 2 else "png")
        Image.merge("RGB", (gray.point(lambda _: 0), gray, gray)).save(str(folder / name))
    (folder / "notes.txt").write_text("not a frame")
    return folder


def ended(done):
    """How many frames there were, and how they ended, as the camera example prints it."""
    assert done.returncode == 0, done.stderr
    frames = int(re.search(r"^(\d+) frames, ", done.stdout, re.M).group(1))
    return frames, re.search(r"^how they ended: (.*)$", done.stdout, re.M).group(1)


def test_the_camera_loop_answers_a_folder(film):
    frames, how = ended(run("examples/03_camera.py", str(film)))
    assert frames == 40 and "result." in how and "failed" not in how


def test_the_camera_loop_answers_a_film(film):
    skip_without("cv2")
    import cv2

    path = str(film.parent / "film.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 50.0, (320, 240))
    for name in sorted(film.glob("*.*g")):
        writer.write(cv2.imread(str(name)))
    writer.release()
    frames, how = ended(run("examples/03_camera.py", path))
    assert frames == 40 and "result." in how and "failed" not in how


@pytest.mark.parametrize("name", ["nothing.mp4", "7"])
def test_a_camera_that_is_not_there_is_refused(name, tmp_path):
    skip_without("cv2")
    done = run("examples/03_camera.py", name)
    assert done.returncode == 1
    last = "{}: found no folder, and no camera or video that OpenCV opens".format(name)
    assert done.stderr.splitlines()[-1] == last


def test_a_folder_without_images_is_refused(tmp_path):
    done = run("examples/03_camera.py", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("0 frames and no answer: is that a camera")


def test_the_list_is_complete_and_in_order():
    listed = re.findall(r"^\|.*`(\w+\.py)`", (ROOT / "examples" / "README.md").read_text(), re.M)
    assert sorted(listed) == EXAMPLES
    assert [int(name[:2]) for name in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))
