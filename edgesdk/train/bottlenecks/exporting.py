"""A trained bottleneck as files of a bundle, each checked against torch before it is kept."""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from ...errors import ConfigError
from ..bundles import CHECK_COUNT, BottleneckFiles, Run
from ..export import export_layers
from ..layer_costs import cost, plain_rule
from .training import Bottlenecked, Trained, load_bottleneck


class Coders(NamedTuple):
    """Encoder and decoder as ONNX, and their multiply-adds for one image."""

    encoder: bytes
    decoder: bytes
    encoder_multiply_adds: int
    decoder_multiply_adds: int


def coders(network: Bottlenecked, images: Tensor) -> Coders:
    """Those of `network`, on the CPU and in evaluation mode, as checked on `images`, B >= 2.

    Raises what `export.export_layers` raises.
    """
    where, autoencoder = f"border {network.border}", network.autoencoder
    _, features = network.arriving(images)
    code = autoencoder.encoder(features).detach()

    def one(module: nn.Module, inputs: Tensor, name: str) -> tuple[bytes, int]:
        called = f"{name} at {where}"
        return export_layers(module, inputs, called), cost(module, inputs[:1], plain_rule, called)

    encoder, encoder_cost = one(autoencoder.encoder, features, "encoder")
    decoder, decoder_cost = one(autoencoder.decoder, code, "decoder")
    return Coders(encoder, decoder, encoder_cost, decoder_cost)


def bottleneck_files(run: Run, directory: Path) -> BottleneckFiles:
    """The bottleneck that a training left in `directory`, for the bundle of `run`.

    Raises ConfigError for a training that is not finished, and what `load_bottleneck` and `coders`
    raise.
    """
    trained = load_bottleneck(run, directory)
    if trained.epochs_done != trained.settings.epochs:
        raise ConfigError(
            f"{directory}: has {trained.epochs_done} of {trained.settings.epochs} epochs; finish "
            "it with: python -m edgesdk.train bottleneck ... --resume"
        )
    images = run.data.load("calibration").images[:CHECK_COUNT]
    return _as_files(trained, coders(trained.network, images), run.data.name)


def _as_files(trained: Trained, found: Coders, data_name: str) -> BottleneckFiles:
    border = trained.wanted.border
    encoder, decoder = f"onnx/encoder_{border}.onnx", f"onnx/decoder_{border}.onnx"
    document: dict[str, Any] = {
        "border": border,
        "encoder": encoder,
        "decoder": decoder,
        "code_shape": trained.network.autoencoder.geometry.code_shape,
        "encoder_multiply_adds": found.encoder_multiply_adds,
        "decoder_multiply_adds": found.decoder_multiply_adds,
        "provenance": {
            "method": trained.wanted.method,
            "ratio": trained.wanted.ratio,
            # the name, not the path: a bundle does not tell whose disk its images were on
            "settings": {**trained.settings._asdict(), "data": data_name},
        },
    }
    return BottleneckFiles(document, {encoder: found.encoder, decoder: found.decoder})
