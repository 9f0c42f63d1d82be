"""Scenario files as plain values: reading TOML, and changing a value before it is understood."""

import importlib
import re
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from ..errors import ConfigError
from ..schema import Field

Step = Union[str, int]
_KEY_PATH = re.compile(r"[\w-]+(\[\d+\])*(\.[\w-]+(\[\d+\])*)*")
_STEP = re.compile(r"\[(\d+)\]|([\w-]+)")


def read_document(path: str) -> Dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError that names the file."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(
            "{}: cannot be read ({}); expected a scenario, such as those in "
            "examples/scenarios".format(path, error.strerror or error)
        ) from None
    try:
        return parse_toml(content.decode("utf-8"))
    except ValueError as error:
        raise ConfigError("{}: not TOML ({})".format(path, error)) from None


def parse_toml(text: str) -> Dict[str, Any]:
    """The tables of a TOML text. Raises ValueError."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    tables: Dict[str, Any] = toml.loads(text.replace("\r\n", "\n"))
    return tables


def parse_value(text: str) -> Any:
    """One value as TOML writes it; what TOML does not understand is the text itself."""
    try:
        tables = parse_toml("value = " + text)
    except ValueError:
        return text
    return tables["value"] if list(tables) == ["value"] else text


def parse_values(text: str) -> List[Any]:
    """The values between commas: `1,2`, `mesh,ring`, `{kind="final"},{kind="random"}`."""
    try:
        tables = parse_toml("values = [{}]".format(text))
    except ValueError:
        return [parse_value(each.strip()) for each in text.split(",")]
    values = tables["values"] if list(tables) == ["values"] else None
    return values if values and isinstance(values, list) else [text]


def parse_change(text: str) -> Tuple[str, str]:
    """`key.path=value` as both. Raises ConfigError."""
    key, equals, value = text.partition("=")
    if not equals or not _KEY_PATH.fullmatch(key.strip()):
        raise ConfigError(
            "found {!r}, expected KEY.PATH=VALUE such as model.batch_share=0.5 or "
            "node[1].speed=2".format(text)
        )
    return key.strip(), value.strip()


def change(document: Dict[str, Any], key_path: str, value: Any) -> None:
    """Set one value of `document`: `admission.kind`, `node[1].speed`. A list without an index
    means all of its elements: `link.loss`. Tables that are not there are made; whether the names
    mean anything is for the reader to say. Raises ConfigError."""
    steps: List[Step] = [int(index) if index else name for index, name in _STEP.findall(key_path)]
    _change(document, steps, value, key_path)


def _change(place: Any, steps: Sequence[Step], value: Any, key_path: str) -> None:
    step, rest = steps[0], steps[1:]
    if isinstance(place, list) and isinstance(step, str):
        for element in place:
            _change(element, steps, value, key_path)
        return
    if isinstance(step, int):
        fits = isinstance(place, list) and step < len(place)
    else:
        fits = isinstance(place, dict)
    if not fits:
        raise ConfigError(
            "{}: the scenario has no {!r} there; found {}".format(key_path, step, _kind(place))
        )
    if not rest:
        place[step] = value
        return
    if isinstance(step, str):
        place.setdefault(step, {})
    _change(place[step], rest, value, key_path)


def _kind(place: Any) -> str:
    if isinstance(place, list):
        return "a list of {}".format(len(place))
    return "a table" if isinstance(place, dict) else repr(place)


def us_of(field: Optional[Field], default_us: float, above: Optional[float] = None) -> int:
    """The time in us at a key whose name says `_s` or `_ms`; at least 0."""
    if field is None:
        return int(default_us)
    unit = 1000 if "_ms" in field.path.rpartition(".")[2] else 1_000_000
    return round(field.number(minimum=0 if above is None else None, above=above) * unit)


def us_or_none(field: Optional[Field]) -> Optional[int]:
    """The same, None where the key is not there."""
    return None if field is None else us_of(field, 0)


def share_of(field: Optional[Field]) -> float:
    """A share from 0 to 1; 0 where the key is not there."""
    return 0.0 if field is None else field.number(0, 1)
