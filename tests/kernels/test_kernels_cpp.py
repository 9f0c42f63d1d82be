"""The C++ kernels without Python, for every instruction set: csrc/test/kernels_test.cpp on the
cases of the numpy reference. aarch64 runs under qemu as the CPU of a Jetson Nano."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ["-DEDGESDK_HAS_TARGET_CLONES=OFF"]
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all -g"
BUILDS = {
    "baseline": BASELINE,
    "dispatched": [],  # AVX2 where the CPU has it
    "sanitized": BASELINE + ["-DCMAKE_CXX_FLAGS=" + SANITIZE],
    "aarch64": ["-DCMAKE_TOOLCHAIN_FILE={}".format(ROOT / "csrc" / "test" / "aarch64.cmake")],
}
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
KERNELS = ["exit_head", "exit_scores", "exit_feature", "cosine_difference"]
KERNELS += ["gather_rows", "quantize_u8", "dequantize_u8"]
VECTOR_INSTRUCTION = {"x86_64": r"\b(?:add|mul)ps\s", "aarch64": r"\bf(?:add|mul)\s+v\d+\.4s"}


def run(*command, cwd=None):
    """Status, and everything a command printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd and str(cwd),
        env=dict(os.environ, EDGESDK_PYTHON=sys.executable),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    return done.returncode, done.stdout


def skip_unless_possible(build):
    if os.environ.get("EDGESDK_BUILD_NATIVE") == "no" or not shutil.which("cmake"):
        pytest.skip("no cmake, or EDGESDK_BUILD_NATIVE=no")
    if build == "aarch64":
        if not EMULATOR or run(sys.executable, "-m", "ziglang", "version")[0] != 0:
            pytest.skip("no qemu-aarch64 or no ziglang; see make test-aarch64")
    elif not shutil.which("c++"):
        pytest.skip("no C++ compiler")


class Build:
    """One build of kernels_test."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        status, printed = run("cmake", "-DEDGESDK_BUILD_TESTS=ON", *BUILDS[name], ROOT, cwd=folder)
        assert status == 0, printed
        status, printed = run("cmake", "--build", ".", cwd=folder)
        assert status == 0, printed
        self.emulator = [EMULATOR, "-cpu", "cortex-a57"] if name == "aarch64" else []

    def __call__(self, *arguments):
        return run(*self.emulator, self.folder / "kernels_test", *arguments)

    def assembly(self, source):
        """What the compiler makes of one source file, with the build's own flags."""
        status, printed = run("make", "{}.s".format(Path(source).with_suffix("")), cwd=self.folder)
        assert status == 0, printed
        (made,) = self.folder.glob("**/{}.s".format(Path(source).name))
        return made.read_text("utf-8", "ignore")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A function that gives the build of a name, made once."""
    made = {}

    def build(name):
        skip_unless_possible(name)
        if name not in made:
            made[name] = Build(name, tmp_path_factory.mktemp(name))
        return made[name]

    return build


@pytest.fixture(params=sorted(BUILDS))
def build(request, built):
    return built(request.param)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "cases"
    golden.write(path)
    return path


@pytest.mark.slow
def test_every_case_agrees_with_the_reference(build, cases):
    status, printed = build(cases)
    assert status == 0, printed
    assert printed.endswith("all agree\n")
    assert len(re.findall(r" \d+ cases, largest error 0\.\d\d of what is allowed", printed)) == 7


@pytest.mark.parametrize("name", ["exit_head", "quantize_u8"])
def test_the_loops_are_vectorised(build, name):
    if build.name == "sanitized":
        pytest.skip("checks between the instructions keep loops scalar")
    machine = "aarch64" if build.name == "aarch64" else os.uname().machine
    assembly = build.assembly("csrc/cpu/{}.cpp".format(name))
    assert len(re.findall(VECTOR_INSTRUCTION[machine], assembly)) >= 4
    assert ("%ymm" in assembly) == (build.name == "dispatched" and machine == "x86_64")


class TestItCanFail:
    """The program itself, on files that are wrong."""

    @pytest.fixture
    def program(self, built):
        return built("baseline")

    @pytest.mark.parametrize("kernel", KERNELS)
    def test_one_wrong_value_per_case(self, program, tmp_path, monkeypatch, kernel):
        whole = golden.case

        def spoiled(name, sizes, inputs, outputs, status=golden.OK):
            expected, tolerance = outputs[-1]
            if name == kernel and expected.size:
                expected = expected.copy()
                expected.flat[-1] += 1
            return whole(name, sizes, inputs, outputs[:-1] + [(expected, tolerance)], status)

        monkeypatch.setattr(golden, "case", spoiled)
        golden.write(tmp_path / "cases")
        status, printed = program(tmp_path / "cases")
        assert status == 1
        assert re.match(kernel + r": [\w, ]+\[\d+\] is .*, expected .* within ", printed)
        assert printed.endswith("WRONG\n")

    def test_another_status(self, program, tmp_path):
        nothing = np.zeros(0, np.uint8)
        content = golden.case("gather_rows", (1, 0, 0), [nothing] * 2, [(nothing, 0)], status=2)
        (tmp_path / "cases").write_bytes(content)
        assert "gather_rows: status[0] is 0, expected 2" in program(tmp_path / "cases")[1]

    @pytest.mark.parametrize(
        "spoil, message",
        [
            (lambda content: content[:-1], "the file ends too early"),
            (lambda content: b"", "some kernels have no case"),
            (lambda _: golden.case("exit_door", [0], [], []), "no kernel is called exit_door"),
            (lambda _: golden.case("exit_scores", [0, 1], [], []), "exit_scores: too few arrays"),
        ],
    )
    def test_files_that_are_none(self, program, cases, tmp_path, spoil, message):
        (tmp_path / "cases").write_bytes(spoil(cases.read_bytes()))
        status, printed = program(tmp_path / "cases")
        assert (status, printed.splitlines()[-1]) == (2, "kernels_test: " + message)

    def test_a_missing_file(self, program, tmp_path):
        status, printed = program(tmp_path / "nowhere")
        assert (status, "cannot open" in printed) == (2, True)
