"""Engines of the double in real bundles: what `python -m edgesdk.build` leaves, a shorter way."""

import glob
import os
import shutil
from types import SimpleNamespace

import cuda_double
import numpy as np
import onnxruntime
import trt_driver
from trt_bench import Log
from trt_double import double

from edgesdk.bundle import read_bundle
from edgesdk.engine_store import (
    Device,
    Engine,
    EngineKey,
    EngineSet,
    folder_of,
    read_set,
    write_set,
)
from edgesdk.manifest import sha256

MAX_BATCH = 8
NANO, CAPABILITY = "NVIDIA Tegra X1", (5, 3)


def stages_of(bundle):
    """(ONNX file, input shape per sample) of all that engines are built of in a bundle, each once:
    stages, graph heads, encoders and decoders."""
    found = {}
    for part in bundle.manifest.parts:
        for plan in part.plans.values():
            for stage in plan.stages:
                found[stage.file] = part.segments[stage.first_segment].input_shape
        for index, spec in enumerate(part.exits):
            if spec.kind == "graph":
                found[spec.file] = part.segments[index].output_shape
        for code in part.bottlenecks:
            found[code.encoder] = part.segments[code.border].input_shape
            found[code.decoder] = code.code_shape
    return sorted(found.items())


def build(path, version, machine, max_batch=MAX_BATCH, precision="fp32", conditions=None):
    """Engines of all stages of the bundle in folder `path`, with golden features; the set."""
    bundle = read_bundle(str(path))
    device = Device(version, machine.name, machine.compute_capability)
    key = EngineKey(device, precision, max_batch)
    folder = folder_of(bundle.path, key)
    trt = double(version, machine)
    flags = ("FP16",) if precision == "fp16" else ()
    with cuda_double.current(machine):
        made = [
            _engine(bundle, folder, trt, file, shape, max_batch, flags, conditions or {})
            for file, shape in stages_of(bundle)
        ]
    built = EngineSet(key, 100.0, tuple(made))
    write_set(folder, built)
    return built


def build_one(path, shape, version, machine, max_batch=MAX_BATCH):
    """An engine of one ONNX file; its bundle is the nearest folder with a manifest."""
    key = EngineKey(Device(version, machine.name, machine.compute_capability), "fp32", max_batch)
    bundle = os.path.dirname(str(path))
    while not os.path.exists(os.path.join(bundle, "manifest.json")):
        bundle = os.path.dirname(bundle)
    files = SimpleNamespace(file=lambda name: os.path.join(bundle, name))
    folder, trt = folder_of(bundle, key), double(version, machine)
    name = os.path.relpath(str(path), bundle)
    with cuda_double.current(machine):
        made = _engine(files, folder, trt, name, shape, max_batch, (), {})
    write_set(folder, EngineSet(key, 100.0, (made,)))


def replace_engine(path, onnx, content):
    """Put other bytes in the place of a stage's engine, as if they had been built."""
    (document,) = glob.glob(os.path.join(str(path), "compiled", "*", "engine.json"))
    folder = os.path.dirname(document)
    read = read_set(folder)
    made = [
        engine._replace(sha256=sha256(content), bytes=len(content))
        if engine.onnx == onnx
        else engine
        for engine in read.engines
    ]
    write_set(folder, read._replace(engines=tuple(made)))
    with open(os.path.join(folder, *read.engine(onnx).file.split("/")), "wb") as file:
        file.write(content)


def _engine(bundle, folder, trt, file, shape, max_batch, flags, conditions):
    with open(bundle.file(file), "rb") as opened:
        data = opened.read()
    (name,) = [each.name for each in _session(data).get_inputs()]
    shapes = [(batch,) + tuple(shape) for batch in (1, min(2, max_batch), max_batch)]
    plan = trt_driver.build_engine(trt, Log(trt).logger, data, name, *shapes, flags=flags)
    assert plan is not None, file
    stem = file.replace(".onnx", "")
    golden = np.random.RandomState(5).rand(min(2, max_batch), *shape).astype(np.float32)
    target = os.path.join(folder, *stem.split("/"))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target + ".engine", "wb") as out:
        out.write(bytes(plan))
    (golden_out,) = _session(data).run(None, {name: golden})
    np.savez(target + ".npz", features=golden, features_out=golden_out)
    error = 1e-3 if flags else 0.0
    return Engine(
        file, sha256(data), stem + ".engine", sha256(bytes(plan)), len(bytes(plan)),
        stem + ".npz", 7, 1.5, 0, error, dict(conditions),
    )  # fmt: skip


def _session(data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def copy_of(bundle_path, folder):
    """A copy of a bundle, without engines, to build some in."""
    target = str(folder / "bundle")
    shutil.copytree(str(bundle_path), target)
    shutil.rmtree(os.path.join(target, "compiled"), ignore_errors=True)
    return target
