"""The table of TensorRT's names is what the bindings say, and agrees with what is known of them."""

import os

import extract_names
import pytest
import trt_derived
import trt_names

WHEELS = "EDGESDK_TENSORRT_WHEELS"  # a folder; `extract_names.py` says how to fill it


def has(version, dotted):
    """Whether a version has "name", "Class.name" or "Enum.MEMBER"."""
    table = trt_names.table(version)
    owner, _, last = dotted.rpartition(".")
    if not owner:
        return any(last in table[part] for part in ("classes", "enums", "functions", "constants"))
    found = table["classes"].get(owner, {"methods": (), "properties": ()})
    return (
        last in found["methods"]
        or last in found["properties"]
        or last in table["enums"].get(owner, ())
    )


def first_and_last(dotted):
    versions = [version for version in trt_names.VERSIONS if has(version, dotted)]
    expected = trt_names.VERSIONS[
        trt_names.VERSIONS.index(versions[0]) : trt_names.VERSIONS.index(versions[-1]) + 1
    ]
    assert tuple(versions) == expected, "a name does not come and go"
    return versions[0], versions[-1]


@pytest.mark.parametrize(
    "dotted, first, last",
    [
        ("Runtime.deserialize_cuda_engine", "8.2.1", "11.4.0.106"),
        ("Builder.build_serialized_network", "8.2.1", "11.4.0.106"),
        ("Builder.build_engine", "8.2.1", "8.6.1"),
        ("Builder.platform_has_fast_fp16", "8.2.1", "10.16.1.11"),
        ("Runtime.max_threads", "8.4.1.5", "11.4.0.106"),
        ("ICudaEngine.num_bindings", "8.2.1", "8.6.1"),
        ("ICudaEngine.num_io_tensors", "8.5.3", "11.4.0.106"),
        ("ICudaEngine.get_tensor_profile_shape", "8.5.3", "11.4.0.106"),
        ("IExecutionContext.set_binding_shape", "8.2.1", "8.6.1"),
        ("IExecutionContext.execute_async_v2", "8.2.1", "8.6.1"),
        ("IExecutionContext.set_input_shape", "8.5.3", "11.4.0.106"),
        ("IExecutionContext.execute_async_v3", "8.5.3", "11.4.0.106"),
        ("IBuilderConfig.max_workspace_size", "8.2.1", "8.6.1"),
        ("IBuilderConfig.set_memory_pool_limit", "8.4.1.5", "11.4.0.106"),
        ("IBuilderConfig.builder_optimization_level", "8.6.1", "11.4.0.106"),
        ("IBuilderConfig.create_timing_cache", "8.2.1", "11.4.0.106"),
        ("BuilderFlag.FP16", "8.2.1", "10.16.1.11"),
        ("BuilderFlag.INT8", "8.2.1", "10.16.1.11"),
        ("BuilderFlag.VERSION_COMPATIBLE", "8.6.1", "11.4.0.106"),
        ("NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "8.2.1", "10.16.1.11"),
        ("IInt8EntropyCalibrator2", "8.2.1", "10.16.1.11"),
        ("TensorIOMode", "8.5.3", "11.4.0.106"),
        ("DataType.UINT8", "8.5.3", "11.4.0.106"),
        ("DataType.INT64", "10.3.0", "11.4.0.106"),
    ],
)
def test_known_names_come_and_go_where_documents_say(dotted, first, last):
    assert first_and_last(dotted) == (first, last)


def test_every_version_says_what_its_table_rests_on():
    origins = {version: trt_names.table(version)["origin"] for version in trt_names.VERSIONS}
    derived = {version for version, origin in origins.items() if origin.startswith("derived")}
    assert derived == {"8.2.1", "8.5.3"}
    for version in set(origins) - derived:
        assert origins[version] == "bindings " + version


def test_derived_tables_are_what_the_rules_make_of_their_neighbours():
    versions = (trt_derived.BASE, trt_derived.LATER)
    tables = {version: trt_names.table(version) for version in versions}
    trt_derived.add(tables)
    assert set(tables) == {"8.2.1", "8.4.1.5", "8.5.3", "8.6.1"}
    for version in tables:
        assert tables[version] == trt_names.table(version), version
    with pytest.raises(ValueError, match="no such name"):
        trt_derived._without(tables["8.2.1"], ["Builder.max_threads"])


def test_arguments_are_those_of_the_signatures():
    methods = trt_names.table("8.2.1")["classes"]["IExecutionContext"]["methods"]
    assert methods["execute_async_v2"] == [
        ["bindings:List[int]", "stream_handle:int", "input_consumed:capsule="]
    ]
    engine = trt_names.table("8.2.1")["classes"]["ICudaEngine"]["methods"]
    assert engine["binding_is_input"] == [["index:int"], ["name:str"]]


def test_signatures_are_read_with_defaults_and_brackets():
    docstring = (
        "f(*args, **kwargs)\nOverloaded function.\n\n"
        "1. f(self: tensorrt.tensorrt.A, x: Dict[str, int], kind: tensorrt.tensorrt.K = <K.B: 0>)"
        " -> int\n\n    Text (with brackets).\n\n2. f(arg0: typing.SupportsInt) -> None\n"
    )
    assert extract_names.arguments(docstring) == [["x:Dict[str,int]", "kind:K="], ["arg0:int"]]
    assert extract_names.arguments("f(self: A) -> None\n\n text\n") == [[]]
    assert extract_names.arguments(None) == []


def test_the_file_is_small_and_holds_no_texts():
    assert os.path.getsize(trt_names.FILE) < 100000
    for version in trt_names.VERSIONS:
        for table in trt_names.table(version)["classes"].values():
            for overloads in table["methods"].values():
                assert all(" " not in argument for found in overloads for argument in found)


def test_the_file_is_what_the_bindings_say():
    folder = os.environ.get(WHEELS)
    if not folder:
        pytest.skip("{} names no folder of bindings to compare with".format(WHEELS))
    found = extract_names.read_folder(folder)
    assert found, "{}: no wheels there".format(folder)
    for version, table in found.items():
        assert table == trt_names.table(version), version
