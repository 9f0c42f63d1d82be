"""What a small network would cost that always ends where an exit is: one ONNX file, image to
logits, made of the bundle's own segments and head. `bench peers` runs it in plain onnxruntime."""

from typing import Any, List

from ..bundle import Bundle, Head
from ..core.spec import FULL_PLAN
from ..errors import BackendUnavailable, BundleError

FEATURES, LOGITS = "head_features", "head_logits"


def up_to_exit(bundle: Bundle, exit_index: int) -> bytes:
    """An ONNX file: float32 [batch, input shape] -> logits float32 [batch, N] of that exit.

    Raises BackendUnavailable without the package onnx, BundleError for files that do not fit
    together.
    """
    onnx = _load_onnx()
    part = bundle.manifest.parts[0]
    stages = part.plans[FULL_PLAN].stages[: exit_index + 1]
    models = [onnx.load(bundle.file(stage.file)) for stage in stages]
    spec = part.exits[exit_index]
    if spec.kind == "graph":
        models.append(onnx.load(bundle.file(spec.file)))
    else:
        shape = part.segments[exit_index].output_shape
        models.append(_head_model(onnx, bundle.head(0, exit_index), len(shape), models[0]))
    try:
        content: bytes = _chained(onnx, models).SerializeToString()
    except Exception as error:  # onnx raises its own kinds, which differ by version
        raise BundleError(
            "{}: found segments and a head that do not make one network up to exit {} ({}); export "
            "the bundle again".format(bundle.path, exit_index, error)
        ) from None
    return content


def _load_onnx() -> Any:
    try:
        import onnx
        import onnx.compose
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise BackendUnavailable(
            "a static network up to an exit cannot be made without onnx ({}); pip install "
            "onnx".format(error)
        ) from None
    return onnx


def _chained(onnx: Any, models: List[Any]) -> Any:
    """Models of one input and one output each, one after the other."""
    joined = onnx.compose.add_prefix(models[0], "part_0_")
    for number, model in enumerate(models[1:], 1):
        behind = onnx.compose.add_prefix(model, "part_{}_".format(number))
        joint = (joined.graph.output[0].name, behind.graph.input[0].name)
        joined = onnx.compose.merge_models(joined, behind, io_map=[joint])
    del joined.opset_import[1:]  # compose lists the same one for every part
    onnx.checker.check_model(joined)
    return joined


def _head_model(onnx: Any, head: Head, rank: int, like: Any) -> Any:
    """What `kernels.exit_head` computes, up to the logits, for features of so many axes; of the
    operator set and format of `like`."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    classes, channels = head.weight.shape
    arrays = {"weight": head.weight, "bias": head.bias}
    nodes: List[Any] = []
    name = FEATURES

    def add(operator: str, *others: str, **attributes: Any) -> None:
        nonlocal name
        inputs, name = [name] + list(others), "head_{}".format(len(nodes))
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))

    if head.scale is not None and head.shift is not None:
        sizes = (channels,) + (1,) * (rank - 1)
        arrays.update(scale=head.scale.reshape(sizes), shift=head.shift.reshape(sizes))
        add("Mul", "scale")
        add("Add", "shift")
    add("Relu")
    if rank > 1:
        add("GlobalAveragePool")
        add("Flatten")
    add("Gemm", "weight", "bias", transB=1)
    nodes[-1].output[0] = LOGITS
    free = ["size_{}".format(axis) for axis in range(rank - 1)]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info(FEATURES, float32, ["batch", channels] + free)],
        [helper.make_tensor_value_info(LOGITS, float32, ["batch", classes])],
        [onnx.numpy_helper.from_array(values, key) for key, values in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=list(like.opset_import))
    model.ir_version = like.ir_version
    return model
