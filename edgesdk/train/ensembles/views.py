"""Augmented copies of the training images that come again, so that a teacher is asked only once.

A large teacher costs more than the students that learn from it. With `count` views, epoch e trains
on the copies of view e modulo `count`; what the teacher says of a view is computed when it is first
met, and kept in memory. A resumed run computes it again, with the same result, since neither copies
nor answers depend on the order in which images are trained on.
"""

from typing import Callable, NamedTuple, Optional

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from ..data import DataSet

SEED_LIMIT = 2**62


class Taught(NamedTuple):
    """What a teacher says of images: `logits` float32 [n, K] and `vectors` float32 [n, N, D]."""

    logits: Tensor
    vectors: Tensor


class Views:
    """`count` views of a training split. `ask(images)`: what the teacher says of a batch, of which
    all but the last have `batch_size` images."""

    def __init__(
        self,
        count: int,
        seed: int,
        data: DataSet,
        batch_size: int,
        ask: Callable[[Tensor], Taught],
    ) -> None:
        random = Generator().manual_seed(seed)
        self._seeds = torch.randint(SEED_LIMIT, (count,), generator=random).tolist()
        self._data = data
        self._batch_size = batch_size
        self._ask = ask
        self._known: dict[int, Taught] = {}
        self._current: Optional[tuple[Tensor, Taught]] = None

    def begin(self, epoch: int, images: Tensor) -> None:
        """Take the view of that epoch, of the whole training split [n, C, H, W]."""
        view = epoch % len(self._seeds)
        self._current = None  # room for the next copies
        random = Generator().manual_seed(self._seeds[view])
        copies = [self._data.augment(part, random) for part in images.split(self._batch_size)]
        if view not in self._known:
            asked = tqdm(copies, f"teacher, view {view}", leave=False, disable=None)
            found = [self._ask(batch) for batch in asked]
            self._known[view] = Taught(*(torch.cat(parts) for parts in zip(*found)))
        self._current = torch.cat(copies), self._known[view]

    def images(self, which: Tensor) -> Tensor:
        """The copies of the images at these places of the training split, int64 [B]."""
        return self._now()[0][which]

    def taught(self, which: Tensor) -> Taught:
        """What the teacher says of them."""
        found = self._now()[1]
        return Taught(found.logits[which], found.vectors[which])

    def _now(self) -> tuple[Tensor, Taught]:
        assert self._current is not None  # begin comes first
        return self._current
