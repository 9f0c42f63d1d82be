"""The child's task "build": one engine is built, tried, written, read back and tried again."""

import time
from typing import Any, Dict, Optional, Tuple

from ..backends.trt_programs import check_signature
from ..errors import EdgeError, EngineError
from ..files import write_atomically
from ..golden import Golden, read_golden
from ..manifest import sha256
from .engine import Recipe, build_engine
from .gpu import Gpu, on_gpu
from .trial import TOLERANCES, check


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """Of a request with the fields of `Recipe`, `out` (the file to be written), `golden` (or None)
    and `checked_as` (the precision whose tolerance holds): what `Engine` has, and `notes`."""
    recipe = Recipe(**{name: request[name] for name in Recipe._fields})
    golden = None if request["golden"] is None else read_golden(request["golden"])
    tolerance = TOLERANCES[request["checked_as"]]
    try:
        return on_gpu(lambda gpu: _build(gpu, recipe, request["out"], golden, tolerance))
    except EdgeError as error:
        if str(error).startswith(recipe.onnx):
            raise
        raise type(error)("{}: {}".format(recipe.onnx, error)) from None


def _build(
    gpu: Gpu, recipe: Recipe, out: str, golden: Optional[Golden], tolerance: float
) -> Dict[str, Any]:
    begin = time.monotonic()
    plan = build_engine(gpu, recipe)
    seconds = time.monotonic() - begin
    layer_count, error = _try(gpu, plan.content, recipe, golden, tolerance)
    write_atomically(out, plan.content)
    with open(out, "rb") as file:
        content = file.read()
    if content != plan.content:
        raise EngineError("{}: what was written is not what is read; check the disk".format(out))
    _try(gpu, content, recipe, golden, tolerance)
    return {
        "sha256": sha256(content),
        "bytes": len(content),
        "layer_count": layer_count,
        "seconds": seconds,
        "skipped_tactic_count": gpu.log.skipped_tactic_count,
        "error": error,
        "notes": plan.notes,
    }


def _try(
    gpu: Gpu, content: bytes, recipe: Recipe, golden: Optional[Golden], tolerance: float
) -> Tuple[int, Optional[float]]:
    """Layers of the engine, and its error against the golden outputs."""
    program = gpu.load(content)
    try:
        wrong = check_signature(program, recipe.input_shape, recipe.output_shape)
        if wrong:
            raise EngineError("{}: {}; build again with --force".format(recipe.onnx, wrong))
        program.take_signature(recipe.input_shape, recipe.output_shape)
        error = None if golden is None else check(recipe, program, golden, tolerance)
        return program.layer_count, error
    finally:
        program.free()
