"""The way of a build: ask the GPU, decide, compute golden outputs, build stage by stage, finish.

This process imports no library that computes; its children (`child.py`) do, one at a time, so a
board has its memory for the one stage that is being built.
"""

import os
import time
from typing import List, NamedTuple, Optional, Tuple

from ..bundle import Bundle
from ..engine_store import (
    PRECISIONS,
    Device,
    Engine,
    EngineKey,
    EngineSet,
    folder_of,
    read_set,
)
from ..errors import ConfigError, EngineError
from ..telemetry.speed import read_speed
from .narrator import Narrator
from .onnx_facts import is_quantized
from .planning import Choices, StageFile, Work, as_json, renamed, stage_files, what_to_do
from .processes import Tick, ask
from .workshop import finish, keep, workshop

FP32, FP16, INT8 = PRECISIONS


class Gpu(NamedTuple):
    """What the child of `look` tells: see `gpu.Gpu.facts`."""

    device: Device
    has_flags: bool
    has_fp16: Optional[bool]
    has_int8: Optional[bool]


class Prospect(NamedTuple):
    """What a build would do. `there`: the set that it adds to; `place`: its folder."""

    gpu: Gpu
    key: EngineKey
    there: Optional[EngineSet]
    place: str
    work: Work


class Outcome(NamedTuple):
    """What a build did. `built`: the whole set; `fresh`: names of ONNX files whose engines are
    new; `notes`: what a reader of the report should know."""

    key: EngineKey
    built: EngineSet
    fresh: List[str]
    notes: List[str]


def look(narrator: Narrator) -> Gpu:
    """The GPU of this machine. Raises BackendUnavailable or EngineError if there is none to build
    for."""
    with narrator.about("GPU") as tick:
        told = ask("look", {}, "the GPU", tick)
    plain = told["device"]
    capability = plain["compute_capability"]
    device = Device(plain["tensorrt"], plain["gpu"], (capability[0], capability[1]))
    return Gpu(device, told["has_flags"], told["has_fp16"], told["has_int8"])


def prospect(bundle: Bundle, choices: Choices, gpu: Gpu) -> Prospect:
    """Decide everything that can be decided before work begins. Raises ConfigError for an unknown
    plan, EngineError for a precision that cannot be had."""
    files = stage_files(bundle.manifest, choices.plan)
    precision = _precision(bundle, choices.precision, gpu, files)
    flags = ("optimum batch {}".format(choices.optimum_batch),) if choices.optimum_batch > 1 else ()
    key = EngineKey(gpu.device, precision, choices.max_batch, flags)
    place, there = folder_of(bundle.path, key), None
    if os.path.exists(place):
        try:
            there = read_set(place)
        except EngineError:  # damaged: all of it is built anew
            there = None
    return Prospect(gpu, key, there, place, what_to_do(bundle, key, there, files, choices))


def _precision(bundle: Bundle, asked: Optional[str], gpu: Gpu, files: List[StageFile]) -> str:
    """What is asked for, or the best that files and GPU allow. Raises EngineError if they allow it
    not."""
    rounded = [file.onnx for file in files if is_quantized(bundle.file(file.onnx))]
    if asked is None and not rounded:
        return FP32 if gpu.has_fp16 is False else FP16
    if asked in (None, INT8) and rounded and gpu.has_int8 is False:
        raise EngineError(
            "int8: found {}, which does not compute in INT8, needed a GPU that does, such as "
            "Xavier or Orin; build a bundle that was exported without --int8, as fp16".format(
                gpu.device
            )
        )
    if asked == INT8 and not rounded:
        raise EngineError(
            "int8: found no QuantizeLinear in any stage, needed what each layer rounds to in the "
            "ONNX files; export the bundle so (python -m edgesdk.train export --int8), or build "
            "with --precision fp16"
        )
    if asked in (FP32, FP16) and rounded:
        raise EngineError(
            "{}: found QuantizeLinear in {}, needed stages without, for it rounds to INT8; build "
            "with --precision int8, or a bundle that was exported without --int8".format(
                asked, rounded[0]
            )
        )
    return asked or INT8


