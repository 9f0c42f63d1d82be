"""Stages on torch: each ONNX file becomes a frozen TorchScript graph. The CPU fallback.

A bundle holds one model form, ONNX; this module translates the operators that exported stages use.
"""

import warnings
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from ..errors import BackendUnavailable, BundleError, EngineError
from .base import Backend, Program, Shape, describe_mismatch

try:
    import onnx
    import torch
    import torch.nn.functional as F
    from onnx import numpy_helper
except ImportError as error:
    raise BackendUnavailable(
        "the torch backend needs torch and onnx ({}); install them with: "
        'pip install "edgesdk[torch]"'.format(error)
    ) from None

Attributes = Dict[str, Any]


def _padding(attributes: Attributes) -> List[int]:
    """ONNX gives [top, left, bottom, right]; torch takes [top, left] for both sides."""
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    half = len(pads) // 2
    if pads[:half] != pads[half:] or attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise EngineError("asymmetric padding {} is not supported".format(pads))
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
        raise EngineError("Gemm with transA or alpha is not supported")
    return F.linear(a, b, c if c is None else c * attributes.get("beta", 1.0))


def _batch_norm(attributes: Attributes, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    return F.batch_norm(x, mean, var, scale, bias, eps=attributes.get("epsilon", 1e-5))


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
        x, None if low is None else float(low), None if high is None else float(high)
    )


# The closed list: what the exporter writes for the networks of edgesdk.train, and its near kin.
OPERATORS: Dict[str, Callable[..., Any]] = {
    "Add": lambda attributes, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda attributes, *inputs: torch.cat(inputs, attributes["axis"]),
    "Conv": _conv,
    "Flatten": lambda attributes, x: torch.flatten(x, attributes.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda attributes, x: x.mean((2, 3), keepdim=True),
    "Identity": lambda attributes, x: x,
    "MaxPool": _max_pool,
    "Mul": lambda attributes, a, b: a * b,
    "Relu": lambda attributes, x: torch.relu(x),
    "Sigmoid": lambda attributes, x: torch.sigmoid(x),
}


class OnnxModule(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Executes an ONNX graph node by node; torch traces and freezes it once."""

    def __init__(self, graph: Any, path: str) -> None:
        super().__init__()
        self._weights: Dict[str, Any] = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in graph.initializer
        }
        self._steps: List[Tuple[str, List[str], str, Attributes]] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                value = numpy_helper.to_array(attributes["value"])
                self._weights[node.output[0]] = torch.from_numpy(value.copy())
                continue
            if node.op_type not in OPERATORS:
                raise EngineError(
                    "{}: the torch backend does not translate the operator {} (it knows {}); use "
                    'backend="onnxruntime"'.format(path, node.op_type, ", ".join(OPERATORS))
                )
            self._steps.append((node.op_type, list(node.input), node.output[0], attributes))
        self._input = next(i.name for i in graph.input if i.name not in self._weights)
        self._output = graph.output[0].name

    def forward(self, features: Any) -> Any:
        """float32 [B, input shape] to float32 [B, output shape]."""
        values = {**self._weights, self._input: features}
        for operator, inputs, output, attributes in self._steps:
            arguments = [values[name] if name else None for name in inputs]
            values[output] = OPERATORS[operator](attributes, *arguments)
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
        try:
            graph = onnx.load(path).graph
        except Exception as error:  # protobuf raises its own kinds, which differ by version
            raise BundleError("{}: not an ONNX file: {}".format(path, error)) from None
        module = OnnxModule(graph, path).eval()
        example = torch.zeros((1,) + tuple(input_shape))
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tracing warns of what this module means to do
                frozen = torch.jit.freeze(torch.jit.trace(module, example, check_trace=False))
                frozen = torch.jit.optimize_for_inference(frozen)
                found = tuple(frozen(example).shape[1:])
        except RuntimeError as error:
            raise BundleError(
                "{}: does not run on {}: {}".format(path, list(input_shape), error)
            ) from None
        if found != tuple(output_shape):
            raise BundleError(describe_mismatch(path, "output", found, output_shape))
        return TorchProgram(frozen)
