"""Augmented copies of the training images that come again, so that a teacher is asked only once.

A large teacher costs more than the students that learn from it. With `count` views, epoch e trains
on the copies of view e modulo `count`; what the teacher says of a view is computed when it is first
met, and kept in memory, and in files if there is a place for them: a resumed run reads it there, or
asks again, with the same result, since neither copies nor answers depend on the order in which
images are trained on.
"""

import io
from pathlib import Path
from typing import Callable, NamedTuple, Optional

import numpy as np
import torch
from torch import Generator, Tensor
from tqdm import tqdm

from ...files import write_atomically
from ..data import DataSet

SEED_LIMIT = 2**62


class Taught(NamedTuple):
    """What a teacher says of images: `logits` float32 [n, K] and `vectors` float32 [n, N, D]."""

    logits: Tensor
    vectors: Tensor


class Kept(NamedTuple):
    """What a teacher said, in files of `folder`. `key` says who was asked, and of what: files of
    another key are left alone."""

    folder: Path
    key: str

    def read(self, view: int) -> Optional[Taught]:
        """What was written of a view; None if nothing was, or it is damaged."""
        try:
            with np.load(self._file(view), allow_pickle=False) as found:
                return Taught(*(torch.from_numpy(found[name]) for name in Taught._fields))
        except Exception:  # numpy, zipfile and zlib raise a dozen kinds
            return None

    def write(self, view: int, taught: Taught) -> None:
        """Whole, or not at all. Raises EdgeError if it cannot be written."""
        content = io.BytesIO()
        np.savez(content, **{name: each.cpu().numpy() for name, each in taught._asdict().items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(view), content.getvalue())

    def _file(self, view: int) -> Path:
        return self.folder / f"view_{view}-{self.key}.npz"


class Views:
    """`count` views of a training split. `ask(images)`: what the teacher says of a batch, of which
    all but the last have `batch_size` images. `kept`: where that is found, or else written."""

    def __init__(
        self,
        count: int,
        seed: int,
        data: DataSet,
        batch_size: int,
        ask: Callable[[Tensor], Taught],
        kept: Optional[Kept] = None,
    ) -> None:
        random = Generator().manual_seed(seed)
        self._seeds = torch.randint(SEED_LIMIT, (count,), generator=random).tolist()
        self._data = data
        self._batch_size = batch_size
        self._ask = ask
        self._kept = kept
        self._known: dict[int, Taught] = {}
        self._current: Optional[tuple[Tensor, Taught]] = None

    def begin(self, epoch: int, images: Tensor) -> None:
        """Take the view of that epoch, of the whole training split [n, C, H, W]."""
        view = epoch % len(self._seeds)
        self._current = None  # room for the next copies
        random = Generator().manual_seed(self._seeds[view])
        copies = [self._data.augment(part, random) for part in images.split(self._batch_size)]
        if view not in self._known:
            self._known[view] = self._answers(view, copies)
        self._current = torch.cat(copies), self._known[view]

    def _answers(self, view: int, copies: list[Tensor]) -> Taught:
        found = self._kept.read(view) if self._kept else None
        if found is None:
            asked = tqdm(copies, f"teacher, view {view}", leave=False, disable=None)
            answers = [self._ask(batch) for batch in asked]
            found = Taught(*map(torch.cat, zip(*answers)))
            if self._kept:
                self._kept.write(view, found)
        return Taught(*(values.to(copies[0].device) for values in found))

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
