"""What is to be built: which files of a bundle, of which shapes, and which are there already."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..bundle import Bundle
from ..engine_store import Engine, EngineKey, EngineSet, found_engine, read_engine
from ..errors import ConfigError, EngineError
from ..manifest import Manifest

GRAPH = "graph"


class StageFile(NamedTuple):
    """One ONNX file. `onnx`: its name in the bundle. It reads the features in front of segment
    `border` of part `part`, or what the file `encoder` makes of them. Shapes are per sample.
    `sha256`: of its content."""

    onnx: str
    part: int
    border: int
    input_shape: Tuple[int, ...]
    output_shape: Tuple[int, ...]
    sha256: str
    encoder: str = ""


class Choices(NamedTuple):
    """What the caller asks of a build. `precision` None: the best that the GPU has."""

    plan: Optional[str] = None
    precision: Optional[str] = None
    max_batch: int = 32
    optimum_batch: int = 1
    workspace_bytes: int = 128 << 20
    timing_cache: Optional[str] = None
    is_forced: bool = False
    is_checked: bool = True


class Work(NamedTuple):
    """`kept` engines are built already; `wanted` files are to be."""

    kept: List[Engine]
    wanted: List[StageFile]


def stage_files(manifest: Manifest, plan: Optional[str] = None) -> List[StageFile]:
    """The files of a plan, or of all plans, each once: stages, exits that are graphs, and encoders
    and decoders.

    Raises ConfigError if there is no such plan.
    """
    found: Dict[str, StageFile] = {}
    known = manifest.parts[0].plans
    if plan is not None and plan not in known:
        raise ConfigError("plan: found {!r}, expected one of {}".format(plan, ", ".join(known)))
    for number, part in enumerate(manifest.parts):
        for name in known if plan is None else [plan]:
            for stage in part.plans[name].stages:
                first, last = part.segments[stage.first_segment], part.segments[stage.last_segment]
                shapes = first.input_shape, last.output_shape
                _add(found, manifest, stage.file, number, stage.first_segment, shapes)
                code = part.bottleneck_before(stage)
                if code is not None:
                    shapes = first.input_shape, code.code_shape
                    _add(found, manifest, code.encoder, number, code.border, shapes)
                    _add(
                        found,
                        manifest,
                        code.decoder,
                        number,
                        code.border,
                        shapes[::-1],
                        code.encoder,
                    )
            for index in part.plans[name].exit_indices:
                if part.exits[index].kind == GRAPH:
                    shapes = part.segments[index].output_shape, (len(manifest.labels),)
                    _add(found, manifest, part.exits[index].file, number, index + 1, shapes)
    return list(found.values())


def _add(
    found: Dict[str, StageFile],
    manifest: Manifest,
    onnx: str,
    part: int,
    border: int,
    shapes: Tuple[Tuple[int, ...], Tuple[int, ...]],
    encoder: str = "",
) -> None:
    digest = manifest.document["files"][onnx]["sha256"]
    found.setdefault(onnx, StageFile(onnx, part, border, shapes[0], shapes[1], digest, encoder))


def what_to_do(
    bundle: Bundle, key: EngineKey, there: Optional[EngineSet], files: List[StageFile], of: Choices
) -> Work:
    """Which of `files` are to be built. Engines that other plans use are kept, too, while they are
    of the bundle's files."""
    contents = {name: each["sha256"] for name, each in bundle.manifest.document["files"].items()}
    asked = {each.onnx for each in files}
    kept = [
        engine
        for engine in ([] if there is None else there.engines)
        if contents.get(engine.onnx) == engine.onnx_sha256
        and not (of.is_forced and engine.onnx in asked)
        and not (of.is_checked and engine.error is None)
        and _is_whole(bundle, key, engine)
    ]
    names = {engine.onnx for engine in kept}
    return Work(kept, [each for each in files if each.onnx not in names])


def _is_whole(bundle: Bundle, key: EngineKey, engine: Engine) -> bool:
    found = found_engine(bundle.path, EngineSet(key, 0, (engine,)), engine)
    try:
        read_engine(found)
    except EngineError:
        return False
    return found.golden is None or os.path.exists(found.golden)


def renamed(onnx: str, suffix: str) -> str:
    """onnx/segment_0.onnx -> onnx/segment_0.engine"""
    return os.path.splitext(onnx)[0] + suffix


def as_json(file: StageFile) -> Dict[str, Any]:
    """A request that names a file, as plain values."""
    return dict(file._asdict())
