"""Changing a value of a scenario before it is understood: `--set admission.kind=none`."""

import re
from typing import Any, Dict, List, Sequence, Tuple, Union

from ..document import parse_toml
from ..errors import ConfigError

Step = Union[str, int]
_KEY_PATH = re.compile(r"[\w-]+(\[\d+\])*(\.[\w-]+(\[\d+\])*)*")
_STEP = re.compile(r"\[(\d+)\]|([\w-]+)")


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
