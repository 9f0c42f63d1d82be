"""Training of one autoencoder in a frozen network: `trainer`, with another loss.

All that `trainer` promises holds: an atomic checkpoint per epoch, and a resumed run ends with the
same weights as one that was never killed. The checkpoint holds the autoencoder, and the digest of
the network that it belongs to.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Generator, Tensor

from ...errors import ConfigError
from .. import checkpoint, plots, trainer
from ..bundles import Run
from ..counting import segment_shapes
from ..data import DataSet, Split
from ..distributed import ALONE, Group
from ..models import ExitNetwork, MultiExit
from ..recipe import Settings
from .autoencoder import AutoEncoder
from .methods import METHODS, Journey, Lesson

BEGIN_COUNT = 64  # training images whose features the untrained decoder imitates on average


class Wanted(NamedTuple):
    """A bottleneck: `border` is the number of the segment that takes the features, `method` one of
    `METHODS`, `ratio` as `autoencoder.geometry` takes it, `network` the digest of the weights."""

    border: int
    method: str
    ratio: float
    network: str


class Passed(NamedTuple):
    """A batch on its way: the logits of exits in front of the border, the `raw` features there, and
    how it went on from what `arrived`."""

    early: list[Tensor]
    raw: Tensor
    arrived: Journey


class Bottlenecked(ExitNetwork):
    """`whole`, frozen, with an autoencoder in front of segment `border`.

    Only the autoencoder belongs to this module for torch: it alone learns, is moved and is kept.
    """

    def __init__(self, whole: MultiExit, border: int, autoencoder: AutoEncoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.border = border
        self._whole = (whole.eval().requires_grad_(False),)  # a tuple is not looked into

    @property
    def whole(self) -> MultiExit:
        """The network as it was trained."""
        return self._whole[0]

    @property
    def exit_count(self) -> int:
        return self.whole.exit_count

    def forward(self, images: Tensor, segments: Optional[int] = None) -> Passed:
        """float32 images [B, C, H, W]; of the segments behind the border so many, or all."""
        early, raw = self.arriving(images)
        return Passed(early, raw, self.onward(self.autoencoder(raw), segments))

    def arriving(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The logits of exits in front of the border, and the features there."""
        logits, features = [], images
        with torch.no_grad():
            for segment, head in zip(self.whole.segments[: self.border], self.whole.exits):
                features = segment(features)
                logits.append(head(features))
        return logits, features

    def onward(self, features: Tensor, segments: Optional[int] = None) -> Journey:
        """From the border on, without the autoencoder."""
        all_features, logits = [features], []
        later = slice(self.border, None if segments is None else self.border + segments)
        for segment, head in zip(self.whole.segments[later], self.whole.exits[later]):
            features = segment(features)
            all_features.append(features)
            logits.append(head(features))
        return Journey(all_features, logits)


class AllLogits(torch.nn.Module):
    """A network with a bottleneck as `trainer` evaluates networks: images -> logits of every
    exit."""

    def __init__(self, network: Bottlenecked) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        passed: Passed = self.network(images)
        return passed.early + passed.arrived.logits


