"""Stages on torch: each ONNX file becomes a frozen TorchScript graph. The CPU fallback.

A bundle holds one model form, ONNX; this module translates the operators that exported stages use.
"""

import math
import warnings
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from ..errors import BackendUnavailable, BundleError, EngineError
from .base import Backend, Program, Shape, check_signature

try:
    import onnx
    import torch
    import torch.nn.functional as F
    from onnx import numpy_helper
except (ImportError, OSError) as error:  # OSError: a library of its own is missing
    raise BackendUnavailable(
        "the torch backend needs torch and onnx ({}); install them with: "
        'pip install "edgesdk[torch]"'.format(error)
    ) from None

Attributes = Dict[str, Any]
OPSET_MIN = 13  # what bundles are written in; older operators carry other attributes


def _padding(attributes: Attributes) -> List[int]:
    """ONNX gives [top, left, bottom, right]; torch takes [top, left] for both sides."""
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        raise EngineError("asymmetric padding {}".format(pads))
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise EngineError("auto_pad {}".format(str(attributes["auto_pad"], "ascii")))
    return pads[:half]


def _conv(attributes: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    return F.conv2d(
        x,
        weight,
        bias,
        stride=attributes.get("strides", [1, 1]),
        padding=_padding(attributes),
        dilation=attributes.get("dilations", [1, 1]),
        groups=attributes.get("group", 1),
    )


def _gemm(attributes: Attributes, a: Any, b: Any, c: Any = None) -> Any:
    b = b if attributes.get("transB", 0) else b.t()
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0:
        raise EngineError("Gemm with transA or alpha")
    return F.linear(a, b, c if c is None else c * attributes.get("beta", 1.0))


def _batch_norm(attributes: Attributes, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    return F.batch_norm(x, mean, var, scale, bias, eps=attributes.get("epsilon", 1e-5))


def _folded_batch_norm(
    attributes: Attributes, x: Any, scale: Any, bias: Any, mean: Any, var: Any
) -> Any:
    """The same as one multiply-add; freezing computes its constants. On the small maps of a stage
    it takes half the time."""
    scale = scale / torch.sqrt(var + attributes.get("epsilon", 1e-5))
    shift = bias - mean * scale
    channels = (-1,) + (1,) * (x.dim() - 2)
    return torch.addcmul(shift.view(channels), x, scale.view(channels))


def _max_pool(attributes: Attributes, x: Any) -> Any:
    return F.max_pool2d(
        x,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        _padding(attributes),
        attributes.get("dilations", [1, 1]),
        bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(attributes: Attributes, x: Any) -> Any:
    if set(attributes.get("dilations", [1])) != {1}:
        raise EngineError("AveragePool with dilations")
    return F.avg_pool2d(
        x,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        _padding(attributes),
        bool(attributes.get("ceil_mode", 0)),
        bool(attributes.get("count_include_pad", 0)),
    )


def _clip(attributes: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:
    return torch.clamp(
        x, -math.inf if low is None else float(low), math.inf if high is None else float(high)
    )


def _flatten(attributes: Attributes, x: Any) -> Any:
    if attributes.get("axis", 1) != 1:
        raise EngineError("Flatten with axis {}".format(attributes["axis"]))
    return torch.flatten(x, 1)


# The closed list: what the exporter writes for the networks of edgesdk.train, and its near kin.
OPERATORS: Dict[str, Callable[..., Any]] = {
    "Add": lambda attributes, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda attributes, *inputs: torch.cat(inputs, attributes["axis"]),
    "Conv": _conv,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda attributes, x: x.mean((2, 3), keepdim=True),
    "Identity": lambda attributes, x: x,
    "MaxPool": _max_pool,
    "Mul": lambda attributes, a, b: a * b,
    "Relu": lambda attributes, x: torch.relu(x),
    "Sigmoid": lambda attributes, x: torch.sigmoid(x),
}


COMPILED_OPERATORS = dict(OPERATORS, BatchNormalization=_folded_batch_norm)


class OnnxModule(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Executes an ONNX graph node by node; torch traces and freezes it once."""

    def __init__(self, graph: Any, operators: Dict[str, Callable[..., Any]] = OPERATORS) -> None:
        super().__init__()
        self._operators = operators
        self._weights: Dict[str, Any] = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in graph.initializer
        }
        self._steps: List[Tuple[str, List[str], str, Attributes]] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant" and "value" in attributes:
                value = numpy_helper.to_array(attributes["value"])
                self._weights[node.output[0]] = torch.from_numpy(value.copy())
                continue
            if node.op_type not in OPERATORS or len(node.output) != 1:
                raise EngineError(
                    "the operator {} with {} outputs".format(node.op_type, len(node.output))
                )
            self._steps.append((node.op_type, list(node.input), node.output[0], attributes))
        self._input = next(i.name for i in graph.input if i.name not in self._weights)
        self._output = graph.output[0].name

    def forward(self, features: Any) -> Any:
        """float32 [B, input shape] to float32 [B, output shape]."""
        values = {**self._weights, self._input: features}
        for operator, inputs, output, attributes in self._steps:
            arguments = [values[name] if name else None for name in inputs]
            values[output] = self._operators[operator](attributes, *arguments)
        return values[self._output]


class TorchProgram(Program):
    """A frozen graph."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def run(self, features: np.ndarray, out: np.ndarray) -> None:
        """See `Program.run`."""
        with torch.inference_mode():
            torch.from_numpy(out).copy_(self._graph(torch.from_numpy(features)))


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
    """The frozen TorchScript of an ONNX graph, and the shape of its output for an input of `shape`.

    Without `torch.jit.optimize_for_inference`: it converts to the layout of oneDNN and back around
    every convolution, which costs more than it gains on the small maps of a stage.
    """
    module = OnnxModule(graph, COMPILED_OPERATORS).eval()
    example = torch.zeros(shape)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of what this module means to do
        frozen = torch.jit.freeze(torch.jit.trace(module, example, check_trace=False))
        return frozen, tuple(frozen(example).shape)
