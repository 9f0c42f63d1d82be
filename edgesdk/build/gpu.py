"""The GPU of this process, and what TensorRT says of it. The one module of the builder that imports
TensorRT and pycuda; for child processes, because both may end the process that uses them."""

import re
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple, TypeVar

from ..engine_store import Device
from ..errors import BackendUnavailable, EdgeError, EngineError

Result = TypeVar("Result")

WHAT_TO_DO = "`python -m edgesdk.doctor --for tensorrt` says what to do"
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
        errors = [text for is_error, text in self._lines if is_error]
        said = "; ".join(errors) or "TensorRT does not say why"
        hint = next(("; " + hint for pattern, hint in _HINTS if pattern.search(said)), "")
        self._lines.clear()
        return EngineError("{}: {}{}".format(what, said, hint))


class Gpu:
    """The first CUDA device with TensorRT. Its context is current in this thread until `close`.

    Attributes: `trt` and `cuda`, the modules; `log`, a `Log`; `logger`, which feeds it; `device`, a
    `Device`. Raises BackendUnavailable if TensorRT, pycuda, the driver or a GPU is missing,
    EngineError for a TensorRT before 8.2.
    """

    def __init__(self) -> None:
        self.trt, self.cuda = _import_tensorrt(), _import_pycuda()
        trt, cuda = self.trt, self.cuda
        # Asked before anything of TensorRT is made, which may crash where there is no GPU.
        try:
            cuda.init()
            if not cuda.Device.count():
                raise BackendUnavailable(_no_gpu("none"))
            gpu = cuda.Device(0)
            name, capability = gpu.name(), tuple(gpu.compute_capability())
            self._context = gpu.retain_primary_context()
        except cuda.Error as error:
            raise BackendUnavailable(_no_gpu(error)) from None
        self.device = Device(trt.__version__, name, (capability[0], capability[1]))
        self._context.push()
        self.log = Log()
        self.logger = _make_logger(trt, self.log)

    def new_builder(self) -> Any:
        """A TensorRT builder. Raises EngineError if TensorRT refuses this machine."""
        trt = self.trt
        try:
            builder: Any = trt.Builder(self.logger)
        except TypeError:  # what pybind11 makes of nullptr
            raise self._refused() from None
        return builder

    def new_runtime(self) -> Any:
        """A TensorRT runtime. Raises EngineError as `new_builder` does."""
        trt = self.trt
        try:
            runtime: Any = trt.Runtime(self.logger)
        except TypeError:
            raise self._refused() from None
        return runtime

    def _refused(self) -> EngineError:
        error = self.log.failure("TensorRT {} cannot use this GPU".format(self.device.tensorrt))
        return EngineError(
            "{}; found a driver for CUDA {}, needed the one for this TensorRT (error 35: it is too "
            "old); {}".format(error, _dotted(self.cuda.get_driver_version()), WHAT_TO_DO)
        )

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
        cuda = self.cuda
        cuda.Context.pop()
        self._context.detach()


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


def _import_tensorrt() -> Any:
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing
        raise BackendUnavailable(
            "found no TensorRT for this Python ({}), needed 8.2 or newer; {}".format(
                error, WHAT_TO_DO
            )
        ) from None
    if not hasattr(trt, "EngineInspector"):  # 8.2 brought it
        raise EngineError(
            "found TensorRT {}, needed 8.2 or newer, as JetPack 4.6.1 and later have it; {}".format(
                trt.__version__, WHAT_TO_DO
            )
        )
    return trt


def _import_pycuda() -> Any:
    try:
        import pycuda.driver as cuda
    except (ImportError, OSError) as error:
        raise BackendUnavailable(
            "found no pycuda that loads ({}), needed it and the CUDA driver; {}".format(
                error, WHAT_TO_DO
            )
        ) from None
    return cuda


def _no_gpu(found: Any) -> str:
    return "found no GPU ({}), needed one that CUDA can use; {}".format(found, WHAT_TO_DO)


def _dotted(version: int) -> str:
    """ "10.2" for 10020."""
    return "{}.{}".format(version // 1000, version % 1000 // 10)
