"""Pieces of HTML. Whatever is a text goes through `text`: tags, names and reasons are foreign."""

from html import escape
from typing import Any, List, NamedTuple, Sequence, Tuple

from . import words
from .images import ImageRow

FOREIGN_CHARS_MAX = 120  # of a tag or a reason
LEVEL_NAMES = {words.NOTE: "note", words.WARNING: "look", words.BAD: "bad", words.GOOD: "good"}


class Column(NamedTuple):
    """Of a table: its title, and a class of the style sheet for its cells."""

    title: str
    kind: str = ""


def text(value: Any) -> str:
    """Any value as escaped text."""
    return escape(str(value), quote=True)


def foreign(value: Any) -> str:
    """A text that comes from elsewhere, clipped and escaped."""
    found = str(value)
    return text(found if len(found) <= FOREIGN_CHARS_MAX else found[: FOREIGN_CHARS_MAX - 1] + "…")


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already; titles are texts. It can be scrolled sideways where it is wide."""
    head = "".join(
        '<th scope="col"{}>{}</th>'.format(
            ' class="text"' if column.kind else "", text(column.title)
        )
        for column in columns
    )
    lines = []
    for row in rows:
        cells = "".join(
            "<td{}>{}</td>".format(' class="{}"'.format(column.kind) if column.kind else "", cell)
            for column, cell in zip(columns, row)
        )
        lines.append("<tr>{}</tr>".format(cells))
    return (
        '<div class="card scroll" tabindex="0"><table><thead><tr>{}</tr></thead><tbody>\n{}\n'
        "</tbody></table></div>\n"
    ).format(head, "\n".join(lines))


def bar(parts: Sequence[Tuple[float, str]], whole: float, label: str) -> str:
    """A bar of parts side by side: (size, variable of the style sheet), out of `whole`."""
    pieces = "".join(
        '<i style="width:{:.2f}%;background:var(--{})"></i>'.format(100 * size / whole, color)
        for size, color in parts
        if size > 0 and whole > 0
    )
    return '<div class="bar" role="img" aria-label="{0}" title="{0}">{1}</div>'.format(
        text(label), pieces
    )


def legend(parts: Sequence[Tuple[str, str]]) -> str:
    """(words, variable of the style sheet) of each part."""
    return '<div class="legend">{}</div>'.format(
        "".join(
            '<span><i style="background:var(--{})"></i>{}</span>'.format(color, text(name))
            for name, color in parts
        )
    )


def level(name: str) -> str:
    """How bad something is, as a badge."""
    return '<span class="tag {}">{}</span>'.format(name, LEVEL_NAMES[name])


def definitions(pairs: Sequence[Tuple[str, str]]) -> str:
    """Names and what they stand for, both plain texts; empty ones are left out."""
    lines = [
        "<dt>{}</dt><dd>{}</dd>".format(text(name), text(value)) for name, value in pairs if value
    ]
    return "<dl>{}</dl>".format("".join(lines))


def milliseconds(value_us: Any) -> str:
    """A duration, or a dash where there is none."""
    return "-" if value_us is None else text(words.milliseconds(value_us))


def class_name(index: Any, names: Sequence[str]) -> str:
    """A class by its name where that is known."""
    if index is None:
        return "-"
    return foreign(names[index]) if 0 <= index < len(names) else text(index)


def image_name(row: ImageRow) -> str:
    """What an application knows an image by: its tag; or its number."""
    if row.tag is None:
        return "no. {}".format(row.number)
    return foreign(row.tag)


def times(values_us: Sequence[int], event_count: int) -> str:
    """When something happened: "at 4.91 s", "from 0.20 s to 7.11 s"."""
    if not values_us:
        return ""
    first, last = words.seconds(min(values_us)), words.seconds(max(values_us))
    if event_count == 1 or first == last:
        return "at " + first
    more = len(values_us) < event_count
    return "from {} {} {}".format(first, "on, the first until" if more else "to", last)


def joined(names: List[str]) -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
