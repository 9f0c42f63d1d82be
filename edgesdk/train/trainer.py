"""Joint training of all exits, which a `kill -9` at any moment only delays.

An epoch ends with an atomic checkpoint of everything the next one depends on, so a run that was
killed and resumed ends with the same weights, bit for bit, as one that was not (same machine,
versions, thread and process count). The learning rate is a function of the step, so it needs no
state.
"""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from ..errors import BackendUnavailable, ConfigError
from ..files import write_atomically
from . import checkpoint, plots
from .data import DataSet, Split
from .distributed import ALONE, Group
from .losses import exit_weights, joint_loss
from .models import MultiExit
from .recipe import Settings, checked, learning_rate

LOG_NAME = "log.jsonl"
MOMENTUM = 0.9
EVALUATION_BATCH = 256
PLOTS_PER_RUN = 10


class Trainer:
    """One run: the network, its optimiser, the random stream and the history of epochs.

    `network` is moved to the group's device. Raises what `recipe.checked` and `exit_weights` raise,
    and BackendUnavailable if it cannot be compiled as the settings demand.
    """

    def __init__(
        self, network: MultiExit, data: DataSet, settings: Settings, group: Group = ALONE
    ) -> None:
        self.network = network.to(group.device)
        self.data = data
        self.settings = checked(settings)
        self.group = group
        self.weights = exit_weights(len(network.exits), settings.exit_weights)
        self.history: list[dict[str, Any]] = []
        self._random = Generator().manual_seed(settings.seed)
        self._reduced = settings.precision == "bfloat16"
        if self._reduced:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward = group.wrap(_compiled(network) if settings.compiled else network)
        self._optimizer = torch.optim.SGD(
            _parameter_groups(network, settings),
            lr=settings.peak_learning_rate,
            momentum=MOMENTUM,
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
        augmenting = self._augmenting()
        # per exit: right answers; then the sum of losses and the number of images
        sums = torch.zeros(len(self.weights) + 2, dtype=torch.float64)
        for index, batch in enumerate(batches):
            rate = self._set_rate(epoch * len(batches) + index, self.settings.epochs * len(batches))
            mine = self.group.share(batch)
            if len(mine) == 0:  # a last batch of fewer images than processes
                continue
            images = self.data.augment(train.images[mine], augmenting)
            labels = train.labels[mine]
            loss, logits = self._step(images, labels)
            sums[:-2] += _correct_per_exit(logits, labels)
            sums[-2:] += torch.tensor([loss * len(mine), len(mine)], dtype=torch.float64)
        *correct, loss_sum, seen = self.group.total(sums).tolist()
        if not math.isfinite(loss_sum):
            raise ConfigError(
                f"epoch {epoch}: the loss is {loss_sum}; the training diverged; "
                f"lower the learning rate (now {self.settings.peak_learning_rate})"
            )
        record = {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": loss_sum / seen,
            "train_accuracy": [value / seen for value in correct],
            "calibration_accuracy": self._evaluated(calibration),
        }
        self.history.append(record)
        return record

    def _augmenting(self) -> Generator:
        """One process draws everything from one stream. Of several, each has a stream of its own,
        whose seed is drawn from the common one, which so stays the same in all of them."""
        if self.group.size == 1:
            return self._random
        seeds = torch.randint(2**62, (self.group.size,), generator=self._random)
        return Generator().manual_seed(int(seeds[self.group.rank]))

    def _set_rate(self, step: int, steps: int) -> float:
        settings = self.settings
        rate = learning_rate(step, steps, settings.peak_learning_rate, settings.schedule)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _step(self, images: Tensor, labels: Tensor) -> tuple[float, list[Tensor]]:
        if self._reduced:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._reduced):
            logits = self._forward(images)
        outputs = [values.float() for values in logits]
        loss = joint_loss(outputs, labels, self.weights, self.settings.distillation)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.item(), logits

    def _evaluated(self, split: Split) -> list[float]:
        """Accuracy per exit, the same in every process; the leading one computes it."""
        found = torch.zeros(len(self.weights), dtype=torch.float64)
        if self.group.leads:
            found += torch.tensor(accuracy_per_exit(self.network, split), dtype=torch.float64)
        return self.group.total(found).tolist()

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on, as tensors and plain values."""
        return {
            "settings": self.settings._asdict(),
            "data_digest": self.data.digest,
            "history": self.history,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
            "torch_random": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken. Raises ConfigError if its settings, images or network
        differ."""
        found, expected = Settings(**state["settings"])._asdict(), self.settings._asdict()
        if self.data.digest:  # which says more than the path, and images may move
            found["data"] = expected["data"]
        different = [name for name in expected if found[name] != expected[name]]
        if different:
            raise ConfigError(
                "the checkpoint was made with "
                + ", ".join(f"{name} {found[name]!r}" for name in different)
                + "; found "
                + ", ".join(f"{name} {expected[name]!r}" for name in different)
                + "; resume with the same settings or choose another --out"
            )
        check_same_images(state, self.data)
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ConfigError(
                "the checkpoint holds the weights of another network; resume with the network it "
                "was made with, or choose another --out"
            ) from error
        self.history = state["history"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._random.set_state(state["random"])
        torch.set_rng_state(state["torch_random"])


def check_same_images(state: dict[str, Any], data: DataSet) -> None:
    """Raise ConfigError if the run that left `state` was trained on other images than `data`'s."""
    if state.get("data_digest", "") not in ("", data.digest):
        raise ConfigError(
            f"data {data.name}: found other images or labels than this run was trained on; put "
            "the old ones back, or train again into another --out"
        )


def start_from(network: MultiExit, directory: Path) -> dict[str, Any]:
    """Give `network` the weights of the run in `directory`; what `Settings.start` keeps of that.

    Raises ConfigError if that run's network is another one, and what `checkpoint.load` raises.
    """
    state = checkpoint.load(directory)
    try:
        network.load_state_dict(state["network"])
    except RuntimeError as error:
        raise ConfigError(
            f"{directory}: found the weights of {state['settings']['model']} that do not fit this "
            "network; expected the same model and as many classes; choose another --start-from"
        ) from error
    settings = {name: value for name, value in state["settings"].items() if name != "data"}
    return {**settings, "epochs_done": len(state["history"])}


def fit(trainer: Trainer, directory: Path, resume: bool = False) -> None:
    """Train to the last epoch, with a checkpoint and a log line (JSON) after each, and curves.

    `resume` continues from the directory's checkpoint, if there is one. Of several processes only
    the leading one writes. Raises ConfigError if the directory holds a run and `resume` is false,
    and what `checkpoint` raises.
    """
    if (directory / checkpoint.FILE_NAME).exists():
        if not resume:
            raise ConfigError(
                f"{directory}: holds a run already; continue it with --resume, "
                "or choose another --out"
            )
        trainer.restore(checkpoint.load(directory))
    trainer.group.wait()  # nobody looks for the checkpoint after it was written
    train, calibration = (
        Split(*(values.to(trainer.group.device) for values in trainer.data.load(name)))
        for name in ("train", "calibration")
    )
    epochs = range(len(trainer.history), trainer.settings.epochs)
    quiet = None if trainer.group.leads else True
    bar = tqdm(epochs, "epochs", trainer.settings.epochs, initial=epochs.start, disable=quiet)
    for _ in bar:
        record = trainer.run_epoch(train, calibration)
        if trainer.group.leads:
            _write(trainer, directory)
        bar.set_postfix(
            loss=f"{record['train_loss']:.3f}", final=f"{record['calibration_accuracy'][-1]:.3f}"
        )


def _write(trainer: Trainer, directory: Path) -> None:
    checkpoint.save(directory, trainer.state())
    # Log and curves are views of the checkpoint's history: written whole, they cannot disagree.
    history, epochs = trainer.history, trainer.settings.epochs
    lines = "".join(json.dumps(entry) + "\n" for entry in history)
    write_atomically(directory / LOG_NAME, lines.encode())
    if len(history) == epochs or len(history) % math.ceil(epochs / PLOTS_PER_RUN) == 0:
        title = f"{trainer.settings.model} on {trainer.data.name}"
        write_atomically(directory / plots.FILE_NAME, plots.curves(history, title))


def _compiled(network: MultiExit) -> nn.Module:
    """A second way to call the same parameters; `network` itself still runs as it stands.

    Raises BackendUnavailable without a C++ compiler, which torch.compile needs on a CPU.
    """
    compilers = (os.environ.get("CXX", "c++"), "g++", "clang++")
    if not any(map(shutil.which, compilers)):
        raise BackendUnavailable(
            "a compiled training needs a C++ compiler, found neither c++, g++ nor clang++; "
            "install one, or train with --no-compile"
        )
    return cast(nn.Module, torch.compile(network))


def _parameter_groups(network: MultiExit, settings: Settings) -> list[dict[str, Any]]:
    """For the optimiser. Vectors (biases, batch norms) are spared the decay unless `decay_all`."""
    if settings.decay_all:
        return [{"params": list(network.parameters()), "weight_decay": settings.weight_decay}]
    matrices = [values for values in network.parameters() if values.ndim > 1]
    vectors = [values for values in network.parameters() if values.ndim == 1]
    return [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def logits_per_exit(network: MultiExit, images: Tensor) -> Tensor:
    """float32 [exits, n, N] on the CPU, for images [n, C, H, W], in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad():
        batches = [
            torch.stack(network(batch.to(device))).cpu() for batch in images.split(EVALUATION_BATCH)
        ]
    return torch.cat(batches, dim=1)


def accuracy_per_exit(network: MultiExit, split: Split) -> list[float]:
    """Share of right answers at each exit, 0..1."""
    logits = logits_per_exit(network, split.images)
    correct = _correct_per_exit(list(logits), split.labels.cpu())
    return [int(count) / len(split.labels) for count in correct]


def _correct_per_exit(logits: list[Tensor], labels: Tensor) -> Tensor:
    return torch.stack([(values.argmax(1) == labels).sum() for values in logits]).cpu()
