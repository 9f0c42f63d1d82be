"""Field: every refusal names the path, what was found and what was expected."""

import json

import pytest

from edgesdk.errors import BundleError, ConfigError
from edgesdk.schema import Field

INFINITY, NAN = float("inf"), float("nan")


def field(value, path="robots[1].speed", error=ConfigError):
    return Field(value, path, error)


def refusal(action, error=ConfigError):
    with pytest.raises(error) as caught:
        action()
    return str(caught.value)


class TestWhatIsRefused:
    """(method, value, what the message says was expected); all begin with path and value."""

    @pytest.mark.parametrize(
        ("method", "value", "expected"),
        [
            ("text", "", "a text"),
            ("text", None, "a text"),
            ("text", 3, "a text"),
            ("text", ["a"], "a text"),
            ("whole", -1, "a whole number from 0"),
            ("whole", True, "a whole number from 0"),
            ("whole", 1.0, "a whole number from 0"),
            ("whole", "1", "a whole number from 0"),
            ("whole", NAN, "a whole number from 0"),
            ("number", True, "a number"),
            ("number", "1.5", "a number"),
            ("number", None, "a number"),
            ("number", NAN, "a finite number"),
            ("number", INFINITY, "a finite number"),
            ("number", -INFINITY, "a finite number"),
            ("items", {}, "a list"),
            ("items", "abc", "a list"),
            ("items", None, "a list"),
            ("shape", [], "a list of at least 1"),
            ("shape", 3, "a list of at least 1"),
            ("rising", 3, "a list"),
            ("rising", [1, 0], "whole numbers in rising order"),
            ("rising", [0, 1, 1], "whole numbers in rising order"),
        ],
    )
    def test_the_value_itself(self, method, value, expected):
        message = refusal(getattr(field(value), method))
        assert message == "robots[1].speed: found {!r}, expected {}".format(value, expected)

    def test_a_whole_number_that_no_float_can_hold_is_not_a_finite_number(self):
        message = refusal(field(10**400).number)
        assert message.startswith("robots[1].speed: found 1000")
        assert message.endswith(", expected a finite number")

    def test_a_whole_number_below_the_minimum_asked_for(self):
        message = refusal(lambda: field(0).whole(1))
        assert message == "robots[1].speed: found 0, expected a whole number from 1"

    def test_a_list_that_is_too_short(self):
        message = refusal(lambda: field([1]).items(2))
        assert message == "robots[1].speed: found [1], expected a list of at least 2"

    @pytest.mark.parametrize("value", ["blue", "", None, 0, ["red"], {"red": 1}])
    def test_a_choice_lists_the_options(self, value):
        message = refusal(lambda: field(value).choice(("red", "green")))
        assert message == "robots[1].speed: found {!r}, expected one of red, green".format(value)

    @pytest.mark.parametrize("size", [0, -1, 1.5, "2", True, None])
    def test_a_dimension_is_named_by_its_index(self, size):
        message = refusal(field([1, size]).shape)
        assert message.startswith("robots[1].speed[1]: found {!r}, expected".format(size))

    @pytest.mark.parametrize("value", [None, [], "text", 3])
    @pytest.mark.parametrize(
        "action",
        [
            lambda f: f.get("key"),
            lambda f: f.optional("key"),
            lambda f: list(f.entries()),
        ],
        ids=["get", "optional", "entries"],
    )
    def test_keys_of_what_is_no_table(self, action, value):
        message = refusal(lambda: action(field(value)))
        assert message == "robots[1].speed: found {!r}, expected a table".format(value)

    def test_a_missing_key_shows_its_neighbours_where_a_misspelling_is_seen(self):
        message = refusal(lambda: field({"wieght": 1, "bias": 2}).get("weight"))
        assert message == "robots[1].speed.weight: missing; expected it beside bias, wieght"

    def test_a_missing_key_in_an_empty_table(self):
        message = refusal(lambda: field({}).get("weight"))
        assert message == "robots[1].speed.weight: missing; expected it beside nothing"

    def test_a_long_value_is_shortened(self):
        message = refusal(field(list(range(1000))).text)
        assert "..., expected a text" in message
        assert len(message) < 120


