"""A double of pycuda.driver, strict where a GPU would go wrong.

machine = Machine()                 # a Jetson Nano
cuda = driver(machine)              # what `import pycuda.driver as cuda` gives there
...
machine.check_clean()               # nothing leaked, nothing was misused
"""

import contextlib
import types
from typing import Any, Callable, Iterator, Optional, Tuple

import numpy as np
from gpu_machine import (
    Context,
    DeviceAllocation,
    Error,
    Event,
    LogicError,
    Machine,
    MemoryError_,
    PagelockedHostAllocation,
    RuntimeError_,
    Stream,
)


def _host_bytes(array: Any, what: str) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        raise TypeError("{}: found {}, expected an array".format(what, type(array).__name__))
    if not array.flags.c_contiguous:
        raise ValueError("{}: the array is not contiguous".format(what))
    return array.reshape(-1).view(np.uint8)


def _queue(machine: Machine, what: str, stream: Any, work: Callable[[], None]) -> None:
    machine.current(what)
    if stream is None:
        for other in list(machine.streams.values()):
            other.run()  # the default stream waits for all others
        work()
    elif not isinstance(stream, Stream):
        raise TypeError("{}: found {}, expected a Stream".format(what, type(stream).__name__))
    else:
        stream.waiting.append(work)


def _copy(
    machine: Machine, way: str, target: Callable[[], np.ndarray], source: Callable[[], np.ndarray]
) -> Callable[[], None]:
    def work() -> None:
        bytes_there = source()
        target()[:] = bytes_there
        machine.copied_bytes[way] += bytes_there.nbytes

    return work


class _Driver:
    """The functions of the module; those that need no state are its attributes."""

    Error, LogicError, MemoryError, RuntimeError = Error, LogicError, MemoryError_, RuntimeError_
    DeviceAllocation = DeviceAllocation
    PagelockedHostAllocation = PagelockedHostAllocation

    class device_attribute:
        INTEGRATED = "INTEGRATED"

    class host_alloc_flags:
        PORTABLE, DEVICEMAP, WRITECOMBINED = 1, 2, 4

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.Device, self.Context = _device_class(machine), _context_class(machine)

    def init(self, flags: int = 0) -> None:
        if self._machine.is_broken("no gpu"):
            raise RuntimeError_("cuInit failed: no CUDA-capable device is detected")
        self._machine.initialised = True

    def get_driver_version(self) -> int:
        return 10020

    def Stream(self, flags: int = 0) -> Stream:
        return Stream(self._machine)

    def Event(self, flags: int = 0) -> Event:
        return Event(self._machine)

    def mem_alloc(self, bytes: int) -> DeviceAllocation:
        self._machine.current("cuMemAlloc")
        return DeviceAllocation(self._machine, bytes)

    def mem_get_info(self) -> Tuple[int, int]:
        self._machine.current("cuMemGetInfo")
        total_bytes = self._machine.memory_bytes
        used_bytes = self._machine.used_bytes + self._machine.others_bytes
        return total_bytes - used_bytes, total_bytes

    def pagelocked_empty(
        self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0
    ) -> np.ndarray:
        is_mapped = bool(mem_flags & self.host_alloc_flags.DEVICEMAP)
        empty = np.empty(shape, dtype, order)
        return np.asarray(PagelockedHostAllocation(self._machine, empty, is_mapped))

    def memcpy_htod_async(self, dest: Any, src: Any, stream: Any = None) -> None:
        machine, host = self._machine, _host_bytes(src, "cuMemcpyHtoDAsync")
        work = _copy(machine, "htod", lambda: machine.memory(int(dest), host.nbytes), lambda: host)
        _queue(machine, "cuMemcpyHtoDAsync", stream, work)

    def memcpy_dtoh_async(self, dest: Any, src: Any, stream: Any = None) -> None:
        machine, host = self._machine, _host_bytes(dest, "cuMemcpyDtoHAsync")
        if not host.flags.writeable:
            raise ValueError("cuMemcpyDtoHAsync: the array is read-only")
        work = _copy(machine, "dtoh", lambda: host, lambda: machine.memory(int(src), host.nbytes))
        _queue(machine, "cuMemcpyDtoHAsync", stream, work)

    def memcpy_dtod_async(self, dest: Any, src: Any, size: int, stream: Any = None) -> None:
        machine = self._machine
        work = _copy(
            machine,
            "dtod",
            lambda: machine.memory(int(dest), size),
            lambda: machine.memory(int(src), size),
        )
        _queue(machine, "cuMemcpyDtoDAsync", stream, work)

    def memcpy_htod(self, dest: Any, src: Any) -> None:
        self.memcpy_htod_async(dest, src)

    def memcpy_dtoh(self, dest: Any, src: Any) -> None:
        self.memcpy_dtoh_async(dest, src)


def _device_class(machine: Machine) -> Any:
    def check_init(what: str) -> None:
        if not machine.initialised:
            raise LogicError("{} failed: initialization error".format(what))

    class Device:
        def __init__(self, index: int) -> None:
            check_init("cuDeviceGet")
            if index != 0:
                raise LogicError("cuDeviceGet failed: invalid device ordinal")

        @staticmethod
        def count() -> int:
            check_init("cuDeviceGetCount")
            return 1

        def name(self) -> str:
            return machine.name

        def compute_capability(self) -> Tuple[int, int]:
            return machine.compute_capability

        def total_memory(self) -> int:
            return machine.memory_bytes

        def get_attribute(self, attr: str) -> int:
            assert attr == _Driver.device_attribute.INTEGRATED, attr
            return int(machine.is_integrated)

        def retain_primary_context(self) -> Context:
            return Context(machine)

    return Device


def _context_class(machine: Machine) -> Any:
    class ContextOfMachine(Context):
        @staticmethod
        def pop() -> None:
            machine.current("cuCtxPopCurrent")
            machine.stack().pop()

        @staticmethod
        def synchronize() -> None:
            machine.current("cuCtxSynchronize")
            for stream in list(machine.streams.values()):
                stream.run()

        @staticmethod
        def get_current() -> Optional[Context]:
            return machine.stack()[-1] if machine.stack() else None

    return ContextOfMachine


def driver(machine: Machine) -> Any:
    """The module `pycuda.driver` of `machine`. It knows the names of `_Driver`, no others."""
    module, functions = types.ModuleType("pycuda.driver"), _Driver(machine)
    for name in dir(functions):
        if not name.startswith("_"):
            setattr(module, name, getattr(functions, name))
    return module


@contextlib.contextmanager
def current(machine: Machine) -> Iterator[Any]:
    """In there a context of the machine is current in this thread."""
    cuda = driver(machine)
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        yield cuda
    finally:
        cuda.Context.pop()
        context.detach()
