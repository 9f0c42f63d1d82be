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
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

from ..errors import BackendUnavailable, ConfigError
from ..files import write_atomically
from . import checkpoint, plots
from .data import DataSet, Split
from .distributed import ALONE, Group
from .learning import freeze_others, learning
from .losses import combined_loss, exit_weights, joint_loss
from .models import ExitNetwork
from .recipe import ALL, Settings, checked, learning_rate

LOG_NAME = "log.jsonl"
MOMENTUM = 0.9
EVALUATION_BATCH = 256
PLOTS_PER_RUN = 10
NetworkT = TypeVar("NetworkT", bound=ExitNetwork)


class Batch(NamedTuple):
    """Augmented `images` [B, C, H, W], their `labels` int64 [B], and `places` int64 [B], where they
    stand in the training split."""

    images: Tensor
    labels: Tensor
    places: Tensor


class Learned(NamedTuple):
    """What came of a batch: its `loss`, and for the log `sums` over its images, float64: one value,
    or one per exit."""

    loss: Tensor
    sums: dict[str, Tensor]


class Trainer(Generic[NetworkT]):
    """One run: the network, its optimiser, the random stream and the history of epochs.

    `network` is moved to the group's device. Another way to learn overrides `augmented`, `learn`,
    `evaluated` (with the names of its rows, `evaluations`) and `picture`. Raises what
    `recipe.checked` and `exit_weights` raise, and BackendUnavailable if it cannot be compiled as
    the settings demand.
    """

    evaluations: tuple[str, ...] = ("calibration_accuracy",)

    def __init__(
        self, network: NetworkT, data: DataSet, settings: Settings, group: Group = ALONE
    ) -> None:
        self.network = network.to(group.device)
        self.data = data
        self.settings = checked(settings)
        self.group = group
        chosen = learning(settings.learns, network.exit_count)
        self.weights = chosen.weights(exit_weights(network.exit_count, settings.exit_weights))
        self._frozen = [] if settings.learns == ALL else freeze_others(network, chosen)
        self.history: list[dict[str, Any]] = []
        self._random = Generator().manual_seed(settings.seed)
        self._reduced = settings.precision == "bfloat16"
        if self._reduced:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            keep_depthwise_float32(network)
        self._forward = group.wrap(compiled(network) if settings.compiled else network)
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
        for module in self._frozen:
            module.eval()
        epoch, count = len(self.history), len(train.labels)
        order = torch.randperm(count, generator=self._random)
        batches = order.split(self.settings.batch_size)
        augmenting = self._augmenting()
        sums: dict[str, Tensor] = {}
        seen = torch.zeros(1, dtype=torch.float64)
        for index, batch in enumerate(batches):
            rate = self._set_rate(epoch * len(batches) + index, self.settings.epochs * len(batches))
            mine = self.group.share(batch)
            if len(mine) == 0:  # a last batch of fewer images than processes
                continue
            images = self.augmented(train, mine, augmenting)
            taken = Batch(images, train.labels[mine], mine)
            for name, value in self._step(taken, augmenting).items():
                sums[name] = sums.get(name, 0) + value
            seen += len(mine)
        count = int(self.group.total(seen))
        means = {name: self.group.total(value) / count for name, value in sums.items()}
        loss = float(means["train_loss"])
        if not math.isfinite(loss):
            raise ConfigError(
                f"epoch {epoch}: the loss is {loss}; the training diverged; "
                f"lower the learning rate (now {self.settings.peak_learning_rate})"
            )
        record = {
            "epoch": epoch,
            "learning_rate": rate,
            **{name: value.tolist() for name, value in means.items()},
            **self._evaluated(calibration),
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

    def _step(self, batch: Batch, random: Generator) -> dict[str, Tensor]:
        """Learn one batch; the sums for the log."""
        if self._reduced:
            images = batch.images.contiguous(memory_format=torch.channels_last)
            batch = batch._replace(images=images)
        learned = self.learn(batch, random)
        self._optimizer.zero_grad(set_to_none=True)
        learned.loss.backward()
        self._optimizer.step()
        total = torch.tensor(learned.loss.item() * len(batch.labels), dtype=torch.float64)
        return {"train_loss": total, **learned.sums}

    def augmented(self, train: Split, places: Tensor, random: Generator) -> Tensor:
        """Changed copies of the training images at `places`."""
        return self.data.augment(train.images[places], random)

    def learn(self, batch: Batch, random: Generator) -> Learned:
        """The loss of a batch. What it draws, it draws from `random`."""
        with self._autocast(batch.images):
            logits = self._forward(batch.images)
        outputs = [values.float() for values in logits]
        if self.settings.loss == "combined":
            loss = combined_loss(outputs, batch.labels, self.weights)
        else:
            loss = joint_loss(outputs, batch.labels, self.weights, self.settings.distillation)
        return Learned(loss, {"train_accuracy": correct_per_exit(logits, batch.labels)})

    def _autocast(self, images: Tensor) -> torch.autocast:
        return torch.autocast(images.device.type, torch.bfloat16, enabled=self._reduced)

    def evaluated(self, split: Split) -> list[list[float]]:
        """`evaluations` on a split: per entry one value per exit."""
        return [accuracy_per_exit(self.network, split)]

    def picture(self) -> bytes:
        """The course of the training, a PNG."""
        return plots.curves(self.history, f"{self.settings.model} on {self.data.name}")

    def _evaluated(self, split: Split) -> dict[str, list[float]]:
        """The same in every process; the leading one computes it."""
        found = torch.zeros(len(self.evaluations), len(self.weights), dtype=torch.float64)
        if self.group.leads:
            found += torch.tensor(self.evaluated(split), dtype=torch.float64)
        return dict(zip(self.evaluations, self.group.total(found).tolist()))

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
        check_same_settings(found, expected)
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


def check_same_settings(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise ConfigError if a checkpoint was made with other settings than `expected`."""
    different = [name for name in expected if found[name] != expected[name]]
    if different:
        raise ConfigError(
            "the checkpoint was made with "
            + ", ".join(f"{name} {found[name]!r}" for name in different)
            + "; found "
            + ", ".join(f"{name} {expected[name]!r}" for name in different)
            + "; resume with the same settings or choose another --out"
        )


def is_ensemble(state: dict[str, Any]) -> bool:
    """Whether the run that left `state` is that of `python -m edgesdk.train distill`."""
    return "distillation" in state


def is_bottleneck(state: dict[str, Any]) -> bool:
    """Whether the run that left `state` is that of `python -m edgesdk.train bottleneck`."""
    return "bottleneck" in state


def check_is_network(state: dict[str, Any], directory: Path) -> None:
    """Raise ConfigError if the run that left `state` in `directory` is that of an ensemble or a
    bottleneck."""
    if is_bottleneck(state):
        raise ConfigError(
            f"{directory}: found a bottleneck, made by: python -m edgesdk.train bottleneck; "
            "expected the network that it belongs to, made by: python -m edgesdk.train fit"
        )
    if is_ensemble(state):
        raise ConfigError(
            f"{directory}: found an ensemble, made by: python -m edgesdk.train distill; expected a "
            "single network, made by: python -m edgesdk.train fit"
        )


def check_same_images(state: dict[str, Any], data: DataSet) -> None:
    """Raise ConfigError if the run that left `state` was trained on other images than `data`'s."""
    if state.get("data_digest", "") not in ("", data.digest):
        raise ConfigError(
            f"data {data.name}: found other images or labels than this run was trained on; put "
            "the old ones back, or train again into another --out"
        )


def start_from(network: nn.Module, directory: Path) -> dict[str, Any]:
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
    return as_start(state["settings"], len(state["history"]))


def as_start(settings: dict[str, Any], epochs_done: int) -> dict[str, Any]:
    """What `Settings.start` keeps of the run whose weights another begins with."""
    kept = {name: value for name, value in settings.items() if name != "data"}
    return {**kept, "epochs_done": epochs_done}


def fit(trainer: Trainer[Any], directory: Path, resume: bool = False) -> None:
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


def _write(trainer: Trainer[Any], directory: Path) -> None:
    checkpoint.save(directory, trainer.state())
    # Log and curves are views of the checkpoint's history: written whole, they cannot disagree.
    history, epochs = trainer.history, trainer.settings.epochs
    lines = "".join(json.dumps(entry) + "\n" for entry in history)
    write_atomically(directory / LOG_NAME, lines.encode())
    if len(history) == epochs or len(history) % math.ceil(epochs / PLOTS_PER_RUN) == 0:
        write_atomically(directory / plots.FILE_NAME, trainer.picture())


def compiled(network: nn.Module) -> nn.Module:
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


def keep_depthwise_float32(network: nn.Module) -> None:
    """Spare the depthwise convolutions of `network` autocast: on CPUs the gradient of a bfloat16
    one takes several times as long as that of float32."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = partial(_convolved_float32, module)  # type: ignore[method-assign]


def _convolved_float32(convolution: nn.Conv2d, features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        return nn.Conv2d.forward(convolution, features.float())


def _parameter_groups(network: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """For the optimiser. Vectors (biases, batch norms) are spared the decay unless `decay_all`."""
    learned = [values for values in network.parameters() if values.requires_grad]
    if settings.decay_all:
        return [{"params": learned, "weight_decay": settings.weight_decay}]
    matrices = [values for values in learned if values.ndim > 1]
    vectors = [values for values in learned if values.ndim == 1]
    return [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def logits_per_exit(network: nn.Module, images: Tensor) -> Tensor:
    """float32 [exits, n, N] on the CPU, for images [n, C, H, W], in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad():
        batches = [
            torch.stack(network(batch.to(device))).cpu() for batch in images.split(EVALUATION_BATCH)
        ]
    return torch.cat(batches, dim=1)


def accuracy_per_exit(network: nn.Module, split: Split) -> list[float]:
    """Share of right answers at each exit, 0..1."""
    logits = logits_per_exit(network, split.images)
    correct = correct_per_exit(list(logits), split.labels.cpu())
    return [int(count) / len(split.labels) for count in correct]


def correct_per_exit(logits: list[Tensor], labels: Tensor) -> Tensor:
    """How many images each exit is right about: float64 [exits], on the CPU."""
    return torch.stack([(values.argmax(1) == labels).sum() for values in logits]).cpu().double()
