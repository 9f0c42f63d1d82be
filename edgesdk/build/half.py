"""The child's task "half": an ONNX file whose weights and operators are float16, between an input
and an output that stay float32. TensorRT 11 has no flag for it: precision is what the file says.

The converter is onnxruntime's (`onnxruntime.transformers.float16`), which knows what every operator
may be given.
"""

from typing import Any, Dict

from ..errors import BackendUnavailable, EngineError
from ..files import write_atomically


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """Convert the file `path` into `out`; `onnx` is its name for people. Raises BackendUnavailable
    without the converter, EngineError if it cannot."""
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except (ImportError, OSError) as error:
        raise BackendUnavailable(
            "TensorRT 11 takes fp16 from the ONNX file only, and what converts it is not there "
            "({}); install it: pip install onnxruntime onnx; or build with --precision fp32".format(
                error
            )
        ) from None
    try:
        model = convert_float_to_float16(onnx.load(request["path"]), keep_io_types=True)
        OnnxModel(model).topological_sort()  # it puts its casts at the end
        onnx.checker.check_model(model)
    except Exception as error:  # it raises whatever its parts do
        raise EngineError(
            "{}: cannot be made fp16 ({}); build with --precision fp32".format(
                request["onnx"], " ".join(str(error).split())
            )
        ) from None
    write_atomically(request["out"], model.SerializeToString())
    return {}
