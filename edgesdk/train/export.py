"""A trained network becomes the files of a bundle, each checked against torch before it is kept.

Segments are ONNX of opset 13, the newest that TensorRT 8.2 on a Jetson Nano reads, with a free
batch axis. Heads are the parameters of `kernels.exit_head`, their batch norm folded into one
scale and shift per channel.
"""

import contextlib
import io
import os
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from ..bundle import Head
from ..errors import BundleError, ConfigError
from ..kernels import reference
from ..manifest import UNCUT_FILE
from .models import ExitHead, MultiExit

OPSET = 13
INPUT_NAME, OUTPUT_NAME = "features", "features_out"
TOLERANCE = 1e-4  # of the largest value: float32 sums in another order differ by about 1e-6


def export_network(network: MultiExit, images: Tensor) -> dict[str, bytes]:
    """Files of the bundle (relative path -> content) for `network`, as checked on `images`.

    `images`: float32 [B, C, H, W], B >= 2, real ones. Raises ConfigError for parameters that are
    not finite, heads that are no `ExitHead` and layers that ONNX does not know, and BundleError if
    a file does not compute what torch computes.
    """
    _check_finite(network)
    network.eval()
    files: dict[str, bytes] = {}
    features = images
    with torch.no_grad():
        for index, (segment, head) in enumerate(zip(network.segments, network.exits)):
            before, features = features, segment(features)
            files[segment_file(index)] = _onnx(segment, before, features, f"segment {index}")
            files[head_file(index)] = _head_npz(head, features, index)
        # The exporter puts a module back into the mode it found; a new one would be in training.
        uncut = nn.Sequential(*network.segments, network.exits[-1]).eval()
        files[UNCUT_FILE] = _onnx(uncut, images, uncut(images), "the uncut network")
    return files


def export_student(student: MultiExit, images: Tensor, name: str) -> dict[str, bytes]:
    """The same of an ensemble's student, whose exits are features: `name` is that of its folder.

    Raises what `export_network` raises.
    """
    _check_finite(student)
    student.eval()
    files: dict[str, bytes] = {}
    features = images
    with torch.no_grad():
        for index, (segment, head) in enumerate(zip(student.segments, student.exits)):
            where = f"{name}, segment {index}"
            before, features = features, segment(features)
            files[segment_file(index, name)] = _onnx(segment, before, features, where)
            files[head_file(index, name)] = _feature_npz(head, features, index)
    return files


def export_layers(module: nn.Module, inputs: Tensor, where: str) -> bytes:
    """`module` as one ONNX file, as checked on float32 `inputs` [B, ...], B >= 2; errors name
    `where`. Raises what `export_network` raises."""
    with torch.no_grad():
        return _onnx(module.eval(), inputs, module(inputs), where)


