"""INT8 stages: the same ONNX files, with every quantisation written out as nodes.

A pair of QuantizeLinear and DequantizeLinear rounds a tensor to 8 bits. TensorRT computes in INT8
what stands between such pairs, without a calibrator of its own; from 11 on this is its only way.
Other runtimes compute the pairs as they stand. Where they are follows what NVIDIA's guides to
explicit quantisation recommend, and what the parsers take, from that of 8.2 on:

- Every input of a Conv or Gemm has one, weights too (per output channel), results have none: so
  TensorRT may fuse what follows, and the Relu between two convolutions joins the first of them.
  Weights stay float32 in the file with a pair behind them, and biases have none: 8.2 reads weights
  and biases from nothing else.
- Who else reads a tensor that is rounded for a convolution reads it rounded: so do the shortcuts
  of residual blocks that end with a Relu, which lets TensorRT compute convolution and sum as one
  layer. In blocks that begin with batch norm and Relu, as ours do, the shortcut passes in float32,
  and so does what leaves a stage.
- Heads stay float32: they cost little, and read what leaves the stage.

Scales are symmetric, their zero points 0: TensorRT has no others. Ranges come from images of the
calibration split. A stage sees what the rounded stages before it make of them, for that is what
will reach it.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from ..errors import BackendUnavailable, BundleError, ConfigError
from .export import check_opset, opened

try:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process
except ImportError as error:
    raise BackendUnavailable(
        f"INT8 needs onnxruntime.quantization ({error}); install it with: pip install --upgrade "
        "onnxruntime"
    ) from None

WEIGHTED = ("Conv", "Gemm")
PAIR = ["QuantizeLinear", "DequantizeLinear"]
IMAGES_MAX = 512  # that ranges are taken from: hundreds suffice, and their features are in memory
BATCH = 64


class Method(NamedTuple):
    """How a range follows from the values seen."""

    name: str
    calibration: Any
    options: dict[str, Any]


# onnxruntime's entropy is none of them: with as many bins as levels it gives the same as min-max.
METHODS = (
    Method("min-max", quantization.CalibrationMethod.MinMax, {}),
    Method(
        "percentile 99.99", quantization.CalibrationMethod.Percentile, {"CalibPercentile": 99.99}
    ),
)
OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": list(WEIGHTED),
}


def chosen_images(images: np.ndarray) -> np.ndarray:
    """At most `IMAGES_MAX` of `images`, from all over the split, in whole batches if they fill one:
    onnxruntime's histograms take no others."""
    count = min(len(images), IMAGES_MAX)
    count -= count % BATCH if count > BATCH else 0
    return images[np.linspace(0, len(images) - 1, count).astype(int)]


def quantized_stages(
    stages: Sequence[bytes], images: np.ndarray, method: Method
) -> Iterator[bytes]:
    """Each of the ONNX files `stages`, one after the other in INT8, with ranges by `method`.

    `images`: float32 [n,C,H,W], n at most `BATCH` or a multiple of it. Raises what `quantized`
    raises.
    """
    features = images
    for index, stage in enumerate(stages):
        result = quantized(stage, features, method, f"segment {index}")
        yield result
        session = opened(result, f"segment {index}, INT8")
        features = np.concatenate([run(session, batch) for batch in batches(features)])


def quantized(content: bytes, features: np.ndarray, method: Method, where: str) -> bytes:
    """The ONNX file `content` in INT8, with ranges from float32 `features`; where there is nothing
    to quantise, the file as it is.

    Raises ConfigError if onnxruntime cannot do it, BundleError if it did something else.
    """
    model = onnx.load_from_string(content)
    if not any(node.op_type in WEIGHTED for node in model.graph.node):
        return content
    try:
        model = _with_pairs(model, features, method)
    except Exception as error:  # onnxruntime's tools raise whatever their parts raise
        raise ConfigError(
            f"{where}: onnxruntime cannot quantise it: {type(error).__name__}: "
            f"{' '.join(str(error).split())}; export without --int8"
        ) from error
    del model.metadata_props[:]  # onnxruntime's notes on what it did
    del model.graph.value_info[:]  # shapes, which every reader infers
    result = model.SerializeToString()
    check_opset(result, where)
    _check(model.graph, where)
    assert isinstance(result, bytes)
    return result


def batches(features: np.ndarray) -> Iterator[np.ndarray]:
    """`features` by `BATCH`."""
    for begin in range(0, len(features), BATCH):
        yield features[begin : begin + BATCH]


def run(session: Any, features: np.ndarray) -> np.ndarray:
    """What a session makes of one batch."""
    return np.asarray(session.run(None, {session.get_inputs()[0].name: features})[0])


class _Batches(quantization.CalibrationDataReader):  # type: ignore[misc, unused-ignore]
    def __init__(self, name: str, features: np.ndarray) -> None:
        self._name, self._batches = name, batches(features)

    def get_next(self) -> Any:
        """The inputs of the next batch by name, or None."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def _with_pairs(model: onnx.ModelProto, features: np.ndarray, method: Method) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="edgesdk-int8-") as folder, _quiet():
        given, prepared, written = (str(Path(folder) / name) for name in ("a", "b", "c"))
        onnx.save(model, given)
        # Shapes only: what it would optimise, TensorRT does better.
        quant_pre_process(given, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            written,
            _Batches(model.graph.input[0].name, features),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(WEIGHTED),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=method.calibration,
            extra_options={**OPTIONS, **method.options},
        )
        return onnx.load(written)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what onnxruntime's tools print, and what they say to the root logger, which would set
    it up for the whole process."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def nothing(_record: logging.LogRecord) -> bool:
        return False

    root.addHandler(handler)
    root.addFilter(nothing)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeFilter(nothing)
        root.removeHandler(handler)


def _check(graph: onnx.GraphProto, where: str) -> None:
    """Raise BundleError unless TensorRT will read the file as it is meant."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type in PAIR:
            zero = constants.get(node.input[2]) if len(node.input) > 2 else None
            _require(zero is not None and zero.dtype == np.int8 and not zero.any(), where, node)
        if node.op_type in WEIGHTED:
            back = [makers[name] for name in node.input[:2] if name in makers]
            rounds = [makers[one.input[0]] for one in back if one.input[0] in makers]
            kinds = [one.op_type for one in rounds + back]
            _require(kinds == 2 * PAIR[:1] + 2 * PAIR[1:], where, node)
            _require(constants[back[1].input[1]].ndim == 1, where, node)
            _require(all(name in constants for name in node.input[2:]), where, node)
    for value in [*graph.input, *graph.output]:
        _require(value.type.tensor_type.elem_type == TensorProto.FLOAT, where, value)


def _require(holds: bool, where: str, what: Any) -> None:
    if not holds:
        raise BundleError(
            f"{where}: onnxruntime {onnxruntime.__version__} left {what.name!r} otherwise than "
            "TensorRT needs it: symmetric INT8 pairs, weights per channel, biases, inputs and "
            "outputs in float32; use the onnxruntime version of constraints.txt"
        )
