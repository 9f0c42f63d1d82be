"""The kinds of messages on the wire: for each its code, its struct, and the way in and out.

`KINDS` is the table. Every kind has a function that takes its message apart and one that puts it
together; checks of values stand in functions that both call, so that nothing is sent which the
other side must refuse. The format in words: `docs/wire.md`.
"""

import struct
from math import inf, isfinite
from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple

from ..errors import PeerError
from .events import NAN, Answer, Scores
from .messages import (
    FEATURE_BYTES_MAX,
    HOPS_MAX,
    ITEMS_MAX,
    STAGES_MAX,
    TEXT_MAX,
    WINDOW,
    Ack,
    Assign,
    Assigned,
    Bye,
    CancelTask,
    Greeting,
    Hello,
    ItemId,
    Load,
    Progress,
    Reject,
    ResultMessage,
    Welcome,
)
from .tensor import CODECS, refuse
from .wire_format import (
    ACK_FIELDS,
    ANSWER_FIELDS,
    ANSWERED,
    ASSIGN_FIELDS,
    CHECKSUM_BYTES,
    FINAL,
    GREETING_FIELDS,
    HEADER_FIELDS,
    ID_BYTES,
    LEAVING,
    LOAD_FIELDS,
    PROGRESS_FIELDS,
    PROGRESS_ITEM_FORM,
    REASONS,
    REJECT_FIELDS,
    RESULT_FIELDS,
    STAGE_FORM,
    Fields,
    compiled,
)

# What a message is taken apart into: flags, hop, address, the values of the kind's struct, and what
# follows them. The address is the end of the header: source, number, seq, oldest, epoch, part,
# stage, attempt, reserved.
Parts = Tuple[int, int, Tuple[int, ...], Tuple[Any, ...], bytes]
_NO_ADDRESS = (0,) * 9
# A message is put together from the values of the header and the kind's struct, and from frame 0.
# Places among those values:
FLAGS, HOP, FROM_SESSION, TO_SESSION, SOURCE, NUMBER, EPOCH, OWN = 3, 4, 5, 6, 7, 8, 11, 16

_REASON_CODES = {reason: code for code, reason in enumerate(REASONS, start=1)}
_CODEC_BITS = {name: 1 << (code - 1) for name, code in CODECS.items()}
_CODECS_MASK = sum(_CODEC_BITS.values())
_STAGE = struct.Struct("<" + STAGE_FORM)
_PROGRESS_ITEM = struct.Struct("<" + PROGRESS_ITEM_FORM)
_ANSWER = compiled(ANSWER_FIELDS)
_NO_ANSWER = bytes(_ANSWER.size)
_CANONICAL_NAN = struct.pack("<f", NAN)


def check_count(name: str, count: int, count_max: int) -> None:
    """Raise PeerError for more than `count_max`."""
    if count > count_max:
        refuse(name, count, "<= {}".format(count_max))


def _check_hop(hop: int) -> None:
    if hop > HOPS_MAX:
        refuse("hop", hop, "<= {}: the message goes in a circle".format(HOPS_MAX))


def check_settled(seq: int, oldest: int, hop: int) -> None:
    """Of Task and Result. What is not settled yet fits the bitmaps of one Ack."""
    if not 0 < oldest <= seq < oldest + WINDOW:
        refuse("seq", seq, "oldest ({}, at least 1) and up to {} more".format(oldest, WINDOW - 1))
    _check_hop(hop)


def _tail(message: type, head: bytes) -> bytes:
    """What follows the struct of this kind in frame 0."""
    return head[KINDS[message].struct.size : -CHECKSUM_BYTES]


def _pack_greeting(message: Any) -> Parts:
    """Hello and Welcome."""
    worker, epoch, model_id, plan_id, stages, version, codecs = message.greeting
    for name, value in (("model_id", model_id), ("plan_id", plan_id)):
        if len(value) != ID_BYTES:
            refuse(name, "{} bytes".format(len(value)), ID_BYTES)
    check_count("stage_count", len(stages), STAGES_MAX)
    values = (worker, epoch, model_id, plan_id, version, _pack_codecs(codecs), len(stages))
    return 0, 0, _NO_ADDRESS, values, b"".join(_STAGE.pack(*pair) for pair in stages)


