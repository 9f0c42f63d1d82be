"""Tables for versions of which no wheel exists, from their neighbours and what public sources say.

Each begins as the table of 8.4.1.5 (that of 8.6.1 holds all of it, so between the two nothing was
removed). What differs was read in the bindings' C++ source, `pyCore.cpp` of NVIDIA/TensorRT:
Builder, IBuilderConfig, Runtime, ICudaEngine, IExecutionContext, EngineInspector, Refitter and
their enums. Names of layers, plugins and calibrators were not compared. A name of which it is not
sure that a version has it is left out: code that would need it is refused.
"""

import copy

BASE, LATER = "8.4.1.5", "8.6.1"

NOT_YET_IN_8_2 = """
MemoryPoolType IBuilderConfig.set_memory_pool_limit IBuilderConfig.get_memory_pool_limit
Builder.max_threads Runtime.max_threads Refitter.max_threads TacticSource.EDGE_MASK_CONVOLUTIONS
BuilderFlag.DIRECT_IO BuilderFlag.REJECT_EMPTY_ALGORITHMS
"""

NEW_IN_8_5 = """
BuilderFlag.ENABLE_TACTIC_HEURISTIC DataType.UINT8 uint8 PreviewFeature TensorIOMode
PreviewFeature.FASTER_DYNAMIC_SHAPES_0805
PreviewFeature.DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805 TacticSource.JIT_CONVOLUTIONS
TensorIOMode.NONE TensorIOMode.INPUT TensorIOMode.OUTPUT
IBuilderConfig.get_preview_feature IBuilderConfig.set_preview_feature
ICudaEngine.num_io_tensors ICudaEngine.get_tensor_name ICudaEngine.get_tensor_mode
ICudaEngine.is_shape_inference_io ICudaEngine.get_tensor_shape ICudaEngine.get_tensor_dtype
ICudaEngine.get_tensor_location ICudaEngine.get_tensor_format ICudaEngine.get_tensor_format_desc
ICudaEngine.get_tensor_bytes_per_component ICudaEngine.get_tensor_components_per_element
ICudaEngine.get_tensor_vectorized_dim ICudaEngine.get_tensor_profile_shape
IExecutionContext.set_input_shape IExecutionContext.get_tensor_shape
IExecutionContext.get_tensor_strides IExecutionContext.set_tensor_address
IExecutionContext.get_tensor_address IExecutionContext.set_input_consumed_event
IExecutionContext.get_input_consumed_event IExecutionContext.set_output_allocator
IExecutionContext.get_output_allocator IExecutionContext.get_max_output_size
IExecutionContext.temporary_allocator IExecutionContext.infer_shapes
IExecutionContext.execute_async_v3 IExecutionContext.persistent_cache_limit
IExecutionContext.nvtx_verbosity IOutputAllocator IOutputAllocator.__init__
IOutputAllocator.tensorrt_version IOutputAllocator.reallocate_output IOutputAllocator.notify_shape
"""

# Where one name has other overloads or types than in the table that it is taken from.
CHANGED_IN_8_5 = {
    # With a profile_index only from 8.6 on.
    "ICudaEngine.get_tensor_format": [["name:str"]],
    "ICudaEngine.get_tensor_format_desc": [["name:str"]],
    "ICudaEngine.get_tensor_bytes_per_component": [["name:str"]],
    "ICudaEngine.get_tensor_components_per_element": [["name:str"]],
    "ICudaEngine.get_tensor_vectorized_dim": [["name:str"]],
    # From 8.5 on an address is an int; before, a capsule, of which Python has none.
    "IExecutionContext.device_memory": "int",
}


def add(tables):
    """Add 8.2.1 and 8.5.3 to `tables`, where those that they rest on are there."""
    if BASE in tables:
        tables["8.2.1"] = _without(tables[BASE], NOT_YET_IN_8_2.split())
        tables["8.2.1"]["origin"] = (
            "derived: bindings 8.4.1.5 without what a pyCore.cpp of 8.2 (which tag is not known; "
            "it has EngineInspector and no memory pools) lacks; layers, plugins, parser and "
            "calibrators as in 8.4.1.5; BuilderFlag.OBEY_ and PREFER_PRECISION_CONSTRAINTS, which "
            "that file lacks, were seen in an earlier reading of tag 8.2.1"
        )
    if BASE in tables and LATER in tables:
        tables["8.5.3"] = _with(tables[BASE], tables[LATER], NEW_IN_8_5.split(), CHANGED_IN_8_5)
        tables["8.5.3"]["origin"] = (
            "derived: bindings 8.4.1.5 and what a pyCore.cpp of 8.5 (8.5.1 to 8.5.3, which of them "
            "is not known) adds, as in bindings 8.6.1; layers, plugins, parser and calibrators "
            "as in 8.4.1.5"
        )


def _places(table, name):
    """The dicts in `table` that hold, or may hold, a dotted name, and its last part."""
    owner, _, last = name.rpartition(".")
    if not owner:
        return [table["classes"], table["enums"], table["constants"]], last
    if owner in table["enums"]:
        return [table["enums"][owner]], last
    found = table["classes"].get(owner, {"methods": {}, "properties": {}})
    return [found["methods"], found["properties"]], last


def _without(table, names):
    table = copy.deepcopy(table)
    for name in names:
        places, last = _places(table, name)
        if not [place.pop(last) for place in places if last in place]:
            raise ValueError("{}: the table has no such name to remove".format(name))
    return table


def _with(table, later, names, changed):
    """`table` with `names` as `later` has them; a class or an enum comes without its members."""
    table = copy.deepcopy(table)
    empty = {"bases": [], "methods": {}, "properties": {}}
    for name in sorted(names, key=lambda dotted: dotted.count(".")):
        sources, last = _places(later, name)
        found = [(place, source[last]) for place, source in enumerate(sources) if last in source]
        for place, value in found:
            if isinstance(value, dict):
                value = copy.deepcopy(empty) if place == 0 else {}
            _places(table, name)[0][place][last] = value
        if not found:
            raise ValueError("{}: the later table has no such name".format(name))
    for name, value in changed.items():
        places, last = _places(table, name)
        place = 1 if isinstance(value, str) else 0
        places[place][last] = value
    return table
