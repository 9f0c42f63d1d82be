"""A Task on the wire: the one kind with frames of its own, and the one whose price matters.

So the header is packed and unpacked together with the fields of the task, and tuples are made
without the constructors of their classes, which take twice as long. A check that fails is made
again by a function that says why.
"""

from typing import Any, Sequence, Tuple

from .events import NAN
from .messages import HOPS_MAX, WINDOW, Envelope, ItemId, Task
from .tensor import TENSOR_FIELDS, Tensor, pack_tensor, refuse, unpack_tensor
from .wire_format import (
    AUXILIARY,
    BODY_CHECKED,
    CHECKSUM_BYTES,
    HEADER_FIELDS,
    MAGIC,
    TASK_CODE,
    TASK_FIELDS,
    WIRE_VERSION,
    compiled,
)
from .wire_kinds import check_nan, check_settled

_TASK = compiled(HEADER_FIELDS + TASK_FIELDS)
_HEAD_BYTES = compiled(HEADER_FIELDS + TASK_FIELDS + TENSOR_FIELDS).size + CHECKSUM_BYTES
_THRESHOLD_AT = compiled(HEADER_FIELDS + TASK_FIELDS[:1]).size
_new = tuple.__new__


def pack_task(envelope: Envelope, tensor: Tensor, checksum_body: bool) -> bytes:
    """Frame 0 without its checksum. Raises PeerError for what `unpack_task` would refuse."""
    from_session, to_session, message = envelope  # type: int, int, Any
    seq, oldest, item, part, stage, attempt, hop, deadline_us, threshold, state = message
    source, epoch, number = item
    state_0, state_1 = state
    if not 0 < oldest <= seq < oldest + WINDOW or hop > HOPS_MAX:
        check_settled(seq, oldest, hop)
    if threshold - threshold != 0.0:  # NaN or infinite
        threshold = _not_finite_threshold(threshold)
    flags = 0 if tensor.auxiliary is None else AUXILIARY
    if checksum_body:
        flags |= BODY_CHECKED
    return _TASK.pack(
        MAGIC,
        WIRE_VERSION,
        TASK_CODE,
        flags,
        hop,
        from_session,
        to_session,
        source,
        number,
        seq,
        oldest,
        epoch,
        part,
        stage,
        attempt,
        0,
        deadline_us,
        threshold,
        state_0,
        state_1,
    ) + pack_tensor(tensor, checksum_body)


def unpack_task(head: bytes, frames: Sequence[Any]) -> Tuple[Envelope, Tensor]:
    """The task in `head`, whose checksum is right, and the tensor in the frames behind it."""
    if len(head) != _HEAD_BYTES:
        refuse("frame 0 of a Task", "{} bytes".format(len(head)), _HEAD_BYTES)
    (
        _magic,
        _version,
        _kind,
        flags,
        hop,
        from_session,
        to_session,
        source,
        number,
        seq,
        oldest,
        epoch,
        part,
        stage,
        attempt,
        reserved,
        deadline_us,
        threshold,
        state_0,
        state_1,
    ) = _TASK.unpack_from(head)
    if reserved or flags & ~(AUXILIARY | BODY_CHECKED):
        refuse("flags and reserved of a Task", (flags, reserved), "flags 0 to 3, reserved 0")
    if not 0 < oldest <= seq < oldest + WINDOW or hop > HOPS_MAX:
        check_settled(seq, oldest, hop)
    if threshold - threshold != 0.0:
        threshold = _not_finite_threshold(threshold)
        check_nan("threshold", head[_THRESHOLD_AT : _THRESHOLD_AT + 4])
    frame_count = 3 if flags & AUXILIARY else 2
    if len(frames) != frame_count:
        refuse("frames of a Task", len(frames), frame_count)
    tensor = unpack_tensor(head, _TASK.size, frames, flags & BODY_CHECKED != 0)
    item, state = _new(ItemId, (source, epoch, number)), (state_0, state_1)
    task = (seq, oldest, item, part, stage, attempt, hop, deadline_us, threshold, state)
    return _new(Envelope, (from_session, to_session, _new(Task, task))), tensor


def _not_finite_threshold(threshold: float) -> float:
    """The one NaN there is. Raises PeerError for an infinite threshold."""
    if threshold == threshold:
        refuse("threshold", threshold, "a finite number or NaN")
    return NAN
