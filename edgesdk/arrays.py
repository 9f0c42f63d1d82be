"""Arrays of the host and of devices: what flows between the stages of a network."""

from typing import Any, Tuple, Union

import numpy as np

Shape = Tuple[int, ...]


class DeviceArray:
    """float32 `shape` in the memory of a device, which goes to the host only when asked to.

    A row is `array[i]`, the first n rows are `array[:n]`, a batch of one `array[None]`: views, as
    numpy has them.
    """

    shape: Shape
    nbytes: int

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Union[int, slice, None]) -> "DeviceArray":
        raise NotImplementedError

    def on_host(self) -> np.ndarray:
        """A copy. From any thread, of what has been computed; see `Backend.computing`."""
        raise NotImplementedError

    def quantize_u8(self) -> Tuple[np.ndarray, float, float]:
        """What `kernels.quantize_u8` gives, computed on the device. From any thread."""
        raise NotImplementedError


Array = Any  # an np.ndarray, or a DeviceArray of the backend's own memory


def on_host(array: Array) -> np.ndarray:
    """`array`, or a copy of what a device holds."""
    host: np.ndarray = array.on_host() if isinstance(array, DeviceArray) else array
    return host


class Memory:
    """Where stages write and read: here the host's."""

    def empty(self, shape: Shape) -> Array:
        """float32 `shape`, its contents arbitrary, in any thread; it lives as long as the
        backend at most."""
        return np.empty(shape, np.float32)

    def constant(self, values: np.ndarray) -> Any:
        """`values` as the kernels of the backend take their parameters."""
        return values

    def copy(self, source: Array, target: Array) -> None:
        """Copy `source`, of the host or of this memory, into `target`, of this memory."""
        target[...] = source


HOST = Memory()
