"""Joint training of all exits, which a `kill -9` at any moment only delays.

An epoch ends with an atomic checkpoint of everything the next one depends on, so a run that was
killed and resumed ends with the same weights, bit for bit, as one that was not (same machine,
versions and thread count). The learning rate is a function of the step, so it needs no state.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import ConfigError
from . import checkpoint
from .data import DataSet, Split
from .losses import exit_weights, joint_loss
from .models import MultiExit

LOG_NAME = "log.jsonl"
WARMUP_SHARE = 0.1  # of all steps: the learning rate rises linearly, then falls as a half cosine
MOMENTUM = 0.9
EVALUATION_BATCH = 256


class Settings(NamedTuple):
    """What determines a run. `exit_weights` None means the default of `losses.exit_weights`."""

    model: str
    data: str
    epochs: int
    seed: int = 0
    batch_size: int = 32
    peak_learning_rate: float = 0.05
    weight_decay: float = 5e-4
    exit_weights: Optional[tuple[float, ...]] = None


class Trainer:
    """One run: the network, its optimiser, the random stream and the history of epochs."""

    def __init__(self, network: MultiExit, data: DataSet, settings: Settings) -> None:
        if settings.epochs < 1:
            raise ConfigError(f"epochs: found {settings.epochs}, expected at least 1")
        self.network = network
        self.data = data
        self.settings = settings
        self.weights = exit_weights(len(network.exits), settings.exit_weights)
        self.history: list[dict[str, Any]] = []
        self._random = torch.Generator().manual_seed(settings.seed)
        self._optimizer = torch.optim.SGD(
            network.parameters(),
            lr=settings.peak_learning_rate,
            momentum=MOMENTUM,
            weight_decay=settings.weight_decay,
            nesterov=True,
        )

    def run_epoch(self, train: Split, calibration: Split) -> dict[str, Any]:
        """Train on every image once, in a new order; the record of what came out.

        Raises ConfigError if the loss is no longer finite.
        """
        self.network.train()
        epoch, count = len(self.history), len(train.labels)
        order = torch.randperm(count, generator=self._random)
        batches = order.split(self.settings.batch_size)
        loss_sum, correct = 0.0, torch.zeros(len(self.weights), dtype=torch.int64)
        for index, batch in enumerate(batches):
            step, steps = epoch * len(batches) + index, self.settings.epochs * len(batches)
            rate = learning_rate(step, steps, self.settings.peak_learning_rate)
            images = self.data.augment(train.images[batch], self._random)
            loss, logits = self._step(images, train.labels[batch], rate)
            loss_sum += loss * len(batch)
            correct += _correct_per_exit(logits, train.labels[batch])
        if not math.isfinite(loss_sum):
            raise ConfigError(
                f"epoch {epoch}: the loss is {loss_sum}; the training diverged; "
                f"lower the learning rate (now {self.settings.peak_learning_rate})"
            )
        record = {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": loss_sum / count,
            "train_accuracy": _shares(correct, count),
            "calibration_accuracy": accuracy_per_exit(self.network, calibration),
        }
        self.history.append(record)
        return record

    def _step(self, images: Tensor, labels: Tensor, rate: float) -> tuple[float, list[Tensor]]:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        logits = self.network(images)
        loss = joint_loss(logits, labels, self.weights)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.item(), logits

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on, as tensors and plain values."""
        return {
            "settings": self.settings._asdict(),
            "history": self.history,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
            "torch_random": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken. Raises ConfigError if its settings differ."""
        found, expected = state["settings"], self.settings._asdict()
        different = [name for name in expected if found.get(name) != expected[name]]
        if different:
            raise ConfigError(
                "the checkpoint was made with "
                + ", ".join(f"{name} {found.get(name)!r}" for name in different)
                + "; found "
                + ", ".join(f"{name} {expected[name]!r}" for name in different)
                + "; resume with the same settings or choose another --out"
            )
        self.history = state["history"]
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._random.set_state(state["random"])
        torch.set_rng_state(state["torch_random"])


def fit(trainer: Trainer, directory: Path, resume: bool = False) -> None:
    """Train to the last epoch, with a checkpoint and a log line (JSON) after each.

    `resume` continues from the directory's checkpoint, if there is one. Raises ConfigError if the
    directory holds a run and `resume` is false, and what `checkpoint` raises.
    """
    if (directory / checkpoint.FILE_NAME).exists():
        if not resume:
            raise ConfigError(
                f"{directory}: holds a run already; continue it with --resume, "
                "or choose another --out"
            )
        trainer.restore(checkpoint.load(directory))
    train, calibration = trainer.data.load("train"), trainer.data.load("calibration")
    epochs = range(len(trainer.history), trainer.settings.epochs)
    bar = tqdm(epochs, "epochs", trainer.settings.epochs, initial=epochs.start, disable=None)
    for _ in bar:
        record = trainer.run_epoch(train, calibration)
        checkpoint.save(directory, trainer.state())
        # The log is a view of the checkpoint's history: written whole, it cannot disagree with it.
        lines = "".join(json.dumps(entry) + "\n" for entry in trainer.history)
        checkpoint.write_atomically(directory / LOG_NAME, lines.encode())
        bar.set_postfix(
            loss=f"{record['train_loss']:.3f}", final=f"{record['calibration_accuracy'][-1]:.3f}"
        )


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear rise over the first `WARMUP_SHARE` of `steps`, then a half cosine towards 0."""
    warmup = max(1, round(steps * WARMUP_SHARE))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def logits_per_exit(network: MultiExit, images: Tensor) -> Tensor:
    """float32 [exits, n, N] for images [n, C, H, W], in evaluation mode."""
    network.eval()
    with torch.no_grad():
        batches = [torch.stack(network(batch)) for batch in images.split(EVALUATION_BATCH)]
    return torch.cat(batches, dim=1)


def accuracy_per_exit(network: MultiExit, split: Split) -> list[float]:
    """Share of right answers at each exit, 0..1."""
    logits = logits_per_exit(network, split.images)
    return _shares(_correct_per_exit(list(logits), split.labels), len(split.labels))


def _correct_per_exit(logits: list[Tensor], labels: Tensor) -> Tensor:
    return torch.stack([(values.argmax(1) == labels).sum() for values in logits])


def _shares(counts: Tensor, total: int) -> list[float]:
    return [int(count) / total for count in counts]
