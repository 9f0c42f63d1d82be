"""Stages on torch: each ONNX file becomes a frozen TorchScript graph. The CPU fallback.

A bundle holds one model form, ONNX; this module translates the operators that exported stages use.
"""

from typing import Any, List, Tuple

import numpy as np

from ..errors import BundleError, EngineError
from .base import Backend, Program, Shape, check_signature
from .pytorch_compiled import compile_graph
from .pytorch_operators import OPERATORS, OnnxModule, onnx, torch

OPSET_MIN = 13  # what bundles are written in; older operators carry other attributes


class TorchProgram(Program):
    """A frozen graph."""

    def __init__(self, graph: Any) -> None:
        self._forward = graph.forward  # without the hooks of a module
        self._without_gradients = torch.inference_mode()  # entered again and again: cheaper

    def run(self, features: np.ndarray, out: np.ndarray) -> None:
        """See `Program.run`."""
        with self._without_gradients:
            torch.from_numpy(out).copy_(self._forward(torch.from_numpy(features)))


class TorchBackend(Backend):
    """torch on the CPU. `threads` becomes torch's thread count, which the process shares."""

    name = "torch"

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def load(self, path: str, input_shape: Shape, output_shape: Shape) -> Program:
        """See `Backend.load`."""
        model = _read(path)
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in weights]
        check_signature(path, "input", [_signature(value) for value in inputs], input_shape)
        outputs = [_signature(value) for value in model.graph.output]
        check_signature(path, "output", outputs, output_shape)
        try:
            _check_opset(model)
            graph, sizes = _compile(model.graph, (2,) + tuple(input_shape))
        except EngineError as error:
            raise EngineError(
                "{}: the torch backend does not translate {}; it knows {}; use "
                'backend="onnxruntime"'.format(path, error, ", ".join(OPERATORS))
            ) from None
        except Exception as error:  # whatever torch makes of arguments that do not fit
            raise BundleError(
                "{}: does not run on {}: {}".format(path, list(input_shape), error)
            ) from None
        computed = ("float", ("batch" if sizes[0] == 2 else sizes[0],) + sizes[1:])
        check_signature(path, "computed output", [computed], output_shape)
        return TorchProgram(graph)


def eager_module(path: str) -> OnnxModule:
    """The network in the ONNX file at `path` as an ordinary module, neither traced nor frozen: what
    benches compare with. Raises BundleError or EngineError."""
    module = OnnxModule(_read(path).graph)
    module.eval()
    return module


def _read(path: str) -> Any:
    """The checked model at `path`."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf raises its own kinds, which differ by version
        raise BundleError("{}: not a valid ONNX file: {}".format(path, error)) from None
    return model


def _signature(value: Any) -> Tuple[str, List[Any]]:
    """Element type and sizes that the file declares; a size that is text is free."""
    tensor = value.type.tensor_type
    sizes = [size.dim_value or size.dim_param for size in tensor.shape.dim]
    return onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), sizes


def _check_opset(model: Any) -> None:
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version < OPSET_MIN:
        raise EngineError("opset {}, older than {}".format(version, OPSET_MIN))


def _compile(graph: Any, shape: Shape) -> Tuple[Any, Shape]:
    """The frozen TorchScript of an ONNX graph, and what becomes of an input of `shape`."""
    example = torch.zeros(shape)
    with torch.no_grad():
        frozen = compile_graph(graph, example)
        return frozen, tuple(frozen(example).shape)
