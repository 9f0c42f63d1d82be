"""What has to be answered in `bench peers`, and by which exit: whoever says something else is not
timed.

The scores come from static networks up to each exit in plain onnxruntime, so from none of those who
are compared. Sums are rounded differently by everyone: an image whose score lies within
SCORE_TOLERANCE of a threshold may leave there or go on, every other one may not.
"""

from typing import Any, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from ..bundle import Bundle
from ..core.events import Scores
from ..core.exits import Entropy, ExitPolicy, Margin, MaxProbability, ThresholdPolicy
from ..core.spec import Plan
from ..errors import ConfigError, EdgeError
from ..kernels import reference
from .contenders import ANSWER_BATCH, LOGIT_TOLERANCE, Answers
from .peers_static import up_to_exit
from .plain import PlainOnnxruntime

SCORE_TOLERANCE = 1e-4  # of a probability; of an entropy in nats
POLICY = "policy"  # every image leaves where the policy lets it
TOGETHER = "together"  # a batch leaves at the first exit where the policy lets all of it
Leaves = Union[int, str]  # one of these two, or the one exit where everybody leaves
KINDS = (MaxProbability, Entropy, Margin)


class Expected(NamedTuple):
    """`logits` float32 [exits, n, N] of every trained exit; `may` and `must` bool [exits, n]: who
    is within the tolerance of leaving there or beyond it, and who is beyond it."""

    logits: np.ndarray
    labels: np.ndarray
    exit_indices: Tuple[int, ...]  # of the plan
    may: np.ndarray
    must: np.ndarray

    @property
    def last(self) -> int:
        """The final exit."""
        return self.exit_indices[-1]

    def accuracy_at(self, exit_index: int) -> float:
        """0..1, if all leave at one exit."""
        return float((self.logits[exit_index].argmax(axis=1) == self.labels).mean())

    def policy_accuracy(self) -> float:
        """0..1, if all leave where the policy lets them."""
        rows = np.arange(len(self.labels))
        exits = self.must.argmax(axis=0)
        return float((self.logits[exits, rows].argmax(axis=1) == self.labels).mean())

    def exits(self, rows: np.ndarray, leaves: Leaves) -> Tuple[np.ndarray, np.ndarray]:
        """int64 [len(rows)] twice: the earliest and the latest exit at which these images, handed
        in together, may leave."""
        if isinstance(leaves, int):
            one = np.full(len(rows), leaves, np.int64)
            return one, one
        tables = [self.may[:, rows], self.must[:, rows]]
        if leaves == TOGETHER:
            tables = [np.all(table, axis=1, keepdims=True) for table in tables]
        earliest, latest = [np.argmax(table, axis=0) for table in tables]
        return np.broadcast_to(earliest, len(rows)), np.broadcast_to(latest, len(rows))


def comparable(policy: ExitPolicy) -> ThresholdPolicy:
    """The same policy. Raises ConfigError for one that others cannot follow: it remembers, or it
    compares with more than this image's probabilities."""
    if not isinstance(policy, KINDS):
        raise ConfigError(
            "--policy: found one of kind {}, expected {}: what others can follow too; name another "
            "policy of the bundle".format(policy.kind, " or ".join(each.kind for each in KINDS))
        )
    return policy


def expect(
    bundle: Bundle,
    policy: ThresholdPolicy,
    plan: Plan,
    images: Sequence[Any],
    labels: np.ndarray,
    threads: int,
) -> Expected:
    """Run all images through the network up to each exit.

    Raises BackendUnavailable without onnx or onnxruntime.
    """
    logits = np.stack(
        [
            _logits(bundle, exit_index, images, threads)
            for exit_index in range(len(bundle.manifest.parts[0].exits))
        ]
    )
    shape = logits.shape[:2]
    may, must = np.zeros(shape, bool), np.zeros(shape, bool)
    for exit_index in plan.exit_indices[:-1]:
        if policy.evaluates(exit_index, None):
            may[exit_index], must[exit_index] = _leave(policy, exit_index, logits[exit_index])
    may[plan.exit_indices[-1]] = must[plan.exit_indices[-1]] = True
    return Expected(logits, labels, plan.exit_indices, may, must)


def check(name: str, leaves: Leaves, found: Answers, rows: np.ndarray, expected: Expected) -> None:
    """Raise EdgeError unless `found`, for the images `rows` handed in together, is what the network
    answers at exits where these may leave."""
    earliest, latest = expected.exits(rows, leaves)
    elsewhere = np.flatnonzero((found.exit_index < earliest) | (found.exit_index > latest))
    if len(elsewhere):
        first = elsewhere[0]
        raise EdgeError(
            "{}: found image {} answered by exit {}, expected exit {}{}; it is not timed, and "
            "neither are the others".format(
                name,
                rows[first],
                found.exit_index[first],
                latest[first],
                "" if earliest[first] == latest[first] else " or {}".format(earliest[first]),
            )
        )
    logits = expected.logits[found.exit_index, rows]
    behind = logits.max(axis=1) - logits[np.arange(len(logits)), found.class_index]
    wrong = np.flatnonzero(~(behind <= LOGIT_TOLERANCE))
    if len(wrong):
        raise EdgeError(
            "{}: found class {} for image {}, expected {}, as exit {} of the network says in plain "
            "onnxruntime; it is not timed, and neither are the others".format(
                name,
                found.class_index[wrong[0]],
                rows[wrong[0]],
                logits[wrong[0]].argmax(),
                found.exit_index[wrong[0]],
            )
        )


def _logits(bundle: Bundle, exit_index: int, images: Sequence[Any], threads: int) -> np.ndarray:
    is_last = exit_index == len(bundle.manifest.parts[0].exits) - 1
    network = None if is_last else up_to_exit(bundle, exit_index)
    static = PlainOnnxruntime(bundle, threads, network=network)
    begins = range(0, len(images), ANSWER_BATCH)
    return np.concatenate([static.logits(images[i : i + ANSWER_BATCH]) for i in begins])


def _leave(
    policy: ThresholdPolicy, exit_index: int, logits: np.ndarray
) -> Tuple[List[bool], List[bool]]:
    """Who may leave at an exit, and who must."""
    scores = [
        Scores(*each)
        for each in zip(*(column.tolist() for column in reference.exit_scores(logits)[:4]))
    ]
    threshold = policy.threshold(exit_index)
    below = [policy.passes(each, threshold - SCORE_TOLERANCE) for each in scores]
    above = [policy.passes(each, threshold + SCORE_TOLERANCE) for each in scores]
    return (
        [one or other for one, other in zip(below, above)],
        [one and other for one, other in zip(below, above)],
    )