def _unpack_greeting(values: Any, head: bytes) -> Greeting:
    worker, epoch, model_id, plan_id, version, mask, _ = values[OWN:]
    stages = tuple(_STAGE.iter_unpack(_tail(Hello, head)))
    return Greeting(worker, epoch, model_id, plan_id, stages, version, _unpack_codecs(mask))


def _pack_codecs(names: Tuple[str, ...]) -> int:
    mask = sum(bit for name, bit in _CODEC_BITS.items() if name in names)
    if _unpack_codecs(mask) != names:
        refuse("codecs", names, "some of {}, in this order".format(", ".join(_CODEC_BITS)))
    return mask


def _unpack_codecs(mask: int) -> Tuple[str, ...]:
    if mask & ~_CODECS_MASK or not mask & _CODEC_BITS["raw"]:
        refuse("codecs", hex(mask), "bits of {}, that of raw set".format(hex(_CODECS_MASK)))
    return tuple(name for name, bit in _CODEC_BITS.items() if mask & bit)


def _unpack_hello(values: Any, head: bytes) -> Hello:
    return Hello(_unpack_greeting(values, head))


def _unpack_welcome(values: Any, head: bytes) -> Welcome:
    return Welcome(_unpack_greeting(values, head))


def _pack_text(name: str, text: str) -> bytes:
    data = text.encode("utf-8")
    check_count("bytes of {}".format(name), len(data), TEXT_MAX)
    return data


def _unpack_text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PeerError("{}: found {!r}, expected UTF-8".format(name, data)) from error


def _pack_reject(message: Reject) -> Parts:
    data = _pack_text("reason", message.reason)
    return 0, 0, _NO_ADDRESS, (len(data),), data


def _unpack_reject(values: Any, head: bytes) -> Reject:
    return Reject(_unpack_text("reason", _tail(Reject, head)))


def _pack_bye(message: Bye) -> Parts:
    return FINAL if message.final else 0, 0, _NO_ADDRESS, (), b""


def _unpack_bye(values: Any, head: bytes) -> Bye:
    return Bye(bool(values[FLAGS] & FINAL))


def _pack_load(message: Load) -> Parts:
    return LEAVING if message.is_leaving else 0, 0, _NO_ADDRESS, message[:-1], b""


def _unpack_load(values: Any, head: bytes) -> Load:
    return Load._make(values[OWN:] + (bool(values[FLAGS] & LEAVING),))


def _pack_ack(message: Ack) -> Parts:
    _check_ack(message)
    return 0, 0, _NO_ADDRESS, message, b""


def _unpack_ack(values: Any, head: bytes) -> Ack:
    ack = Ack._make(values[OWN:])
    _check_ack(ack)
    return ack


def _check_ack(ack: Ack) -> None:
    if ack.base < 1:
        refuse("Ack.base", ack.base, ">= 1")
    if ack.accepted & ack.refused:
        both = hex(ack.accepted & ack.refused)
        refuse("Ack.accepted and refused", "both in bits " + both, "one verdict per number")
    if ack.newest >= ack.base + WINDOW:
        refuse("Ack.newest", ack.newest, "< {}".format(ack.base + WINDOW))


def _pack_result(message: ResultMessage) -> Parts:
    seq, oldest, item, part, attempt, hop, reason, answer, detail, worker = message
    check_settled(seq, oldest, hop)
    code = _REASON_CODES.get(reason)
    if code is None:
        refuse("reason", repr(reason), "one of {}".format(", ".join(REASONS)))
    address = (item.source, item.number, seq, oldest, item.epoch, part, 0, attempt, 0)
    if answer is None:
        data = _pack_text("detail", detail)
        return 0, hop, address, (worker, code, _NO_ANSWER, len(data)), data
    if detail:
        refuse("detail", repr(detail), "none beside an answer")
    check_count("bytes of feature", len(answer.feature), FEATURE_BYTES_MAX)
    values = (worker, code, _pack_answer(answer), len(answer.feature))
    return ANSWERED, hop, address, values, answer.feature


