"""Arrays on the GPU, and host memory that the GPU reads and writes."""

from typing import Any, Tuple, Union

import numpy as np

from .. import kernels
from ..arrays import Array, DeviceArray, Memory, Shape
from ..errors import ConfigError, EngineError
from .trt_gpu import Gpu, Lane

ITEM_BYTES = 4


def size_of(shape: Shape) -> int:
    """Bytes of a float32 array."""
    return ITEM_BYTES * int(np.prod(shape, dtype=np.int64))


class CudaArray(DeviceArray):
    """float32 `shape` at `address`, in C order. It does not own its memory; `CudaMemory` does."""

    def __init__(self, memory: "CudaMemory", address: int, shape: Shape) -> None:
        self.memory = memory
        self.address = address
        self.shape = shape
        self.nbytes = size_of(shape)

    def __getitem__(self, rows: Union[int, slice, None]) -> "CudaArray":
        """See `DeviceArray`."""
        if rows is None:
            return CudaArray(self.memory, self.address, (1,) + self.shape)
        count = len(self)
        if isinstance(rows, slice):
            start, stop, step = rows.indices(count)
            if step != 1:
                raise IndexError("found {}, expected rows that are neighbours".format(rows))
            shape = (max(0, stop - start),) + self.shape[1:]
        else:
            start, shape = rows, self.shape[1:]
            if not 0 <= start < count:
                raise IndexError("found row {}, expected one of {}".format(rows, count))
        return CudaArray(self.memory, self.address + start * size_of(self.shape[1:]), shape)

    def on_host(self) -> np.ndarray:
        """See `DeviceArray.on_host`."""
        return self.memory.read(self)

    def quantize_u8(self) -> Tuple[np.ndarray, float, float]:
        """See `DeviceArray.quantize_u8`."""
        return self.memory.quantize_u8(self)


class CudaMemory(Memory):
    """The memory of a GPU. `native` is edgesdk.kernels._cuda, or None where that was not built:
    parameters of kernels then stay on the host, where the kernels compute."""

    def __init__(self, gpu: Gpu, native: Any) -> None:
        self._gpu = gpu
        self._native = native
        self._quantized = Staging(gpu, gpu.copies)
        self._ranges = 0

    def empty(self, shape: Shape) -> CudaArray:
        """See `Memory.empty`."""
        return CudaArray(self, self._gpu.allocate(size_of(shape), "features"), shape)

    def constant(self, values: np.ndarray) -> Any:
        """See `Memory.constant`."""
        if self._native is None:
            return values
        array = self.empty(values.shape)
        self.copy(np.ascontiguousarray(values, np.float32), array)
        return array

    def copy(self, source: Array, target: CudaArray) -> None:
        """See `Memory.copy`. CUDA has read pageable memory of the host when the call returns."""
        gpu = self._gpu
        if source.nbytes != target.nbytes:
            raise ValueError("found {}, expected {}".format(source.shape, target.shape))
        with gpu.computing():
            stream = gpu.compute.stream
            if isinstance(source, CudaArray):
                gpu.cuda.memcpy_dtod_async(target.address, source.address, target.nbytes, stream)
            else:
                gpu.cuda.memcpy_htod_async(target.address, source, stream)

    def read(self, array: CudaArray) -> np.ndarray:
        """A copy on the host."""
        host = np.empty(array.shape, np.float32)
        with self._gpu.reading() as lane:
            self._gpu.cuda.memcpy_dtoh_async(host, array.address, lane.stream)
            lane.wait()
        return host

    def quantize_u8(self, array: CudaArray) -> Tuple[np.ndarray, float, float]:
        """What `kernels.quantize_u8` gives; a quarter of the bytes goes to the host."""
        if self._native is None:
            return kernels.quantize_u8(self.read(array))
        count = array.nbytes // ITEM_BYTES
        with self._gpu.reading() as lane:
            if not self._ranges:
                size = ITEM_BYTES * self._native.RANGE_VALUE_COUNT
                self._ranges = self._gpu.allocate(size, "the ranges of features")
            staging = self._quantized
            address = staging.reserve(8 + count)  # scale and zero, which must be aligned, and bytes
            self._native.quantize_u8(
                array.address,
                count,
                quantized=address + 8,
                scale_zero=address,
                ranges=self._ranges,
                stream=lane.handle,
            )
            found = staging.take(8 + count)
            scale, zero = found[:8].view(np.float32).tolist()
            if np.isnan(scale):
                raise ConfigError(
                    "values: found NaN, infinity, or values that are too far apart on the GPU, "
                    "expected a range that float32 can scale"
                )
            return found[8:].reshape(array.shape).copy(), scale, zero


