"""Values of the core as JSON text, exactly: for traces, and for digests of what a core does.

    None, bool, int, str      as JSON has them
    float                     all its digits; {"float": "nan"}, "inf" and "-inf"
    bytes                     {"bytes": "6d6f"}
    tuple, list               [...] and {"list": [...]}
    a NamedTuple of the core  {"Bye": [false]}: its class and its fields in order

One value has one text. Tags of items belong to the application: `plain_tag` says what is kept.
"""

import typing
from json.encoder import encode_basestring_ascii
from typing import Any, Callable, Dict, List, Sequence, Tuple, Type
from zlib import crc32

from ..core import events, messages
from ..core.admission import Admission
from ..core.events import MessageReceived, Outcome, Submit
from ..core.messages import Envelope
from ..core.neighbours import Identity
from ..core.offload import Offloading
from ..core.replanning import Replanning, Seat, Work
from ..core.spec import Plan, Stage
from ..errors import ConfigError

TAG_CHARS_MAX = 200
TAG_INT_MAX = 2**63 - 1
NOT_FINITE = ("nan", "inf", "-inf")


def _members(union: Any) -> Tuple[Type[Any], ...]:
    members: Tuple[Type[Any], ...] = union.__args__
    return members


EVENTS = _members(events.Event)
CLASSES: Dict[str, Type[Any]] = {
    kind.__name__: kind
    for kind in EVENTS
    + _members(events.Action)
    + _members(messages.Message)
    + (events.Scores, events.Answer, Outcome, messages.ItemId, messages.Greeting, Envelope)
    + (Admission, Identity, Offloading, Plan, Stage, Replanning, Seat, Work)
}


def plain_tag(tag: Any) -> Any:
    """What is recorded of a tag: None, a bool, float, int of 64 bits or short text as it is, of
    anything else the first TAG_CHARS_MAX characters of its repr."""
    kind = tag.__class__
    if kind in (type(None), bool, float):
        return tag
    if kind is int and -TAG_INT_MAX <= tag <= TAG_INT_MAX:
        return tag
    try:
        text = tag if kind is str else repr(tag)
    except Exception:  # the application's code: whatever it raises
        text = "<{}>".format(kind.__name__)
    return text[:TAG_CHARS_MAX]


# --- to text --------------------------------------------------------------------------------------


class _Encoders(Dict[Type[Any], Callable[[Any], str]]):
    def __missing__(self, kind: Type[Any]) -> Callable[[Any], str]:
        raise ConfigError(
            "found a value of the class {}, expected one that traces know".format(kind.__name__)
        )


_ENCODERS = _Encoders()


def encode(value: Any) -> str:
    """The text of `value`. Raises ConfigError for a class that is none of those above."""
    return _ENCODERS[value.__class__](value)


def digest(actions: Sequence[Any]) -> int:
    """The CRC-32 of the text of `actions`."""
    return crc32(_sequence(actions).encode("ascii"))


def _sequence(values: Sequence[Any]) -> str:
    return "[" + ",".join([_ENCODERS[value.__class__](value) for value in values]) + "]"


def _float(value: float) -> str:
    text = float.__repr__(value)
    return text if value - value == 0.0 else '{"float":"' + text + '"}'


def _of_class(kind: Type[Any]) -> Callable[[Any], str]:
    prefix = '{"' + kind.__name__ + '":['

    def encode_fields(value: Sequence[Any]) -> str:
        return prefix + ",".join([_ENCODERS[field.__class__](field) for field in value]) + "]}"

    return encode_fields


_ENCODERS.update(
    {
        type(None): lambda value: "null",
        bool: lambda value: "true" if value else "false",
        int: int.__repr__,
        float: _float,
        str: encode_basestring_ascii,
        bytes: lambda value: '{"bytes":"' + value.hex() + '"}',
        tuple: _sequence,
        list: lambda value: '{"list":' + _sequence(value) + "}",
    }
)
_ENCODERS.update({kind: _of_class(kind) for kind in CLASSES.values()})
_submit, _outcome = _ENCODERS[Submit], _ENCODERS[Outcome]


