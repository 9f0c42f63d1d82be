"""The machine under the doubles of pycuda and TensorRT: a GPU that checks what is done to it.

Device memory is host memory behind addresses of its own. What is asked of a stream happens when
somebody waits for the stream, and not before: who does not wait finds the old bytes. Every call
needs a context that is current in its thread. `Machine.broken` plants faults.
"""

import bisect
import collections
import itertools
import threading
from typing import Callable, Counter, Dict, List, Optional, Set, Tuple

import numpy as np

FAULTS = {
    "no driver",  # import pycuda.driver fails
    "no gpu",  # cuda.init() fails, TensorRT makes no object
    "old driver",  # TensorRT makes no object
    "memory at build",
    "memory at deserialize",
    "memory at context",
    "memory at alloc",
    "execute",  # enqueue gives False
    "skips tactics",  # the builder logs it; the engine is slower, and is built
    "build fails",  # None, and an error in the log
    "builds for ever",
    "kills builder",  # SIGKILL to this process while it builds, as the kernel does without memory
    "kernels for other gpus",  # launches of edgesdk.kernels._cuda are refused
}
_ALIGNMENT_BYTES = 512
GATE_S_MAX = 20.0
_GUARD_BYTES = 4096  # between allocations, so that writing past an end hits nothing


class Error(Exception):
    """pycuda.driver.Error."""


class LogicError(Error):
    """pycuda.driver.LogicError: a call that was not allowed, among others without a context."""


class MemoryError_(Error):
    """pycuda.driver.MemoryError, which is no builtin MemoryError."""


class RuntimeError_(Error):
    """pycuda.driver.RuntimeError, which is no builtin RuntimeError."""


MemoryError_.__name__, RuntimeError_.__name__ = "MemoryError", "RuntimeError"


class Crash(BaseException):
    """A real process would end here, or go on with broken memory; `except Exception` lets it by."""


