"""The GPU as one backend uses it: the primary context, two streams, its memory, and its end.

Everything is in the *primary* context, which CUDA's runtime, TensorRT and torch share, so a process
has one. It is current only between `enter` and `leave`, in whichever thread that is. Batches are
computed on the stream of `compute`; other threads copy on that of `copies`, and wait for nobody's
batch.
"""

import contextlib
import logging
import os
import threading
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Tuple

from ..errors import EngineError

_logger = logging.getLogger("edgesdk")

MEGABYTE = 1 << 20
CLOSED = "the tensorrt backend was closed; open another one"


class Lane:
    """A stream. What was asked for while `wait_count` was the same may not be done yet."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self.stream: Any = cuda.Stream()
        self.handle = int(self.stream.handle)
        self.wait_count = 0

    def wait(self) -> None:
        """Until all that was asked for is done. Raises EngineError if the GPU could not do it."""
        try:
            self.stream.synchronize()
        except self._cuda.Error as error:
            raise EngineError(
                "the GPU failed: found {}, needed a batch computed; if others fail as well, start "
                "this process again; python -m edgesdk.doctor --for tensorrt".format(error)
            ) from None
        finally:
            self.wait_count += 1


class _Here(threading.local):
    """Of each thread: how many `computing` it is in."""

    depth = 0


class Gpu:
    """One GPU of this process. `is_mapped`: the GPU reads and writes page-locked memory of the host
    where it is, instead of copies; see `trt_memory.Staging`.

    `close` frees all, in the end by whoever leaves last: a stage that hangs in a lost thread keeps
    its memory rather than have it taken away. Raises EngineError if there is no memory for a
    context.
    """

    def __init__(self, cuda: Any, device: Any) -> None:
        self.cuda = cuda
        self.is_mapped = False
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._user_count = 0
        self._is_closed = False
        self._blocks: Dict[int, Any] = {}  # DeviceAllocation by address
        self._finals: List[Callable[[], None]] = []
        self._copying = threading.Lock()
        self.here = _Here()
        self._computing = _Computing(self)
        try:
            self._context = device.retain_primary_context()
        except cuda.Error as error:
            raise EngineError(
                "GPU: found no room for a context ({}), needed one; end what else uses the GPU; "
                "python -m edgesdk.doctor --for tensorrt".format(error)
            ) from None
        try:
            with self.using():
                self.compute, self.copies = Lane(cuda), Lane(cuda)
                free_bytes, total_bytes = cuda.mem_get_info()
                self.others_bytes = total_bytes - free_bytes  # and what a context itself takes
        except BaseException:
            self.close()
            raise

    # --- who uses it ------------------------------------------------------------------------------

    def enter(self) -> None:
        """Make the context current in this thread. Raises EngineError after `close`."""
        with self._lock:
            if self._is_closed:
                raise EngineError(CLOSED)
            self._user_count += 1
        try:
            self._context.push()
        except BaseException:
            with self._lock:
                self._user_count -= 1
            raise

    def leave(self) -> None:
        """The end of what `enter` began."""
        self.cuda.Context.pop()
        with self._lock:
            self._user_count -= 1
            is_last = self._is_closed and not self._user_count
        if is_last:
            self._free()

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """In there the context is current."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def computing(self) -> ContextManager[None]:
        """See `Backend.computing`: inner ones wait for nothing."""
        return self._computing

    @contextlib.contextmanager
    def reading(self) -> Iterator[Lane]:
        """In there any thread may copy, on the stream that it gets, what has been computed."""
        with self.using(), self._copying:
            if self.here.depth:
                self.compute.wait()
            yield self.copies

    # --- memory -----------------------------------------------------------------------------------

    def allocate(self, size_bytes: int, purpose: str) -> int:
        """The address of device memory, which lives until `release` or the end. Raises EngineError
        that says who has the rest."""
        with self.using():
            try:
                block = self.cuda.mem_alloc(size_bytes)
            except self.cuda.MemoryError:
                raise EngineError(self.no_memory(purpose, size_bytes)) from None
            address = int(block)
            self._blocks[address] = block
            return address

    def release(self, address: int) -> None:
        """Free what `allocate` gave, in a thread where the context is current."""
        self._blocks.pop(address).free()

    def memory(self) -> Tuple[int, int]:
        """Bytes that are free, and that there are. On a Jetson they are the CPU's too."""
        with self.using():
            free_bytes, total_bytes = self.cuda.mem_get_info()
            return int(free_bytes), int(total_bytes)

    def no_memory(self, purpose: str, size_bytes: int = 0) -> str:
        """What to say where there is too little memory."""
        free_bytes, total_bytes = self.memory()
        needed = "{:.1f} MB".format(size_bytes / MEGABYTE) if size_bytes else "more"
        return (
            "GPU memory: found {} MB free of {} MB, of which {} MB were in use by others when this "
            "was opened, needed {} for {}: end what else uses it (python -m edgesdk.doctor), open "
            'with a smaller max_batch, or with backend="onnxruntime"'.format(
                free_bytes // MEGABYTE,
                total_bytes // MEGABYTE,
                self.others_bytes // MEGABYTE,
                needed,
                purpose,
            )
        )

    # --- the end ----------------------------------------------------------------------------------

    def finally_call(self, free: Callable[[], None]) -> None:
        """`free` is called at the end with the context current, before those given earlier."""
        self._finals.append(free)

    def close(self) -> None:
        """Free all, at once or as soon as nobody uses it; once, and not in a fork, for which CUDA
        does not work."""
        if os.getpid() != self._process_id:
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            is_used = self._user_count > 0
        if not is_used:
            self._free()
        elif not self.here.depth:
            _logger.warning("a stage still runs on the GPU: its memory is freed when it ends")

    def _free(self) -> None:
        self._context.push()
        try:
            for free in [lane.wait for lane in self._lanes()] + self._finals[::-1]:
                # Where the GPU has failed there is no order left to keep.
                with contextlib.suppress(EngineError, self.cuda.Error):
                    free()
            for address in list(self._blocks):
                with contextlib.suppress(self.cuda.Error):
                    self.release(address)
            for lane in self._lanes():
                lane.stream = None
        finally:
            # While it is current: elsewhere than in the thread that opened it, pycuda would not
            # release it. It stays on the driver's stack here, under whatever is made current next.
            self._context.detach()

    def _lanes(self) -> List[Lane]:
        """Those that there are: opening may have failed."""
        return [getattr(self, name) for name in ("compute", "copies") if hasattr(self, name)]


class _Computing(ContextManager[None]):
    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def __enter__(self) -> None:
        gpu = self._gpu
        if not gpu.here.depth:
            gpu.enter()
        gpu.here.depth += 1

    def __exit__(self, kind: Any, *what: Any) -> None:
        gpu = self._gpu
        if gpu.here.depth > 1:
            gpu.here.depth -= 1
            return
        try:
            gpu.compute.wait()  # after a failure too: buffers are used again at once
        except EngineError:
            if kind is None:  # else what failed first says more
                raise
        finally:
            gpu.here.depth -= 1
            gpu.leave()