class Staging:
    """Page-locked host memory for one purpose, and where the GPU sees it.

    Either the GPU reads and writes it in place (`Gpu.is_mapped`: on a Jetson it is the same
    memory), or it is copied from and to a block of the GPU. Used in turns: what `take` gave is
    valid until the next use. Calls come where the context is current.
    """

    def __init__(self, gpu: Gpu, lane: Lane) -> None:
        self._gpu = gpu
        self._lane = lane
        self._host: Any = None  # uint8; its base is what pycuda allocated
        self._address = 0
        self._block = 0  # of the GPU, to copy from and to
        self._used_at = -1
        gpu.finally_call(self._free)

    def reserve(self, size_bytes: int) -> int:
        """Where the GPU may write `size_bytes`, to be `take`n."""
        if self._used_at == self._lane.wait_count:  # what was asked for before may not be done
            self._lane.wait()
        self._used_at = self._lane.wait_count
        if self._host is None or self._host.nbytes < size_bytes:
            self._free()
            self._allocate(1 << (size_bytes - 1).bit_length())
        return self._address

    def put(self, array: np.ndarray) -> int:
        """Where the GPU finds a copy of `array`."""
        address = self.reserve(array.nbytes)
        host = self._host[: array.nbytes]
        host[...] = array.reshape(-1).view(np.uint8)
        if self._block:
            self._gpu.cuda.memcpy_htod_async(address, host, self._lane.stream)
        return address

    def take(self, size_bytes: int) -> np.ndarray:
        """What the GPU wrote: uint8 [size_bytes], once it is there."""
        host: np.ndarray = self._host[:size_bytes]
        if self._block:
            self._gpu.cuda.memcpy_dtoh_async(host, self._address, self._lane.stream)
        self._lane.wait()
        return host

    def _allocate(self, size_bytes: int) -> None:
        cuda, is_mapped = self._gpu.cuda, self._gpu.is_mapped
        flags = cuda.host_alloc_flags.DEVICEMAP if is_mapped else 0
        try:
            self._host = cuda.pagelocked_empty(size_bytes, np.uint8, mem_flags=flags)
        except cuda.MemoryError:
            what = "page-locked memory of the host"
            raise EngineError(self._gpu.no_memory(what, size_bytes)) from None
        if is_mapped:
            self._address = int(self._host.base.get_device_pointer())
        else:
            try:
                self._block = self._gpu.allocate(size_bytes, "what the host gives and takes")
            except EngineError:
                self._free()
                raise
            self._address = self._block

    def _free(self) -> None:
        if self._block:
            self._gpu.release(self._block)
            self._block = 0
        if self._host is not None:
            self._host.base.free()
            self._host = None


class Scratch:
    """One block in which every stage keeps what it needs while it runs: they never run at the same
    time. It grows while engines are loaded, when none runs."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.address = 0
        self.size_bytes = 0

    def grow(self, size_bytes: int) -> None:
        """See that there is so much, where the context is current."""
        if size_bytes <= self.size_bytes:
            return
        if self.size_bytes:
            self._gpu.release(self.address)
            self.size_bytes = 0
        self.address = self._gpu.allocate(size_bytes, "what the layers of a stage hand on")
        self.size_bytes = size_bytes
