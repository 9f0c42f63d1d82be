"""The tables of `docs/wire.md` as data: header, structs of the kinds, codes, flags, limits.

Formats are those of `struct`, little-endian and without padding.
"""

import struct
from typing import Tuple

from .messages import FEATURE_BYTES_MAX, ITEMS_MAX, STAGES_MAX
from .tensor import AUXILIARY_BYTES_MAX, BODY_BYTES_MAX, TENSOR_FIELDS

Fields = Tuple[Tuple[str, str], ...]

MAGIC = 0xED6E
WIRE_VERSION = 1  # of this format; Greeting.version is that of the conversation

HEADER_FIELDS = (
    ("magic", "H"),
    ("version", "B"),
    ("kind", "B"),
    ("flags", "H"),
    ("hop", "H"),
    ("from_session", "I"),
    ("to_session", "I"),
    ("source", "Q"),
    ("number", "Q"),
    ("seq", "Q"),
    ("oldest", "Q"),
    ("epoch", "I"),
    ("part", "H"),
    ("stage", "H"),
    ("attempt", "I"),
    ("reserved", "I"),
)
HEADER_BYTES = 64
CHECKSUM_BYTES = 4  # the end of frame 0: CRC-32 of all before it

# Each kind's code is in `core/wire_kinds.py`.
TASK_CODE = 6

AUXILIARY, BODY_CHECKED, ANSWERED, FINAL, LEAVING = 1, 2, 4, 8, 16  # bits of the header's flags

# Their codes count from 1. The words of `core.events.Outcome`, and "attempts": started too often.
REASONS = (
    "threshold",
    "final",
    "forced",
    "deadline",
    "degraded",
    "superseded",
    "stage_failed",
    "not_finite",
    "cancelled",
    "closed",
    "attempts",
)

ID_BYTES = 16  # model_id, plan_id
GREETING_FIELDS = (
    ("worker", "Q"),
    ("epoch", "I"),
    ("model_id", "16s"),
    ("plan_id", "16s"),
    ("version", "H"),
    ("codecs", "H"),
    ("stage_count", "H"),
)
REJECT_FIELDS = (("reason_bytes", "H"),)
LOAD_FIELDS = (
    ("report", "Q"),
    ("queue_length", "I"),
    ("delay_us", "Q"),
    ("task_limit", "Q"),
    ("sent_us", "Q"),
    ("echo_us", "Q"),
    ("echo_held_us", "Q"),
)
TASK_FIELDS = (
    ("deadline_us", "Q"),
    ("threshold", "f"),
    ("policy_state_0", "i"),
    ("policy_state_1", "i"),
)  # and TENSOR_FIELDS
ACK_FIELDS = (
    ("base", "Q"),
    ("accepted", "Q"),
    ("refused", "Q"),
    ("newest", "Q"),
    ("held_us", "Q"),
    ("report", "Q"),
    ("queue_length", "I"),
    ("delay_us", "Q"),
    ("task_limit", "Q"),
)
ANSWER_FIELDS = (
    ("exit_index", "H"),
    ("class_index", "I"),
    ("max_probability", "f"),
    ("margin", "f"),
    ("entropy", "f"),
    ("difference", "f"),
    ("similarity", "f"),
)
RESULT_FIELDS = (("worker", "Q"), ("reason", "B"), ("answer", "26s"), ("tail_bytes", "H"))
PROGRESS_FIELDS = (("worker", "Q"), ("item_count", "H"))

ASSIGN_FIELDS = (("assignment", "Q"), ("stage_count", "H"))

STAGE_FORM = "HH"  # part, stage
PROGRESS_ITEM_FORM = "QH"  # number, part

FRAMES_MAX = 3  # head, body, auxiliary: nobody has more to say, and each frame costs its receiver


def compiled(fields: Fields) -> struct.Struct:
    """The struct of `fields`."""
    return struct.Struct("<" + "".join(form for _, form in fields))


HEAD_BYTES_MAX = (
    HEADER_BYTES
    + max(
        compiled(GREETING_FIELDS).size + STAGES_MAX * struct.calcsize("<" + STAGE_FORM),
        compiled(PROGRESS_FIELDS).size + ITEMS_MAX * struct.calcsize("<" + PROGRESS_ITEM_FORM),
        compiled(RESULT_FIELDS).size + FEATURE_BYTES_MAX,
        compiled(TASK_FIELDS + TENSOR_FIELDS).size,
    )
    + CHECKSUM_BYTES
)
# What a transport need let through: more cannot be a message.
MESSAGE_BYTES_MAX = HEAD_BYTES_MAX + BODY_BYTES_MAX + AUXILIARY_BYTES_MAX
