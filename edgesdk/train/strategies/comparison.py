"""Every strategy on one network and one data set, each phase in a folder that a second call
continues."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from tqdm import tqdm

from ...errors import ConfigError
from ...files import write_atomically
from .. import checkpoint, trainer
from ..data import DataSet
from ..distributed import ALONE, Group
from ..models import MultiExit, seeded_model
from ..recipe import Settings
from .phases import STRATEGIES, Phase, epochs_of

SECONDS = "seconds.json"


class Tried(NamedTuple):
    """What a strategy gave. `accuracies`: of each exit on the test split, 0..1. `epochs`: of all
    its phases. `seconds`: of training, None if it was interrupted."""

    strategy: str
    accuracies: tuple[float, ...]
    epochs: int
    seconds: Optional[float]


def compare(
    data: DataSet,
    settings: Settings,
    strategies: Sequence[str],
    directory: Path,
    group: Group = ALONE,
) -> list[Tried]:
    """Train the network of `settings` by each strategy, in a folder of `directory` named by it.

    Raises ConfigError for an unknown strategy or a network without early exits, and what
    `trainer.fit` raises.
    """
    unknown = [name for name in strategies if name not in STRATEGIES]
    if unknown:
        raise ConfigError(
            f"strategies: found {unknown[0]!r}, expected some of {', '.join(STRATEGIES)}"
        )
    bar = tqdm(strategies, "strategies", disable=None if group.leads else True)
    return [_tried(name, data, settings, directory / name, group) for name in bar]


def _tried(name: str, data: DataSet, settings: Settings, directory: Path, group: Group) -> Tried:
    strategy = STRATEGIES[name]
    network = _network(settings, data)
    phases = strategy.phases(network.exit_count)
    counts = epochs_of(phases, settings.epochs)
    test = data.load("test")
    accuracies: list[float] = []
    seconds: list[Optional[float]] = []
    start = None
    for phase, count in zip(phases, counts):
        if strategy.is_separate:
            network, start = _network(settings, data), None
        trained = first_exits(network, phase.depth)
        asked = _settings_of(phase, settings, count, start)
        if trained is not network:  # one exit learns, whatever its weight
            asked = asked._replace(exit_weights=None)
        seconds.append(
            _timed_fit(trainer.Trainer(trained, data, asked, group), directory / phase.name)
        )
        start = trainer.as_start(asked._asdict(), count)
        found = trainer.accuracy_per_exit(trained, test)
        accuracies = accuracies + found[-1:] if strategy.is_separate else found
    known = [each for each in seconds if each is not None]
    total = sum(known) if len(known) == len(phases) else None
    return Tried(name, tuple(accuracies), sum(counts), total)


def _settings_of(
    phase: Phase, settings: Settings, epochs: int, start: Optional[dict[str, Any]]
) -> Settings:
    return settings._replace(
        epochs=epochs,
        start=start,
        learns=phase.learns,
        loss=phase.loss,
        distillation=phase.distillation,
    )


def first_exits(network: MultiExit, depth: int) -> MultiExit:
    """The network up to exit `depth` - 1, of the same layers, all of which can learn."""
    first = network
    if depth < network.exit_count:
        first = MultiExit(network.segments[:depth], network.exits[:depth])
    return first.requires_grad_(True)


def _network(settings: Settings, data: DataSet) -> MultiExit:
    channels = data.preprocessing.shape[0]
    network = seeded_model(settings.model, len(data.labels), channels, settings.seed)
    if network.exit_count < 2:
        raise ConfigError(
            f"model: found {settings.model}, which has one exit; expected one with early exits"
        )
    return network


def _timed_fit(run: trainer.Trainer[MultiExit], directory: Path) -> Optional[float]:
    """Seconds that the training took; None if it was interrupted and went on."""
    path = directory / SECONDS
    is_new = not (directory / checkpoint.FILE_NAME).exists()
    begin = time.perf_counter()
    trainer.fit(run, directory, resume=True)
    if is_new and run.group.leads:
        write_atomically(path, json.dumps(time.perf_counter() - begin).encode())
    if not path.exists():
        return None
    seconds: float = json.loads(path.read_text())
    return seconds
