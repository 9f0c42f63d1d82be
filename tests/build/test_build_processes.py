"""What becomes of a child is told apart; and what a child imports."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import builds
import pytest
import tiny
from trt_double import environment

from edgesdk.build import processes
from edgesdk.errors import BackendUnavailable, EngineError

QUIET = lambda seconds: None  # noqa: E731


def ask_program(monkeypatch, program, tick=QUIET):
    """`ask` with a program of a test in place of the child's."""
    monkeypatch.setattr(processes, "_CHILD", program)
    return processes.ask("look", {}, "segment 7", tick)


ANSWER = "import json, sys; request = json.load(sys.stdin); "


@pytest.mark.parametrize(
    "program, said",
    [
        ("import os; os.kill(os.getpid(), 9)", r"^segment 7: .* was killed \(SIGKILL\).*swap file"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV and said nothing"),
        ("import os; os.kill(os.getpid(), 40)", "was ended by signal 40"),
        ("raise KeyError('x')", "ended with status 1, saying: KeyError: 'x'; expected an answer"),
        ("print('no JSON')", "ended with status 0 and said nothing"),
        ("import sys; sys.exit('sorry')", "ended with status 1, saying: sorry"),
    ],
)
def test_each_end_is_told_apart(monkeypatch, program, said):
    with pytest.raises(EngineError, match=said):
        ask_program(monkeypatch, program)


def test_errors_are_raised_as_they_were(monkeypatch):
    program = ANSWER + "print(json.dumps({'error': ['BackendUnavailable', 'no pycuda']}))"
    with pytest.raises(BackendUnavailable, match=r"^no pycuda$"):
        ask_program(monkeypatch, program)


def test_it_ticks_while_the_child_works(monkeypatch):
    monkeypatch.setattr(processes, "TICK_S", 0.05)
    ticks = []
    program = ANSWER + "import time; time.sleep(0.6); print(json.dumps({'answer': {}}))"
    assert ask_program(monkeypatch, program, ticks.append) == {}
    assert len(ticks) >= 2 and ticks == sorted(ticks)


def test_large_requests_and_answers_pass(monkeypatch):
    monkeypatch.setattr(processes, "TICK_S", 0.01)
    program = ANSWER + "import time; time.sleep(0.2); print(json.dumps({'answer': request}))"
    monkeypatch.setattr(processes, "_CHILD", program)
    answer = processes.ask("look", {"text": "x" * (1 << 20)}, "all", QUIET)
    assert len(answer["text"]) == 1 << 20 and answer["parent"] == os.getpid()


def test_an_interrupt_ends_the_child(monkeypatch):
    monkeypatch.setattr(processes, "TICK_S", 0.05)
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        processes.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[0]
    )

    def interrupt(seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_program(monkeypatch, "import time; time.sleep(600)", interrupt)
    assert started[0].returncode == -signal.SIGKILL


def test_a_process_that_cannot_be_started_is_an_error_of_ours(monkeypatch):
    monkeypatch.setattr(processes.sys, "executable", "no such program")
    with pytest.raises(processes.EdgeError, match="no process can be started"):
        processes.ask("look", {}, "all", QUIET)


# Who imports what: the double itself computes with onnxruntime, so its imports do not count.
IMPORTERS = """
import builtins, sys
from edgesdk.build import child
imported, plain = set(), builtins.__import__

def note(name, globals=None, *rest):
    who = (globals or {}).get("__name__", "")
    if who.startswith("edgesdk"):
        imported.add(name.split(".")[0])
    return plain(name, globals, *rest)

builtins.__import__ = note
child.main()
assert "tensorrt" in imported and "torch" not in sys.modules, imported
print(sorted(imported & {"torch", "onnxruntime", "onnx", "tensorrt"}), file=sys.stderr)
"""


def test_the_child_that_builds_imports_neither_torch_nor_onnxruntime(tmp_path):
    onnx = tmp_path / "a.onnx"
    onnx.write_bytes(tiny.tiny_files()["onnx/segment_1.onnx"])
    shape = [2, tiny.SIZE, tiny.SIZE]
    request = {
        "task": "build", "parent": os.getpid(), "onnx": "a", "path": str(onnx),
        "input_shape": shape, "output_shape": shape, "precision": "fp16", "max_batch": 2,
        "optimum_batch": 1, "workspace_bytes": 1 << 20, "timing_cache": None,
        "out": str(tmp_path / "a.engine"), "golden": None, "checked_as": "fp16",
    }  # fmt: skip
    surroundings = environment("8.2.1")
    surroundings["PYTHONPATH"] = str(builds.ROOT) + os.pathsep + surroundings["PYTHONPATH"]
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTERS],
        env=surroundings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = process.communicate(json.dumps(request).encode("ascii"), timeout=100)
    assert "answer" in json.loads(out.decode()), err
    assert err.decode().splitlines() == ["['tensorrt']"]


def test_the_parent_imports_no_library_that_computes():
    program = "import sys, edgesdk.build.__main__; print(set(sys.modules) & {%r, %r, %r, %r})"
    names = ("torch", "onnxruntime", "onnx", "tensorrt")
    out = subprocess.check_output([sys.executable, "-c", program % names], cwd=str(builds.ROOT))
    assert out.decode().strip() == "set()"


def test_a_child_ends_with_whoever_asked():
    """Its parent is told as one that is not its parent, as after a kill."""
    request = json.dumps({"task": "look", "parent": os.getpid() + 1}).encode("ascii")
    program = "import time; from edgesdk.build import child; child.TASKS['look'] = 'x'\n"
    program += "child.importlib = type('I', (), {'import_module': lambda *a: time.sleep(600)})\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program + "child.main()"],
        cwd=str(builds.ROOT),
        stdin=subprocess.PIPE,
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    begin = time.monotonic()
    process.communicate(request)
    timer.cancel()
    assert process.returncode == 1 and time.monotonic() - begin < 50