def _submit_with_plain_tags(event: Submit) -> str:
    tags = tuple([plain_tag(tag) for tag in event.tags])
    return _submit((event.items, tags) + event[2:])


def _outcome_with_plain_tag(outcome: Outcome) -> str:
    return _outcome((outcome.item, plain_tag(outcome.tag)) + outcome[2:])


_ENCODERS[Submit] = _submit_with_plain_tags
_ENCODERS[Outcome] = _outcome_with_plain_tag


# --- and back -------------------------------------------------------------------------------------


def decode(document: Any) -> Any:
    """The value whose text, read as JSON, is `document`. Raises ConfigError for what is none."""
    kind = document.__class__
    if kind is list:
        return tuple([decode(item) for item in document])
    if kind is dict:
        return _decode_object(document)
    if kind is float and document - document != 0.0:
        raise ConfigError("found the number {}, expected a finite one".format(document))
    return document


def _decode_object(document: Dict[str, Any]) -> Any:
    if len(document) != 1:
        raise _unexpected(document, "an object with one key")
    name, content = next(iter(document.items()))
    if name == "float" and content in NOT_FINITE:
        return events.NAN if content == "nan" else float(content)  # that equals itself in a tuple
    if name == "bytes" and content.__class__ is str:
        try:
            return bytes.fromhex(content)
        except ValueError:
            raise _unexpected(content, "hexadecimal digits") from None
    if content.__class__ is not list:
        raise _unexpected(document, "a float, bytes, or the fields of a class in a list")
    values = [decode(item) for item in content]
    return values if name == "list" else _new(name, values)


def _new(name: str, values: List[Any]) -> Any:
    kind = CLASSES.get(name)
    if kind is None:
        raise _unexpected(name, "a class of the core")
    hints, defaults = _hints(kind), kind._field_defaults
    missing = kind._fields[len(values) :]  # a field that has come since, with a default
    if len(values) > len(hints) or not all(field in defaults for field in missing):
        raise ConfigError("{}: found {} fields, expected {}".format(name, len(values), len(hints)))
    for field, value in zip(kind._fields, values):
        if not _fits(value, hints[field]):
            check_fits(value, hints[field], "{}.{}".format(name, field))
    return kind._make(values + [defaults[field] for field in missing])


def check_fits(value: Any, hint: Any, where: str) -> None:
    """Raise ConfigError, beginning with `where`, unless `value` is of the declared type `hint`."""
    if not _fits(value, hint):
        raise ConfigError("{}: found {}, expected {}".format(where, _short(value), hint))


_HINTS: Dict[Type[Any], Dict[str, Any]] = {}


def _hints(kind: Type[Any]) -> Dict[str, Any]:
    """The declared type of every field, in order."""
    found = _HINTS.get(kind)
    if found is None:
        declared = typing.get_type_hints(kind)
        found = _HINTS[kind] = {field: declared[field] for field in kind._fields}
        if kind is MessageReceived:
            found["envelope"] = Envelope
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether `value` is of the declared kind. Numbers are not told apart, nor are sequences: a
    core does not either."""
    if hint is Any:
        return True
    origin = getattr(hint, "__origin__", None)
    if origin is None:
        numbers = (int, float, bool)
        return value.__class__ in numbers if hint in numbers else value.__class__ is hint
    if origin is typing.Union:
        return any(_fits(value, member) for member in hint.__args__)
    if value.__class__ not in (tuple, list):
        return False
    members = hint.__args__
    if members[-1] is Ellipsis or origin in (list, List):
        return all(_fits(item, members[0]) for item in value)
    return len(value) == len(members) and all(map(_fits, value, members))


def _unexpected(found: Any, expected: str) -> ConfigError:
    return ConfigError("found {}, expected {}".format(_short(found), expected))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
