"""TOML files: read, or refused by name; times in us, whatever unit the key says."""

import pytest

from edgesdk.document import parse_toml, read_document, us_of, us_or_none
from edgesdk.errors import ConfigError
from edgesdk.schema import Field


def field(value, path):
    return Field(value, path, ConfigError)


def test_tables_of_a_file_with_any_line_ends(tmp_path):
    path = tmp_path / "s.toml"
    path.write_bytes(b'a = "\xc3\xa4"\r\n[t]\r\nb = [1, 2]\r\n')
    assert read_document(str(path), "a file") == {"a": "ä", "t": {"b": [1, 2]}}


def test_a_file_that_is_not_toml(tmp_path):
    path = tmp_path / "s.toml"
    for content in (b"name = ", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"s\.toml: not TOML"):
            read_document(str(path), "a file")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml: cannot be read \(No such.*expected a fleet"):
        read_document(str(tmp_path / "no.toml"), "a fleet")


def test_a_text_that_is_not_toml():
    with pytest.raises(ValueError):
        parse_toml("a = ")


@pytest.mark.parametrize(
    ("key", "value", "us"),
    [
        ("join_s", 0.5, 500_000),
        ("join_s", 0, 0),
        ("period_ms", 0.2, 200),
        ("interarrival_ms_min", 3, 3000),
        ("delay_ms.of[1].join_s", 2, 2_000_000),
    ],
)
def test_the_key_says_the_unit(key, value, us):
    assert us_of(field(value, key), 7) == us
    assert us_or_none(field(value, key)) == us


def test_what_is_not_there():
    assert us_of(None, 60e6) == 60_000_000
    assert us_or_none(None) is None


def test_a_time_is_not_negative_or_above_a_limit():
    with pytest.raises(ConfigError, match=r"^join_s: found -1, expected a number from 0$"):
        us_of(field(-1, "join_s"), 0)
    with pytest.raises(ConfigError, match=r"^join_s: found 0, expected a number above 0$"):
        us_of(field(0, "join_s"), 0, above=0)
