"""Messages as frames and back: `docs/wire.md` is the format.

Frame 0 holds a header that all kinds share and the kind's own struct (`core/wire_kinds.py`); a
Task's body follows as frame 1, uncopied, and a cosine policy's vector as frame 2
(`core/tensor.py`). One message has one form: what `decode` accepts, `encode` makes again bit for
bit. Every length is checked against what arrived before it is used, so nothing is ever allocated
because a peer said so.
"""

from struct import error
from typing import Any, List, NoReturn, Optional, Sequence, Tuple
from zlib import crc32

from ..errors import PeerError
from .messages import Envelope, Task
from .tensor import Tensor, refuse, size_of
from .wire_format import (
    CHECKSUM_BYTES,
    FRAMES_MAX,
    HEAD_BYTES_MAX,
    HEADER_FIELDS,
    MAGIC,
    TASK_CODE,
    WIRE_VERSION,
    compiled,
)
from .wire_kinds import FLAGS, FROM_SESSION, KINDS, TO_SESSION, Kind, check_count
from .wire_task import pack_task, unpack_task

_CHECKSUM = compiled((("checksum", "I"),))
_PREFIX = compiled(HEADER_FIELDS[:3])  # magic, version, kind
_TASK_PREFIX = _PREFIX.pack(MAGIC, WIRE_VERSION, TASK_CODE)
_KIND_OF_PREFIX = {_PREFIX.pack(MAGIC, WIRE_VERSION, kind.code): kind for kind in KINDS.values()}
_RESIDUE = 0x2144DF1C  # the CRC-32 of anything that ends in its own CRC-32, little-endian


def encode(
    envelope: Envelope, tensor: Optional[Tensor] = None, checksum_body: bool = False
) -> List[Any]:
    """The frames of a message. `tensor` belongs to a Task and to nothing else; its buffers are the
    last frames, uncopied. `checksum_body` lets the receiver verify them too.

    Raises ValueError for what the format cannot say: that is our error, not the peer's. Thresholds,
    scores, scale and offset travel as float32.
    """
    if (type(envelope.message) is Task) != (tensor is not None):
        raise ValueError("a Task goes with a tensor, and nothing else does")
    try:
        head = pack_task(envelope, tensor, checksum_body) if tensor else _pack(envelope)
    except (error, OverflowError, PeerError) as cause:
        name = type(envelope.message).__name__
        raise ValueError("{} cannot be sent: {}".format(name, cause)) from cause
    frames = [head + _CHECKSUM.pack(crc32(head))]
    if tensor is not None:
        frames.append(tensor.body)
        if tensor.auxiliary is not None:
            frames.append(tensor.auxiliary)
    return frames


def decode(frames: Sequence[Any]) -> Tuple[Envelope, Optional[Tensor]]:
    """The message in `frames`, which came without a routing id, and the tensor of a Task.

    Raises PeerError for everything that `encode` would not have made. NaN comes back as the object
    `events.NAN`, so that equal messages compare equal.
    """
    if not 0 < len(frames) <= FRAMES_MAX:
        refuse("frames", len(frames), "1 to {}".format(FRAMES_MAX))
    head = frames[0]
    if type(head) is not bytes or len(head) > HEAD_BYTES_MAX:
        head = _copy_of_head(head)
    prefix = head[:4]
    is_task = prefix == _TASK_PREFIX
    if not is_task and prefix not in _KIND_OF_PREFIX:
        _refuse_prefix(head)
    if crc32(head) != _RESIDUE:
        refuse("frame 0", "a wrong checksum", "the CRC-32 of what is before it at its end")
    if is_task:
        return unpack_task(head, frames)
    if len(frames) != 1:
        refuse("frames of a message without features", len(frames), 1)
    return _unpack(_KIND_OF_PREFIX[prefix], head), None


def _pack(envelope: Envelope) -> bytes:
    """Frame 0 of anything but a Task, without its checksum."""
    from_session, to_session, message = envelope
    kind = KINDS.get(type(message))
    if kind is None:
        raise ValueError("found {}, expected a message".format(type(message).__name__))
    flags, hop, address, values, tail = kind.pack(message)
    front = (MAGIC, WIRE_VERSION, kind.code, flags, hop, from_session, to_session)
    if to_session and TO_SESSION in kind.unused:
        refuse("to_session", to_session, "0 in a greeting that opens a session")
    return kind.struct.pack(*(front + address + values)) + tail


def _unpack(kind: Kind, head: bytes) -> Envelope:
    _check_length(kind, head)
    values = kind.struct.unpack_from(head)
    if values[FLAGS] & ~kind.flags:
        refuse(
            "flags of kind {}".format(kind.code), values[FLAGS], "only bits of " + hex(kind.flags)
        )
    for place in kind.unused:
        if values[place]:
            name = HEADER_FIELDS[place][0]
            refuse("{} of kind {}".format(name, kind.code), values[place], "0: it is not used")
    return Envelope(values[FROM_SESSION], values[TO_SESSION], kind.unpack(values, head))


def _copy_of_head(frame: Any) -> bytes:
    """Frame 0, which is small, as bytes."""
    size = size_of(frame)
    if size > HEAD_BYTES_MAX:
        refuse("frame 0", "{} bytes".format(size), "<= {}".format(HEAD_BYTES_MAX))
    return bytes(frame)


def _refuse_prefix(head: bytes) -> NoReturn:
    """Say what is wrong with magic, version and kind, whose places never change."""
    if len(head) < _PREFIX.size:
        refuse("frame 0", "{} bytes".format(len(head)), "at least a header")
    magic, version, code = _PREFIX.unpack_from(head)
    if magic != MAGIC:
        refuse("magic", hex(magic), hex(MAGIC))
    if version != WIRE_VERSION:
        refuse("unknown wire version", version, WIRE_VERSION)
    codes = sorted([TASK_CODE] + [kind.code for kind in KINDS.values()])
    refuse("unknown kind of message", code, "one of {}".format(", ".join(map(str, codes))))


def _check_length(kind: Kind, head: bytes) -> None:
    """As long as the kind's struct is and, where elements follow, as their number says."""
    expected = kind.struct.size + CHECKSUM_BYTES
    if kind.element_bytes and len(head) >= expected:
        count = int.from_bytes(head[kind.struct.size - 2 : kind.struct.size], "little")
        check_count(kind.fields[-1][0], count, kind.count_max)
        expected += kind.element_bytes * count
    if len(head) != expected:
        refuse("frame 0", "{} bytes".format(len(head)), expected)
