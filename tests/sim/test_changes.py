"""Changing values of a document by their path."""

import pytest

from edgesdk.errors import ConfigError
from edgesdk.sim.changes import change, parse_change, parse_value, parse_values


def document():
    return {"a": 1, "t": {"b": 2}, "list": [{"c": 3}, {"c": 4}]}


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("a", lambda d: d["a"]),
        ("new", lambda d: d["new"]),
        ("t.b", lambda d: d["t"]["b"]),
        ("t.new.deep", lambda d: d["t"]["new"]["deep"]),
        ("list[1].c", lambda d: d["list"][1]["c"]),
        ("list[0]", lambda d: d["list"][0]),
        ("list.c", lambda d: d["list"][0]["c"]),
        ("list.c", lambda d: d["list"][1]["c"]),
    ],
)
def test_what_is_changed(path, read):
    changed = document()
    change(changed, path, 9)
    assert read(changed) == 9


def test_an_index_changes_one_element_only():
    changed = document()
    change(changed, "list[1].c", 9)
    assert changed["list"][0] == {"c": 3}


@pytest.mark.parametrize("path", ["a.b", "list[2].c", "t[0]", "a[0]", "list[0].c.d"])
def test_a_path_that_leads_nowhere(path):
    with pytest.raises(ConfigError) as caught:
        change(document(), path, 9)
    assert str(caught.value).startswith(path + ": the scenario has no ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ('"5"', "5"),
        ("mesh", "mesh"),
        ("[1, 2]", [1, 2]),
        ('{kind = "final"}', {"kind": "final"}),
        ("3\nb = 4", "3\nb = 4"),
        ("", ""),
    ],
)
def test_values_are_toml_or_themselves(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2.5", [1, 2.5]),
        ("mesh,ring", ["mesh", "ring"]),
        ("mesh, 3", ["mesh", 3]),
        ('{kind = "final"},{kind = "random"}', [{"kind": "final"}, {"kind": "random"}]),
        ("[0, 1],[2]", [[0, 1], [2]]),
        ("", [""]),
    ],
)
def test_several_values(text, values):
    assert parse_values(text) == values


def test_a_change_on_the_command_line():
    assert parse_change("node[1].count=4") == ("node[1].count", "4")
    assert parse_change('model.policy={kind="final"}') == ("model.policy", '{kind="final"}')


@pytest.mark.parametrize("text", ["a", "=3", "a..b=3", "a[x]=3", "a.[1]=2"])
def test_one_that_is_none(text):
    with pytest.raises(ConfigError, match=r"expected KEY\.PATH=VALUE"):
        parse_change(text)
