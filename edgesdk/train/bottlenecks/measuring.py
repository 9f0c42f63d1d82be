"""What a bottleneck is worth: bytes, accuracy on the test split, time and multiply-adds."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...arrays import Shape
from ...bench.timing import interleaved
from ..bundles import CHECK_COUNT, Run
from ..counting import multiply_adds
from ..export import INPUT_NAME, OUTPUT_NAME, export_layers, opened
from ..trainer import accuracy_per_exit
from .autoencoder import ITEM_BYTES
from .exporting import Coders, coders
from .training import AllLogits, Bottlenecked, load_bottleneck

SECONDS = 2.0  # of timing


class Costs(NamedTuple):
    """Of one image: `multiply_adds`, and `us` in onnxruntime, the median of rounds."""

    name: str
    multiply_adds: int
    us: float


class Measured(NamedTuple):
    """Of one border. `straight`: the accuracy of each exit behind it on the test split without a
    bottleneck, 0..1; `arrived`: by method, with it. `costs`: encoder, decoder, and the segments in
    front of and behind the border, timed in turns."""

    border: int
    feature_shape: Shape
    code_shape: Shape
    straight: tuple[float, ...]
    arrived: dict[str, tuple[float, ...]]
    costs: tuple[Costs, ...]

    @property
    def feature_bytes(self) -> int:
        """Of the features as they are, float32."""
        return ITEM_BYTES * int(np.prod(self.feature_shape))

    @property
    def code_bytes(self) -> int:
        """Of the code as it travels, uint8."""
        return int(np.prod(self.code_shape))

    @property
    def ratio(self) -> float:
        """How many times smaller it travels."""
        return self.feature_bytes / self.code_bytes


def measured(run: Run, directories: dict[str, Path], seconds: float = SECONDS) -> Measured:
    """That of bottlenecks of one border and one ratio in the network of `run`, by method, as their
    trainings left them.

    Raises what `load_bottleneck` and `coders` raise.
    """
    test = run.data.load("test")
    networks = [load_bottleneck(run, directory).network for directory in directories.values()]
    first = networks[0]
    accuracies = [accuracy_per_exit(AllLogits(network), test) for network in networks]
    straight = accuracy_per_exit(run.network, test)
    images = run.data.load("calibration").images[:CHECK_COUNT]
    _, features = first.arriving(images)
    return Measured(
        first.border,
        tuple(features.shape[1:]),
        first.autoencoder.geometry.code_shape,
        tuple(straight[first.border :]),
        {name: tuple(found[first.border :]) for name, found in zip(directories, accuracies)},
        timed(first, images, coders(first, images), seconds),
    )


def timed(
    network: Bottlenecked, images: Tensor, found: Coders, seconds: float = SECONDS
) -> tuple[Costs, ...]:
    """Encoder, decoder and the segments around the border, on one image at a time in onnxruntime,
    with as many threads as torch has."""
    border, whole = network.border, network.whole
    counted = multiply_adds(whole, tuple(images.shape[1:])).segments
    with torch.no_grad():
        before = images
        for segment in whole.segments[: border - 1]:
            before = segment(before)
        features = whole.segments[border - 1](before)
        code = network.autoencoder.encoder(features)
    names = ("encoder", "decoder", f"segment {border - 1}", f"segment {border}")
    costs = (found.encoder_multiply_adds, found.decoder_multiply_adds, *counted[border - 1 :])
    segments = [
        export_layers(whole.segments[index], inputs, f"segment {index}")
        for index, inputs in ((border - 1, before), (border, features))
    ]
    contents = (found.encoder, found.decoder, *segments)
    calls = [
        _call(content, inputs, name)
        for content, inputs, name in zip(contents, (features, code, before, features), names)
    ]
    times = interleaved(calls, seconds)
    return tuple(Costs(name, c, time.median_us) for name, c, time in zip(names, costs, times))


def _call(content: bytes, inputs: Tensor, where: str) -> Callable[[], Sequence[np.ndarray]]:
    session = opened(content, where)
    return partial(session.run, [OUTPUT_NAME], {INPUT_NAME: inputs[:1].numpy()})