class BottleneckTrainer(trainer.Trainer[Bottlenecked]):
    """One run: a network with a bottleneck, what is wanted, and what `trainer.Trainer` has.

    Exits weigh as `Settings.exit_weights` says; those in front of the border learn nothing. Raises
    what `Trainer` raises.
    """

    def __init__(
        self,
        network: Bottlenecked,
        data: DataSet,
        settings: Settings,
        wanted: Wanted,
        group: Group = ALONE,
    ) -> None:
        super().__init__(network, data, settings, group)
        self.wanted = wanted
        self._method = METHODS[wanted.method]
        network.whole.to(group.device)
        if self._reduced:
            network.whole.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            trainer.keep_depthwise_float32(network.whole)

    def learn(self, batch: trainer.Batch, random: Generator) -> trainer.Learned:
        segments = self._method.segments
        with self._autocast(batch.images):
            passed: Passed = self._forward(batch.images, segments)
            straight = partial(self._straight, passed.raw, segments)
            weights = self.weights[self.network.border :]
            lesson = Lesson(passed.arrived, straight, batch.labels, weights)
            return trainer.Learned(self._method.loss(lesson), {})

    def _straight(self, raw: Tensor, segments: Optional[int]) -> Journey:
        with torch.no_grad():
            return self.network.onward(raw, segments)

    def evaluated(self, split: Split) -> list[list[float]]:
        return [trainer.accuracy_per_exit(AllLogits(self.network), split)]

    def picture(self) -> bytes:
        where = f"{self.settings.model} on {self.data.name}, bottleneck {self.wanted.border}"
        return plots.curves(self.history, where, f"training loss ({self.wanted.method})")

    def state(self) -> dict[str, Any]:
        return {**super().state(), "bottleneck": self.wanted._asdict()}

    def restore(self, state: dict[str, Any]) -> None:
        check_is_bottleneck(state)
        trainer.check_same_settings(state["bottleneck"], self.wanted._asdict())
        super().restore(state)


class Trained(NamedTuple):
    """A bottleneck as its checkpoint has it, in evaluation mode."""

    network: Bottlenecked
    wanted: Wanted
    settings: Settings
    epochs_done: int


def new_trainer(
    run: Run, settings: Settings, border: int, method: str, ratio: float, group: Group = ALONE
) -> BottleneckTrainer:
    """That of an untrained bottleneck in the network of `run`.

    Raises ConfigError for a border or a method that there is not, and what `geometry` and `Trainer`
    raise.
    """
    if method not in METHODS:
        raise ConfigError(f"method: found {method!r}, expected one of {', '.join(METHODS)}")
    wanted = Wanted(border, method, ratio, checkpoint.digest(run.network))
    torch.manual_seed(settings.seed)
    network = _with_bottleneck(run, wanted)
    images = run.data.load("train").images[:BEGIN_COUNT]
    network.autoencoder.begin_at(network.arriving(images)[1])
    return BottleneckTrainer(network, run.data, settings, wanted, group)


def load_bottleneck(run: Run, directory: Path) -> Trained:
    """The bottleneck that a training left in `directory`, in the network of `run`.

    Raises ConfigError if it belongs to another network, and what `checkpoint.load` raises.
    """
    state = checkpoint.load(directory)
    check_is_bottleneck(state, f"{directory}: ")
    wanted = Wanted(**state["bottleneck"])
    if wanted.network != checkpoint.digest(run.network):
        raise ConfigError(
            f"{directory}: found a bottleneck of another network; expected one that was trained in "
            f"this one, {run.settings.model} on {run.data.name}; train it with: python -m "
            "edgesdk.train bottleneck RUN"
        )
    network = _with_bottleneck(run, wanted)
    network.load_state_dict(state["network"])
    return Trained(network.eval(), wanted, Settings(**state["settings"]), len(state["history"]))


def check_is_bottleneck(state: dict[str, Any], where: str = "") -> None:
    """Raise ConfigError, beginning with `where`, if what left `state` trained no bottleneck."""
    if not trainer.is_bottleneck(state):
        raise ConfigError(
            f"{where}the checkpoint is that of a network; expected a bottleneck, made by: python "
            "-m edgesdk.train bottleneck"
        )


def _with_bottleneck(run: Run, wanted: Wanted) -> Bottlenecked:
    shapes = segment_shapes(run.network, run.data.preprocessing.shape).inputs
    if not 1 <= wanted.border < len(shapes):
        raise ConfigError(
            f"border: found {wanted.border}, expected 1 to {len(shapes) - 1}, a segment that takes "
            "features"
        )
    autoencoder = AutoEncoder(shapes[wanted.border], wanted.ratio)
    # A copy: it is moved and frozen, and computes in other precisions.
    return Bottlenecked(copy.deepcopy(run.network), wanted.border, autoencoder)
