"""Stages on TensorRT 8.2 to 11, from engines that were built for this GPU.

The engines are kept in the bundle (`edgesdk.engine_store`) and made by `python -m edgesdk.build`.
tensorrt and pycuda are imported when a backend is opened, not before.
"""

import contextlib
import logging
import weakref
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from ..arrays import Shape
from ..engine_store import Device, FoundEngine, build_command, find_engine, read_engine
from ..errors import BackendUnavailable, ConfigError, EngineError
from ..golden import largest_error, read_golden
from .base import Backend, Program
from .trt_gpu import Gpu
from .trt_kernels import CudaKernels, HostKernels, find_native
from .trt_libraries import find_libraries, refused
from .trt_memory import CudaMemory, Scratch
from .trt_programs import EngineProgram, check_signature, make_program

_logger = logging.getLogger("edgesdk")

HOST_MEMORY = ("mapped", "copied")
HOST_MEMORY_CONDITION = "host_memory"  # in engine.json: which of them was measured to be faster
ERRORS_KEPT, WARNINGS_KEPT = 3, 100
ERROR_GROWTH_MAX, ERROR_FLOOR = 2.0, 1e-3  # of outputs, beside what the builder found


class TensorRTBackend(Backend):
    """TensorRT on the first GPU. `threads` means nothing to it.

    `host_memory`: how the host's arrays reach the GPU, "mapped", where it reads and writes them in
    place, or "copied"; None is what `python -m edgesdk.bench engine` found to be faster here, and
    before that "mapped" where the GPU shares the CPU's memory.

    Raises BackendUnavailable without TensorRT, pycuda or a GPU, EngineError where TensorRT cannot
    use the GPU.
    """

    name = "tensorrt"
    is_exclusive = True  # from TensorRT 8.5 on all stages share a block for their layers

    def __init__(self, threads: int = 1, host_memory: Optional[str] = None) -> None:
        if host_memory is not None and host_memory not in HOST_MEMORY:
            raise ConfigError(
                "host_memory: found {!r}, expected one of {}".format(
                    host_memory, ", ".join(HOST_MEMORY)
                )
            )
        self._libraries = find_libraries()
        self.trt, cuda, gpu, self.device = self._libraries
        self._shares_memory = bool(gpu.get_attribute(cuda.device_attribute.INTEGRATED))
        self._host_memory = host_memory
        self._is_memory_chosen = False
        self._gpu = Gpu(cuda, gpu)
        # Also at the end of a process that closes nothing: TensorRT must be gone before CUDA is.
        self._finalizer = weakref.finalize(self, self._gpu.close)
        try:
            self._log = _log_of(self.trt)
            self._runtime = self._make_runtime()
            self._gpu.finally_call(self._free_runtime)
            self._scratch = Scratch(self._gpu)
            native = find_native(self._gpu)
            self.memory = CudaMemory(self._gpu, native)
            self.kernels = (
                HostKernels(self.memory)
                if native is None
                else CudaKernels(self._gpu, self.memory, native)
            )
        except BaseException:
            self.close()
            raise

    @classmethod
    def check(cls, files: Optional[Sequence[str]]) -> None:
        """See `Backend.check`."""
        if not files:
            raise BackendUnavailable('engines are used where they are named: backend="tensorrt"')
        device = cls.find_device()
        for path in files:
            find_engine(path, device)

    @staticmethod
    def find_device() -> Device:
        """What engines for this machine are tied to. Raises BackendUnavailable."""
        return find_libraries().device

    def computing(self) -> Any:
        """See `Backend.computing`."""
        return self._gpu.computing()

    def load(self, path: str, input_shape: Shape, output_shape: Shape) -> Program:
        """See `Backend.load`. Raises EngineError for an engine that is missing, cannot be loaded,
        or does not compute what it did where it was built."""
        found = find_engine(path, self.device)
        if not self._is_memory_chosen:  # once, for the stages of a pipeline belong together
            self._is_memory_chosen = True
            self._gpu.is_mapped = self._mapped(found)
        with self._gpu.using():
            program = self._program(found)
            wrong = check_signature(program, input_shape, output_shape)
            if wrong:
                raise EngineError(
                    "{}: {}; build it again: {}".format(found.path, wrong, _again(found))
                )
            program.take_signature(input_shape, output_shape)
            if found.golden is not None:
                _check_golden(found, program)
        return program

    def measured(self) -> Dict[str, int]:
        """See `Backend.measured`."""
        try:
            free_bytes, total_bytes = self._gpu.memory()
        except EngineError:  # it was closed
            return {}
        return {"gpu_free_bytes": free_bytes, "gpu_total_bytes": total_bytes}

    def close(self) -> None:
        """See `Backend.close`."""
        self._finalizer()

    def _make_runtime(self) -> Any:
        with self._gpu.using():
            self._log.forget()
            try:
                return self.trt.Runtime(self._log)
            except TypeError:  # all that pybind makes of a null pointer
                raise refused(self._libraries, self._log.why()) from None

    def _free_runtime(self) -> None:
        self._runtime = None

    def _program(self, found: FoundEngine) -> EngineProgram:
        content = read_engine(found)
        self._log.forget()
        try:
            return make_program(
                self.trt,
                self._gpu,
                lambda: self._runtime.deserialize_cuda_engine(content),
                self._scratch,
                self._log.why,
            )
        except EngineError as error:
            raise EngineError(
                "{}: {}; if it is not the memory, build it again: {}".format(
                    found.path, error, _again(found)
                )
            ) from None

    def _mapped(self, found: FoundEngine) -> bool:
        default = "mapped" if self._shares_memory else "copied"
        kept = found.engine.conditions.get(HOST_MEMORY_CONDITION, default)
        return (self._host_memory or kept) == "mapped"


