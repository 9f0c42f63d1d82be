"""Where feature maps live: pooled buffers of rows, and which row belongs to which item.

A buffer holds the samples of one batch. It goes back to the pool when its last row is released, so
that stages write into the same few memory blocks for ever: no allocation, no page faults, and a
backend can keep its bindings. Two kinds do not go back: memory that came over a link, and memory
that was lent to one, which may still read it.
"""

from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..arrays import HOST, Array, DeviceArray, Memory, Shape
from ..backends import Backend


class Buffer:
    """A block of rows of which the first are in use: `array` [B, shape].

    The same `array` object comes back whenever the same number of rows does. `shelf` is where it
    stands while nobody uses it, None if it is not used again. `sources`: of a buffer that is still
    to be filled, buffer and row that each of its own rows comes from.
    """

    __slots__ = ("_views", "array", "block", "items", "live_count", "shelf", "sources")

    def __init__(self, block: Array, shelf: "Optional[List[Buffer]]") -> None:
        self.block = block
        self.shelf = shelf
        self.array = block
        self._views: Dict[int, Array] = {len(block): block}
        self.items: Tuple[int, ...] = ()  # the item of each row
        self.live_count = 0  # of its items, and of whoever else needs it
        self.sources: Sequence[Tuple[Buffer, int]] = ()

    def use_rows(self, row_count: int) -> None:
        """Make `array` the first `row_count` rows."""
        view = self._views.get(row_count)
        if view is None:
            view = self._views[row_count] = self.block[:row_count]
        self.array = view


class BufferPool:
    """Blocks of a memory, by shape and size; sizes are powers of two. Safe from any thread."""

    def __init__(self, memory: Memory = HOST) -> None:
        self._memory = memory
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
            buffer = Buffer(self._memory.empty((size,) + shape), shelf)
        if len(buffer.array) != row_count:
            buffer.use_rows(row_count)
        return buffer

    def give(self, buffer: Buffer) -> None:
        """Return a buffer that nobody reads any more."""
        buffer.items = ()
        if buffer.shelf is not None:
            buffer.shelf.append(buffer)


class Rows:
    """Which buffer holds the current features of an item; `buffer.items` tells the row.

    A batch is `collect`ed in the thread that owns the tables, `gather`ed by whoever computes, and
    comes to its end by `move` or `let_go`; meanwhile its items hold what they held before.
    """

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

    def collect(self, items: Tuple[int, ...]) -> Buffer:
        """A buffer whose rows are exactly `items`, in this order, once it is gathered. What it
        reads stays until the batch ends, whatever is released meanwhile."""
        first = self._buffers[items[0]]
        if first.items == items:
            first.live_count += 1
            return first
        compact = self._pool.take(len(items), first.block.shape[1:])
        held = [self._buffers[item] for item in items]
        compact.items = items
        compact.sources = [(each, each.items.index(item)) for each, item in zip(held, items)]
        for buffer in held:
            buffer.live_count += 1
        compact.live_count = 1
        return compact

    def move(self, features: Buffer, output: Buffer) -> None:
        """What `features`, as collected, had is now in the same rows of `output`, but for items
        that were released since."""
        buffers = self._buffers
        output.items = features.items
        sources = features.sources or [(features, 0)] * len(features.items)
        for item, (source, _) in zip(features.items, sources):
            if buffers.get(item) is source:
                buffers[item] = output
                source.live_count -= 1
                output.live_count += 1
        self.let_go(features)
        if not output.live_count:
            self._pool.give(output)

    def let_go(self, features: Buffer) -> None:
        """Nobody computes on `features`, as collected, any more."""
        for source, _ in features.sources:
            self._leave(source)
        features.sources = ()
        self._leave(features)

    def forsake(self, features: Buffer) -> None:
        """The same where somebody may go on for ever: none of this memory is used again."""
        for buffer in (features, *[source for source, _ in features.sources]):
            buffer.shelf = None
        self.let_go(features)

    def row(self, item: int) -> Array:
        """The current features of `item`: a view [shape]."""
        buffer = self._buffers[item]
        return buffer.array[buffer.items.index(item)]

    def lend(self, item: int) -> None:
        """Whoever reads the row of `item` may go on after its release: its block is not used
        again, and lives as long as someone refers to it. What a device holds was copied."""
        buffer = self._buffers[item]
        if not isinstance(buffer.block, DeviceArray):
            buffer.shelf = None

    def release(self, item: int) -> None:
        """Forget the features of `item`, if it has any."""
        buffer = self._buffers.pop(item, None)
        if buffer is not None:
            self._leave(buffer)

    def _leave(self, buffer: Buffer) -> None:
        buffer.live_count -= 1
        if not buffer.live_count:
            self._pool.give(buffer)

    def __len__(self) -> int:
        return len(self._buffers)

    def __contains__(self, item: int) -> bool:
        return item in self._buffers


def gather(features: Buffer, backend: Backend) -> None:
    """Fill `features` from its sources, if it has any."""
    if not features.sources:
        return
    first = features.sources[0][0]
    if all(buffer is first for buffer, _ in features.sources):
        rows = np.array([row for _, row in features.sources], np.int64)
        backend.kernels.gather_rows(first.array, rows, out=features.array)
        return
    for target, (buffer, row) in enumerate(features.sources):
        backend.memory.copy(buffer.array[row], features.array[target])
