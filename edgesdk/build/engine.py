"""One ONNX file becomes one engine: parse, configure, build.

Every None, False and negative number that TensorRT returns is an `EngineError` with what its log
says. What differs between versions is asked for by name (`hasattr`), never by version.
"""

import os
from typing import Any, List, NamedTuple, Optional, Tuple

from ..backends.base import check_signature
from ..errors import EdgeError, EngineError
from ..files import write_atomically
from .gpu import Gpu
from .onnx_facts import opset_of

OPSET_OF_8_2 = 13  # the newest that its parser knows; 8.4 to 8.6 know 17


class Recipe(NamedTuple):
    """How one file is built. `onnx`: for people; `path`: what is parsed. Shapes are per sample.
    `precision` is asked for by flags; None where the graph has it."""

    onnx: str
    path: str
    input_shape: Tuple[int, ...]
    output_shape: Tuple[int, ...]
    precision: Optional[str]
    max_batch: int
    optimum_batch: int
    workspace_bytes: int
    timing_cache: Optional[str]


class Plan(NamedTuple):
    """A built engine: its bytes, and what is to be said of it."""

    content: bytes
    notes: List[str]


def build_engine(gpu: Gpu, recipe: Recipe) -> Plan:
    """Build, on this GPU. Raises EngineError if TensorRT cannot, BundleError if the file is not
    what the manifest says."""
    builder = gpu.new_builder()
    network = _parse(gpu, builder, recipe)
    config = builder.create_builder_config()
    if config is None:
        raise gpu.log.failure(recipe.onnx + ": TensorRT makes no configuration")
    _set_memory(gpu, config, recipe.workspace_bytes)
    _set_precision(gpu, config, recipe.precision)
    _add_profile(gpu, builder, network, config, recipe)
    notes = _give_timing_cache(config, recipe.timing_cache)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise gpu.log.failure(recipe.onnx + ": TensorRT cannot build it")
    notes += _keep_timing_cache(config, recipe.timing_cache)
    return Plan(bytes(serialized), notes)


def _parse(gpu: Gpu, builder: Any, recipe: Recipe) -> Any:
    """The network of a file: one input, one output, a free batch."""
    trt = gpu.trt
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"):  # 11 has no other
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(flags)
    if network is None:
        raise gpu.log.failure(recipe.onnx + ": TensorRT makes no network")
    parser = trt.OnnxParser(network, gpu.logger)
    try:
        with open(recipe.path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise EngineError(
            "{}: cannot be read ({}); copy the bundle again".format(recipe.onnx, error.strerror)
        ) from None
    if not parser.parse(content):
        raise EngineError(_parse_failure(gpu, parser, recipe.onnx, opset_of(content)))
    for what, count, get, shape in (
        ("input", network.num_inputs, network.get_input, recipe.input_shape),
        ("output", network.num_outputs, network.get_output, recipe.output_shape),
    ):
        found = [_signature(trt, get(index), shape) for index in range(count)]
        check_signature(recipe.onnx, what, found, shape)
    return network


def _signature(trt: Any, tensor: Any, expected: Tuple[int, ...]) -> Tuple[str, List[Any]]:
    """Type and sizes. Behind a Reshape or a Flatten the parser knows no size, and gives -1: what it
    becomes is seen when the engine is tried."""
    kind = "float" if tensor.dtype == trt.DataType.FLOAT else str(tensor.dtype)
    sizes: List[Any] = list(tensor.shape)
    if len(sizes) == 1 + len(expected):
        sizes[1:] = [known if size < 0 else size for size, known in zip(sizes[1:], expected)]
    return kind, ["any" if size < 0 else size for size in sizes]


def _parse_failure(gpu: Gpu, parser: Any, onnx: str, opset: int) -> str:
    reasons = []
    for index in range(parser.num_errors):
        problem = parser.get_error(index)
        node = "" if problem.node() < 0 else "node {}: ".format(problem.node())
        if hasattr(problem, "node_operator") and problem.node_operator():
            node = "node {} {!r} ({}): ".format(
                problem.node(), problem.node_name(), problem.node_operator()
            )
        reasons.append(node + problem.desc())
    text = "{}: TensorRT {} cannot read it: found {}".format(
        onnx, gpu.device.tensorrt, "; ".join(reasons) or "an error that it does not name"
    )
    if opset > OPSET_OF_8_2:
        text += (
            "; the file is of opset {}, and TensorRT 8.2 reads opset {} at most, 8.4 to 8.6 opset "
            "17; export it again as opset {}, as `python -m edgesdk.train export` does".format(
                opset, OPSET_OF_8_2, OPSET_OF_8_2
            )
        )
    return (
        text + "; expected operators that this TensorRT has: change the network, or leave the "
        'stage to the CPU (Pipeline.open(..., backend="onnxruntime"))'
    )


def _set_memory(gpu: Gpu, config: Any, workspace_bytes: int) -> None:
    trt = gpu.trt
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    else:
        config.max_workspace_size = workspace_bytes


def _set_precision(gpu: Gpu, config: Any, precision: Optional[str]) -> None:
    """fp32 means it: TF32, which newer GPUs would take for it, has the digits of fp16. int8 is for
    the layers between Q/DQ nodes; the others may be fp16."""
    trt = gpu.trt
    if precision is None:
        return
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)


def _add_profile(gpu: Gpu, builder: Any, network: Any, config: Any, recipe: Recipe) -> None:
    """Batches from 1 to the largest; fastest at the one that is waited for most often."""
    tensor = network.get_input(0)
    batches = 1, min(recipe.optimum_batch, recipe.max_batch), recipe.max_batch
    profile = builder.create_optimization_profile()
    try:
        profile.set_shape(tensor.name, *[(batch,) + tuple(recipe.input_shape) for batch in batches])
    except RuntimeError as error:
        raise EngineError("{}: batches of {}: {}".format(recipe.onnx, batches, error)) from None
    if config.add_optimization_profile(profile) < 0:
        raise gpu.log.failure("{}: batches of {}".format(recipe.onnx, batches))


def _give_timing_cache(config: Any, path: Optional[str]) -> List[str]:
    """Let the builder know what was timed before; what it cannot use is left aside with a word."""
    content, notes = b"", []
    if path is not None and os.path.exists(path):
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            notes.append("{}: cannot be read ({}); nothing is known".format(path, error.strerror))
    cache = config.create_timing_cache(content)
    if cache is not None and config.set_timing_cache(cache, False):
        return notes
    if content:
        notes.append("{}: damaged, or of another GPU or TensorRT; begun anew".format(path))
        cache = config.create_timing_cache(b"")
        if cache is not None and config.set_timing_cache(cache, False):
            return notes
    return [*notes, "TensorRT makes no timing cache: every build times all anew"]


def _keep_timing_cache(config: Any, path: Optional[str]) -> List[str]:
    """What was learnt, for the next stage and the next build. A build does not fail for it."""
    cache = None if path is None else config.get_timing_cache()
    if path is None or cache is None:
        return []
    serialized = cache.serialize()
    if serialized is None:
        return ["TensorRT does not tell what it timed"]
    try:
        write_atomically(path, bytes(serialized))
    except EdgeError as error:
        return ["the timing cache was not kept: {}".format(error)]
    return []
