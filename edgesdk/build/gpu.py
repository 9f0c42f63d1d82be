"""The GPU of this process, and what TensorRT says of it: for child processes, because TensorRT and
CUDA may end the process that uses them."""

import re
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, TypeVar

from ..backends import trt_gpu
from ..backends.trt_libraries import find_libraries, refused
from ..backends.trt_memory import Scratch
from ..backends.trt_programs import EngineProgram, make_program
from ..errors import EdgeError, EngineError

Result = TypeVar("Result")

LOG_LINES_MAX = 30  # enough for what led to an error, which may be told in several lines
# Others are skipped because they do not suit the layer.
_SKIPPED = re.compile(r"skipping tactic.*memory", re.I | re.S)
NO_MEMORY = (
    "the GPU had too little memory for it: give the builder less (--workspace-mib 64), end other "
    "programs, or stop the desktop (sudo systemctl isolate multi-user.target)"
)
_HINTS = [
    (re.compile(r"out ?of ?memory|insufficient memory|cudaErrorMemoryAllocation", re.I), NO_MEMORY),
    (
        re.compile(r"could not find any implementation", re.I),
        "no way of computing the layer fits what the builder may use: give it more "
        "(--workspace-mib 512)",
    ),
]


class Log:
    """What TensorRT logs. Its errors become ours; the rest is counted, or said at the end."""

    def __init__(self) -> None:
        self.skipped_tactic_count = 0
        self._lines: Deque[Tuple[bool, str]] = deque(maxlen=LOG_LINES_MAX)

    def add(self, is_error: bool, text: str) -> None:
        """One line of the log: an error or a warning. Raises nothing."""
        self.skipped_tactic_count += bool(_SKIPPED.search(text))
        self._lines.append((is_error, " ".join(text.split())))

    def failure(self, what: str) -> EngineError:
        """That `what` gave nothing, and why: for the caller to raise. Forgets what it told."""
        said = self.why()
        self._lines.clear()
        return EngineError("{}: {}".format(what, said))

    def why(self) -> str:
        """The errors so far, and what helps, where that is known."""
        errors = [text for is_error, text in self._lines if is_error]
        said = "; ".join(errors) or "TensorRT does not say why"
        hint = next(("; " + hint for pattern, hint in _HINTS if pattern.search(said)), "")
        return said + hint


class Gpu:
    """The first GPU, with TensorRT. Its context is current in this thread until `close`.

    Attributes: `trt`, the module; `log`, a `Log`; `logger`, which feeds it; `device`, a `Device`;
    `runner`, where engines are tried as pipelines run them. Raises what `find_libraries` raises.
    """

    def __init__(self) -> None:
        self._libraries = find_libraries()
        self.trt, cuda, gpu, self.device = self._libraries
        self.runner = trt_gpu.Gpu(cuda, gpu)
        self.runner.enter()
        self.log = Log()
        self.logger = _make_logger(self.trt, self.log)
        self._runtime: Any = None
        self.runner.finally_call(self._forget_runtime)  # after the engines
        self._scratch = Scratch(self.runner)

    def new_builder(self) -> Any:
        """A TensorRT builder. Raises EngineError if TensorRT refuses this machine."""
        return self._made(self.trt.Builder)

    def load(self, content: bytes) -> EngineProgram:
        """An engine as pipelines run it, to be freed. Raises EngineError if TensorRT refuses it."""
        if self._runtime is None:
            self._runtime = self._made(self.trt.Runtime)
        return make_program(
            self.trt,
            self.runner,
            lambda: self._runtime.deserialize_cuda_engine(content),
            self._scratch,
            self.log.why,
        )

    def _forget_runtime(self) -> None:
        self._runtime = None

    def _made(self, make: Callable[[Any], Any]) -> Any:
        try:
            return make(self.logger)
        except TypeError:  # what pybind11 makes of nullptr
            raise refused(self._libraries, self.log.why()) from None

    def facts(self) -> Dict[str, Any]:
        """What a build can be asked for here: `device`; `has_flags`, whether precision is chosen by
        flags (up to TensorRT 10) or is in the graph; `has_fp16` and `has_int8`, whether the GPU
        computes so, where TensorRT tells, else None."""
        trt, builder = self.trt, self.new_builder()
        fp16: Optional[bool] = None
        int8: Optional[bool] = None
        if hasattr(builder, "platform_has_fast_fp16"):
            fp16 = bool(builder.platform_has_fast_fp16)
        if hasattr(builder, "platform_has_fast_int8"):
            int8 = bool(builder.platform_has_fast_int8)
        has_flags = hasattr(trt.BuilderFlag, "FP16")
        device = dict(self.device._asdict())
        return {"device": device, "has_flags": has_flags, "has_fp16": fp16, "has_int8": int8}

    def close(self) -> None:
        """Give the context back; what was made in it is gone by then."""
        self.runner.leave()
        self.runner.close()


def on_gpu(work: Callable[[Gpu], Result]) -> Result:
    """What `work` gives on the GPU, whose context lives as long. Raises what `Gpu` and `work` do.

    An error keeps whatever was made on its way, and TensorRT's things must go before the context
    does. So another one of its kind is raised, when they are gone.
    """
    gpu, failure = Gpu(), None
    try:
        result = work(gpu)
    except EdgeError as error:
        failure = type(error)(str(error))
    gpu.close()
    if failure is not None:
        raise failure
    return result


def _make_logger(trt: Any, log: Log) -> Any:
    errors: List[Any] = [trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR]
    warning = trt.ILogger.Severity.WARNING

    class Logger(trt.ILogger):
        """Called from C++, by whichever thread; nothing that it raised would be caught there."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in errors or severity == warning or _SKIPPED.search(msg):
                log.add(severity in errors, msg)

    return Logger()
