"""`python -m edgesdk.bench codec`: every codec on real features, at every border of a network.

What comes back is checked first, then encoding and decoding take turns over all codecs; the fastest
rounds count. MB/s are of the array, not of the body. The break-even rate is that of the link on
which a codec neither saves nor costs time, both ends being this machine (`core.codec_choice`).
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import cli, codec
from ..backends import Backend
from ..bundle import Bundle
from ..core.codec_choice import Estimate, break_even_bytes_per_s
from ..core.spec import FULL_PLAN
from ..core.tensor import LOSSY_CODECS, Tensor
from ..errors import EdgeError
from ..preprocess import Preprocessor
from ..runtime.stages import load_stages
from .timing import interleaved

IMAGES = 8  # whose features are encoded, one after the other
RAW = "raw"


class Border(NamedTuple):
    """The features float32 [C,H,W] of some images that enter segment `segment`."""

    segment: int
    maps: List[np.ndarray]

    @property
    def name(self) -> str:
        """As figures call it: the segment and the shape."""
        size = "x".join(str(axis) for axis in self.maps[0].shape)
        return "before segment {}, {}".format(self.segment, size)


class Measured(NamedTuple):
    """One codec at one border: bytes of all arrays over bytes of all bodies, the largest error over
    the standard deviation of its array, and microseconds for one array."""

    border: Border
    codec: str
    ratio: float
    error: float
    encode_us: float
    decode_us: float

    @property
    def array_bytes(self) -> int:
        """Of one array."""
        return int(self.border.maps[0].nbytes)

    @property
    def break_even_mbit_s(self) -> float:
        """Slower links gain by this codec; 0 where it never pays."""
        size = self.array_bytes
        estimate = Estimate(1 / self.ratio, self.encode_us / size, self.decode_us / size)
        return break_even_bytes_per_s(estimate) * 8 / 1e6


def borders(bundle: Bundle, backend: Backend, images: Sequence[Any]) -> List[Border]:
    """What enters each segment of `bundle` for IMAGES of uint8 `images`, evenly chosen."""
    count = min(IMAGES, len(images))
    chosen = [images[index * len(images) // count] for index in range(count)]
    preprocess = Preprocessor(bundle.manifest.preprocessing)
    features = np.concatenate([preprocess(image) for image in chosen])
    result = []
    for segment, stage in enumerate(load_stages(bundle, FULL_PLAN, backend).values()):
        result.append(Border(segment, [sample.copy() for sample in features]))
        out = np.empty((count,) + stage.output_shape, np.float32)
        stage.program.run(features, out)
        features = out
    return result


def measure(border: Border, names: Sequence[str], seconds: float) -> List[Measured]:
    """Check and time the codecs `names` on the features at `border`, in about `seconds`.

    Raises EdgeError for a codec that does not give back what it must: it is not timed.
    """
    bodies = [[codec.encode(array, name) for array in border.maps] for name in names]
    errors = [check(border, name, tensors) for name, tensors in zip(names, bodies)]
    calls = [_encoding(border.maps, name) for name in names]
    calls += [_decoding(tensors) for tensors in bodies]
    times_us = [timing.min_us / len(border.maps) for timing in interleaved(calls, seconds)]
    sizes = [sum(len(tensor.body) for tensor in tensors) for tensors in bodies]
    array_bytes = sum(array.nbytes for array in border.maps)
    return [
        Measured(
            border,
            name,
            array_bytes / sizes[index],
            errors[index],
            times_us[index],
            times_us[len(names) + index],
        )
        for index, name in enumerate(names)
    ]


def check(border: Border, name: str, tensors: Sequence[Tensor]) -> float:
    """The largest error of any value, over the standard deviation of its array.

    Raises EdgeError if a codec that is not lossy has any, or the result is not finite.
    """
    largest = 0.0
    for array, tensor in zip(border.maps, tensors):
        error = float(np.abs(codec.decode(tensor).astype(np.float64) - array).max())
        largest = float(np.maximum(largest, error / max(float(array.std()), 1e-30)))  # keeps NaN
    if not largest <= (1.0 if name in LOSSY_CODECS else 0.0):
        raise EdgeError(
            "{}, {}: found an error of {:.2g} standard deviations, expected {}; install another "
            "version of its package".format(
                border.name, name, largest, "at most 1" if name in LOSSY_CODECS else "none"
            )
        )
    return largest


def _encoding(maps: Sequence[np.ndarray], name: str) -> Callable[[], object]:
    return lambda: [codec.encode(array, name) for array in maps]


def _decoding(tensors: Sequence[Tensor]) -> Callable[[], object]:
    return lambda: [codec.decode(tensor) for tensor in tensors]


HEADER = (
    "before segment, features, codec",
    "ratio",
    "encode MB/s",
    "decode MB/s",
    "error / std",
    "pays below Mbit/s",
)


def row(measured: Measured) -> Optional[Tuple[str, ...]]:
    """One line of the table a person reads; None for raw, whose time is not that of its bytes."""
    if measured.codec == RAW:
        return None
    border = measured.border
    size = "x".join(str(axis) for axis in border.maps[0].shape)
    break_even = measured.break_even_mbit_s
    return (
        "{}  {:8}  {}".format(border.segment, size, measured.codec),
        "{:.2f}".format(measured.ratio),
        "{:.0f}".format(measured.array_bytes / measured.encode_us),
        "{:.0f}".format(measured.array_bytes / measured.decode_us),
        "{:.4f}".format(measured.error) if measured.codec in LOSSY_CODECS else "0",
        "{:.0f}".format(break_even) if break_even else "never",
    )


def raw_line(measured: Sequence[Measured]) -> str:
    """What a view takes: the time of our own Python, which every codec has too."""
    raw = [each for each in measured if each.codec == RAW]
    return "raw: {:.1f} us to encode, {:.1f} us to decode, whatever the size".format(
        float(np.median([each.encode_us for each in raw])),
        float(np.median([each.decode_us for each in raw])),
    )


def figures(measured: Measured) -> List[Dict[str, Any]]:
    """Every number of one codec at one border."""
    name = "{}, {}: ".format(measured.border.name, measured.codec)
    return [
        cli.figure(name + "ratio", measured.ratio, "x"),
        cli.figure(name + "encode", measured.encode_us, "us"),
        cli.figure(name + "decode", measured.decode_us, "us"),
        cli.figure(name + "largest error", measured.error, "standard deviations"),
        cli.figure(name + "break-even link", measured.break_even_mbit_s, "Mbit/s"),
    ]
