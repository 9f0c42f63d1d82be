"""TOML files as plain values, and the times in them."""

import importlib
import sys
from typing import Any, Dict, Optional

from .errors import ConfigError
from .schema import Field


def read_document(path: str, expected: str) -> Dict[str, Any]:
    """The tables of a TOML file; `expected` says what is sought, and where there is an example.

    Raises ConfigError that names the file.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(
            "{}: cannot be read ({}); expected {}".format(path, error.strerror or error, expected)
        ) from None
    try:
        return parse_toml(content.decode("utf-8"))
    except ValueError as error:
        raise ConfigError("{}: not TOML ({})".format(path, error)) from None


def parse_toml(text: str) -> Dict[str, Any]:
    """The tables of a TOML text. Raises ValueError."""
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    tables: Dict[str, Any] = toml.loads(text)
    return tables


def us_of(field: Optional[Field], default_us: float, above: Optional[float] = None) -> int:
    """The time in us at a key whose name says `_s` or `_ms`; at least 0."""
    if field is None:
        return int(default_us)
    unit = 1000 if "_ms" in field.path.rpartition(".")[2] else 1_000_000
    return round(field.number(minimum=0 if above is None else None, above=above) * unit)


def us_or_none(field: Optional[Field]) -> Optional[int]:
    """The same, None where the key is not there."""
    return None if field is None else us_of(field, 0)
