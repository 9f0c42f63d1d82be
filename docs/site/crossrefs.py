"""Docstrings for the site: names become links, and named tuples show their fields.

Errors become links wherever they stand, other public names where they are in backticks.
"""

import re
from typing import Any

import griffe

import edgesdk

ERRORS = [
    name
    for name in edgesdk.__all__
    if isinstance(getattr(edgesdk, name), type)
    and issubclass(getattr(edgesdk, name), edgesdk.EdgeError)
]
NAMES = [name for name in edgesdk.__all__ if not name.startswith("_")]
# Not in code blocks, and not within longer names.
IN_TICKS = re.compile(r"`({})((?:\.\w+)?)`".format("|".join(NAMES)))
PLAIN = re.compile(r"(?<![`\w.\[])({})(?![`\w\]])".format("|".join(ERRORS)))


class Crossrefs(griffe.Extension):
    """Rewrites the docstrings of objects as they are collected."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Link the names in one docstring."""
        if obj.docstring is not None and not obj.is_module:
            obj.docstring.value = linked(obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """List the fields of a named tuple, with their types, below its docstring."""
        if cls.docstring is None or "NamedTuple" not in [str(base) for base in cls.bases]:
            return
        fields = [
            "{}: {}".format(name, member.annotation)
            + ("" if member.value is None else " = {}".format(member.value))
            for name, member in cls.members.items()
            if member.is_attribute and member.annotation and "property" not in member.labels
        ]
        cls.docstring.value += "\n\n```python\n{}\n```".format("\n".join(fields))


def linked(text: str) -> str:
    """`text` with links, in the notation of mkdocs-autorefs."""
    text = IN_TICKS.sub(r"[`\1\2`][edgesdk.\1\2]", text)
    return PLAIN.sub(r"[\1][edgesdk.\1]", text)
