"""What workers say to each other: a closed vocabulary of immutable values.

A message travels in an `Envelope`, which names the two incarnations that talk. `core/wire.py` turns
both into bytes and back. Times are integers in microseconds; a time never leaves its clock except
to be echoed to it.

Two kinds of message are *settled*: Task and Result. Each carries `seq`, its number on this link in
this direction, from 1, and `oldest`, the lowest number that the sender has not seen settled. The
receiver gives every number one verdict, accepted or refused, and repeats it in every Ack until
`oldest` has passed. All other messages are repeated by whoever needs an answer, or are worth
nothing when they are late.
"""

from typing import NamedTuple, Optional, Tuple, Union

from .events import Answer

PROTOCOL_VERSION = 1
WINDOW = 64  # settled messages in flight per link and direction: the bits of an Ack's bitmaps
HOPS_MAX = 16  # of a task, a result or a progress report: more is a loop
ITEMS_MAX = 64  # items in one Progress
STAGES_MAX = 256  # stages that a worker may announce
TEXT_MAX = 200  # UTF-8 bytes of a reason for people
FEATURE_BYTES_MAX = 1024  # of a part of an ensemble: 256 values

# Lanes: small messages must never wait behind feature maps.
CONTROL, DATA = "control", "data"


def clipped(text: str) -> str:
    """As much of `text` as a message may carry: TEXT_MAX bytes of UTF-8."""
    return text.encode("utf-8", "replace")[:TEXT_MAX].decode("utf-8", "ignore")


class ItemId(NamedTuple):
    """An item on every machine: its source (u64), that process's epoch (u32), its number (u64)."""

    source: int
    epoch: int
    number: int


class Greeting(NamedTuple):
    """Who a worker is and what it can do: the content of Hello and Welcome.

    `worker` u64, `epoch` u32: drawn when the process started. `model_id` and `plan_id`: 16 bytes
    each, which must agree. `stages`: (part, stage) pairs that it holds. `codecs`: the names of
    `core.tensor.CODECS` that it decodes, in the order of their codes, "raw" always among them;
    nobody sends it another.
    """

    worker: int
    epoch: int
    model_id: bytes
    plan_id: bytes
    stages: Tuple[Tuple[int, int], ...]
    version: int = PROTOCOL_VERSION
    codecs: Tuple[str, ...] = ("raw",)


class Hello(NamedTuple):
    """Asks a neighbour to work together; repeated until a Welcome comes."""

    greeting: Greeting


class Welcome(NamedTuple):
    """Agrees. It echoes the session of the Hello in the envelope."""

    greeting: Greeting


class Reject(NamedTuple):
    """Declines, with a reason for people of at most TEXT_MAX bytes."""

    reason: str


class Bye(NamedTuple):
    """The sender leaves. Not yet `final`: it takes no more tasks, and ends those it has."""

    final: bool


class Load(NamedTuple):
    """Heartbeat and report. MDI-Exit: I_m is `queue_length`, Gamma_m is `delay_us`.

    `report` counts this sender's reports. `task_limit` is the credit: how many tasks the receiver
    may have on the way here, sent and not settled. `sent_us` is the sender's clock; `echo_us` the
    latest `sent_us` that came from the receiver (0: none) and `echo_held_us` how long ago that was.
    """

    report: int
    queue_length: int
    delay_us: int
    task_limit: int
    sent_us: int
    echo_us: int = 0
    echo_held_us: int = 0
    is_leaving: bool = False


class Task(NamedTuple):
    """tau_k(d): compute `stage` of `part` for an item; its features travel with it.

    `attempt` (u32) counts how often the item was started again, `hop` how often the task was sent
    on, at most HOPS_MAX.
    `deadline_us`: time left when it was sent, 0 for none. `threshold`: T_e of Algorithm 4, NaN
    where the policy has its own. `policy_state`: two int32 (`ExitPolicy.pack`).
    """

    seq: int
    oldest: int
    item: ItemId
    part: int
    stage: int
    attempt: int
    hop: int
    deadline_us: int
    threshold: float
    policy_state: Tuple[int, int]


class Ack(NamedTuple):
    """Verdicts on the sender's messages `base` .. `base + WINDOW - 1`, one bit each.

    A number in neither bitmap has not arrived. `newest` is the number that arrived last and
    `held_us` how long ago. `queue_length`, `delay_us`, `task_limit`, `report` as in `Load`: an
    acknowledgement is also a report.
    """

    base: int
    accepted: int
    refused: int
    newest: int
    held_us: int
    report: int
    queue_length: int
    delay_us: int
    task_limit: int


class ResultMessage(NamedTuple):
    """How a part of an item ended: `answer` and the policy's `reason`, or None and what failed.

    `reason` is one of the words of `core.events.Outcome`, or "attempts": it was started too often.
    `detail`: at most TEXT_MAX bytes, none beside an answer. Goes to the source, by the way the task
    came if need be.
    """

    seq: int
    oldest: int
    item: ItemId
    part: int
    attempt: int
    hop: int
    reason: str
    answer: Optional[Answer]
    detail: str = ""
    worker: int = 0  # where it ended


class Progress(NamedTuple):
    """Tells a source that its items are alive: they wait or are computed at `worker`."""

    source: int
    epoch: int
    hop: int
    worker: int
    items: Tuple[Tuple[int, int], ...]  # (number, part), at most ITEMS_MAX


class CancelTask(NamedTuple):
    """The item has its outcome: whoever still holds a task of it may drop that."""

    item: ItemId


class Assign(NamedTuple):
    """From the coordinator: hold `stages`, rising (part, stage) pairs, as soon as they are loaded.
    `number` rises with every Assign of its process: an older one that comes late is void."""

    number: int
    stages: Tuple[Tuple[int, int], ...]


class Assigned(NamedTuple):
    """The sender holds `stages` now, instead of those of its greeting. `number`, from 1, counts how
    often that has changed."""

    number: int
    stages: Tuple[Tuple[int, int], ...]


Message = Union[
    Hello,
    Welcome,
    Reject,
    Bye,
    Load,
    Task,
    Ack,
    ResultMessage,
    Progress,
    CancelTask,
    Assign,
    Assigned,
]


class Envelope(NamedTuple):
    """`from_session`: u32, drawn by the sender for this link; a new one for every handshake.
    `to_session`: that of the receiver as the sender knows it, 0 in a Hello. A message whose
    sessions are not the current ones comes from the past and is dropped."""

    from_session: int
    to_session: int
    message: Message
