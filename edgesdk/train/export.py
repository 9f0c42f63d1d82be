"""A trained network becomes the files of a bundle, each checked against torch before it is kept.

Segments are ONNX of opset 13, the newest that TensorRT 8.2 on a Jetson Nano reads, with a free
batch axis. Heads that `kernels.exit_head` computes are its parameters, their batch norm folded into
one scale and shift per channel; other heads are ONNX too.
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
from torch.onnx import symbolic_opset14

from ..errors import BundleError, ConfigError
from ..kernels import reference
from ..manifest import UNCUT_FILE
from .attention import written_out
from .heads import ExitHead, FusedHead, fused
from .models import MultiExit

OPSET = 13
INPUT_NAME, OUTPUT_NAME = "features", "features_out"
TOLERANCE = 1e-4  # of the largest value: float32 sums in another order differ by about 1e-6
# Attention in one call is written for opset 14, in operators that opset 13 has too.
ATTENTION = "aten::scaled_dot_product_attention"


def export_network(network: MultiExit, images: Tensor) -> dict[str, bytes]:
    """Files of the bundle (relative path -> content) for `network`, as checked on `images`.

    `images`: float32 [B, C, H, W], B >= 2, real ones. Raises ConfigError for parameters that are
    not finite and layers that ONNX does not know, and BundleError if a file does not compute what
    torch computes.
    """
    _check_finite(network)
    network.eval()
    files: dict[str, bytes] = {}
    features = images
    with torch.no_grad():
        for index, (segment, head) in enumerate(zip(network.segments, network.exits)):
            before, features = features, segment(features)
            files[segment_file(index)] = _onnx(segment, before, features, f"segment {index}")
            files[head_file(index, kind=head_kind(head))] = _head(head, features, index)
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


def head_file(index: int, part: str = "", kind: str = "fused") -> str:
    """Where a bundle keeps what stands behind segment `index`."""
    return os.path.join("heads", part, f"exit_{index}.{'onnx' if kind == 'graph' else 'npz'}")


def head_kind(head: nn.Module) -> str:
    """What a manifest calls a classifier: "fused" or "graph"."""
    return "graph" if fused(head) is None else "fused"


def _onnx(module: nn.Module, inputs: Tensor, expected: Tensor, where: str) -> bytes:
    """`module` as an ONNX file that gives `expected` for `inputs`."""
    content = _with_sizes(_exported(module, inputs, where), tuple(expected.shape[1:]))
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
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), written_out():
        warnings.simplefilter("ignore")
        torch.onnx.register_custom_op_symbolic(
            ATTENTION, symbolic_opset14.scaled_dot_product_attention, OPSET
        )
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


def _with_sizes(content: bytes, output_shape: tuple[int, ...]) -> bytes:
    """The exporter loses track of sizes behind some changes of shape; they are known here."""
    model = onnx.load_from_string(content)
    sizes = model.graph.output[0].type.tensor_type.shape.dim[1:]
    if all(size.dim_value for size in sizes):
        return content
    for size, known in zip(sizes, output_shape):
        size.dim_value = known
    return bytes(model.SerializeToString())


def _head(head: nn.Module, features: Tensor, index: int) -> bytes:
    """The file of a classifier."""
    kernel_head = fused(head)
    if kernel_head is None:
        return _onnx(head, features, head(features), f"exit {index}")
    return _head_npz(kernel_head, features, index)


def _head_npz(head: FusedHead, features: Tensor, index: int) -> bytes:
    linear = head.linear
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    tensors = {"weight": linear.weight, "bias": bias}
    if isinstance(head, ExitHead):
        tensors["scale"], tensors["shift"] = _folded(head)
    arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    affine = (arrays.get("scale"), arrays.get("shift"))
    logits = reference.exit_head(
        features.numpy(), arrays["weight"], arrays["bias"], *affine, logits=True
    ).logits
    _check_equal(np.asarray(logits), head(features).numpy(), f"exit {index}")
    return npz(**arrays)


def _feature_npz(head: nn.Module, features: Tensor, index: int) -> bytes:
    if not isinstance(head, ExitHead):
        raise ConfigError(
            f"exit {index}: found a {type(head).__name__}, expected ExitHead(channels, outputs): "
            "batch norm, ReLU, average pool, linear"
        )
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
