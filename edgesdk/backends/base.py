"""What a backend is: a name, a way to load an ONNX file, programs that run, and the memory and the
kernels that go with them.

To add one, subclass `Backend` and `Program` in a module of its own and name it in
`backends/__init__.py`; one that computes in memory of its own also `Memory`.
"""

from typing import Any, ContextManager, Dict, Iterable, Optional, Sequence, Tuple

from .. import kernels
from ..arrays import HOST, Array, Memory, Shape
from ..errors import BundleError


class Program:
    """One compiled stage or graph head. `max_batch`: samples at once, None for any number."""

    max_batch: Optional[int] = None

    def run(self, features: Array, out: Array) -> None:
        """Compute float32 `features` [B, input shape] into float32 `out` [B, output shape].

        Both are of the host or of the backend's memory, C-contiguous, and must not overlap; B may
        differ from call to call. Only one thread calls a program at a time (of all programs, if the
        backend is exclusive); the GIL is released while it computes. An exception of the runtime
        underneath passes through and fails the items of this batch.
        """
        raise NotImplementedError


def smallest_limit(limits: Iterable[Optional[int]]) -> Optional[int]:
    """The `max_batch` of what runs one after the other; None, no limit, if nothing has one."""
    return min((limit for limit in limits if limit is not None), default=None)


class Backend:
    """Compiles the stages of one bundle for one device.

    `kernels` has the functions of `edgesdk.kernels` that exits and batches need, with features in
    `memory` and parameters from `Memory.constant`; what they return is on the host.
    """

    name = ""
    # Whether its programs share memory, so that only one may run at a time, in whichever thread.
    is_exclusive = False
    memory: Memory = HOST
    kernels: Any = kernels

    @classmethod
    def check(cls, files: Optional[Sequence[str]]) -> None:
        """Before it is made unasked: raise BackendUnavailable if it does not work here at all, and
        EngineError if it lacks something for the ONNX `files` of a bundle (None: not known)."""

    def computing(self) -> ContextManager[None]:
        """Around all that one batch needs, in the thread that computes it. At its end everything
        has been computed, and is in the arrays that were asked to hold it."""
        return _NOTHING_TO_WAIT_FOR

    def load(self, path: str, input_shape: Shape, output_shape: Shape) -> Program:
        """Compile the ONNX file at `path`: one input, one output, shapes per sample.

        Raises BundleError if the file is not what the manifest says, EngineError if this backend
        cannot compile it.
        """
        raise NotImplementedError

    def measured(self) -> Dict[str, int]:
        """What `telemetry.board.Board` cannot know: `gpu_free_bytes` and `gpu_total_bytes` where
        there is a GPU. From any thread."""
        return {}

    def close(self) -> None:
        """Free all that the backend holds, its programs too; a second time is nothing."""


class _Nothing(ContextManager[None]):
    def __enter__(self) -> None:
        pass

    def __exit__(self, *what: Any) -> None:
        pass


_NOTHING_TO_WAIT_FOR = _Nothing()


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
