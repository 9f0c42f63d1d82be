"""Stages on onnxruntime's CPU provider. The only module of the device side that imports it."""

from typing import Any, Dict, Tuple

import numpy as np

from ..errors import BackendUnavailable, BundleError
from .base import Backend, Program, Shape, check_signature

try:
    import onnxruntime
except (ImportError, OSError) as error:  # OSError: a library of its own is missing
    raise BackendUnavailable(
        "the onnxruntime backend needs onnxruntime ({}); install it with: "
        'pip install "edgesdk[onnx]"'.format(error)
    ) from None

# Buffers come from a pool and return; this many pairs are far more than a pipeline has in flight.
_BINDINGS_MAX = 256
# What was lent to a link or came over one does not return: without this, it would stay for ever.
_BOUND_BYTES_MAX = 8 << 20


class OnnxRuntimeProgram(Program):
    """A session whose input and output are bound to the caller's arrays, without copies.

    Binding costs more than dispatching a small stage, so the binding of each pair of arrays is
    kept, and the arrays with it: while they live, nothing else can have their identity. When they
    become too many, or too large together, all are let go.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name
        self._bindings: Dict[Tuple[int, int], Tuple[Any, np.ndarray, np.ndarray]] = {}
        self._bound_bytes = 0

    def run(self, features: np.ndarray, out: np.ndarray) -> None:
        """See `Program.run`."""
        bound = self._bindings.get((id(features), id(out)))
        self._session.run_with_iobinding(bound[0] if bound else self._bind(features, out))

    def _bind(self, features: np.ndarray, out: np.ndarray) -> Any:
        self._bound_bytes += features.nbytes + out.nbytes
        if len(self._bindings) >= _BINDINGS_MAX or self._bound_bytes > _BOUND_BYTES_MAX:
            self._bindings.clear()
            self._bound_bytes = features.nbytes + out.nbytes
        binding = self._session.io_binding()
        for bind, name, array in (
            (binding.bind_input, self._input, features),
            (binding.bind_output, self._output, out),
        ):
            bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._bindings[(id(features), id(out))] = (binding, features, out)
        return binding


class OnnxRuntimeBackend(Backend):
    """onnxruntime on the CPU with a fixed number of threads."""

    name = "onnxruntime"

    def __init__(self, threads: int) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 4  # failures are raised; no second copy on stderr
        # Outputs are the caller's; for the little that is left, malloc is faster than the arena.
        self._options.enable_cpu_mem_arena = False
        # Spinning threads steal the cores of the application between two items.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    def load(self, path: str, input_shape: Shape, output_shape: Shape) -> Program:
        """See `Backend.load`."""
        try:
            session = onnxruntime.InferenceSession(
                path, self._options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own classes derive from Exception directly
            raise BundleError("{}: onnxruntime cannot load it: {}".format(path, error)) from None
        for what, tensors, shape in (
            ("input", session.get_inputs(), input_shape),
            ("output", session.get_outputs(), output_shape),
        ):
            # "tensor(float)" -> "float"
            found = [(tensor.type[7:-1], tensor.shape) for tensor in tensors]
            check_signature(path, what, found, shape)
        return OnnxRuntimeProgram(session)
