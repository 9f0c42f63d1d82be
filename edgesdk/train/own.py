"""A network of your own, from `torch.nn.Module` to a bundle.

    network = MultiExit(segments, [ExitHead(channels, classes) for channels in ...])
    data = data_set("digits")                        # or a path, or a `DataSet` of your own
    settings = data.recipe._replace(model="my_net", epochs=20)
    run = train_network(network, data, settings, "runs/mine")
    export_run(run, "engines/my_net/1", max_loss_points=1.0)

Segment i reads what segment i - 1 gives, [B, C, H, W], and exit i classifies what segment i gives.
An `ExitHead` begins with batch norm and ReLU, so let segments end with a convolution. Which layers
may stand in them is up to the backends: onnxruntime takes what ONNX opset 13 can say, the torch
backend the operators listed in `backends/pytorch_operators.py`.
"""

import copy
import os
from pathlib import Path
from typing import Union

import torch

from ..errors import ConfigError
from .bundles import Run, export_run, run_of
from .data import DataSet, Split, data_set
from .distributed import ALONE, Group
from .export import exit_head, export_network
from .models import ExitHead, MultiExit
from .recipe import Settings
from .trainer import Trainer, fit

__all__ = [
    "DataSet",
    "ExitHead",
    "MultiExit",
    "Run",
    "Settings",
    "Split",
    "check_network",
    "data_set",
    "export_run",
    "train_network",
]

CHECK_COUNT = 2  # images of zeros that the network is tried with, the fewest that show a batch axis


def train_network(
    network: MultiExit,
    data: DataSet,
    settings: Settings,
    directory: Union[str, "os.PathLike[str]"],
    resume: bool = False,
    group: Group = ALONE,
) -> Run:
    """Train all exits of `network` jointly, in place; what `export_run` takes.

    `settings`: those of the data, `data.recipe`, changed as you like; `model` becomes part of the
    bundle's name. `directory` gets a checkpoint after each epoch: with `resume` a training that was
    killed goes on, and one that has ended is loaded. Before the first step the network is checked
    and exported once, untrained, for what cannot become a bundle need not be trained.

    Raises what `check_network` and `trainer.fit` raise.
    """
    check_network(network, data)
    settings = settings._replace(data=settings.data or data.name)
    trainer = Trainer(network, data, settings, group)
    fit(trainer, Path(directory), resume)
    return run_of(trainer)


def check_network(network: MultiExit, data: DataSet) -> None:
    """Raise ConfigError or BundleError, with the segment or exit, unless `network` takes the images
    of `data`, has an `ExitHead` for its labels behind each segment, and can be exported."""
    trial = copy.deepcopy(network).cpu().eval()  # the caller's stays where it is, in its mode
    with torch.no_grad():
        _check_shapes(trial, data)
    export_network(trial, torch.zeros(CHECK_COUNT, *data.preprocessing.shape))


def _check_shapes(network: MultiExit, data: DataSet) -> None:
    features = torch.zeros(CHECK_COUNT, *data.preprocessing.shape)
    for index, (segment, head) in enumerate(zip(network.segments, network.exits)):
        given = list(features.shape)
        try:
            features = segment(features)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ConfigError(
                f"segment {index}: found that it does not take float32 {given}, "
                f"{'the images' if index == 0 else f'what segment {index - 1} gives'}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        _check_exit(index, features, head, len(data.labels))


def _check_exit(index: int, features: object, head: torch.nn.Module, class_count: int) -> None:
    if not isinstance(features, torch.Tensor) or features.ndim != 4:
        found = list(features.shape) if isinstance(features, torch.Tensor) else type(features)
        raise ConfigError(
            f"segment {index}: found that it gives {found}, expected one tensor [B, C, H, W]; what "
            "comes behind the last convolution belongs to the exit"
        )
    linear = exit_head(head, index).linear
    channels, outputs = linear.in_features, linear.out_features
    if (channels, outputs) != (features.shape[1], class_count):
        raise ConfigError(
            f"exit {index}: found ExitHead({channels}, {outputs}), expected "
            f"ExitHead({features.shape[1]}, {class_count}): the channels that segment {index} "
            "gives, and one output per label"
        )