def opened(content: bytes, where: str) -> onnxruntime.InferenceSession:
    """An ONNX file in onnxruntime, on the CPU. Raises BundleError, naming `where`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what goes wrong is in the exception
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise BundleError(f"{where}: onnxruntime refuses it: {error}") from error


def check_opset(content: bytes, where: str) -> None:
    """Raise BundleError unless `content` is valid ONNX of operator set 13 and no other."""
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    found = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if found != {"ai.onnx": OPSET}:
        raise BundleError(
            f"{where}: torch {torch.__version__} wrote operator sets {found}, expected only "
            f"ai.onnx {OPSET}, the newest that TensorRT 8.2 reads; use the torch version of "
            "constraints.txt"
        )


def segment_file(index: int, part: str = "") -> str:
    """Where a bundle keeps segment `index`, of a part of an ensemble."""
    return os.path.join("onnx", part, f"segment_{index}.onnx")


def head_file(index: int, part: str = "") -> str:
    """Where a bundle keeps what stands behind segment `index`."""
    return os.path.join("heads", part, f"exit_{index}.npz")


def exit_head(head: nn.Module, index: int) -> ExitHead:
    """`head` itself. Raises ConfigError if it is none that the kernels compute."""
    if not isinstance(head, ExitHead):
        raise ConfigError(
            f"exit {index}: found a {type(head).__name__}, expected ExitHead(channels, outputs): "
            "batch norm, ReLU, average pool, linear"
        )
    return head


def _onnx(module: nn.Module, inputs: Tensor, expected: Tensor, where: str) -> bytes:
    """`module` as an ONNX file that gives `expected` for `inputs`."""
    content = _exported(module, inputs, where)
    check_opset(content, where)
    for batch in (len(inputs), 1):  # two sizes: the batch axis must be free
        which = f"{where}, batch of {batch}"
        found = _run(content, inputs[:batch].numpy(), which)
        _check_equal(found, expected[:batch].numpy(), which)
    return content


def _exported(module: nn.Module, inputs: Tensor, where: str) -> bytes:
    buffer = io.BytesIO()
    # The exporter that can write opset 13 announces its own end, and prints graphs that it cannot
    # write; nothing a user can act on.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                (inputs,),
                buffer,  # type: ignore[arg-type]  # a file object serves this exporter
                opset_version=OPSET,
                dynamo=False,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ConfigError(
                f"{where}: cannot be written as ONNX of opset {OPSET}: "
                f"{str(error).splitlines()[0]}; put another layer in its place"
            ) from error
    return _without_aliases(buffer.getvalue())


def _without_aliases(content: bytes) -> bytes:
    """The exporter writes equal weights once, and the others as Identity of that one; TensorRT
    reads a bias from an initializer only."""
    model = onnx.load_from_string(content)
    weights = {tensor.name for tensor in model.graph.initializer}
    aliases = [
        node for node in model.graph.node if node.op_type == "Identity" and node.input[0] in weights
    ]
    meant = {node.output[0]: node.input[0] for node in aliases}
    for node in aliases:
        model.graph.node.remove(node)
    for node in model.graph.node:
        node.input[:] = [meant.get(name, name) for name in node.input]
    result = model.SerializeToString()
    assert isinstance(result, bytes)
    return result


def _head_npz(head: nn.Module, features: Tensor, index: int) -> bytes:
    head = exit_head(head, index)
    tensors = (head.linear.weight, head.linear.bias, *_folded(head))
    fused = Head(*(tensor.detach().numpy() for tensor in tensors))
    logits = reference.exit_head(features.numpy(), *fused, logits=True).logits
    _check_equal(np.asarray(logits), head(features).numpy(), f"exit {index}")
    return npz(**fused._asdict())


def _feature_npz(head: nn.Module, features: Tensor, index: int) -> bytes:
    head = exit_head(head, index)
    scale, shift = (tensor.detach().numpy() for tensor in _folded(head))
    projection = head.linear.weight.detach().numpy()
    found = reference.exit_feature(features.numpy(), scale, shift, projection)
    _check_equal(found, head(features).numpy(), f"exit {index}")
    return npz(projection=projection, scale=scale, shift=shift)


def _folded(head: ExitHead) -> tuple[Tensor, Tensor]:
    """Its batch norm as scale and shift."""
    norm = head.norm.state_dict()
    scale = norm["weight"] / torch.sqrt(norm["running_var"] + head.norm.eps)
    return scale, norm["bias"] - norm["running_mean"] * scale


def npz(**arrays: np.ndarray) -> bytes:
    """The contents of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _run(content: bytes, inputs: np.ndarray, where: str) -> np.ndarray:
    session = opened(content, where)
    try:
        (output,) = session.run([OUTPUT_NAME], {INPUT_NAME: inputs})
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise BundleError(f"{where}: onnxruntime refuses it: {error}") from error
    return np.asarray(output)


def _check_finite(network: MultiExit) -> None:
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise ConfigError(
                f"{name}: found values that are NaN or infinite, expected finite ones; "
                "the training diverged, train again with a lower learning rate"
            )


def _check_equal(found: np.ndarray, expected: np.ndarray, where: str) -> None:
    if found.shape != expected.shape:
        raise BundleError(f"{where}: found shape {found.shape}, torch gives {expected.shape}")
    error = float(np.abs(found - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not error <= allowed:  # also true of NaN
        raise BundleError(
            f"{where}: differs from torch by {error:.3g}, expected at most {allowed:.3g}; "
            "nothing was written; check the versions of torch and onnxruntime"
        )
