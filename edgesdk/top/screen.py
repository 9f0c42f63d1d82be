"""A picture as a screen full of text, drawn by rich; colours stand beside words."""

import textwrap
from typing import Any, List, NamedTuple, Optional

from ..errors import BackendUnavailable
from .columns import BAR_WIDTH, DIGITS, GAP, Grid, exits_grid, links_grid, workers_grid
from .controls import EXITS, HELP, KEYS, LINKS, WORKERS, Shown
from .history import Picture
from .rows import LEAVING, RESTARTED, SILENT, UP

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    raise BackendUnavailable(
        "a live screen is drawn by rich, which cannot be imported ({}); install it with: "
        "pip install rich, or say --once for a plain table".format(error)
    ) from None

__all__ = ["Console", "Frame", "Live", "draw"]

STATE_STYLES = {
    UP: "green",
    RESTARTED: "yellow",
    LEAVING: "yellow",
    SILENT: "bold red",
    "greeting": "yellow",
    "absent": "red",
}
EXIT_STYLES = ("green", "cyan", "blue", "magenta", "yellow", "red")  # cheap ones first
NOTES_SHARE = 4  # at most a quarter of the screen
GRIDS = {WORKERS: workers_grid, EXITS: exits_grid, LINKS: links_grid}

ABOUT = """\
Numbers are those of the last interval. - is not known, or there is none.

state   silent 12s: it has not answered for so long
ans/s   images answered, the exits they left at, p50 and p95 of their latency:
        where the images come from, wherever they were computed
exits   a digit is a tenth of the answers: 0000000011 is eight tenths at exit 0
queue   tasks that wait to be computed / to leave for a neighbour
comp/s  stages of images computed here; busy: of the time
sent/s  tasks sent to neighbours; recv/s: tasks received from them
degC    the hottest zone of the board; watt: what it takes
open    images without an answer yet
cpu     of one processor; mem: bytes of memory; both of the process

Links are told by the worker that they lead from. delay there: how long a task
takes there, as the neighbour says. unsettled: sent, and neither taken nor
refused yet. last lost: why the last session ended.

The key of a view leads back to the workers. up, down and the page keys scroll."""


class Frame(NamedTuple):
    """What stands around the picture: the cluster file, seconds between two questions, the time of
    day, and how many workers are asked."""

    title: str
    interval_s: float
    clock: str
    asked_count: int


def draw(picture: Optional[Picture], shown: Shown, frame: Frame, width: int, height: int) -> Group:
    """Exactly `height` lines of at most `width` characters. `picture`: None before any answer."""
    keys = _keys()
    if shown.view == HELP:
        return _filled([_line(frame.title, "bold"), Text("")], _lines(ABOUT), [keys], height)
    if picture is None:
        asking = "asking {} workers ...".format(frame.asked_count)
        return _filled([_line(frame.title, "bold"), Text("")], [Text(asking)], [keys], height)
    grid = GRIDS[shown.view](picture, width, shown.sort)
    notes = _notes(picture, width, max(1, height // NOTES_SHARE))
    room = max(1, height - 4 - (grid.totals is not None) - len(notes))
    first = max(0, min(shown.first_row, len(grid.rows) - room))
    head = [_title(picture, shown, frame, grid, first, room), _line(_runs(picture), "dim")]
    body = grid._replace(
        rows=grid.rows[first : first + room], states=grid.states[first : first + room]
    )
    count = 1 + len(body.rows) + (grid.totals is not None)
    return _filled(head, [_table(body)], notes + [keys], height, count)


def _filled(
    head: List[Any], body: List[Any], foot: List[Any], height: int, body_count: Optional[int] = None
) -> Group:
    """Empty lines between body and foot, so that the foot is at the bottom."""
    count = len(body) if body_count is None else body_count
    room = max(0, height - len(head) - len(foot))
    if body_count is None:
        body = body[:room]
    return Group(*head, *body, *[Text("")] * (room - count), *foot)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="crop")


def _lines(text: str) -> List[Text]:
    return [_line(line) for line in text.splitlines()]


def _title(picture: Picture, shown: Shown, frame: Frame, grid: Grid, first: int, room: int) -> Text:
    totals = picture.totals
    line = _line("{}  ".format(frame.title), "bold")
    style = STATE_STYLES[UP if totals.up_count == totals.worker_count else SILENT]
    line.append("{} of {} answer".format(totals.up_count, totals.worker_count), style=style)
    if shown.is_paused:
        line.append("  PAUSED", style="bold yellow")
    line.append("  {}  every {:g}s".format(frame.clock, frame.interval_s), style="not bold")
    if len(grid.rows) > room:
        line.append("  rows {}-{} of {}".format(first + 1, first + room, len(grid.rows)))
    if grid.sorted_by:
        line.append("  by " + grid.headings[grid.sorted_by], style="not bold")
    if grid.hidden:
        line.append("  no room: " + " ".join(grid.hidden), style="not bold dim")
    return line


def _runs(picture: Picture) -> str:
    return "  ".join("{} {}".format(*item) for item in picture.runs.items()).replace("_id", "")


def _notes(picture: Picture, width: int, most: int) -> List[Text]:
    lines: List[str] = []
    for note in picture.notes:
        lines += textwrap.wrap(note, max(10, width), subsequent_indent="  ")
    if len(lines) > most:
        lines = lines[: most - 1] + ["and more: {} notes in all".format(len(picture.notes))]
    return [_line(line, "yellow") for line in lines]


def _keys() -> Text:
    line = _line("")
    for key, what in KEYS.items():
        line.append(key, style="reverse")
        line.append(" {}  ".format(what))
    line.append("up/down")
    return line


def _table(grid: Grid) -> Table:
    table = Table(
        box=None,
        padding=(0, GAP, 0, 0),
        pad_edge=False,
        show_footer=grid.totals is not None,
        header_style="bold",
        footer_style="bold",
    )
    for index, heading in enumerate(grid.headings):
        table.add_column(
            Text(heading, style="reverse" if index and index == grid.sorted_by else ""),
            footer="" if grid.totals is None else _cell(heading, grid.totals[index], ""),
            justify="left" if grid.are_left[index] else "right",
            no_wrap=True,
            overflow="crop",
        )
    for row, state in zip(grid.rows, grid.states):
        table.add_row(*[_cell(*pair, state) for pair in zip(grid.headings, row)])
    return table


def _cell(heading: str, text: str, state: str) -> Text:
    if heading == "exits" and len(text) == BAR_WIDTH:
        cell = Text()
        for digit in text:
            cell.append(digit, style=EXIT_STYLES[min(DIGITS.index(digit), len(EXIT_STYLES) - 1)])
        return cell
    return Text(text, style=STATE_STYLES.get(state, "") if heading == "state" else "")
