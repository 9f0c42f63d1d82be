"""The error tree: its docstring is its table of contents, and nothing escapes `EdgeError`."""

import copy
import inspect
import pickle
import re

import pytest

import edgesdk
from edgesdk import errors
from edgesdk.errors import (
    BackendUnavailable,
    ConfigError,
    EdgeError,
    Expired,
    Failed,
    KernelError,
    UnansweredItem,
)

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, BaseException)
}
LISTED = re.findall(r"^    (\w+)  +\S", errors.__doc__, re.MULTILINE)


def test_the_docstring_lists_every_class_below_the_root():
    # UnansweredItem is the shared body of the two it lists.
    assert sorted([*LISTED, "EdgeError", "UnansweredItem"]) == sorted(CLASSES)


@pytest.mark.parametrize("name", LISTED)
def test_each_listed_error_is_an_edge_error_and_is_public(name):
    assert issubclass(CLASSES[name], EdgeError)
    assert getattr(edgesdk, name) is CLASSES[name]
    assert name in edgesdk.__all__


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_each_says_what_it_is_for(name):
    assert CLASSES[name].__doc__


@pytest.mark.parametrize("name", LISTED)
def test_one_except_clause_catches_all_with_the_message_unchanged(name):
    with pytest.raises(EdgeError, match=r"^found 3, expected 4$"):
        raise CLASSES[name]("found 3, expected 4")


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(ConfigError, ValueError), (BackendUnavailable, ImportError), (KernelError, ImportError)],
)
def test_code_that_knows_only_python_catches_them_too(error, builtin):
    assert issubclass(error, builtin)


@pytest.mark.parametrize("error", [Expired, Failed])
class TestUnansweredItem:
    def test_carries_the_item(self, error):
        found = error("item 7 late", item=7, tag="frame", reason="deadline", latency_us=12)
        assert isinstance(found, UnansweredItem)
        assert (found.item, found.tag, found.reason, found.latency_us) == (
            7,
            "frame",
            "deadline",
            12,
        )
        assert str(found) == "item 7 late"

    def test_is_not_ok(self, error):
        assert error("late").ok is False

    def test_defaults_say_that_there_was_no_item(self, error):
        found = error("refused")
        assert (found.item, found.tag, found.reason, found.latency_us) == (-1, None, "", None)

    @pytest.mark.parametrize("duplicate", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
    def test_survives_the_way_to_another_process(self, error, duplicate):
        found = duplicate(error("late", item=7, tag=("a", 1), reason="deadline", latency_us=3))
        assert type(found) is error
        assert (str(found), found.item, found.tag, found.latency_us) == ("late", 7, ("a", 1), 3)
