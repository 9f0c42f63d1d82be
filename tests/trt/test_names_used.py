"""Every name of TensorRT that edgesdk mentions exists, in each version that comes to that line."""

import re
from pathlib import Path

import pytest
import trt_names
from names_used import OBJECTS, OTHERS, Names, has

PACKAGE = Path(__file__).resolve().parent.parent.parent / "edgesdk"
FILES = sorted(
    path
    for pattern in ("build/*.py", "backends/trt*.py")
    for path in PACKAGE.glob(pattern)
    if re.search(r"\btrt\b", path.read_text()) or path.relative_to(PACKAGE).as_posix() in OBJECTS
)
# Lines that only some versions reach: those that have (or lack) the name that is asked for first.
NAMED = ("ICudaEngine.num_io_tensors", True)
NUMBERED = ("ICudaEngine.num_io_tensors", False)
FLAGS = ("BuilderFlag.FP16", True)
STRATEGY = "ExecutionContextAllocationStrategy"
REACHED_BY = {
    "BuilderFlag.FP16": FLAGS,
    "BuilderFlag.INT8": FLAGS,
    "IBuilderConfig.max_workspace_size": ("IBuilderConfig.set_memory_pool_limit", False),
    "ICudaEngine.binding_is_input": NUMBERED,
    "ICudaEngine.create_execution_context_without_device_memory": (STRATEGY, False),
    "ICudaEngine.device_memory_size": ("ICudaEngine.device_memory_size_v2", False),
    "ICudaEngine.device_memory_size_v2": ("ICudaEngine.device_memory_size_v2", True),
    "ICudaEngine.get_binding_dtype": NUMBERED,
    "ICudaEngine.get_binding_shape": NUMBERED,
    "ICudaEngine.get_profile_shape": NUMBERED,
    "ICudaEngine.get_tensor_dtype": NAMED,
    "ICudaEngine.get_tensor_mode": NAMED,
    "ICudaEngine.get_tensor_name": NAMED,
    "ICudaEngine.get_tensor_profile_shape": NAMED,
    "ICudaEngine.get_tensor_shape": NAMED,
    "ICudaEngine.num_bindings": NUMBERED,
    "ICudaEngine.num_io_tensors": NAMED,
    "IExecutionContext.device_memory": ("IExecutionContext.set_device_memory", False),
    "IExecutionContext.execute_async_v2": NUMBERED,
    "IExecutionContext.execute_async_v3": NAMED,
    "IExecutionContext.get_binding_shape": NUMBERED,
    "IExecutionContext.get_tensor_shape": NAMED,
    "IExecutionContext.set_binding_shape": NUMBERED,
    "IExecutionContext.set_device_memory": ("IExecutionContext.set_device_memory", True),
    "IExecutionContext.set_input_shape": NAMED,
    "IExecutionContext.set_tensor_address": NAMED,
    "MemoryPoolType": ("IBuilderConfig.set_memory_pool_limit", True),
    "MemoryPoolType.WORKSPACE": ("IBuilderConfig.set_memory_pool_limit", True),
    "TensorIOMode": NAMED,
    "TensorIOMode.INPUT": NAMED,
    STRATEGY: (STRATEGY, True),
    STRATEGY + ".USER_MANAGED": (STRATEGY, True),
    "ParserError.node_name": ("ParserError.node_operator", True),
}


def names_of(path):
    place = path.relative_to(PACKAGE).as_posix()
    return Names(path.read_text(), OBJECTS.get(place, {}), OTHERS.get(place, set()))


def missing(names):
    """Uses of what a version that reaches the line does not have."""
    found = []
    for line, name in names.used:
        asks, wanted = REACHED_BY.get(name, (None, None))
        versions = [v for v in trt_names.VERSIONS if asks is None or has(v, asks) is wanted]
        lacking = [version for version in versions if not has(version, name)]
        is_excused = name in names.asked and lacking != versions
        if lacking and not is_excused:
            found.append("{}: {} is not in {}".format(line, name, ", ".join(lacking)))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_name_is_there(path):
    assert missing(names_of(path)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_object_of_tensorrt_is_left_out(path):
    assert names_of(path).left_out == [], "add them to OBJECTS or OTHERS in names_used.py"


def test_the_builder_is_among_the_files_and_uses_what_it_is_known_for():
    used = {name for path in FILES for _, name in names_of(path).used}
    assert {"Builder.build_serialized_network", "Runtime.deserialize_cuda_engine"} <= used
    assert {"OnnxParser", "ILogger.Severity.ERROR", "IExecutionContext.execute_async_v2"} <= used
    assert set(REACHED_BY) <= used, "an exception for what nobody uses"


PLANTED = {
    "context.set_binding_shapes(0, shape)": "IExecutionContext.set_binding_shapes is not in 8.2.1",
    "trt.BuilderFlags.TF32": "BuilderFlags.TF32 is not in 8.2.1",
    "trt.BuilderFlag.STRICT_TYPES": "BuilderFlag.STRICT_TYPES is not in 10.3.0",
    "trt.ILogger.Severity.ERR": "ILogger.Severity.ERR is not in 8.2.1",
    "self._engine.get_binding_name": "ICudaEngine.get_binding_name is not in 10.3.0",
    "hasattr(trt.BuilderFlag, 'FP61')": "BuilderFlag.FP61 is not in 8.2.1",
    "self.gpu.trt.Builders(1)": "Builders is not in 8.2.1",
}


@pytest.mark.parametrize("text", sorted(PLANTED))
def test_a_wrong_name_is_found(text):
    (found, *_) = missing(Names(text, OBJECTS["backends/trt_programs.py"], set()))
    assert PLANTED[text] in found


@pytest.mark.parametrize(
    "text, said",
    [
        ("inspector = engine.create_engine_inspector()", "assigns to inspector"),
        ("self.x = trt.Builder(1)", "assigns to x"),
        ("thing.execute_async_v2([1], 2)", ".execute_async_v2"),
        ("make().num_io_tensors", ".num_io_tensors"),
    ],
)
def test_what_the_table_does_not_know_is_found(text, said):
    (found,) = Names(text, OBJECTS["backends/trt_programs.py"], set()).left_out
    assert said in found[1]
