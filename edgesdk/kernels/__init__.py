"""The numeric operations of early exits, on numpy arrays.

exit_head            features -> class, max probability, margin, entropy of a linear exit
exit_scores          the same scores from logits
exit_feature         features -> pooled, projected feature of a DistrEE exit branch
cosine_difference    how far a feature has turned away from the first exit's
gather_rows          compact the samples that go on
quantize_u8          float32 -> 8 bits, to send less
dequantize_u8        and back

`reference` is what they mean, in numpy; `_native` the same compiled from csrc/, used where it was
built. The environment variable EDGESDK_KERNELS=reference|native overrides the choice, and
`implementation` says what was chosen; `native_failure` why the native ones were not, if they were
tried.
"""

from typing import TYPE_CHECKING

from . import reference
from .checks import ExitScores
from .selection import select

__all__ = [
    "ExitScores",
    "exit_head",
    "exit_scores",
    "exit_feature",
    "cosine_difference",
    "gather_rows",
    "quantize_u8",
    "dequantize_u8",
    "implementation",
    "native_failure",
]

_selected, native_failure = select()
if TYPE_CHECKING:  # both have the same signatures; the compiled module carries no types
    _chosen = reference
else:
    _chosen = _selected
implementation = "reference" if _chosen is reference else "native"

exit_head = _chosen.exit_head
exit_scores = _chosen.exit_scores
exit_feature = _chosen.exit_feature
cosine_difference = _chosen.cosine_difference
gather_rows = _chosen.gather_rows
quantize_u8 = _chosen.quantize_u8
dequantize_u8 = _chosen.dequantize_u8
