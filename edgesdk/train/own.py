"""A network of your own, from `torch.nn.Module` to a bundle.

    network = MultiExit.from_module(module, ["layer1", "layer2"], (3, 32, 32))
    data = data_set("digits")                        # or a path, or a `DataSet` of your own
    settings = data.recipe._replace(model="my_net", epochs=20)
    run = train_network(network, data, settings, "runs/mine")
    export_run(run, "engines/my_net/1", max_loss_points=1.0)

A module is cut behind those of its parts that you name (`cut_points` lists them, `placement`
chooses among them). Or give the segments yourself: `MultiExit(segments, heads)`. Segment i reads
what segment i - 1 gives, and exit i classifies what segment i gives: an `ExitHead` maps
[B, C, H, W], any other module whatever it takes. Which layers may stand in them is up to the
backends: onnxruntime takes what ONNX opset 13 can say, the torch backend the operators listed in
`backends/pytorch_operators.py`.
"""

import copy
import os
from pathlib import Path
from typing import Union

import torch

from ..errors import ConfigError
from .bundles import Run, export_run, run_of
from .counting import multiply_adds
from .cutting.segments import cut_points
from .data import DataSet, Split, data_set
from .distributed import ALONE, Group
from .export import export_network
from .heads import ExitHead, fused
from .models import MultiExit
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
    "cut_points",
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
    of `data`, has an exit for its labels behind each segment, and can be counted and exported."""
    trial = copy.deepcopy(network).cpu().eval()  # the caller's stays where it is, in its mode
    with torch.no_grad():
        _check_shapes(trial, data)
    multiply_adds(trial, data.preprocessing.shape)
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
    if not isinstance(features, torch.Tensor):
        raise ConfigError(
            f"segment {index}: found that it gives {type(features)}, expected a tensor"
        )
    kernel_head = fused(head)
    if kernel_head is None:
        _check_graph(index, features, head, class_count)
        return
    if features.ndim != 4:
        raise ConfigError(
            f"segment {index}: found that it gives {list(features.shape)}, expected one tensor "
            f"[B, C, H, W] for the {type(head).__name__} behind it; take another kind of head, or "
            "cut before that"
        )
    channels, outputs = kernel_head.linear.in_features, kernel_head.linear.out_features
    if (channels, outputs) != (features.shape[1], class_count):
        name = type(head).__name__
        raise ConfigError(
            f"exit {index}: found {name}({channels}, {outputs}), expected {name}"
            f"({features.shape[1]}, {class_count}): the channels that segment {index} gives, and "
            "one output per label"
        )


def _check_graph(
    index: int, features: torch.Tensor, head: torch.nn.Module, class_count: int
) -> None:
    try:
        logits = head(features)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ConfigError(
            f"exit {index}: found that it does not take float32 {list(features.shape)}, what "
            f"segment {index} gives: {str(error).splitlines()[0]}"
        ) from error
    if list(logits.shape) != [CHECK_COUNT, class_count]:
        raise ConfigError(
            f"exit {index}: found that it gives {list(logits.shape)} for {CHECK_COUNT} images, "
            f"expected {[CHECK_COUNT, class_count]}: one output per label"
        )
