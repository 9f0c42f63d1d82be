"""Neighbouring segments as one ONNX file, checked against the segments it is made of."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.compose

from ...backends import Backend
from ...bundle import Bundle
from ...errors import BundleError
from ..export import OPSET
from .costs import Span, spans

TOLERANCE = 1e-4  # of the largest value, as for exported files
# Root mean square against that of the values. What lies between two steps of 8 bits goes to either
# when sums are formed in another order, and what follows goes with it: up to the error of rounding.
INT8_TOLERANCE = 0.1


def stage_file(span: Span) -> str:
    """Where a bundle keeps the segments `span` as one stage."""
    return f"onnx/stage_{span[0]}_{span[1]}.onnx"


def merged_stages(bundle: Bundle) -> dict[str, bytes]:
    """Every merged stage that a plan of `bundle` could have: relative path -> ONNX.

    A file that the bundle holds already is kept as it is. Raises BundleError for segments that are
    not single chains of operator set 13.
    """
    part = bundle.manifest.parts[0]
    segments = []
    for stage in part.plans["full"].stages:
        with open(bundle.file(stage.file), "rb") as file:
            segments.append(file.read())
    files = {}
    for first, last in spans(len(segments)):
        name = stage_file((first, last))
        if name in bundle.manifest.document["files"]:
            with open(bundle.file(name), "rb") as file:
                files[name] = file.read()
        elif first < last:
            files[name] = merge(segments[first : last + 1], f"segments {first} to {last}")
    return files


def merge(segments: Sequence[bytes], where: str) -> bytes:
    """ONNX files, each with one input and one output, one after the other as a single file.

    Raises BundleError, naming `where`, for anything else and for other operator sets than 13.
    """
    merged = None
    for index, content in enumerate(segments):
        model = onnx.load_from_string(content)
        _check(model, where)
        model = onnx.compose.add_prefix(model, f"s{index}_")
        if merged is None:
            merged = model
            continue
        joint = (merged.graph.output[0].name, model.graph.input[0].name)
        merged = onnx.compose.merge_models(merged, model, io_map=[joint])
    assert merged is not None
    merged.graph.name = "stage"
    del merged.opset_import[1:]  # compose lists the same one for every segment
    onnx.checker.check_model(merged, full_check=True)
    content = merged.SerializeToString()
    assert isinstance(content, bytes)
    return content


def check_merged(bundle: Bundle, span: Span, backend: Backend, features: np.ndarray) -> np.ndarray:
    """Run the merged stage of `bundle` on float32 `features` [B, input shape]; return its output.

    Raises BundleError unless it gives what the segments one after the other give; INT8 ones about
    that.
    """
    part = bundle.manifest.parts[0]
    chained = features
    for index in range(span[0], span[1] + 1):
        chained = _run(
            bundle, part.plans["full"].stages[index].file, (index, index), backend, chained
        )
    found = _run(bundle, stage_file(span), span, backend, features)
    if _is_int8(bundle.file(stage_file(span))):
        error, allowed = _rms(found - chained), INT8_TOLERANCE * _rms(chained)
    else:
        error = float(np.abs(found - chained).max())
        allowed = TOLERANCE * max(1.0, float(np.abs(chained).max()))
    if not error <= allowed:  # also true of NaN
        raise BundleError(
            f"{stage_file(span)}: differs from its segments by {error:.3g}, expected at most "
            f"{allowed:.3g}; nothing was written; check the versions of onnx and {backend.name}"
        )
    return chained


def _is_int8(path: str) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in onnx.load(path).graph.node)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _run(
    bundle: Bundle, file: str, span: Span, backend: Backend, features: np.ndarray
) -> np.ndarray:
    segments = bundle.manifest.parts[0].segments
    shape = segments[span[1]].output_shape
    out = np.empty((len(features), *shape), np.float32)
    program = backend.load(bundle.file(file), segments[span[0]].input_shape, shape)
    program.run(np.ascontiguousarray(features), out)
    return out


def _check(model: onnx.ModelProto, where: str) -> None:
    found = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if found != {"ai.onnx": OPSET} or len(inputs) != 1 or len(model.graph.output) != 1:
        raise BundleError(
            f"{where}: found operator sets {found}, {len(inputs)} inputs and "
            f"{len(model.graph.output)} outputs, expected ai.onnx {OPSET} with one of each; export "
            "the bundle again"
        )
