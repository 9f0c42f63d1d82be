"""Stages on onnxruntime's CPU provider. The only module of the device side that imports it."""

from typing import Any, Dict, Tuple

import numpy as np

from ..errors import BackendUnavailable, BundleError
from .base import Backend, Program, Shape, describe_mismatch

try:
    import onnxruntime
except ImportError as error:
    raise BackendUnavailable(
        "the onnxruntime backend needs onnxruntime ({}); install it with: "
        'pip install "edgesdk[onnx]"'.format(error)
    ) from None

# Buffers come from a pool, so their addresses repeat; this many pairs are far more than a pipeline
# has in flight.
_BINDINGS_MAX = 256


class OnnxRuntimeProgram(Program):
    """A session whose input and output are bound to the caller's arrays, without copies.

    Binding costs more than a small stage's dispatch, so a binding is kept per pair of addresses.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name
        self._bindings: Dict[Tuple[int, int, int], Any] = {}
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = 4  # failures are raised; no second copy on stderr

    def run(self, features: np.ndarray, out: np.ndarray) -> None:
        """See `Program.run`."""
        key = (features.ctypes.data, out.ctypes.data, len(features))
        binding = self._bindings.get(key)
        if binding is None:
            binding = self._bind(key, features, out)
        self._session.run_with_iobinding(binding, self._options)

    def _bind(self, key: Tuple[int, int, int], features: np.ndarray, out: np.ndarray) -> Any:
        if len(self._bindings) >= _BINDINGS_MAX:
            self._bindings.clear()
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cpu", 0, np.float32, features.shape, key[0])
        binding.bind_output(self._output, "cpu", 0, np.float32, out.shape, key[1])
        self._bindings[key] = binding
        return binding


class OnnxRuntimeBackend(Backend):
    """onnxruntime on the CPU with a fixed number of threads."""

    name = "onnxruntime"

    def __init__(self, threads: int) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 4
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
        for what, values, shape in (
            ("input", session.get_inputs(), input_shape),
            ("output", session.get_outputs(), output_shape),
        ):
            if len(values) != 1:
                raise BundleError(
                    describe_mismatch(path, "number of " + what + "s", len(values), 1)
                )
            found = (values[0].type, tuple(values[0].shape[1:]))
            if found != ("tensor(float)", shape):
                raise BundleError(describe_mismatch(path, what, found, ("tensor(float)", shape)))
        return OnnxRuntimeProgram(session)
