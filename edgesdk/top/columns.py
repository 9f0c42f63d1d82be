"""What of a picture is shown in which column, as text: the views, and how they fit a width. Pure.

Only ASCII: the terminal of a board may know nothing else.
"""

from typing import Any, Callable, List, NamedTuple, Optional, Sequence

from .history import Picture
from .rows import SILENT, Totals, WorkerRow

NOTHING = "-"  # not known, or there is none
BAR_WIDTH = 10
GAP = 1  # between columns
NAME_WIDTH_MAX = 20
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"  # exits by their number, in a bar


class Column(NamedTuple):
    """`text`: the cell of a row. `number`: what to sort by, greatest first, None if that is of no
    use. `rank`: where there is no room, columns of high rank go first. `total`: the cell under
    all rows."""

    heading: str
    text: Callable[[Any], str]
    rank: int
    number: Optional[Callable[[Any], Optional[float]]] = None
    total: Optional[Callable[[Totals], str]] = None
    is_left: bool = False


class Grid(NamedTuple):
    """A view, ready to be shown. `rows`: of cells; `states`: of each row, for its colour.
    `sorted_by`: the index of the column it is sorted by. `hidden`: headings that had no room."""

    headings: List[str]
    are_left: List[bool]
    rows: List[List[str]]
    states: List[str]
    totals: Optional[List[str]]
    sorted_by: int
    hidden: List[str]


# --- numbers as text ------------------------------------------------------------------------------


def count_text(value: Optional[float]) -> str:
    """Three digits: 0, 0.4, 31, 12k."""
    if value is None:
        return NOTHING
    for limit, unit in ((1e3, ""), (1e6, "k"), (1e9, "M"), (1e12, "G")):
        if value < 0.9995 * limit:
            scaled = value / (limit / 1e3)
            decimals = 1 if 0 < scaled < 9.95 and (unit or value != int(value)) else 0
            return "{:.{}f}{}".format(scaled, decimals, unit)
    return "{:.0f}T".format(value / 1e12)


def duration_text(value_us: Optional[float]) -> str:
    """850us, 1.9ms, 310ms, 2.1s, 210s."""
    if value_us is None:
        return NOTHING
    value, unit = value_us, "us"
    if value >= 999.5:
        value, unit = value / 1e3, "ms"
    if value >= 999.5:
        value, unit = value / 1e3, "s"
    return "{:.{}f}{}".format(value, 1 if unit != "us" and value < 9.95 else 0, unit)


