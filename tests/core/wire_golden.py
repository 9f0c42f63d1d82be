"""Messages whose bytes are frozen in golden/wire-1, and how such a file is written: once.

`python tests/core/wire_golden.py` writes those that are missing, and never touches one that is
there. A file holds the frames one after the other, each behind its length as u32.
"""

import struct
from pathlib import Path

from edgesdk.core import wire
from edgesdk.core.events import NAN, Answer, Scores
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
from edgesdk.core.tensor import Tensor

FOLDER = Path(__file__).resolve().parent / "golden" / "wire-1"

LARGE = 2**63 + 12345
ITEM = ItemId(LARGE, 0xC0FFEE, 70000)
GREETING = Greeting(
    worker=LARGE,
    epoch=77,
    model_id=bytes(range(16)),
    plan_id=bytes(range(100, 116)),
    stages=((0, 0), (0, 1), (1, 65535)),
    codecs=("raw", "float16", "uint8", "lz4"),
)
ANSWER = Answer(6, Scores(3, 0.75, 0.5, 0.625))
COSINE = Answer(1, Scores(999, 0.5, 0.25, 1.5, float("inf"), -0.5))
STUDENT = Answer(2, Scores(0, 0.0, 0.0, 0.0, 1.25), bytes(range(256)))
BODY = bytes(range(48))


def task(**changes):
    """A Task with `changes`."""
    usual = Task(70001, 69990, ITEM, 0, 2, 1, 3, 250000, 0.75, (-1, 2**31 - 1))
    return usual._replace(**changes)


def result(reason, answer, detail=""):
    """A Result that ended so."""
    return ResultMessage(2**32 + 5, 2**32, ITEM, 1, 2, 16, reason, answer, detail, LARGE - 1)


# name -> (message, tensor or None, checksum_body)
MESSAGES = {
    "hello": (Hello(GREETING), None, False),
    "hello-without-stages": (
        Hello(GREETING._replace(stages=(), version=2, codecs=("raw",))),
        None,
        False,
    ),
    "hello-with-every-codec": (
        Hello(GREETING._replace(codecs=("raw", "float16", "uint8", "zstd", "lz4", "learned"))),
        None,
        False,
    ),
    "welcome": (Welcome(GREETING._replace(epoch=78)), None, False),
    "reject": (Reject("another model: expected 6b1f\u2026"), None, False),
    "bye": (Bye(False), None, False),
    "bye-final": (Bye(True), None, False),
    "load": (Load(5, 12, 8300, 40, LARGE, LARGE - 1, 900), None, False),
    "load-leaving": (Load(6, 0, 0, 40, 1, is_leaving=True), None, False),
    "task": (task(), Tensor("float32", (3, 2, 2), "raw", BODY), False),
    "task-checked": (task(threshold=NAN), Tensor("float16", (24,), "raw", BODY), True),
    "task-uint8": (
        task(deadline_us=0),
        Tensor("float32", (2, 4, 6), "uint8", BODY, 0.0625, -1.5),
        False,
    ),
    "task-float16": (task(), Tensor("float32", (1, 2, 3, 4), "float16", BODY), False),
    "task-image": (task(stage=0), Tensor("uint8", (4, 4, 3), "raw", BODY), False),
    "task-zstd": (task(), Tensor("float32", (8, 8, 8), "zstd", BODY[:20]), False),
    "task-learned": (
        task(),
        Tensor("float32", (8, 8, 8), "learned", BODY, 0.0625, -1.5),
        False,
    ),
    "task-lz4": (task(), Tensor("uint8", (65535,), "lz4", BODY[:20]), False),
    "task-auxiliary": (
        task(),
        Tensor("float32", (12,), "raw", BODY, auxiliary=struct.pack("<3f", 1.0, -2.0, 0.5)),
        True,
    ),
    "ack": (Ack(69990, 0b1011, 0b0100, 69993, 350, 9, 4, 8300, 44), None, False),
    "result": (result("final", ANSWER), None, False),
    "result-cosine": (result("threshold", COSINE), None, False),
    "result-failed": (result("stage_failed", None, "stage 2: out of memory"), None, False),
    "result-attempts": (result("attempts", None), None, False),
    "result-of-a-part": (result("threshold", STUDENT), None, False),
    "progress": (Progress(LARGE, 77, 1, 99, ((70000, 0), (2**40, 3))), None, False),
    "cancel": (CancelTask(ITEM), None, False),
    "assign": (Assign(2**40, ((0, 0), (0, 3), (1, 65535))), None, False),
    "assigned-nothing": (Assigned(1, ()), None, False),
}


def envelope_of(name):
    """The message in its envelope."""
    message = MESSAGES[name][0]
    return Envelope(0xA1B2C3D4, 0 if isinstance(message, Hello) else 0x10203040, message)


def frames_of(name):
    """What we send today."""
    _, tensor, checksum_body = MESSAGES[name]
    return wire.encode(envelope_of(name), tensor, checksum_body)


def read(name):
    """The frames in the file."""
    data = (FOLDER / (name + ".bin")).read_bytes()
    frames = []
    while data:
        (size,) = struct.unpack_from("<I", data)
        frames.append(data[4 : 4 + size])
        data = data[4 + size :]
    return frames


def write_missing():
    """The names of the files written. Mode "x" fails for a file that exists."""
    missing = [name for name in MESSAGES if not (FOLDER / (name + ".bin")).exists()]
    for name in missing:
        with (FOLDER / (name + ".bin")).open("xb") as file:
            for frame in frames_of(name):
                file.write(struct.pack("<I", len(frame)) + bytes(frame))
    return missing


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    print("\n".join(write_missing()) or "nothing is missing")
