"""What a backend is: a name, a way to load an ONNX file, and programs that run.

To add one, subclass both classes in a module of its own and name it in `backends/__init__.py`.
"""

from typing import Any, Sequence, Tuple

import numpy as np

from ..errors import BundleError

Shape = Tuple[int, ...]


class Program:
    """One compiled stage or graph head."""

    def run(self, features: np.ndarray, out: np.ndarray) -> None:
        """Compute float32 `features` [B, input shape] into float32 `out` [B, output shape].

        Both are C-contiguous and must not overlap; B may differ from call to call. Only one thread
        calls at a time; the GIL is released while it computes. An exception of the runtime
        underneath passes through and fails the items of this batch.
        """
        raise NotImplementedError


class Backend:
    """Compiles the stages of one bundle for one device."""

    name = ""

    def load(self, path: str, input_shape: Shape, output_shape: Shape) -> Program:
        """Compile the ONNX file at `path`: one input, one output, shapes per sample.

        Raises BundleError if the file is not what the manifest says, EngineError if this backend
        cannot compile it.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Free what the backend holds besides its programs."""


def check_signature(
    path: str, what: str, found: Sequence[Tuple[str, Sequence[Any]]], shape: Shape
) -> None:
    """Raise BundleError unless the "input" or "output" of a file is what the manifest says.

    `found` holds the element type ("float" is float32) and the sizes, batch first, of every tensor;
    a size that is free is not an int. Expected: one of float32, a free batch and `shape`.
    """
    expected = _describe("float", ("batch",) + tuple(shape))
    described = " and ".join(_describe(*tensor) for tensor in found) or "missing"
    if described != expected:
        raise BundleError(
            "{}: {} is {}, expected {} as the manifest says; export the bundle again".format(
                path, what, described, expected
            )
        )


def _describe(kind: str, sizes: Sequence[Any]) -> str:
    texts = [str(size) if isinstance(size, int) else "any" for size in sizes]
    return "{} [{}]".format(kind, ", ".join(texts))
