"""The closed vocabulary between the core and whoever carries out its actions.

Events go in, actions come out: `Worker.handle(event, now_us) -> [action, ...]`. All are immutable
values; times are integers in microseconds on one monotonic clock.
"""

from typing import Any, List, NamedTuple, Optional, Tuple, Union

NAN = float("nan")
WAKE = -1  # the timer of everything that is not an item's deadline


class Scores(NamedTuple):
    """What one exit says about one sample. The last two are computed only for policies that list
    them in `needs`."""

    class_index: int
    max_probability: float
    margin: float
    entropy: float  # nats
    difference: float = NAN  # cosine difference to the first exit (DistrEE eq. 6)
    similarity: float = NAN  # cosine similarity to the exit before


class Answer(NamedTuple):
    """The scores of the exit that answers for one part of an item. `feature`: that of an ensemble's
    part, F_j as float32 bytes, which the core hands on and does not read."""

    exit_index: int
    scores: Scores
    feature: bytes = b""


class Outcome(NamedTuple):
    """The one end of an item.

    `status` is "result", "expired" or "failed". `reason` is one word: threshold, final, forced,
    deadline, degraded for results; deadline, superseded for expired; stage_failed, not_finite,
    cancelled, closed for failed. `detail` is a sentence where there is more to say. `worker` is the
    one whose exit answered, 0 for this one.
    """

    item: int
    tag: Any
    status: str
    reason: str
    answer: Optional[Answer]
    latency_us: int
    detail: str = ""
    worker: int = 0


# --- events -------------------------------------------------------------------------------------


class Submit(NamedTuple):
    """Admit `items` together, so that they may form one batch. `latest` expires those that still
    wait; `best_at_deadline` delivers the last answer known instead of `Expired`."""

    items: Tuple[int, ...]
    tags: Tuple[Any, ...]
    submitted_us: int  # when the application handed them over; latencies count from here
    deadline_us: Optional[int] = None  # absolute, on the clock of `now_us`
    best_at_deadline: bool = False
    latest: bool = False


class Cancel(NamedTuple):
    """The application no longer wants `item`; it has effect while the item waits."""

    item: int


class StageDone(NamedTuple):
    """`scores` is one `Scores` per item, or None if `RunStage.evaluate` was False; `features` one
    for each of them in an ensemble."""

    part: int
    stage: int
    items: Tuple[int, ...]
    scores: Optional[List[Scores]]
    features: Optional[List[bytes]] = None


class StageFailed(NamedTuple):
    """`reason` says what went wrong; none of `items` has a new answer."""

    part: int
    stage: int
    items: Tuple[int, ...]
    reason: str


class Classified(NamedTuple):
    """`scores` of an ensemble's item, made of the features that `Classify` had."""

    item: int
    scores: Scores


class Timer(NamedTuple):
    """The timer that `SetTimer(item, ...)` asked for has rung; `item` may be WAKE."""

    item: int


class Shutdown(NamedTuple):
    """No more will run: every open item fails with `reason` and `detail`."""

    reason: str
    detail: str


class PeerFound(NamedTuple):
    """There is a worker `peer` (u64) that can be talked to. `offload`: tasks may be sent to it."""

    peer: int
    offload: bool = True


class PeerGone(NamedTuple):
    """`peer` is no neighbour any more: it is not greeted again."""

    peer: int


class PeerLost(NamedTuple):
    """The connection to `peer` is broken and cannot be had again at once: its process is gone."""

    peer: int


class MessageReceived(NamedTuple):
    """`envelope` (`core.messages.Envelope`) has come from `peer`. The features of a Task stay with
    the interpreter: an action `Keep` among the answers says under which name."""

    peer: int
    envelope: Any


class StagesLoaded(NamedTuple):
    """The (part, stage) pairs that `LoadStages` asked for are ready; or, with the reason `failure`,
    not all of them can be had."""

    stages: Tuple[Tuple[int, int], ...]
    failure: str = ""


class Leave(NamedTuple):
    """Take no more tasks, end those that are here, then part from every neighbour."""


# --- actions ------------------------------------------------------------------------------------


class RunStage(NamedTuple):
    """Run `stage` of `part` on a batch of `items`; evaluate its exit if `evaluate`."""

    part: int
    stage: int
    items: Tuple[int, ...]
    evaluate: bool


class Classify(NamedTuple):
    """Make one answer of an ensemble's features, one per part, None where a part is missing, and
    say it by `Classified`."""

    item: int
    features: Tuple[Optional[bytes], ...]


class Deliver(NamedTuple):
    """Tell the application how an item ended."""

    outcome: Outcome


class Send(NamedTuple):
    """Send `envelope` to `peer` on a lane of `core.messages`. `item` names the features that travel
    with a Task (of the task's part), and is None otherwise. They stay held until `Release`."""

    peer: int
    lane: str
    envelope: Any
    item: Optional[int] = None


class Keep(NamedTuple):
    """The features that came with the Task of this event are those of `item` from now on. Names
    below WAKE stand for tasks of other sources. A Task that is not kept is dropped."""

    item: int


class OpenLink(NamedTuple):
    """Make ready to send to `peer`."""

    peer: int


class CloseLink(NamedTuple):
    """Nothing more will be sent to `peer`; what was not sent yet is void."""

    peer: int


class Admit(NamedTuple):
    """Algorithm 3: admit an item every `interarrival_us` from now on. Algorithm 4: items now leave
    at `threshold`. The other is None."""

    interarrival_us: Optional[int]
    threshold: Optional[float]


class LoadStages(NamedTuple):
    """Make these (part, stage) pairs ready beside those that are, and say so by `StagesLoaded`."""

    stages: Tuple[Tuple[int, int], ...]


class KeepStages(NamedTuple):
    """No stages but these are begun from now on: others may be forgotten."""

    stages: Tuple[Tuple[int, int], ...]


class SetTimer(NamedTuple):
    """Send `Timer(item)` when the clock reaches `at_us`; replaces an earlier timer of `item`."""

    item: int
    at_us: int


class CancelTimer(NamedTuple):
    """The timer of `item` is no longer wanted."""

    item: int


class Release(NamedTuple):
    """Forget the tensors of `item`."""

    item: int


Event = Union[
    Submit,
    Cancel,
    StageDone,
    StageFailed,
    Classified,
    Timer,
    Shutdown,
    PeerFound,
    PeerGone,
    PeerLost,
    MessageReceived,
    Leave,
    StagesLoaded,
]
Action = Union[
    RunStage,
    Classify,
    Deliver,
    SetTimer,
    CancelTimer,
    Release,
    Send,
    Keep,
    OpenLink,
    CloseLink,
    Admit,
    LoadStages,
    KeepStages,
]