def _unpack_result(values: Any, head: bytes) -> ResultMessage:
    source, number, seq, oldest, epoch, part, _, attempt, _ = values[SOURCE:OWN]
    worker, code, data, _ = values[OWN:]
    hop = values[HOP]
    check_settled(seq, oldest, hop)
    if not 0 < code <= len(REASONS):
        refuse("reason", code, "1 to {}".format(len(REASONS)))
    item, reason = ItemId(source, epoch, number), REASONS[code - 1]
    answer, detail, tail = None, "", _tail(ResultMessage, head)
    if values[FLAGS] & ANSWERED:
        answer = _unpack_answer(data, tail)
    elif data != _NO_ANSWER:
        refuse("answer", data.hex(), "zeros where none is flagged")
    else:
        check_count("bytes of detail", len(tail), TEXT_MAX)
        detail = _unpack_text("detail", tail)
    return ResultMessage(seq, oldest, item, part, attempt, hop, reason, answer, detail, worker)


def _pack_answer(answer: Answer) -> bytes:
    exit_index, scores, _ = answer
    for name in ("max_probability", "margin", "entropy"):
        if not isfinite(getattr(scores, name)):
            refuse(name, getattr(scores, name), "a finite number")
    if scores.difference == -inf:
        refuse("difference", -inf, "a number, +inf or NaN")
    if abs(scores.similarity) == inf:
        refuse("similarity", scores.similarity, "a finite number or NaN")
    # float("-nan") and others have one form here.
    return _ANSWER.pack(exit_index, *(NAN if value != value else value for value in scores))


def _unpack_answer(data: bytes, feature: bytes) -> Answer:
    exit_index, *scores = _ANSWER.unpack(data)
    plain = Scores._make(NAN if value != value else value for value in scores)
    answer = Answer(exit_index, plain, feature)
    if _pack_answer(answer) != data:
        refuse("answer", data.hex(), "NaN as " + _CANONICAL_NAN.hex())
    return answer


def _pack_progress(message: Progress) -> Parts:
    source, epoch, hop, worker, items = message
    _check_hop(hop)
    check_count("item_count", len(items), ITEMS_MAX)
    address = (source, 0, 0, 0, epoch, 0, 0, 0, 0)
    data = b"".join(_PROGRESS_ITEM.pack(*pair) for pair in items)
    return 0, hop, address, (worker, len(items)), data


def _unpack_progress(values: Any, head: bytes) -> Progress:
    _check_hop(values[HOP])
    items = tuple(_PROGRESS_ITEM.iter_unpack(_tail(Progress, head)))
    return Progress(values[SOURCE], values[EPOCH], values[HOP], values[OWN], items)


def _pack_cancel(message: CancelTask) -> Parts:
    source, epoch, number = message.item
    return 0, 0, (source, number, 0, 0, epoch, 0, 0, 0, 0), (), b""


def _unpack_cancel(values: Any, head: bytes) -> CancelTask:
    return CancelTask(ItemId(values[SOURCE], values[EPOCH], values[NUMBER]))


def _pack_assign(message: Any) -> Parts:
    """Assign and Assigned."""
    number, stages = message
    _check_assignment(number, stages)
    return 0, 0, _NO_ADDRESS, (number, len(stages)), b"".join(_STAGE.pack(*each) for each in stages)


def _unpack_assign(values: Any, head: bytes) -> Assign:
    return Assign(*_unpack_assignment(values, _tail(Assign, head)))


def _unpack_assigned(values: Any, head: bytes) -> Assigned:
    return Assigned(*_unpack_assignment(values, _tail(Assigned, head)))


