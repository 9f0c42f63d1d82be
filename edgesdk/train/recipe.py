"""What determines a training: the settings, their defaults per kind of data, the learning rate."""

import math
from typing import Any, NamedTuple, Optional

from ..errors import ConfigError

WARMUP_SHARE = 0.1  # of all steps, in which a cosine schedule rises
ONECYCLE_SHARE = 0.2  # the same of a one-cycle schedule
SCHEDULES = ("cosine", "onecycle")
PRECISIONS = ("float32", "bfloat16")
LOSSES = ("sum", "combined")  # over the exits: of their losses, or the loss of their mean
LEARNS = (ALL, BACKBONE, EXITS, LAST) = ("all", "backbone", "exits", "last")  # see `learning`
MAX_LOSS_POINTS = 0.5  # of accuracy, that the policy of an export may lose by default
INT8_LOSS_POINTS = 1.0  # of accuracy, that the final exit may lose by rounding, by default


class Settings(NamedTuple):
    """Two runs of equal settings end with equal weights, bit for bit (on one machine, with the
    same versions and the same numbers of threads and processes).

    `data`: a name or a path, as `data.data_set` takes it. `exit_weights` None means the default of
    `losses.exit_weights`. `precision` "bfloat16" computes convolutions and linear layers under
    autocast and keeps images channels-last, the layout in which that is fast. `compiled` sends
    the network through torch.compile: minutes to start, then faster. `decay_all` applies the weight
    decay to biases and batch norms too. `start`: of the run whose weights this one began with, if
    there was one, as `trainer.start_from` gives it. `distillation`: the share of each early
    exit's loss that comes from the final exit instead of the labels, 0..1 (`losses.joint_loss`).
    `learns`: one of `LEARNS`; `loss`: one of `LOSSES`.
    """

    model: str
    data: str
    epochs: int
    seed: int = 0
    batch_size: int = 32
    peak_learning_rate: float = 0.05
    weight_decay: float = 5e-4
    exit_weights: Optional[tuple[float, ...]] = None
    schedule: str = "cosine"
    precision: str = "float32"
    compiled: bool = False
    decay_all: bool = True
    start: Optional[dict[str, Any]] = None
    distillation: float = 0.0
    learns: str = ALL
    loss: str = "sum"


def epochs_before(start: Optional[dict[str, Any]]) -> int:
    """Of the run that another started from (`Settings.start`), and of those before it."""
    return 0 if start is None else start["epochs_done"] + epochs_before(start["start"])


class Distillation(NamedTuple):
    """What the training of an ensemble has besides: DistrEE, eq. 4 and 5, and terms of our own.

    `depths`: the exits of each student. `teacher`: as `teacher.Teacher.description` has it.
    `soft_weight` (alpha): the share of the loss that the teacher's logits have instead of the
    labels, both softened by `temperature`. `attention_weight` (beta): of the distance between a
    student's feature and what the teacher's filters say. `mixture_weight`: of the loss of one
    mixture of exits for each image, as one branch more; `missing_probability`: how often a
    student is missing from a mixture. Both 0 for the paper's loss. `views`: how many augmented
    copies of each image are used in turns, so that the teacher is asked once of each; 0: each epoch
    has copies of its own.

    DistrEE prints neither alpha nor beta nor the temperature. The defaults did best of four choices
    in short trials: one seed, 8 epochs of 10,000 images of CIFAR-10, a teacher right of 75 %.
    """

    depths: tuple[int, ...]
    teacher: dict[str, Any]
    soft_weight: float = 0.5
    temperature: float = 2.0  # without its square as a factor, a higher one makes the term faint
    attention_weight: float = 5.0
    mixture_weight: float = 1.0
    missing_probability: float = 0.1
    views: int = 0


# What a training has unless others are asked for; the model and the data are always asked for.
DIGITS = Settings("", "", epochs=150)
PHOTOS = Settings(
    "",
    "",
    epochs=40,
    batch_size=125,  # divides the 45,000 training images of CIFAR-10
    peak_learning_rate=0.2,
    schedule="onecycle",
    precision="bfloat16",
    decay_all=False,
)


def checked(settings: Settings) -> Settings:
    """`settings` itself. Raises ConfigError for a value that no training can have."""
    found = settings._asdict()
    for name in ("epochs", "batch_size"):
        if found[name] < 1:
            raise ConfigError(f"{name}: found {found[name]}, expected at least 1")
    if not (math.isfinite(settings.peak_learning_rate) and settings.peak_learning_rate > 0):
        raise ConfigError(
            f"peak learning rate: found {settings.peak_learning_rate}, expected a number > 0"
        )
    if not 0 <= settings.weight_decay < 1:
        raise ConfigError(f"weight decay: found {settings.weight_decay}, expected 0 <= value < 1")
    if not 0 <= settings.distillation <= 1:
        raise ConfigError(f"distillation: found {settings.distillation}, expected 0 to 1")
    for name, allowed in (
        ("schedule", SCHEDULES),
        ("precision", PRECISIONS),
        ("learns", LEARNS),
        ("loss", LOSSES),
    ):
        if found[name] not in allowed:
            raise ConfigError(
                f"{name}: found {found[name]!r}, expected one of {', '.join(allowed)}"
            )
    return settings


def checked_distillation(settings: Distillation) -> Distillation:
    """`settings` itself. Raises ConfigError for a value that no training can have."""
    found = settings._asdict()
    if not (math.isfinite(settings.temperature) and settings.temperature > 0):
        raise ConfigError(f"temperature: found {settings.temperature}, expected a number > 0")
    for name in ("soft_weight", "missing_probability"):
        if not 0 <= found[name] <= 1:
            raise ConfigError(f"{name.replace('_', ' ')}: found {found[name]}, expected 0 to 1")
    for name in ("attention_weight", "mixture_weight"):
        if not (math.isfinite(found[name]) and found[name] >= 0):
            raise ConfigError(
                f"{name.replace('_', ' ')}: found {found[name]}, expected a number >= 0"
            )
    if settings.views < 0:
        raise ConfigError(f"views: found {settings.views}, expected a number >= 0")
    return settings


def learning_rate(step: int, steps: int, peak: float, schedule: str = "cosine") -> float:
    """Linear rise to `peak` over the first of `steps`, then a fall towards 0 over the others.

    "cosine": rises over `WARMUP_SHARE` of them, falls as a half cosine (Loshchilov and Hutter,
    "SGDR", 2017). "onecycle": rises over `ONECYCLE_SHARE`, falls linearly (Smith and Topin,
    "Super-convergence", 2018).
    """
    warmup = max(1, round(steps * (ONECYCLE_SHARE if schedule == "onecycle" else WARMUP_SHARE)))
    if step < warmup:
        return peak * (step + 1) / warmup
    fallen, fall = step - warmup, steps - warmup
    if schedule == "onecycle":
        return peak * (1 - fallen / fall)
    return peak * 0.5 * (1 + math.cos(math.pi * fallen / fall))
