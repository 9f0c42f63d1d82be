"""What an application gets back for an item: a `Result`, an `Expired` or a `Failed`."""

from typing import Any, NamedTuple, Optional, Sequence, Union

import numpy as np

from .core.events import Outcome
from .errors import Expired, Failed


class Result(NamedTuple):
    """One answered item.

    `reason` says why it was answered by the exit `exit_index`: "threshold" (the policy let it
    leave), "forced" (the policy leaves nothing to the scores), "final" (no exit is behind it),
    "deadline" (the best answer known when the deadline passed) or "degraded" (an ensemble
    answered without all of its parts). `entropy` is in nats. `worker` is the name of the one whose
    exit answered. `logits` is float32 [N] if asked for and that was this one.
    """

    item: int
    tag: Any
    label: str
    class_index: int
    max_probability: float
    margin: float
    entropy: float
    exit_index: int
    reason: str
    degraded: bool
    latency_us: int
    worker: str
    logits: Optional[np.ndarray] = None

    @property
    def ok(self) -> bool:
        """True: there is an answer. `Expired` and `Failed` say False."""
        return True


AnyOutcome = Union[Result, Expired, Failed]


def to_public(
    outcome: Outcome, labels: Sequence[str], worker: str, logits: Optional[np.ndarray]
) -> AnyOutcome:
    """The core's outcome as the application sees it."""
    if outcome.answer is None:
        kind = Expired if outcome.status == "expired" else Failed
        message = "item {} {}: {}".format(
            outcome.item, outcome.status, outcome.detail or outcome.reason
        )
        return kind(message, outcome.item, outcome.tag, outcome.reason, outcome.latency_us)
    scores = outcome.answer.scores
    return Result(
        item=outcome.item,
        tag=outcome.tag,
        label=labels[scores.class_index],
        class_index=scores.class_index,
        max_probability=scores.max_probability,
        margin=scores.margin,
        entropy=scores.entropy,
        exit_index=outcome.answer.exit_index,
        reason=outcome.reason,
        degraded=outcome.reason == "degraded",
        latency_us=outcome.latency_us,
        worker=worker,
        logits=logits,
    )
