"""Where feature maps live: pooled buffers of rows, and which row belongs to which item.

A buffer holds the samples of one batch. It goes back to the pool when its last row is released, so
that stages write into the same few memory blocks for ever: no allocation, no page faults, and a
backend can keep its bindings.
"""

from typing import Dict, List, Tuple

import numpy as np

from .. import kernels

Shape = Tuple[int, ...]


class Buffer:
    """A block of rows of which the first are in use: `array` [B, shape].

    The same `array` object comes back whenever the same number of rows does.
    """

    __slots__ = ("_views", "array", "block", "items", "live_count")

    def __init__(self, block: np.ndarray) -> None:
        self.block = block
        self.array = block
        self._views: Dict[int, np.ndarray] = {}
        self.items: Tuple[int, ...] = ()  # the item of each row
        self.live_count = 0

    def use_rows(self, row_count: int) -> None:
        """Make `array` the first `row_count` rows."""
        view = self._views.get(row_count)
        if view is None:
            view = self._views[row_count] = self.block[:row_count]
        self.array = view


class BufferPool:
    """Blocks by shape and size; sizes are powers of two. Safe from any thread."""

    def __init__(self) -> None:
        self._free: Dict[Tuple[int, Shape], List[Buffer]] = {}

    def take(self, row_count: int, shape: Shape) -> Buffer:
        """A buffer of `row_count` rows of float32 `shape`; its contents are arbitrary."""
        size = 1 << (row_count - 1).bit_length()
        try:
            buffer = self._free[(size, shape)].pop()
        except (KeyError, IndexError):
            buffer = Buffer(np.empty((size,) + shape, np.float32))
        buffer.use_rows(row_count)
        return buffer

    def give(self, buffer: Buffer) -> None:
        """Return a buffer that nobody reads any more."""
        buffer.items = ()
        shape = buffer.block.shape
        self._free.setdefault((shape[0], shape[1:]), []).append(buffer)


class Rows:
    """Which row of which buffer holds the current features of an item."""

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self._rows: Dict[int, Tuple[Buffer, int]] = {}

    def place(self, items: Tuple[int, ...], buffer: Buffer) -> None:
        """Row i of `buffer` is now item i; what the items held before is released."""
        for index, item in enumerate(items):
            self.release(item)
            self._rows[item] = (buffer, index)
        buffer.items = items
        buffer.live_count = len(items)

    def collect(self, items: Tuple[int, ...]) -> Buffer:
        """A buffer whose rows are exactly `items`, in this order; compacted where needed."""
        first = self._rows[items[0]][0]
        if first.items == items:
            return first
        compact = self._pool.take(len(items), first.block.shape[1:])
        held = [self._rows[item] for item in items]
        if all(buffer is first for buffer, _ in held):
            indices = np.array([index for _, index in held], np.int64)
            kernels.gather_rows(first.array, indices, out=compact.array)
        else:
            for target, (buffer, index) in zip(compact.array, held):
                target[...] = buffer.array[index]
        self.place(items, compact)
        return compact

    def release(self, item: int) -> None:
        """Forget the features of `item`, if it has any."""
        buffer, _ = self._rows.pop(item, (None, 0))
        if buffer is not None:
            buffer.live_count -= 1
            if buffer.live_count == 0:
                self._pool.give(buffer)

    def __len__(self) -> int:
        return len(self._rows)
