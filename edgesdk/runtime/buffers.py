"""Where feature maps live: pooled buffers of rows, and which row belongs to which item.

A buffer holds the samples of one batch. It goes back to the pool when its last row is released, so
that stages write into the same few memory blocks for ever: no allocation, no page faults, and a
backend can keep its bindings. Two kinds do not go back: memory that came over a link, and memory
that was lent to one, which may still read it.
"""

from typing import Dict, List, Optional, Tuple

import numpy as np

from .. import kernels

Shape = Tuple[int, ...]


class Buffer:
    """A block of rows of which the first are in use: `array` [B, shape].

    The same `array` object comes back whenever the same number of rows does. `shelf` is where it
    stands while nobody uses it, None if it is not used again.
    """

    __slots__ = ("_views", "array", "block", "items", "live_count", "shelf")

    def __init__(self, block: np.ndarray, shelf: "Optional[List[Buffer]]") -> None:
        self.block = block
        self.shelf = shelf
        self.array = block
        self._views: Dict[int, np.ndarray] = {len(block): block}
        self.items: Tuple[int, ...] = ()  # the item of each row
        self.live_count = 0  # of its items, and of whoever else needs it

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
        shelf = self._free.get((size, shape))
        if shelf is None:
            shelf = self._free.setdefault((size, shape), [])
        try:
            buffer = shelf.pop()
        except IndexError:
            buffer = Buffer(np.empty((size,) + shape, np.float32), shelf)
        if len(buffer.array) != row_count:
            buffer.use_rows(row_count)
        return buffer

    def give(self, buffer: Buffer) -> None:
        """Return a buffer that nobody reads any more."""
        buffer.items = ()
        if buffer.shelf is not None:
            buffer.shelf.append(buffer)


class Rows:
    """Which buffer holds the current features of an item; `buffer.items` tells the row."""

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self._buffers: Dict[int, Buffer] = {}

    def place(self, items: Tuple[int, ...], buffer: Buffer) -> None:
        """Row i of `buffer` is now item i; what the items held before is released."""
        for item in items:
            self.release(item)
            self._buffers[item] = buffer
        buffer.items = items
        buffer.live_count += len(items)

    def hold(self, buffer: Buffer) -> None:
        """Someone computes on `buffer`: it stays, whatever is released meanwhile."""
        buffer.live_count += 1

    def let_go(self, buffer: Buffer) -> None:
        """The end of `hold`."""
        buffer.live_count -= 1
        if not buffer.live_count:
            self._pool.give(buffer)

    def move(self, features: Buffer, output: Buffer) -> None:
        """What `features`, as collected and held, had is now in the same rows of `output`, but for
        items that were released since."""
        buffers = self._buffers
        output.items = features.items
        for item in features.items:
            if buffers.get(item) is features:
                buffers[item] = output
                features.live_count -= 1
                output.live_count += 1
        self.let_go(features)
        if not output.live_count:
            self._pool.give(output)

    def row(self, item: int) -> np.ndarray:
        """The current features of `item`: a view [shape]."""
        buffer = self._buffers[item]
        return buffer.array[buffer.items.index(item)]

    def lend(self, item: int) -> None:
        """Whoever reads the row of `item` may go on after its release: its block is not used
        again, and lives as long as someone refers to it."""
        self._buffers[item].shelf = None

    def collect(self, items: Tuple[int, ...]) -> Buffer:
        """A buffer whose rows are exactly `items`, in this order; compacted where needed."""
        first = self._buffers[items[0]]
        if first.items == items:
            return first
        compact = self._pool.take(len(items), first.block.shape[1:])
        held = [self._buffers[item] for item in items]
        rows = [buffer.items.index(item) for item, buffer in zip(items, held)]
        if all(buffer is first for buffer in held):
            kernels.gather_rows(first.array, np.array(rows, np.int64), out=compact.array)
        else:
            for target, buffer, row in zip(compact.array, held, rows):
                target[...] = buffer.array[row]
        self.place(items, compact)
        return compact

    def release(self, item: int) -> None:
        """Forget the features of `item`, if it has any."""
        buffer = self._buffers.pop(item, None)
        if buffer is not None:
            self.let_go(buffer)

    def __len__(self) -> int:
        return len(self._buffers)

    def __contains__(self, item: int) -> bool:
        return item in self._buffers
