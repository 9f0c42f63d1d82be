"""Builds on machines that are doubles: what these tests share."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import tiny
from onnx import TensorProto, helper, numpy_helper
from trt_double import environment

from edgesdk.bundle import read_bundle, write_bundle  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "edgesdk.build"]
ORIN = {"name": "Orin", "compute_capability": (8, 7), "fast_int8": True}
WAIT_S = 60.0


class Done:
    """What a command said, and what a GPU would have complained of."""

    def __init__(self, status, out, err, complaints):
        self.status, self.out, self.err, self.complaints = status, out, err, complaints

    @property
    def told(self):
        return json.loads(self.out)


def start(bundle, version, *arguments, **machine):
    """The process of a build."""
    complaints = str(bundle.path) + ".complaints"
    surroundings = environment(version, **machine)
    paths = [str(ROOT), surroundings["PYTHONPATH"]]
    surroundings.update(EDGESDK_TRT_COMPLAINTS=complaints, PYTHONPATH=os.pathsep.join(paths))
    process = subprocess.Popen(
        COMMAND + [bundle.path] + list(arguments),
        cwd=str(ROOT),
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    process.complaints = complaints
    return process


def end(process):
    """What it said until its end."""
    out, err = process.communicate(timeout=WAIT_S)
    complaints = ""
    if os.path.exists(process.complaints):
        with open(process.complaints) as file:
            complaints = file.read()
        os.remove(process.complaints)
    return Done(process.returncode, out, err, complaints)


def run(bundle, version, *arguments, **machine):
    """A build to its end."""
    return end(start(bundle, version, *arguments, **machine))


def children(process):
    """Ids of the processes that a process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == process.pid and words[0] != "Z":
            found.append(int(path.parent.name))
    return found


def is_alive(pid):
    try:
        return Path("/proc/{}/stat".format(pid)).read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, what):
    """Wait for `condition()`, and return what it gave."""
    end_at = time.monotonic() + WAIT_S
    while time.monotonic() < end_at:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to be: " + what)


def start_for_ever(bundle):
    """A build that does not end, and the process in which it is stuck."""
    process = start(bundle, "8.2.1", "--unchecked", broken=["builds for ever"])
    folder = Path(bundle.path) / "compiled"
    wait_until(lambda: list(folder.glob(".building-*")), "a build")  # all other children have ended
    (child,) = wait_until(lambda: children(process), "a child")
    return process, child


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def in_compiled(bundle):
    """Names of what a build left, without its lock."""
    folder = Path(bundle.path) / "compiled"
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


# --- bundles --------------------------------------------------------------------------------------


def tiny_with(path, **files):
    """The tiny bundle with other stages: segment_1=bytes."""
    content = tiny.tiny_files()
    content.update({"onnx/{}.onnx".format(name): data for name, data in files.items()})
    return write_bundle(path, tiny.tiny_manifest(), content)


def of_one_stage(path):
    """The first segment of the tiny network alone: what a test of troubles needs to build."""
    manifest, files = tiny.tiny_manifest(), tiny.tiny_files()
    part = manifest["parts"][0]
    for table in (part["segments"], part["exits"], part["plans"]["full"]["stages"]):
        del table[1:]
    manifest["policies"]["calibrated"]["thresholds"] = [0.0]
    used = ("onnx/segment_0.onnx", "heads/exit_0.npz")
    return write_bundle(path, manifest, {name: files[name] for name in used})


def with_graph_head(path):
    """The tiny bundle whose last exit is an ONNX file: the mean of each channel as its logit."""
    manifest, files = tiny.tiny_manifest(), tiny.tiny_files()
    manifest["parts"][0]["exits"][2]["head"] = {"kind": "graph", "file": "heads/exit_2.onnx"}
    del files["heads/exit_2.npz"]
    nodes = [
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["output"]),
    ]
    files["heads/exit_2.onnx"] = model(nodes, output=(2,))
    return write_bundle(path, manifest, files)


def model(nodes, output=(2, tiny.SIZE, tiny.SIZE), opset=13, weights=()):
    """An ONNX file from two channels of the tiny network to `output`."""
    shapes = {"features": (2, tiny.SIZE, tiny.SIZE), "output": output}
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch",) + shape)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(nodes, "stage", values[:1], values[1:], list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 7
    onnx.checker.check_model(made)
    return made.SerializeToString()


def one_node(operator, opset=13):
    """An ONNX file of one node."""
    return model([helper.make_node(operator, ["features"], ["output"], name="odd")], opset=opset)


def quantized():
    """A stage that rounds its features to INT8 and back, and changes nothing else."""
    weights = [
        numpy_helper.from_array(np.array(1 / 64, np.float32), "scale"),
        numpy_helper.from_array(np.array(0, np.int8), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["features", "scale", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["output"]),
    ]
    return model(nodes, weights=weights)
