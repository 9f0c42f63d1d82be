"""`bench engine --memory`: how the arrays of the host best reach the GPU of this machine.

A Jetson's GPU can read and write the host's memory where it is, which saves the copies and may be
slower to use; which counts for more differs from board to board.
"""

from typing import Callable, Dict, List, Sequence

from ..backends import Backend
from ..backends.trt import HOST_MEMORY, HOST_MEMORY_CONDITION, TensorRTBackend
from ..engine_store import Device, EngineSet, find_engine, folder_of, write_set
from ..profiles import StageTime

BOTH = "both"
CHOICES = (*HOST_MEMORY, BOTH)

Measure = Callable[[Backend], List[StageTime]]


def measure_kinds(choice: str, measure: Measure) -> Dict[str, List[StageTime]]:
    """What `measure` finds with one kind of host memory, or with each. Raises what opening the
    tensorrt backend raises."""
    found = {}
    for kind in HOST_MEMORY if choice == BOTH else (choice,):
        backend = TensorRTBackend(host_memory=kind)
        try:
            found[kind] = measure(backend)
        finally:
            backend.close()
    return found


def one_image_us(times: Sequence[StageTime]) -> float:
    """All stages and heads, one after the other."""
    return sum(time.total_us for time in times if time.batch == 1)


def keep(files: Sequence[str], device: Device, kind: str) -> None:
    """Have the tensorrt backend take `kind` from now on for the engines of these ONNX files: it
    stands in their engine.json. Raises EngineError for engines that are gone."""
    changed: Dict[str, EngineSet] = {}
    for path in files:
        found = find_engine(path, device)
        folder = folder_of(found.bundle, found.built.key)
        built = changed.get(folder, found.built)
        engines = [
            engine._replace(conditions=dict(engine.conditions, **{HOST_MEMORY_CONDITION: kind}))
            if engine.onnx == found.engine.onnx
            else engine
            for engine in built.engines
        ]
        changed[folder] = built._replace(engines=tuple(engines))
    for folder, built in changed.items():
        write_set(folder, built)
