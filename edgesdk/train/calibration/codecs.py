"""What lossy codecs cost in accuracy: features pass through them wherever a plan could be cut.

A plan can be cut between any two segments, and before the first. At each of these borders alone,
and at all of them at once, every image of the calibration split is encoded and decoded as if it
travelled there, and goes on from what arrived; the policy then decides as ever. What counts is the
worst of these, pessimistically (`choice.pessimistic_loss`): a few hundred images cannot show that
next to nothing is lost. The codec "learned" crosses the borders where the bundle has a bottleneck.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ... import codec
from ...backends import Backend
from ...bundle import Bundle
from ...core.exits import ExitPolicy
from ...core.spec import FULL_PLAN
from ...core.tensor import LEARNED, LOSING_CODECS, LOSSY_CODECS
from ...manifest import Manifest, policy_id
from ...outcomes import outcomes_from_logits, replay
from ...runtime.bottleneck import Bottlenecks
from ...runtime.executor import Executor
from ...runtime.stages import LoadedStage, load_stages
from ..data import DataSet
from .choice import pessimistic_loss
from .recording import BATCH, check_labels, renormalised

SPLIT = "calibration"
POINTS_DECIMALS = 3

Borders = tuple[int, ...]  # a border is the number of the segment behind it


class Decider(NamedTuple):
    """The policy, its name, and the exits of the plan that it decides on."""

    name: str
    policy: ExitPolicy
    exit_indices: tuple[int, ...]


class Journey(NamedTuple):
    """Features pass through `codec` at `borders`; `lost` images were right without it and are wrong
    with it, `gained` the other way round, of `image_count`."""

    codec: str
    borders: Borders
    lost: int
    gained: int
    image_count: int

    @property
    def lost_points(self) -> float:
        """Percent points of accuracy lost on the split."""
        return round(100 * (self.lost - self.gained) / self.image_count, POINTS_DECIMALS)

    @property
    def pessimistic_lost_points(self) -> float:
        """The same, as it must be reckoned with."""
        lost = pessimistic_loss(self.lost, self.gained)
        return round(100 * lost / self.image_count, POINTS_DECIMALS)


class CodecLoss(NamedTuple):
    """All journeys, those across all borders last for each codec, and whose they were."""

    journeys: list[Journey]
    decider: Decider
    data: str
    accuracy: float  # 0..1 without any codec


def default_decider(manifest: Manifest) -> Decider:
    """The default policy of a bundle, on the plan that it was calibrated for."""
    name = manifest.default_policy
    plan = manifest.document["policies"][name].get("plan", FULL_PLAN)
    exits = manifest.parts[0].plans[plan].exit_indices
    return Decider(name, manifest.policies[name], exits)


def measure_codecs(bundle: Bundle, data: DataSet, backend: Backend, decider: Decider) -> CodecLoss:
    """What each lossy codec loses on the calibration split of `data`.

    Raises ConfigError if the labels or the geometry of `data` are not those of the bundle, or the
    network gives values that are not finite.
    """
    check_labels(bundle, data)
    stages = list(load_stages(bundle, FULL_PLAN, backend).values())
    split = data.load(SPLIT)
    images = renormalised(split.images.numpy(), data.preprocessing, bundle.manifest.preprocessing)
    ways = list(_ways(bundle))
    loaded = Bottlenecks(bundle, FULL_PLAN, Executor(bundle, FULL_PLAN, backend, held_stages=()))
    logits = _logits(stages, loaded, images, ways, len(bundle.manifest.labels))
    labels = split.labels.numpy()
    straight, *others = (
        _right(bundle, data.name, labels, found, decider) for found in logits.transpose(1, 0, 2, 3)
    )
    journeys = [
        Journey(
            name,
            borders,
            int((straight & ~arrived).sum()),
            int((arrived & ~straight).sum()),
            len(labels),
        )
        for (name, borders), arrived in zip(ways, others)
    ]
    return CodecLoss(journeys, decider, data.name, float(straight.mean()))


def codecs_document(found: CodecLoss) -> dict[str, Any]:
    """The table `codecs` of a manifest."""
    provenance = {
        "data": found.data,
        "split": SPLIT,
        "image_count": found.journeys[0].image_count,
        "accuracy": found.accuracy,
        "policy": found.decider.name,
        "policy_id": policy_id(found.decider.policy),
    }
    document = {}
    for name in LOSING_CODECS:
        journeys = [one for one in found.journeys if one.codec == name]
        if not journeys:  # no bottleneck
            continue
        worst = max(journeys, key=lambda one: one.pessimistic_lost_points)
        together = journeys[-1]
        alone = [one for one in journeys if len(one.borders) == 1]
        document[name] = {
            **_points(worst),
            "all_borders": _points(together),
            "borders": [{"segment": one.borders[0], **_points(one)} for one in alone],
            "provenance": provenance,
        }
    return document


def _points(one: Journey) -> dict[str, float]:
    return {
        "lost_points": one.lost_points,
        "pessimistic_lost_points": one.pessimistic_lost_points,
    }


def _ways(bundle: Bundle) -> Iterator[tuple[str, Borders]]:
    """Every border alone, then all of them, for each codec."""
    part = bundle.manifest.parts[0]
    every = tuple(range(len(part.segments)))
    borders_of = dict.fromkeys(LOSSY_CODECS, every)
    borders_of[LEARNED] = tuple(sorted(each.border for each in part.bottlenecks))
    for name, borders in borders_of.items():
        for border in borders:
            yield name, (border,)
        if len(borders) > 1:
            yield name, borders


def _logits(
    stages: Sequence[LoadedStage],
    loaded: Bottlenecks,
    images: np.ndarray,
    ways: Sequence[tuple[str, Borders]],
    class_count: int,
) -> np.ndarray:
    """float32 [E, 1 + ways, n, N]: first without any codec, then each of `ways`."""
    logits = np.empty((len(stages), 1 + len(ways), len(images), class_count), np.float32)
    bar = tqdm(total=len(images), desc="codecs", unit=" images", disable=None)
    with bar:
        for begin in range(0, len(images), BATCH):
            rows = slice(begin, min(begin + BATCH, len(images)))
            arriving = [np.ascontiguousarray(images[rows])]
            for index, stage in enumerate(stages):
                arriving.append(_run(stage, arriving[index], logits[index, 0, rows]))
            for way, (name, borders) in enumerate(ways, start=1):
                features = arriving[borders[0]]
                logits[: borders[0], way, rows] = logits[: borders[0], 0, rows]
                for index in range(borders[0], len(stages)):
                    if index in borders and name == LEARNED:
                        features = _coded(features, loaded, index)
                    elif index in borders:
                        features = _travelled(features, name)
                    features = _run(stages[index], features, logits[index, way, rows])
            bar.update(len(arriving[0]))
    return logits


def _run(stage: LoadedStage, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The stage's output, float32 [B, ...]; what its exit answers goes to `logits` [B,N]."""
    out = np.empty((len(features), *stage.output_shape), np.float32)
    stage.program.run(features, out)
    assert stage.head is not None  # the plan "full" has an exit behind every segment
    logits[...] = stage.head(out, True).logits
    return out


def _travelled(features: np.ndarray, name: str) -> np.ndarray:
    """Each sample of float32 [B, ...] as it arrives."""
    arrived = np.empty_like(features)
    for sample, target in zip(features, arrived):
        codec.decode(codec.encode(sample, name), out=target)
    return arrived


def _coded(features: np.ndarray, loaded: Bottlenecks, border: int) -> np.ndarray:
    """The same by the bottleneck at `border`."""
    place, arrived = (0, border), np.empty_like(features)
    for item, (sample, target) in enumerate(zip(features, arrived)):
        tensor = loaded.encode(item, place, sample)
        target[...] = sample if tensor is None else loaded.decode(place, tensor)
    return arrived


def _right(
    bundle: Bundle, data_name: str, labels: np.ndarray, logits: np.ndarray, decider: Decider
) -> np.ndarray:
    """bool [n]: whether each image is answered rightly at the exit where the policy lets it go."""
    outcomes = outcomes_from_logits(
        bundle.manifest.model_id, data_name, [SPLIT] * len(labels), labels, logits
    )
    left = replay(outcomes, decider.policy, decider.exit_indices).exit_index
    right: np.ndarray = outcomes.correct[np.arange(len(labels)), left]
    return right
