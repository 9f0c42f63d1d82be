"""The child's task "try": a backend of the CPU loads every stage, and is compared with another."""

import time
from typing import Any, Dict, List, Optional

import numpy as np

from ..backends import Backend, open_backend
from ..bundle import read_bundle
from ..errors import BackendUnavailable, EngineError
from ..golden import largest_error
from .golden import CPU_BACKENDS, golden_outputs, stage_file
from .onnx_facts import is_quantized
from .trial import TOLERANCES


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """`compared_with`: another backend or None, and `stages`: of each file how long it took to load
    and to run, and its error. Raises EngineError if a stage answers something else."""
    bundle = read_bundle(request["bundle"])
    files = [stage_file(each) for each in request["files"]]
    backend = open_backend(request["backend"])
    other = _other(backend.name)
    stages: List[Dict[str, Any]] = []
    for file, golden in golden_outputs(bundle, files, other or backend):
        limit = TOLERANCES["int8" if is_quantized(bundle.file(file.onnx)) else "fp32"]
        begin = time.perf_counter()
        program = backend.load(bundle.file(file.onnx), file.input_shape, file.output_shape)
        loaded = time.perf_counter()
        out = np.empty_like(golden.features_out)
        program.run(golden.features, out)
        ran = time.perf_counter()
        stages.append(
            {
                "onnx": file.onnx,
                "load_seconds": loaded - begin,
                "run_seconds": ran - loaded,
                "error": _error(file.onnx, out, golden.features_out, limit) if other else None,
            }
        )
    return {"compared_with": None if other is None else other.name, "stages": stages}


def _other(name: str) -> Optional[Backend]:
    for each in CPU_BACKENDS:
        if each != name:
            try:
                return open_backend(each)
            except BackendUnavailable:
                continue
    return None


def _error(onnx: str, found: np.ndarray, expected: np.ndarray, limit: float) -> float:
    error = largest_error(found, expected)
    if not error <= limit:
        raise EngineError(
            "{}: the backends of the CPU differ by {:.2g} of the largest output, expected at most "
            "{:g}; run the tests of one that was installed last".format(onnx, error, limit)
        )
    return error
