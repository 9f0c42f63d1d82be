"""Reading JSON and TOML so that an error names the place: `parts[0].head.kind: found ...`."""

import difflib
import sys
from typing import Any, Iterator, List, Optional, Sequence, Tuple, Type

from .errors import EdgeError


class Field:
    """One value of a parsed document, and the path that leads to it.

    Every method raises `error` with the path, what was found and what was expected.
    """

    def __init__(self, value: Any, path: str, error: Type[EdgeError]) -> None:
        self.value = value
        self.path = path
        self._error = error

    def fail(self, expected: str) -> EdgeError:
        """The error that says `expected` was expected here; for the caller to raise."""
        found = repr(self.value)
        if len(found) > 60:
            found = found[:57] + "..."
        return self._error(
            "{}: found {}, expected {}".format(self.path or "document", found, expected)
        )

    def get(self, key: str) -> "Field":
        """The value of `key` in this table."""
        found = self.optional(key)
        if found is None:
            raise self._error(
                "{}: missing; expected it beside {}".format(
                    self._join(key), ", ".join(sorted(self.value)) or "nothing"
                )
            )
        return found

    def optional(self, key: str) -> Optional["Field"]:
        """The value of `key` in this table, or None if the table lacks it."""
        if not isinstance(self.value, dict):
            raise self.fail("a table")
        return Field(self.value[key], self._join(key), self._error) if key in self.value else None

    def entries(self) -> Iterator[Tuple[str, "Field"]]:
        """Keys and values of this table."""
        if not isinstance(self.value, dict):
            raise self.fail("a table")
        for key in self.value:
            yield key, Field(self.value[key], self._join(key), self._error)

    def only(self, keys: Sequence[str]) -> "Field":
        """This table, which has no other keys than `keys`; the error names the nearest of them."""
        for key, entry in self.entries():
            if key not in keys:
                near = difflib.get_close_matches(key, keys, 1)
                hint = "did you mean {}? ".format(near[0]) if near else ""
                raise self._error(
                    "{}: unknown key; {}expected {}".format(entry.path, hint, ", ".join(keys))
                )
        return self

    def items(self, minimum_count: int = 0) -> List["Field"]:
        """The elements of this list."""
        if not isinstance(self.value, list) or len(self.value) < minimum_count:
            raise self.fail(
                "a list" + (" of at least {}".format(minimum_count) if minimum_count else "")
            )
        return [
            Field(value, "{}[{}]".format(self.path, index), self._error)
            for index, value in enumerate(self.value)
        ]

    def text(self) -> str:
        """This non-empty text."""
        if not isinstance(self.value, str) or not self.value:
            raise self.fail("a text")
        return self.value

    def choice(self, options: Sequence[str]) -> str:
        """This text, one of `options`."""
        if self.value not in options:
            raise self.fail("one of " + ", ".join(options))
        return str(self.value)

    def whole(self, minimum: int = 0) -> int:
        """This whole number."""
        number = self.value
        if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
            raise self.fail("a whole number from {}".format(minimum))
        return number

    def flag(self) -> bool:
        """This truth value."""
        if not isinstance(self.value, bool):
            raise self.fail("true or false")
        return self.value

    def number(
        self,
        minimum: Optional[float] = None,
        maximum: Optional[float] = None,
        above: Optional[float] = None,
    ) -> float:
        """This finite number, within the limits that are given; it exceeds `above`."""
        number = self.value
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise self.fail("a number")
        if not abs(number) <= sys.float_info.max:  # NaN, infinities, whole numbers beyond float
            raise self.fail("a finite number")
        limits = (("above", above), ("from", minimum), ("to", maximum))
        if (
            (above is not None and number <= above)
            or (minimum is not None and number < minimum)
            or (maximum is not None and number > maximum)
        ):
            given = ["{} {:g}".format(word, limit) for word, limit in limits if limit is not None]
            raise self.fail("a number " + " ".join(given))
        return float(number)

    def rising(self, minimum_count: int = 0) -> Tuple[int, ...]:
        """This list of whole numbers, each above the one before."""
        numbers = tuple(item.whole() for item in self.items(minimum_count))
        if list(numbers) != sorted(set(numbers)):
            raise self.fail("whole numbers in rising order")
        return numbers

    def shape(self) -> Tuple[int, ...]:
        """This list of dimensions, each at least 1."""
        return tuple(item.whole(1) for item in self.items(1))

    def _join(self, key: str) -> str:
        return "{}.{}".format(self.path, key) if self.path else key
