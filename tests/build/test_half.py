"""ONNX files in float16, between a float32 input and output."""

import sys

import builds
import numpy as np
import onnx
import pytest

from edgesdk.build import half
from edgesdk.errors import BackendUnavailable, EngineError

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 8), reason="the converter is not for this Python"
)
STAGES = sorted((builds.ROOT / "engines" / "wrn16_1-digits" / "1" / "onnx").glob("seg*.onnx"))


def converted(path, tmp_path):
    out = tmp_path / "half.onnx"
    half.answer({"onnx": "onnx/a.onnx", "path": str(path), "out": str(out)})
    return out


@pytest.mark.parametrize("path", STAGES[:4], ids=lambda path: path.name)
def test_weights_are_float16_and_answers_nearly_the_same(path, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = converted(path, tmp_path)
    graph = onnx.load(str(out)).graph
    assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT16}
    kinds = {each.type.tensor_type.elem_type for each in [*graph.input, *graph.output]}
    assert kinds == {onnx.TensorProto.FLOAT}
    sessions = [
        onnxruntime.InferenceSession(str(each), providers=["CPUExecutionProvider"])
        for each in (path, out)
    ]
    shape = [2] + sessions[0].get_inputs()[0].shape[1:]
    features = np.random.RandomState(0).rand(*shape).astype(np.float32)
    one, two = (session.run(None, {"features": features})[0] for session in sessions)
    assert one.dtype == two.dtype == np.float32
    assert 0 < np.abs(one - two).max() < 0.01 * np.abs(one).max()


def test_what_cannot_be_converted_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"rubbish")
    with pytest.raises(EngineError, match=r"^onnx/a.onnx: cannot be made fp16 .*--precision fp32"):
        converted(tmp_path / "a", tmp_path)


def test_without_the_converter_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.transformers.float16", None)
    with pytest.raises(BackendUnavailable, match=r"pip install onnxruntime onnx; or .* fp32"):
        converted(STAGES[0], tmp_path)