def _again(found: FoundEngine) -> str:
    return build_command(found.bundle, "--force")


def _check_golden(found: FoundEngine, program: EngineProgram) -> None:
    """Raise EngineError unless an engine computes what it should: a driver, a library or a GPU that
    is not what it was shows here, and not in wrong answers."""
    assert found.golden is not None
    try:
        golden = read_golden(found.golden)
    except EngineError as error:
        raise EngineError("{}; build it again: {}".format(error, _again(found))) from None
    count = min(len(golden.features), program.max_batch or 1)
    expected = golden.features_out[:count]
    out = np.empty_like(expected)
    program.run(golden.features[:count], out)
    wrong_by = largest_error(out, expected)
    limit = ERROR_GROWTH_MAX * (found.engine.error or 0.0) + ERROR_FLOOR
    if not wrong_by <= limit:
        raise EngineError(
            "{}: found outputs that are wrong by {:.2g} of the largest, needed at most {:.2g}; "
            "build it again: {}".format(found.path, wrong_by, limit, _again(found))
        )


_logs: List[Tuple[Any, Any]] = []  # the one of this process, and whose it is


def _log_of(trt: Any) -> Any:
    """The logger of this process: TensorRT knows one, and must always find it."""
    if not _logs or _logs[0][0] is not trt:
        _logs[:] = [(trt, _make_log(trt))]
    return _logs[0][1]


def _make_log(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps the last errors for our own; warnings go to our log, each once."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: Deque[str] = deque(maxlen=ERRORS_KEPT)
            self._warned: Set[str] = set()

        def log(self, severity: Any, msg: str) -> None:
            """Called from any thread, and from C++ that no exception may reach."""
            with contextlib.suppress(Exception):
                if severity.name in ("ERROR", "INTERNAL_ERROR"):
                    self._errors.append(msg)
                elif severity.name == "WARNING" and self._is_new(msg):
                    _logger.warning("TensorRT: %s", msg)

        def _is_new(self, msg: str) -> bool:
            if msg in self._warned or len(self._warned) >= WARNINGS_KEPT:
                return False
            self._warned.add(msg)
            return True

        def forget(self) -> None:
            """What comes from here on is about something else."""
            self._errors.clear()

        def why(self) -> str:
            """The last errors, in words."""
            return "; ".join(self._errors) or "no reason in TensorRT's log"

    return Log()
