"""Pieces of the pages that experiments write."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional


class Context(NamedTuple):
    """What a page's networks were tried on, and how. `command`: what makes the page again."""

    model: str
    data: str
    test_count: int
    versions: dict[str, str]
    threads: int
    command: str


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def percent(share: Optional[float]) -> str:
    """Such as "91.86 %"; empty for None."""
    return "" if share is None else f"{100 * share:.2f} %"