class TestPaths:
    def test_grow_with_keys_and_indices(self):
        root = Field({"parts": [{"head": {"kind": 5}}]}, "", BundleError)
        kind = root.get("parts").items()[0].get("head").get("kind")
        assert refusal(kind.text, BundleError) == "parts[0].head.kind: found 5, expected a text"

    def test_entries_carry_their_key(self):
        root = Field({"policies": {"fast": 1}}, "", ConfigError)
        ((key, entry),) = root.get("policies").entries()
        assert (key, entry.path, entry.value) == ("fast", "policies.fast", 1)

    def test_the_root_has_a_name_of_its_own(self):
        message = refusal(lambda: Field([], "", ConfigError).get("name"))
        assert message == "document: found [], expected a table"

    def test_the_error_class_is_the_callers(self):
        assert type(field(1, error=BundleError).fail("a text")) is BundleError


class TestWhatIsAccepted:
    @pytest.mark.parametrize(
        ("method", "value", "result"),
        [
            ("text", "wrn16", "wrn16"),
            ("whole", 0, 0),
            ("whole", 10**20, 10**20),
            ("number", 3, 3.0),
            ("number", -0.5, -0.5),
            ("shape", [16, 32, 32], (16, 32, 32)),
            ("rising", [0, 2, 3], (0, 2, 3)),
            ("rising", [], ()),
        ],
    )
    def test_values(self, method, value, result):
        found = getattr(field(value), method)()
        assert found == result and type(found) is type(result)

    def test_choice(self):
        assert field("red").choice(("red", "green")) == "red"

    def test_an_empty_list_and_table(self):
        assert field([]).items() == []
        assert list(field({}).entries()) == []

    def test_optional_tells_absent_from_null(self):
        assert field({}).optional("plan") is None
        assert field({"plan": None}).optional("plan").value is None

    def test_entries_keep_the_order_of_the_document(self):
        document = json.loads('{"z": 1, "a": 2, "m": 3}')
        assert [key for key, _ in field(document).entries()] == ["z", "a", "m"]


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "fits", "does_not", "expected"),
        [
            ({"minimum": 0}, 0, -0.1, "a number from 0"),
            ({"above": 0}, 0.1, 0, "a number above 0"),
            ({"minimum": 0, "maximum": 1}, 1, 1.1, "a number from 0 to 1"),
            ({"above": 0, "maximum": 1}, 1, 0, "a number above 0 to 1"),
        ],
    )
    def test_of_a_number(self, limits, fits, does_not, expected):
        assert field(fits).number(**limits) == fits
        message = refusal(lambda: field(does_not).number(**limits))
        assert message == "robots[1].speed: found {!r}, expected {}".format(does_not, expected)

    @pytest.mark.parametrize("value", [0, 1, None, "true", []])
    def test_a_truth_value_is_nothing_else(self, value):
        assert field(True).flag() is True and field(False).flag() is False
        assert refusal(field(value).flag).endswith("expected true or false")


class TestOnly:
    def test_the_table_itself_if_all_its_keys_are_known(self):
        table = field({"rate": 1})
        assert table.only(["rate", "delay"]) is table

    def test_an_unknown_key_is_named_with_the_nearest(self):
        message = refusal(lambda: field({"rat": 1}).only(["delay", "rate"]))
        assert message == (
            "robots[1].speed.rat: unknown key; did you mean rate? expected delay, rate"
        )

    def test_or_with_what_there_is(self):
        message = refusal(lambda: field({"zzz": 1}).only(["delay", "rate"]))
        assert message == "robots[1].speed.zzz: unknown key; expected delay, rate"

    def test_what_is_no_table(self):
        assert refusal(lambda: field(3).only(["a"])).endswith("expected a table")
