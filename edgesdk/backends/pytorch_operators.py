"""What each ONNX operator that exported stages use means in torch, and modules made of them."""

import math
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from ..errors import BackendUnavailable, EngineError

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


def _padding(attributes: Attributes) -> List[int]:
    """ONNX gives [top, left, bottom, right]; torch takes [top, left] for both sides."""
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        raise EngineError("asymmetric padding {}".format(pads))
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise EngineError("auto_pad {}".format(str(attributes["auto_pad"], "ascii")))
    return pads[:half]


def conv_arguments(attributes: Attributes) -> Tuple[List[int], List[int], List[int], int]:
    """Padding, stride, dilation (two numbers each) and groups of a Conv. Raises EngineError."""
    stride = list(attributes.get("strides", [1, 1]))
    dilation = list(attributes.get("dilations", [1, 1]))
    return _padding(attributes), stride, dilation, attributes.get("group", 1)


def _conv(attributes: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    padding, stride, dilation, groups = conv_arguments(attributes)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _gemm(attributes: Attributes, a: Any, b: Any, c: Any = None) -> Any:
    b = b if attributes.get("transB", 0) else b.t()
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0:
        raise EngineError("Gemm with transA or alpha")
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


def _depth_to_space(attributes: Attributes, x: Any) -> Any:
    if attributes.get("mode", b"DCR") != b"CRD":  # blocks of channels apart, not side by side
        raise EngineError(
            "DepthToSpace of mode {}".format(str(attributes.get("mode", b"DCR"), "ascii"))
        )
    return F.pixel_shuffle(x, attributes["blocksize"])


def _flatten(attributes: Attributes, x: Any) -> Any:
    if attributes.get("axis", 1) != 1:
        raise EngineError("Flatten with axis {}".format(attributes["axis"]))
    return torch.flatten(x, 1)


def _scale(attributes: Attributes, x: Any, scale: Any, zero_point: Any) -> Any:
    """What a quantised `x` is multiplied by, shaped to go with it; with the default of an omitted
    zero point, quantising would be to unsigned numbers."""
    if zero_point is None or zero_point.dtype != torch.int8 or bool((zero_point != 0).any()):
        raise EngineError("quantisation that is not symmetric int8: zero points other than int8 0")
    if attributes.get("block_size", 0) or scale.dim() > 1:
        raise EngineError("quantisation by blocks")
    if scale.dim() == 0:
        return scale
    sizes = [1] * x.dim()
    sizes[attributes.get("axis", 1)] = -1 if scale.numel() > 1 else 1
    return scale.view(sizes)


def _quantize(attributes: Attributes, x: Any, scale: Any, zero_point: Any = None) -> Any:
    """Whole numbers from -128 to 127, kept as float32: what follows computes with these."""
    return torch.clamp(torch.round(x / _scale(attributes, x, scale, zero_point)), -128, 127)


def _dequantize(attributes: Attributes, x: Any, scale: Any, zero_point: Any = None) -> Any:
    return x.to(scale.dtype) * _scale(attributes, x, scale, zero_point)


def _gather(attributes: Attributes, x: Any, index: Any) -> Any:
    if index.dim():
        raise EngineError("Gather with several indices")
    return x.select(attributes.get("axis", 0), int(index))


def _hard_sigmoid(attributes: Attributes, x: Any) -> Any:
    line = x * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)
    return torch.clamp(line, 0.0, 1.0)


def _reshape(attributes: Attributes, x: Any, shape: Any) -> Any:
    """A size of 0 stays as it is."""
    sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape.tolist())]
    return x.reshape(sizes)


def _transpose(attributes: Attributes, x: Any) -> Any:
    return x.permute(attributes.get("perm", list(range(x.dim()))[::-1]))


def _reduce_mean(attributes: Attributes, x: Any) -> Any:
    axes = attributes.get("axes", list(range(x.dim())))
    return x.mean(axes, keepdim=bool(attributes.get("keepdims", 1)))


# Of these, what comes behind the first input must be known when a stage is loaded.
CONSTANT_INPUTS = ("Gather", "Reshape")

# The closed list: what the exporter writes for the networks of edgesdk.train, and its near kin.
OPERATORS: Dict[str, Callable[..., Any]] = {
    "Add": lambda attributes, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda attributes, *inputs: torch.cat(inputs, attributes["axis"]),
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "DequantizeLinear": _dequantize,
    "Div": lambda attributes, a, b: a / b,
    "Erf": lambda attributes, x: torch.erf(x),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda attributes, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "Identity": lambda attributes, x: x,
    "MatMul": lambda attributes, a, b: torch.matmul(a, b),
    "MaxPool": _max_pool,
    "Mul": lambda attributes, a, b: a * b,
    "Pow": lambda attributes, a, b: torch.pow(a, b),
    "QuantizeLinear": _quantize,
    "ReduceMean": _reduce_mean,
    "Relu": lambda attributes, x: torch.relu(x),
    "Reshape": _reshape,
    "Sigmoid": lambda attributes, x: torch.sigmoid(x),
    "Softmax": lambda attributes, x: torch.softmax(x, attributes.get("axis", -1)),
    "Sqrt": lambda attributes, x: torch.sqrt(x),
    "Sub": lambda attributes, a, b: a - b,
    "Transpose": _transpose,
}


class Step(NamedTuple):
    """One node: a key of the table of operators, and the names of what it reads and makes."""

    operator: str
    inputs: List[str]
    output: str
    attributes: Attributes


class OnnxModule(torch.nn.Module):  # type: ignore[misc, unused-ignore]
    """Executes an ONNX graph node by node; torch traces and freezes it once."""

    def __init__(self, graph: Any, operators: Dict[str, Callable[..., Any]] = OPERATORS) -> None:
        super().__init__()
        self._operators = operators
        self._weights: Dict[str, Any] = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in graph.initializer
        }
        self._steps: List[Step] = []
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
            if node.op_type in CONSTANT_INPUTS and not set(node.input[1:]) <= set(self._weights):
                raise EngineError("{} by numbers that are computed".format(node.op_type))
            step = Step(node.op_type, list(node.input), node.output[0], attributes)
            if all(name in self._weights for name in step.inputs if name):
                self._weights[step.output] = self._computed(step, self._weights)  # once, here
                continue
            self._steps.append(step)
        self._input = next(i.name for i in graph.input if i.name not in self._weights)
        self._output = graph.output[0].name

    def forward(self, features: Any) -> Any:
        """float32 [B, input shape] to float32 [B, output shape]."""
        values = {**self._weights, self._input: features}
        for step in self._steps:
            values[step.output] = self._computed(step, values)
        return values[self._output]

    def _computed(self, step: Step, values: Dict[str, Any]) -> Any:
        arguments = [values[name] if name else None for name in step.inputs]
        return self._operators[step.operator](step.attributes, *arguments)
