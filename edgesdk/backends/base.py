"""What a backend is: a name, a way to load an ONNX file, and programs that run.

To add one, subclass both classes in a module of its own and name it in `backends/__init__.py`.
"""

from typing import Tuple

import numpy as np

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


def describe_mismatch(path: str, what: str, found: object, expected: object) -> str:
    """The sentence for a file whose shapes are not those of the manifest."""
    return "{}: {} is {}, expected {} as the manifest says; export the bundle again".format(
        path, what, found, expected
    )