def _unpack_assignment(values: Any, tail: bytes) -> Tuple[int, Tuple[Tuple[int, int], ...]]:
    number, stages = values[OWN], tuple(_STAGE.iter_unpack(tail))
    _check_assignment(number, stages)
    return number, stages


def _check_assignment(number: int, stages: Sequence[Tuple[int, int]]) -> None:
    check_count("stage_count", len(stages), STAGES_MAX)
    if number < 1:
        refuse("assignment", number, ">= 1")
    if any(one >= other for one, other in zip(stages, stages[1:])):
        refuse("stages", stages, "each once, in rising order")


def check_nan(name: str, data: bytes) -> None:
    """Raise PeerError unless `data` is the one NaN of the format."""
    if data != _CANONICAL_NAN:
        refuse(name, "NaN with the bytes " + data.hex(), _CANONICAL_NAN.hex())


class Kind(NamedTuple):
    """One kind of message.

    `flags`: the bits that it may set. `unused`: which values of the header it leaves 0. `struct`:
    header and `fields`. If `element_bytes` is not 0, the last field says how many elements of so
    many bytes follow, at most `count_max`.
    """

    code: int
    pack: Callable[[Any], Parts]
    unpack: Callable[[Any, bytes], Any]
    flags: int
    unused: Tuple[int, ...]
    fields: Fields
    struct: struct.Struct
    element_bytes: int
    count_max: int


def _kind(
    code: int,
    pack: Callable[[Any], Parts],
    unpack: Callable[[Any, bytes], Any],
    fields: Fields = (),
    header: str = "to_session",
    flags: int = 0,
    elements: Tuple[int, int] = (0, 0),
) -> Kind:
    """`header` names the fields that it uses besides those that all use."""
    used = set(header.split()) | {"magic", "version", "kind", "flags", "from_session"}
    unused = tuple(place for place, (name, _) in enumerate(HEADER_FIELDS) if name not in used)
    whole = compiled(HEADER_FIELDS + fields)
    return Kind(code, pack, unpack, flags, unused, fields, whole, *elements)


_ITEM = "to_session source epoch number"
_TEXT, _STAGES = (1, TEXT_MAX), (_STAGE.size, STAGES_MAX)
_ITEMS = (_PROGRESS_ITEM.size, ITEMS_MAX)

# All but Task, which has frames of its own (`core/wire_task.py`).
KINDS: Dict[type, Kind] = {
    Hello: _kind(1, _pack_greeting, _unpack_hello, GREETING_FIELDS, header="", elements=_STAGES),
    Welcome: _kind(2, _pack_greeting, _unpack_welcome, GREETING_FIELDS, elements=_STAGES),
    Reject: _kind(3, _pack_reject, _unpack_reject, REJECT_FIELDS, elements=_TEXT),
    Bye: _kind(4, _pack_bye, _unpack_bye, flags=FINAL),
    Load: _kind(5, _pack_load, _unpack_load, LOAD_FIELDS, flags=LEAVING),
    Ack: _kind(7, _pack_ack, _unpack_ack, ACK_FIELDS),
    ResultMessage: _kind(
        8,
        _pack_result,
        _unpack_result,
        RESULT_FIELDS,
        _ITEM + " seq oldest part attempt hop",
        ANSWERED,
        (1, FEATURE_BYTES_MAX),  # a text is shorter
    ),
    Progress: _kind(
        9,
        _pack_progress,
        _unpack_progress,
        PROGRESS_FIELDS,
        "to_session source epoch hop",
        elements=_ITEMS,
    ),
    CancelTask: _kind(10, _pack_cancel, _unpack_cancel, header=_ITEM),
    Assign: _kind(16, _pack_assign, _unpack_assign, ASSIGN_FIELDS, elements=_STAGES),
    Assigned: _kind(17, _pack_assign, _unpack_assigned, ASSIGN_FIELDS, elements=_STAGES),
}