def build(bundle: Bundle, choices: Choices, ahead: Prospect, narrator: Narrator) -> Outcome:
    """Build what is wanted, and put it in its place. Nothing there changes unless all of it is
    good.

    Raises EngineError (a stage cannot be built, computes something else, or somebody else builds),
    BackendUnavailable (nothing computes golden outputs), EdgeError (no room on the disk).
    """
    kept, wanted = ahead.work
    if not wanted:
        assert ahead.there is not None  # where nothing is there, all is wanted
        return Outcome(ahead.key, ahead.there, [], [])
    notes: List[str] = []
    with workshop(bundle.path) as folder:
        if choices.is_checked:
            _compute_golden(bundle, wanted, folder, narrator)
        engines = list(kept)
        for engine in kept:
            assert ahead.there is not None
            keep(bundle.path, ahead.there, engine, folder)
        for file in wanted:
            with narrator.about(file.onnx) as tick:
                engines.append(_build_one(bundle, choices, ahead, file, folder, tick, notes))
        built = EngineSet(ahead.key, time.time(), tuple(sorted(engines, key=_name)))
        finish(bundle.path, built, folder)
    return Outcome(ahead.key, built, [file.onnx for file in wanted], notes)


def _compute_golden(
    bundle: Bundle, wanted: List[StageFile], folder: str, narrator: Narrator
) -> None:
    request = {
        "bundle": bundle.path,
        "files": [as_json(file) for file in wanted],
        "folder": folder,
    }
    with narrator.about("golden outputs") as tick:
        ask("golden", request, "golden outputs", tick)


def _build_one(
    bundle: Bundle,
    choices: Choices,
    ahead: Prospect,
    file: StageFile,
    folder: str,
    tick: Tick,
    notes: List[str],
) -> Engine:
    golden = renamed(file.onnx, ".npz") if choices.is_checked else None
    engine = renamed(file.onnx, ".engine")
    in_flags, path = _how(bundle, ahead, file, folder, tick)
    request = {
        "onnx": file.onnx,
        "path": path,
        "input_shape": file.input_shape,
        "output_shape": file.output_shape,
        "precision": in_flags,
        "max_batch": choices.max_batch,
        "optimum_batch": choices.optimum_batch,
        "workspace_bytes": choices.workspace_bytes,
        "timing_cache": choices.timing_cache or timing_cache_of(bundle, ahead.key),
        "out": _inside(folder, engine),
        "golden": None if golden is None else _inside(folder, golden),
        "checked_as": ahead.key.precision,
    }
    told = ask("build", request, file.onnx, tick)
    if path != bundle.file(file.onnx):
        os.remove(path)  # made for this build alone
    notes += [note for note in told.pop("notes") if note not in notes]
    conditions = dict(read_speed(), workspace_mib=choices.workspace_bytes >> 20)
    return Engine(
        onnx=file.onnx,
        onnx_sha256=file.sha256,
        file=engine,
        golden=golden,
        conditions=conditions,
        **told,
    )


def _how(
    bundle: Bundle, ahead: Prospect, file: StageFile, folder: str, tick: Tick
) -> Tuple[Optional[str], str]:
    """The precision that flags ask for, and the ONNX file to be parsed."""
    path, precision = bundle.file(file.onnx), ahead.key.precision
    if not ahead.gpu.has_flags and precision == FP16:
        half = _inside(folder, renamed(file.onnx, ".half.onnx"))
        ask("half", {"onnx": file.onnx, "path": path, "out": half}, file.onnx, tick)
        return None, half
    if not ahead.gpu.has_flags and precision == INT8:
        return None, path  # Q/DQ nodes say it all
    if precision == INT8 and not is_quantized(bundle.file(file.onnx)):
        return (FP32 if ahead.gpu.has_fp16 is False else FP16), path
    return precision, path


def _name(engine: Engine) -> str:
    return engine.onnx


def _inside(folder: str, name: str) -> str:
    return os.path.join(folder, *name.split("/"))


def timing_cache_of(bundle: Bundle, key: EngineKey) -> str:
    """What was timed on this device: one file for all sets of a bundle."""
    name = "timing-" + key.name.rsplit("-", 3)[0] + ".cache"
    return os.path.join(os.path.dirname(folder_of(bundle.path, key)), name)


def check_choices(choices: Choices) -> None:
    """Raise ConfigError for batches that do not fit each other."""
    if choices.optimum_batch > choices.max_batch:
        raise ConfigError(
            "optimum-batch: found {}, expected at most max-batch, {}".format(
                choices.optimum_batch, choices.max_batch
            )
        )
