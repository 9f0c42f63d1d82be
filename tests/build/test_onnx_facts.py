"""What an ONNX file says of itself is what the onnx package says."""

import builds
import onnx
import pytest
import tiny

from edgesdk.build.onnx_facts import is_quantized, opset_of

SHIPPED = sorted((builds.ROOT / "engines").glob("*/*/onnx/*.onnx"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_opset_of_shipped_files(path):
    content = path.read_bytes()
    assert opset_of(content) == onnx.load_model_from_string(content).opset_import[0].version == 13
    assert not is_quantized(str(path))


def test_the_opset_among_others_is_that_of_onnx_itself():
    made = onnx.load_model_from_string(tiny.tiny_files()["onnx/segment_1.onnx"])
    made.opset_import.insert(0, onnx.helper.make_opsetid("com.example", 99))
    made.opset_import[1].domain = "ai.onnx"
    assert opset_of(made.SerializeToString()) == 13


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff" * 40, b"\x42\x7f", b"\x42\x80", b"["])
def test_what_is_no_onnx_file_has_no_opset(content):
    assert opset_of(content) == 0


def test_quantized_is_what_has_such_nodes_not_such_names(tmp_path):
    path = tmp_path / "stage.onnx"
    path.write_bytes(builds.quantized())
    assert is_quantized(str(path))
    node = onnx.helper.make_node("Relu", ["features"], ["output"], name="QuantizeLinear")
    path.write_bytes(builds.model([node]))
    assert not is_quantized(str(path))
