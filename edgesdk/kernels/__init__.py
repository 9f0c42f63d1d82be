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
`implementation` says what was chosen.
"""

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING, Optional

from ..errors import ConfigError, KernelError
from . import reference
from .checks import ExitScores

BUILD_COMMAND = "EDGESDK_BUILD_NATIVE=yes pip install ."

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

native_failure: Optional[str] = None  # why the native kernels are not used, if they were tried


def _select(wanted: str) -> ModuleType:
    """The module called `wanted`; with "", native if it can be loaded, else reference."""
    global native_failure
    if wanted not in ("", "native", "reference"):
        raise ConfigError(
            'EDGESDK_KERNELS: found "{}", expected "native", "reference" or nothing'.format(wanted)
        )
    if wanted == "reference":
        return reference
    try:
        return importlib.import_module(__name__ + "._native")
    except Exception as error:  # not built, or built for another numpy or C library
        native_failure = "{}: {}".format(type(error).__name__, error)
        if wanted == "native":
            raise KernelError(
                'EDGESDK_KERNELS: found "native", but the native kernels cannot be loaded ({}); '
                "build them in the source tree with: {}".format(native_failure, BUILD_COMMAND)
            ) from error
        return reference


if TYPE_CHECKING:  # both have the same signatures; the compiled module carries no types
    _chosen = reference
else:
    _chosen = _select(os.environ.get("EDGESDK_KERNELS", ""))
implementation = "reference" if _chosen is reference else "native"

exit_head = _chosen.exit_head
exit_scores = _chosen.exit_scores
exit_feature = _chosen.exit_feature
cosine_difference = _chosen.cosine_difference
gather_rows = _chosen.gather_rows
quantize_u8 = _chosen.quantize_u8
dequantize_u8 = _chosen.dequantize_u8
