"""How a stage is arranged before it is frozen: the same operators, in the order and the memory
layout in which torch computes them fastest.

Maps are channels last between the operators, and convolutions of several channels run on weights
that oneDNN packed at load. Where torch lacks these parts (oneDNN's operators, in builds without it
and in old releases) a stage keeps the layout of its arrays, and only batch norms are folded.
"""

import warnings
from collections import Counter
from functools import lru_cache
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from .pytorch_operators import (  # says what to install
    OPERATORS,
    Attributes,
    OnnxModule,
    Step,
    conv_arguments,
    numpy_helper,
    onnx,
    torch,
)

TensorProto, helper = onnx.TensorProto, onnx.helper

FEW_CHANNELS = 8  # below, as in images, neither layout nor packing pays
MAKES_A_NEW_TENSOR = ("BatchNormalization", "Conv")


def compile_graph(graph: Any, example: Any) -> Any:
    """The frozen TorchScript of an ONNX graph: float32 [B, S...] to float32 [B, S...], any B.

    `example` is an input of more than one sample. Raises EngineError for what is not translated.
    """
    return _frozen(arranged(graph), example)


def arranged(graph: Any) -> OnnxModule:
    """The module that is traced for an ONNX graph: packed if this torch can, else folded only."""
    if packing_works():
        return PackedModule(graph)
    return OnnxModule(graph, FOLDED_OPERATORS)