def age_text(seconds: Optional[float]) -> str:
    """12s, 3m, 5h, 2d."""
    if seconds is None:
        return NOTHING
    for limit, divisor, unit in ((100, 1, "s"), (6000, 60, "m"), (172_800, 3600, "h")):
        if seconds < limit:
            return "{:.0f}{}".format(seconds // divisor, unit)
    return "{:.0f}d".format(seconds // 86_400)


def share_text(share: Optional[float]) -> str:
    """0..1 as "34%"."""
    return NOTHING if share is None else "{:.0f}%".format(100 * share)


def bar(counts: Sequence[int], width: int = BAR_WIDTH) -> str:
    """Which share of answers left where: `width` digits, each an exit; 0001 is three quarters at
    exit 0. What is too small for a digit is not seen. Nothing without answers."""
    total = sum(counts)
    if not total:
        return NOTHING
    exact = [width * count / total for count in counts]
    cells = [int(share) for share in exact]
    by_rest = sorted(range(len(counts)), key=lambda i: cells[i] - exact[i])
    for index in by_rest[: width - sum(cells)]:
        cells[index] += 1
    return "".join(DIGITS[min(i, len(DIGITS) - 1)] * cell for i, cell in enumerate(cells))


def _degrees_text(value: Optional[float]) -> str:
    return NOTHING if value is None else "{:.0f}".format(value)


def _watt_text(value: Optional[float]) -> str:
    return NOTHING if value is None else "{:.1f}".format(value)


def _name_text(name: str) -> str:
    return name if len(name) <= NAME_WIDTH_MAX else name[: NAME_WIDTH_MAX - 2] + ".."


def _state_text(row: WorkerRow) -> str:
    if row.state != SILENT or row.heard_ago_s is None:
        return row.state
    return "{} {}".format(row.state, age_text(row.heard_ago_s))


def _queue_text(row: Any) -> str:
    """Of a WorkerRow or Totals: waiting/leaving."""
    if row.waiting_count is None or row.leaving_count is None:
        return NOTHING
    return "{}/{}".format(count_text(row.waiting_count), count_text(row.leaving_count))


def _queue_number(row: WorkerRow) -> Optional[float]:
    if row.waiting_count is None or row.leaving_count is None:
        return None
    return row.waiting_count + row.leaving_count


# --- the views ------------------------------------------------------------------------------------

WORKERS = [
    Column("worker", lambda r: _name_text(r.name), 0, total=lambda t: "all", is_left=True),
    Column(
        "state",
        _state_text,
        1,
        total=lambda t: "{} of {}".format(t.up_count, t.worker_count),
        is_left=True,
    ),
    Column(
        "ans/s",
        lambda r: count_text(r.answers_per_s),
        2,
        lambda r: r.answers_per_s,
        lambda t: count_text(t.answers_per_s),
    ),
    Column(
        "exits",
        lambda r: bar(r.exit_counts),
        4,
        total=lambda t: bar(t.exit_counts),
        is_left=True,
    ),
    Column("p50", lambda r: duration_text(r.p50_us), 6, None, lambda t: duration_text(t.p50_us)),
    Column(
        "p95",
        lambda r: duration_text(r.p95_us),
        5,
        lambda r: r.p95_us,
        lambda t: duration_text(t.p95_us),
    ),
    Column("queue", _queue_text, 4, _queue_number, _queue_text),
    Column(
        "comp/s",
        lambda r: count_text(r.computed_per_s),
        3,
        lambda r: r.computed_per_s,
        lambda t: count_text(t.computed_per_s),
    ),
    Column("busy", lambda r: share_text(r.busy_share), 4, lambda r: r.busy_share),
    Column(
        "sent/s",
        lambda r: count_text(r.sent_per_s),
        7,
        lambda r: r.sent_per_s,
        lambda t: count_text(t.sent_per_s),
    ),
    Column(
        "recv/s",
        lambda r: count_text(r.received_per_s),
        9,
        None,
        lambda t: count_text(t.received_per_s),
    ),
    Column("degC", lambda r: _degrees_text(r.temperature_c), 7, lambda r: r.temperature_c),
    Column("watt", lambda r: _watt_text(r.power_w), 8, None, lambda t: _watt_text(t.power_w)),
    Column("open", lambda r: count_text(r.in_flight_count), 10),
    Column("cpu", lambda r: share_text(r.cpu_share), 11, lambda r: r.cpu_share),
    Column("mem", lambda r: count_text(r.resident_bytes), 12, lambda r: r.resident_bytes),
    Column("up for", lambda r: age_text(r.uptime_s), 13),
]

LINKS = [
    Column("from", lambda r: _name_text(r.source), 0, is_left=True),
    Column("to", lambda r: _name_text(r.target), 0, is_left=True),
    Column("state", lambda r: r.state, 1, is_left=True),
    Column(
        "tasks/s",
        lambda r: count_text(r.sent_per_s),
        2,
        lambda r: r.sent_per_s,
        lambda t: count_text(t.links_sent_per_s),
    ),
    Column(
        "bytes/s",
        lambda r: count_text(r.bytes_per_s),
        3,
        lambda r: r.bytes_per_s,
        lambda t: count_text(t.bytes_per_s),
    ),
    Column("delay there", lambda r: duration_text(r.delay_us), 4, lambda r: r.delay_us),
    Column("on the way", lambda r: duration_text(r.link_delay_us), 5, lambda r: r.link_delay_us),
    Column("unsettled", lambda r: count_text(r.unsettled_count), 6, lambda r: r.unsettled_count),
    Column("last lost", lambda r: r.reason or NOTHING, 7, is_left=True),
]


class _ExitRow(NamedTuple):
    name: str
    state: str
    span: str
    counts: Sequence[int]


def _exit_rows(picture: Picture) -> List[_ExitRow]:
    rows = []
    for row in picture.workers:
        if sum(row.all_exit_counts):
            rows.append(_ExitRow(row.name, row.state, "now", row.exit_counts))
            rows.append(_ExitRow("", row.state, "since start", row.all_exit_counts))
    return rows


def _exit_columns(picture: Picture) -> List[Column]:
    def share_at(index: int) -> Callable[[_ExitRow], str]:
        def text(row: _ExitRow) -> str:
            total = sum(row.counts)
            count = row.counts[index] if index < len(row.counts) else 0
            return share_text(count / total) if total else NOTHING

        return text

    columns = [
        Column("worker", lambda r: _name_text(r.name), 0, is_left=True),
        Column("answers", lambda r: r.span, 1, is_left=True),
        Column("count", lambda r: str(sum(r.counts)), 2),
    ]
    exit_count = max((len(row.all_exit_counts) for row in picture.workers), default=0)
    columns += [Column("exit " + str(i), share_at(i), 3 + i) for i in range(exit_count)]
    return columns


def workers_grid(picture: Picture, width: int, sort: int = 0) -> Grid:
    """The workers, within `width` characters; `sort`: how often the person asked for another
    order, of which the first is that of the cluster file."""
    return _grid(WORKERS, picture.workers, width, sort, picture.totals)


def links_grid(picture: Picture, width: int, sort: int = 0) -> Grid:
    """The links."""
    return _grid(LINKS, picture.links, width, sort, picture.totals)


def exits_grid(picture: Picture, width: int, sort: int = 0) -> Grid:
    """Where answers left, of each worker that images come from; its order is that of the file."""
    return _grid(_exit_columns(picture), _exit_rows(picture), width, 0, None)


def _grid(
    columns: Sequence[Column], rows: Sequence[Any], width: int, sort: int, totals: Optional[Totals]
) -> Grid:
    shown = _fitting(columns, rows, width, totals)
    orders = [0] + [index for index, column in enumerate(shown) if column.number is not None]
    sorted_by = orders[sort % len(orders)]
    rows = _sorted(rows, shown[sorted_by].number)
    return Grid(
        [column.heading for column in shown],
        [column.is_left for column in shown],
        [[column.text(row) for column in shown] for row in rows],
        [row.state for row in rows],
        None if totals is None else [_total(column, totals) for column in shown],
        sorted_by,
        [column.heading for column in columns if column not in shown],
    )


def plain_lines(grid: Grid) -> List[str]:
    """The same without a screen."""
    lines = [grid.headings] + grid.rows + ([grid.totals] if grid.totals else [])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return [
        (" " * GAP)
        .join(
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(line, widths, grid.are_left)
        )
        .rstrip()
        for line in lines
    ]


def _sorted(
    rows: Sequence[Any], number: Optional[Callable[[Any], Optional[float]]]
) -> Sequence[Any]:
    """By `number`, greatest first, unknown last; what is equal stays in order."""
    if number is None:
        return rows

    def key(row: Any) -> float:
        value = number(row) if number is not None else None
        return float("inf") if value is None else -value

    return sorted(rows, key=key)


def _total(column: Column, totals: Totals) -> str:
    return "" if column.total is None else column.total(totals)


def _fitting(
    columns: Sequence[Column], rows: Sequence[Any], width: int, totals: Optional[Totals]
) -> List[Column]:
    """Without those for which there is no room: first what nobody fills, then by rank; the first
    always stays."""
    widths, is_empty = {}, {}
    for column in columns:
        cells = [column.text(row) for row in rows]
        is_empty[column.heading] = all(cell == NOTHING for cell in cells)
        cells += [column.heading] if totals is None else [column.heading, _total(column, totals)]
        widths[column.heading] = max(map(len, cells)) + GAP
    shown = list(columns)
    while len(shown) > 1 and sum(widths[column.heading] for column in shown) - GAP > width:
        shown.remove(max(shown, key=lambda column: (is_empty[column.heading], column.rank)))
    return shown
