"""The unified student of DistrEE: networks that compute features, and one classifier for all.

Each student is a cascade with feature exits: batch norm, ReLU, average pool and a linear layer
without bias, as in Table I; F_1, F_2, ... have one shape, so one classifier reads whatever mixture
of exits the students happen to leave at. A student of a weak device is cut behind an exit; where
a deeper branch is asked for, it gives its last feature.

Costs, by `counting`, of WideResNet-16-1 with 64 features on 3x32x32, all seven exits: 33.99 M
multiply-adds by the plain rule, 34.55 M by that of Table I, as printed there. Parameters: 190,688,
and 179,072 with the last exit alone; DistrEE prints 189,044 and 178,540, which no choice of biases
and batch norms gives: ours are 0.9 % and 0.3 % more. The classifier is apart from all of these,
64 N weights and a bias for each class.
"""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ..heads import ExitHead, fused
from ..models import ExitNetwork, MultiExit, build_model

FEATURE_SIZE = 64  # of every exit, DistrEE Table I
MEAN_MOMENTUM = 0.01  # of a batch in the running mean of a student's features


class Answers(NamedTuple):
    """`features[i][j]`: float32 [B, D], what student i says at its exit j, counted from 0.

    `logits[j]`: float32 [B, classes], what the classifier makes of branch j: all students at exit
    j, a shallower one at its last.
    """

    features: list[list[Tensor]]
    logits: list[Tensor]


class Ensemble(ExitNetwork):
    """N students and their classifier; `exit_count` is that of the deepest.

    `mean_features`, float32 [N, D], is what stands in for a student that is missing: the running
    mean of its features, over images and exits. Raises ConfigError without students, or if an exit
    is no `ExitHead` that gives `feature_size` values.
    """

    def __init__(self, students: Sequence[MultiExit], classes: int, feature_size: int) -> None:
        super().__init__()
        _check_students(students, feature_size)
        self.feature_size = feature_size
        self.students = nn.ModuleList(students)
        self.classifier = nn.Linear(feature_size * len(students), classes)
        self.mean_features: Tensor
        self.register_buffer("mean_features", torch.zeros(len(students), feature_size))

    @property
    def exit_count(self) -> int:
        return max(self.depths)

    @property
    def parts(self) -> list[MultiExit]:
        """The students, in order."""
        return list(self.students)  # type: ignore[arg-type]

    @property
    def depths(self) -> tuple[int, ...]:
        """Exits of each student."""
        return tuple(student.exit_count for student in self.parts)

    def forward(self, images: Tensor) -> Answers:
        """float32 images [B, C, H, W] -> `Answers`; the classifier never runs in bfloat16."""
        features = [[f.float() for f in student(images)] for student in self.students]
        with torch.autocast(images.device.type, enabled=False):
            logits = self.classify(at_branches(features))
        return Answers(features, list(logits.unbind(1)))

    def classify(self, features: Tensor) -> Tensor:
        """Logits float32 [..., classes] of features [..., N, D], one of each student."""
        return self.classifier(features.flatten(-2))

    def remember(self, features: list[list[Tensor]]) -> None:
        """Let the features of a batch into `mean_features`."""
        with torch.no_grad():
            means = [torch.stack(exits).mean((0, 1)) for exits in features]
            self.mean_features.lerp_(torch.stack(means), MEAN_MOMENTUM)


def at_branches(features: list[list[Tensor]]) -> Tensor:
    """`Answers.features` as one tensor [B, M, N, D]: branch j has every student at exit j, a
    shallower one at its last."""
    deepest = max(map(len, features))
    full = [exits + exits[-1:] * (deepest - len(exits)) for exits in features]
    return torch.stack([torch.stack(exits, dim=1) for exits in full], dim=2)


def build_ensemble(
    model: str, classes: int, in_channels: int, depths: Sequence[int], seed: int
) -> Ensemble:
    """Untrained students of the network `model` of `models.MODELS`, one for each of `depths`.

    Weights depend on `seed` alone. Raises ConfigError for an unknown model and for depths that it
    does not have.
    """
    torch.manual_seed(seed)
    students = [_student(build_model(model, 1, in_channels), depth, model) for depth in depths]
    return Ensemble(students, classes, FEATURE_SIZE)


def depths_of(model: str, count: int, depths: Optional[Sequence[int]] = None) -> tuple[int, ...]:
    """The exits of each of `count` students: `depths` if given, else all that `model` has.

    Raises ConfigError if there are not `count` of them.
    """
    if depths is None:
        return (build_model(model, 1, 1).exit_count,) * count
    if len(depths) != count:
        raise ConfigError(
            f"depths: found {list(depths)}, expected {count} numbers of exits, one per student"
        )
    return tuple(depths)


def _student(network: MultiExit, depth: int, model: str) -> MultiExit:
    """`network` up to its exit number `depth`, with feature exits."""
    if not 1 <= depth <= network.exit_count:
        raise ConfigError(
            f"depths: found {depth}, expected 1 to {network.exit_count}, the exits of {model}"
        )
    heads = [fused(head) for head in network.exits[:depth]]
    channels = [head.linear.in_features for head in heads if head is not None]
    if len(channels) != depth:
        raise ConfigError(
            f"model: found {model}, whose exits are no maps [C, H, W]; expected a convolutional "
            "network for students"
        )
    return MultiExit(
        list(network.segments)[:depth],
        [ExitHead(count, FEATURE_SIZE, bias=False) for count in channels],
    )


def _check_students(students: Sequence[MultiExit], feature_size: int) -> None:
    if not students:
        raise ConfigError("found no students, expected at least one")
    for index, student in enumerate(students):
        for number, head in enumerate(student.exits):
            outputs = head.linear.out_features if isinstance(head, ExitHead) else "no"
            if outputs != feature_size:
                raise ConfigError(
                    f"student {index}, exit {number}: found a {type(head).__name__} with {outputs} "
                    f"features, expected an ExitHead with {feature_size}"
                )