def _frozen(module: OnnxModule, example: Any) -> Any:
    """Without `torch.jit.optimize_for_inference`: what it gains, a `PackedModule` gains without
    converting the layout around every convolution."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of what these modules mean to do
        return torch.jit.freeze(torch.jit.trace(module.eval(), example, check_trace=False))


class PackedModule(OnnxModule):
    """Executes an ONNX graph channels last, with packed weights."""

    def __init__(self, graph: Any) -> None:
        super().__init__(graph, PACKED_OPERATORS)
        steps = _with_relu_in_place(self._steps, self._output)
        self._steps = [Step("ChannelsLast", [self._input], self._input, {})]
        for step in steps:
            self._steps += self._arranged(step)
        self._steps.append(Step("Contiguous", [self._output], self._output, {}))

    def _arranged(self, step: Step) -> List[Step]:
        """Convolutions with their weight packed, or with their result converted."""
        weight = self._weights.get(step.inputs[1]) if step.operator == "Conv" else None
        if weight is None:
            return [step]
        if weight.shape[1] < FEW_CHANNELS or weight.shape[2:].numel() == 1:
            # oneDNN's fixed cost per call exceeds what it saves on a convolution that small.
            if step.output == self._output:
                return [step]
            return [step, Step("ChannelsLast", [step.output], step.output, {})]
        name = "packed_{}".format(len(self._steps))
        self.register_buffer(name, _packed(step.attributes, weight))  # a trace takes no other
        attributes = dict(step.attributes, packed=getattr(self, name))
        return [Step("PackedConv", step.inputs[:1] + step.inputs[2:], step.output, attributes)]


def _with_relu_in_place(steps: List[Step], output: str) -> List[Step]:
    """A Relu overwrites what nothing else reads: less memory passes through the caches."""
    readers = Counter(name for step in steps for name in step.inputs)
    readers[output] += 1
    new = {step.output for step in steps if step.operator in MAKES_A_NEW_TENSOR}
    return [
        step._replace(operator="ReluInPlace")
        if step.operator == "Relu" and step.inputs[0] in new and readers[step.inputs[0]] == 1
        else step
        for step in steps
    ]


def _folded_batch_norm(
    attributes: Attributes, x: Any, scale: Any, bias: Any, mean: Any, var: Any
) -> Any:
    """The same as one multiply-add; freezing computes its constants. On the small maps of a stage
    it takes half the time."""
    scale = scale / torch.sqrt(var + attributes.get("epsilon", 1e-5))
    shift = bias - mean * scale
    channels = (-1,) + (1,) * (x.dim() - 2)
    return torch.addcmul(shift.view(channels), x, scale.view(channels))


def _channels_last(attributes: Attributes, x: Any) -> Any:
    """Maps of several channels as channels last, [B, C, H, W] still; anything else as it is."""
    last = torch.channels_last
    if x.dim() != 4 or x.shape[1] < FEW_CHANNELS or x.is_contiguous(memory_format=last):
        return x
    channels, height, width = (int(size) for size in x.shape[1:])
    size = channels * height * width
    strides = (size, 1, width * channels, channels)
    moved = _transposed(x.contiguous(), channels, size)
    return moved.as_strided((x.shape[0], channels, height, width), strides)


def _contiguous(attributes: Attributes, x: Any) -> Any:
    """Channels last maps as the array that leaves a stage; anything else as it is."""
    if x.dim() != 4 or x.is_contiguous():
        return x
    channels, height, width = (int(size) for size in x.shape[1:])
    size = channels * height * width
    moved = _transposed(x.contiguous(memory_format=torch.channels_last), height * width, size)
    return moved.view((x.shape[0], channels, height, width))


def _transposed(x: Any, rows: int, size: int) -> Any:
    """[B, size, 1, 1]: the memory of every sample, seen as a matrix of so many rows, transposed.

    Torch's copy from one layout to the other goes element by element. Its shuffle of the channels
    of channels last maps is the same transposition, of one pixel, and goes by blocks.
    """
    pixel = x.as_strided((x.shape[0], size, 1, 1), (size, 1, size, size))
    return torch.channel_shuffle(pixel, rows)


def _conv(attributes: Attributes, x: Any, weight: Any, bias: Any = None) -> Any:
    if x.is_contiguous(memory_format=torch.channels_last):
        weight = weight.contiguous(memory_format=torch.channels_last)  # once: freezing computes it
    return OPERATORS["Conv"](attributes, x, weight, bias)


def _packed(attributes: Attributes, weight: Any) -> Any:
    """The weight of a Conv in the layout that oneDNN chooses for it."""
    return torch.ops.mkldnn._reorder_convolution_weight(weight, *conv_arguments(attributes))


def _convolution_pointwise(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: Optional[torch.Tensor],
    padding: List[int],
    stride: List[int],
    dilation: List[int],
    groups: int,
) -> torch.Tensor:
    """Compiled by `torch.jit.script`, for a trace cannot record the empty list of numbers.

    Never with "relu" in place of "none": that turns NaN into 0.
    """
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, padding, stride, dilation, groups, "none", [], None
    )


@lru_cache(maxsize=None)
def _scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # recent releases deprecate it, as they do traces
        return torch.jit.script(_convolution_pointwise)


def _packed_conv(attributes: Attributes, x: Any, bias: Any = None) -> Any:
    return _scripted()(x, attributes["packed"], bias, *conv_arguments(attributes))


@lru_cache(maxsize=None)
def packing_works() -> bool:
    """Whether this torch can compile a `PackedModule`, tried once on a small convolution. Packed
    convolutions are not part of torch's documented interface, and differ by release."""
    if not torch.backends.mkldnn.is_available():
        return False
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    weight = numpy_helper.from_array(np.ones((8, 8, 3, 3), np.float32), "w")
    convolution = helper.make_node("Conv", ["x", "w"], ["y"])
    graph = helper.make_graph([convolution], "probe", values[:1], values[1:], [weight])
    try:
        with torch.no_grad():
            probe = _frozen(PackedModule(graph), torch.zeros(2, 8, 3, 4))
            return bool((probe(torch.ones(1, 8, 3, 4)) == 8 * 3 * 3).all())
    except Exception:  # an operator or an argument is missing; how that shows differs too
        return False


FOLDED_OPERATORS: Dict[str, Callable[..., Any]] = dict(
    OPERATORS, BatchNormalization=_folded_batch_norm
)
PACKED_OPERATORS: Dict[str, Callable[..., Any]] = dict(
    FOLDED_OPERATORS,
    ChannelsLast=_channels_last,
    Contiguous=_contiguous,
    Conv=_conv,
    PackedConv=_packed_conv,
    ReluInPlace=lambda attributes, x: torch.relu_(x),
)