class Machine:
    """A board with a GPU: what there is of memory, which contexts, streams and faults."""

    def __init__(
        self,
        name: str = "NVIDIA Tegra X1",
        compute_capability: Tuple[int, int] = (5, 3),
        memory_bytes: int = 3965 << 20,
        fast_int8: bool = False,
        fast_fp16: bool = True,
    ) -> None:
        self.name = name
        self.compute_capability = compute_capability
        self.memory_bytes = memory_bytes
        self.fast_int8 = fast_int8
        self.fast_fp16 = fast_fp16
        self.broken: Set[str] = set()
        # What was misused without an exception that says so; see check_clean.
        self.complaints: List[str] = []
        self.initialised = False
        # What the builder had to time; a timing cache makes it less.
        self.timed_tactic_count = 0
        self.allocations: Dict[int, np.ndarray] = {}
        self.streams: Dict[int, Stream] = {}
        # Page-locked host memory by its address there; what of it the GPU sees is allocated too.
        self.pagelocked: Dict[int, int] = {}
        # What was copied so far, by "htod", "dtoh" and "dtod".
        self.copied_bytes: Counter[str] = collections.Counter()
        # While it is set to an event, streams do nothing until that is set: a GPU that hangs.
        self.gate: Optional[threading.Event] = None
        self.is_integrated = True
        self.others_bytes = 0  # of other processes
        self.peak_bytes = 0
        self._next_address = 0x700000000
        self._next_handle = itertools.count(0x5500, 0x10)
        self._stacks: Dict[int, List[Context]] = {}
        self.primary_count = 0  # how often the primary context is retained
        self.lock = threading.RLock()

    def is_broken(self, fault: str) -> bool:
        """Whether a fault was planted."""
        unknown = self.broken - FAULTS
        assert not unknown, "no such fault: {}".format(sorted(unknown))
        assert fault in FAULTS, fault
        return fault in self.broken

    def stack(self) -> List["Context"]:
        """The contexts of the calling thread, the current one last."""
        return self._stacks.setdefault(threading.get_ident(), [])

    def current(self, what: str) -> "Context":
        """The current context; raises LogicError, as pycuda does, where there is none."""
        if not self.stack():
            self.complaints.append("{}: no context is current in this thread".format(what))
            raise LogicError("{} failed: invalid device context".format(what))
        return self.stack()[-1]

    @property
    def used_bytes(self) -> int:
        return sum(array.nbytes for array in list(self.allocations.values()))

    def allocate(self, size_bytes: int) -> int:
        """The address of new device memory; raises pycuda's MemoryError if there is not enough."""
        with self.lock:
            if size_bytes <= 0:
                raise LogicError("cuMemAlloc failed: invalid argument")
            if self.is_broken("memory at alloc") or (
                self.used_bytes + self.others_bytes + size_bytes > self.memory_bytes
            ):
                raise MemoryError_("cuMemAlloc failed: out of memory")
            address = self._next_address
            steps = -(-(size_bytes + _GUARD_BYTES) // _ALIGNMENT_BYTES)
            self._next_address += steps * _ALIGNMENT_BYTES
            # Not zeros: what reads before anyone wrote gets noise.
            self.allocations[address] = np.full(size_bytes, 0xA5, np.uint8)
            self.peak_bytes = max(self.peak_bytes, self.used_bytes)
            return address

    def free(self, address: int) -> None:
        """Give device memory back; a second time is an error."""
        with self.lock:
            if self.allocations.pop(address, None) is None:
                self.complaints.append("freed what is not allocated: {:#x}".format(address))
                raise LogicError("cuMemFree failed: invalid argument")

    def memory(self, address: int, size_bytes: int) -> np.ndarray:
        """A view of the bytes at an address; raises LogicError if not all are of one buffer."""
        with self.lock:
            starts = sorted(self.allocations)
            place = bisect.bisect_right(starts, address) - 1
            if place >= 0:
                start = starts[place]
                offset = address - start
                if offset + size_bytes <= self.allocations[start].nbytes:
                    return self.allocations[start][offset : offset + size_bytes]
        self.complaints.append("illegal access: {} bytes at {:#x}".format(size_bytes, address))
        raise LogicError("an illegal memory access was encountered")

    def map_host(self, array: np.ndarray) -> int:
        """The address under which the GPU sees page-locked bytes."""
        with self.lock:
            address = self._next_address
            steps = -(-(array.nbytes + _GUARD_BYTES) // _ALIGNMENT_BYTES)
            self._next_address += steps * _ALIGNMENT_BYTES
            self.allocations[address] = array
            return address

    def new_handle(self) -> int:
        return next(self._next_handle)

    def check_clean(self) -> None:
        """Raise AssertionError if something leaked, is still current, or was misused."""
        assert not self.complaints, self.complaints
        left = {hex(a): array.nbytes for a, array in self.allocations.items()}
        assert not left, "device memory was not freed: {}".format(left)
        assert not self.pagelocked, "page-locked memory was not freed: {}".format(self.pagelocked)
        left_stacks = [stack for stack in self._stacks.values() if stack]
        assert not left_stacks, "a context is still current: the context stack was not empty"
        waiting = [stream.handle for stream in self.streams.values() if stream.waiting]
        assert not waiting, "streams have work that nobody waited for: {}".format(waiting)
        assert not self.primary_count, "the primary context was retained and not released (detach)"


class Context:
    """pycuda.driver.Context, of the primary one: an object for each time that it is retained."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._thread, self._is_valid = machine, threading.get_ident(), True
        machine.primary_count += 1

    def push(self) -> None:
        self._check_alive("cuCtxPushCurrent")
        self._machine.stack().append(self)

    def detach(self) -> None:
        """Release it, where it is current or in the thread that retained it; in another thread
        pycuda does nothing, and it stays. The last release frees what was allocated."""
        self._check_alive("cuCtxDetach")
        self._is_valid = False
        here = self._machine.stack()
        if here[-1:] != [self] and self._thread != threading.get_ident():
            return
        here[:] = [context for context in here if context is not self]
        self._machine.primary_count -= 1
        if any(self in stack for stack in self._machine._stacks.values()):
            self._machine.complaints.append("a context was released that is current elsewhere")
        if self._machine.allocations and not self._machine.primary_count:
            self._machine.complaints.append("a context was released with memory in use")

    def _check_alive(self, what: str) -> None:
        if not self._is_valid:
            raise LogicError("{} failed: invalid device context".format(what))


class Stream:
    """pycuda.driver.Stream: what was asked waits in `waiting` until somebody waits for it."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self.handle = machine, machine.new_handle()
        self.waiting: List[Callable[[], None]] = []
        machine.current("cuStreamCreate")
        machine.streams[self.handle] = self

    def synchronize(self) -> None:
        self._machine.current("cuStreamSynchronize")
        self.run()

    def is_done(self) -> bool:
        self._machine.current("cuStreamQuery")
        return not self.waiting

    def wait_for_event(self, event: "Event") -> None:
        self._machine.current("cuStreamWaitEvent")
        self.waiting.append(event.run)

    def run(self) -> None:
        """Do what was asked, in order. A failure is reported once and ends what came with it."""
        if self._machine.gate is not None:
            self._machine.gate.wait(GATE_S_MAX)
        while self.waiting:
            work = self.waiting.pop(0)
            try:
                work()
            except LogicError:
                del self.waiting[:]
                raise

    def __del__(self) -> None:
        self._machine.streams.pop(self.handle, None)
        if self.waiting:
            self._machine.complaints.append("a stream was dropped with work in it")


class Event:
    """pycuda.driver.Event: a place in a stream. Times are counted in work done, as milliseconds."""

    def __init__(self, machine: Machine) -> None:
        machine.current("cuEventCreate")
        self._machine = machine
        self._stream: Optional[Stream] = None
        self.reached = True

    def record(self, stream: Stream) -> "Event":
        self._machine.current("cuEventRecord")
        self._stream, self.reached = stream, False
        stream.waiting.append(self._reach)
        return self

    def _reach(self) -> None:
        self.reached = True

    def run(self) -> None:
        """Let the stream come to this place, no further."""
        while not self.reached and self._stream is not None and self._stream.waiting:
            self._stream.waiting.pop(0)()

    def synchronize(self) -> "Event":
        self._machine.current("cuEventSynchronize")
        self.run()
        return self

    def query(self) -> bool:
        self._machine.current("cuEventQuery")
        return self.reached

    def time_since(self, start: "Event") -> float:
        if not (self.reached and start.reached):
            raise LogicError("cuEventElapsedTime failed: device not ready")
        return 1.0


class PagelockedHostAllocation:
    """pycuda.driver.PagelockedHostAllocation: the `base` of an array of `pagelocked_empty`."""

    def __init__(self, machine: Machine, array: np.ndarray, is_mapped: bool) -> None:
        machine.current("cuMemHostAlloc")
        if machine.is_broken("memory at alloc"):
            raise MemoryError_("cuMemHostAlloc failed: out of memory")
        if not array.nbytes:
            raise LogicError("cuMemHostAlloc failed: invalid argument")
        self._machine, self._memory = machine, array.ravel(order="K").view(np.uint8)
        self._memory[:] = 0xA5
        self._device_address = machine.map_host(self._memory) if is_mapped else 0
        self.__array_interface__ = array.__array_interface__  # an array of it has it as its base
        machine.pagelocked[id(self)] = array.nbytes

    def get_device_pointer(self) -> int:
        if not self._device_address:
            raise LogicError("cuMemHostGetDevicePointer failed: invalid argument")
        return self._device_address

    def free(self) -> None:
        self._machine.current("cuMemFreeHost")
        if self._machine.pagelocked.pop(id(self), None) is None:
            raise LogicError("pagelocked_host_allocation::free failed: invalid resource handle")
        self._machine.allocations.pop(self._device_address, None)

    def __del__(self) -> None:
        machine = getattr(self, "_machine", None)
        if machine is not None and machine.pagelocked.pop(id(self), None) is not None:
            if not machine.stack():
                machine.complaints.append("page-locked memory was dropped without a context")
            machine.allocations.pop(self._device_address, None)


class DeviceAllocation:
    """pycuda.driver.DeviceAllocation: int() is its address; freed when nobody holds it."""

    def __init__(self, machine: Machine, size_bytes: int) -> None:
        self._machine, self._address = machine, machine.allocate(size_bytes)

    def __int__(self) -> int:
        return self._address

    def __index__(self) -> int:
        return self._address

    def free(self) -> None:
        self._machine.current("cuMemFree")
        self._machine.free(self._address)
        self._address = 0

    def __del__(self) -> None:
        if getattr(self, "_address", 0):
            if not self._machine.stack():
                self._machine.complaints.append("device memory was dropped without a context")
            self._machine.allocations.pop(self._address, None)
