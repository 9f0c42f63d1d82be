"""A double of pycuda.driver, strict where a GPU would go wrong.

machine = Machine()                 # a Jetson Nano
cuda = driver(machine)              # what `import pycuda.driver as cuda` gives there
...
machine.check_clean()               # nothing leaked, nothing was misused
"""

import types
from typing import Any, Callable, Optional, Tuple

import numpy as np
from gpu_machine import (
    Context,
    DeviceAllocation,
    Error,
    Event,
    LogicError,
    Machine,
    MemoryError_,
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


def _copy(target: Callable[[], np.ndarray], source: Callable[[], np.ndarray]) -> Callable[[], None]:
    def work() -> None:
        target()[:] = source()

    return work


def driver(machine: Machine) -> Any:
    """The module `pycuda.driver` of `machine`. It knows the names of this function, no others."""
    module = types.ModuleType("pycuda.driver")

    def init(flags: int = 0) -> None:
        if machine.is_broken("no gpu"):
            raise RuntimeError_("cuInit failed: no CUDA-capable device is detected")
        machine.initialised = True

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

        def retain_primary_context(self) -> Context:
            machine.primary = machine.primary or Context(machine, True)
            machine.primary._retained_count += 1
            return machine.primary

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

    def memcpy_htod_async(dest: Any, src: Any, stream: Any = None) -> None:
        host = _host_bytes(src, "cuMemcpyHtoDAsync")
        work = _copy(lambda: machine.memory(int(dest), host.nbytes), lambda: host)
        _queue(machine, "cuMemcpyHtoDAsync", stream, work)

    def memcpy_dtoh_async(dest: Any, src: Any, stream: Any = None) -> None:
        host = _host_bytes(dest, "cuMemcpyDtoHAsync")
        if not host.flags.writeable:
            raise ValueError("cuMemcpyDtoHAsync: the array is read-only")
        work = _copy(lambda: host, lambda: machine.memory(int(src), host.nbytes))
        _queue(machine, "cuMemcpyDtoHAsync", stream, work)

    def memcpy_dtod_async(dest: Any, src: Any, size: int, stream: Any = None) -> None:
        work = _copy(
            lambda: machine.memory(int(dest), size), lambda: machine.memory(int(src), size)
        )
        _queue(machine, "cuMemcpyDtoDAsync", stream, work)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        machine.current("cuMemHostAlloc")
        return np.full(shape, 0xA5, np.uint8 if dtype is None else dtype, order)

    def mem_get_info() -> Tuple[int, int]:
        machine.current("cuMemGetInfo")
        return machine.memory_bytes - machine.used_bytes, machine.memory_bytes

    def mem_alloc(bytes: int) -> DeviceAllocation:
        machine.current("cuMemAlloc")
        return DeviceAllocation(machine, bytes)

    names = dict(locals())
    for name in ("machine", "module", "check_init", "ContextOfMachine"):
        del names[name]
    names.update(
        Context=ContextOfMachine,
        Stream=lambda flags=0: Stream(machine),
        Event=lambda flags=0: Event(machine),
        DeviceAllocation=DeviceAllocation,
        memcpy_htod=lambda dest, src: memcpy_htod_async(dest, src),
        memcpy_dtoh=lambda dest, src: memcpy_dtoh_async(dest, src),
        get_driver_version=lambda: 10020,
        Error=Error,
        LogicError=LogicError,
        MemoryError=MemoryError_,
        RuntimeError=RuntimeError_,
    )
    vars(module).update(names)
    return module
