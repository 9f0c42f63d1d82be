"""A trace whose bytes are frozen in golden/trace-1.trace, and how it was written: once.

`python tests/trace_golden.py` writes it if it is missing, and never touches it when it is there.
Every event, action and message occurs; they need not make sense.
"""

import sys
from pathlib import Path

from edgesdk.core.admission import Admission
from edgesdk.core.events import (
    NAN,
    Admit,
    Answer,
    Cancel,
    CancelTimer,
    Classified,
    Classify,
    CloseLink,
    Deliver,
    Keep,
    KeepStages,
    Leave,
    LoadStages,
    MessageReceived,
    OpenLink,
    Outcome,
    PeerFound,
    PeerGone,
    PeerLost,
    Release,
    RunStage,
    Scores,
    Send,
    SetTimer,
    Shutdown,
    StageDone,
    StageFailed,
    StagesLoaded,
    Submit,
    Timer,
)
from edgesdk.core.exits import Entropy
from edgesdk.core.messages import (
    Ack,
    Assign,
    Assigned,
    Bye,
    CancelTask,
    Envelope,
    Greeting,
    Hello,
    ItemId,
    Load,
    Progress,
    Reject,
    ResultMessage,
    Task,
    Welcome,
)
from edgesdk.core.neighbours import Identity
from edgesdk.core.offload import LITERAL
from edgesdk.core.replanning import Replanning, Seat, Work
from edgesdk.core.spec import Plan, Stage
from edgesdk.core_spec import CoreSpec
from edgesdk.trace.file import TraceWriter

PATH = Path(__file__).resolve().parent / "golden" / "trace-1.trace"

LARGE = 2**64 - 1
IDENTITY = Identity(LARGE, 7, bytes(range(16)), b"p" * 16, ((0, 0), (0, 1)), ("raw", "lz4"))
PLAN = Plan("full", (Stage(0, 0, None, "a.onnx"), Stage(1, 2, 2, "b.onnx")))
SPEC = CoreSpec(
    IDENTITY,
    (PLAN,),
    Entropy([0.0, 0.0, float("inf")], class_count=10),
    exit_count=3,
    seed=2**127 + 1,
    max_batch=4,
    offloading=LITERAL,
    admission=Admission(kind="threshold", threshold=0.1 + 0.2),
    replanning=Replanning(LARGE, work=(Work(3072.0, 1e9),), seats=(Seat(5, "nano", (0, 1), ()),)),
)
NOTE = {"device": "a board \u2603", "why": ""}
ITEM = ItemId(LARGE, 0xC0FFEE, 70000)
GREETING = Greeting(**IDENTITY._asdict())
ANSWER = Answer(2, Scores(3, 0.1, 1 / 3, 5e-324, float("inf"), NAN))
TASK = Task(70001, 69990, ITEM, 0, 1, 1, 3, 250000, NAN, (-1, 2**31 - 1))
MESSAGES = (
    Hello(GREETING),
    Welcome(GREETING),
    Reject("another model \u2026"),
    Bye(True),
    Load(5, 12, 8300, 40, LARGE, LARGE - 1, 900, True),
    TASK,
    Ack(1, 5, 2, 3, 900, 6, 0, 8300, 40),
    ResultMessage(8, 8, ITEM, 0, 1, 2, "threshold", ANSWER, "", 7),
    ResultMessage(9, 8, ITEM, 0, 1, 2, "attempts", None, 'a "reason"\n'),
    Progress(LARGE, 7, 1, 5, ((70000, 0), (70001, 0))),
    CancelTask(ITEM),
    Assign(3, ((0, 0), (0, 2))),
    Assigned(1, ()),
)
EVENTS = (
    Submit((0, 1), ("tag", None), 990_000, 1_500_000, True, True),
    Submit((2, 3, 4, 5), (True, -5, float("-inf"), 2.5), 990_000),
    StageDone(0, 0, (0, 1), None),
    StageDone(0, 1, (0, 1), [ANSWER.scores, Scores(0, 1.0, -0.0, 1e22)]),
    StageFailed(0, 1, (2,), "it broke"),
    Classified(4, ANSWER.scores),
    Timer(-1),
    Cancel(3),
    PeerFound(5, False),
    PeerGone(5),
    PeerLost(6),
    Leave(),
    StagesLoaded(((0, 1),), "no engine"),
    Shutdown("closed", "the end"),
) + tuple(MessageReceived(5, Envelope(2**32 - 1, 17, message)) for message in MESSAGES)
ACTIONS = (
    RunStage(0, 1, (0, 1), True),
    Classify(4, (b"\x00\x7f", None)),
    Deliver(Outcome(0, "tag", "result", "threshold", ANSWER, 12_345, "", 7)),
    Deliver(Outcome(1, 2.5, "failed", "stage_failed", None, 12_345, "it broke")),
    Send(5, "data", Envelope(1, 2, TASK), 0),
    Keep(-2),
    OpenLink(5),
    CloseLink(5),
    Admit(100_000, None),
    Admit(None, 0.8),
    SetTimer(-1, 1_500_000),
    CancelTimer(0),
    Release(0),
    LoadStages(((0, 0), (0, 1))),
    KeepStages(()),
)


def write(path):
    """The trace, into a new file: one action less about each event than about the one before."""
    writer = TraceWriter(str(path), SPEC, NOTE)
    for number, event in enumerate(EVENTS):
        writer.record(1_000_000 + number, event, ACTIONS[number:])
    writer.record_failure(2_000_000, Timer(-1), KeyError(5))
    writer.close()


if __name__ == "__main__":
    if PATH.exists():
        sys.exit("{} is there already, and stays as it is".format(PATH))
    PATH.parent.mkdir(exist_ok=True)
    write(PATH)
