"""Torch's attention, written out: as products of matrices that can be counted and exported."""

import contextlib
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextlib.contextmanager
def written_out() -> Iterator[None]:
    """Inside, attention is none of the operations that compute it, or a whole transformer layer, in
    one step."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
