"""What the workers of a cluster have answered so far, and the picture that this makes. Pure."""

import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .rows import (
    LEAVING,
    RESTARTED,
    SILENT,
    UP,
    Change,
    Document,
    LinkRow,
    Totals,
    WorkerRow,
    link_rows,
    totals,
    worker_row,
)

RESTARTED_S = 10.0  # for so long it is said of a worker
SAME_EVERYWHERE = ("model_id", "plan", "policy")
ID_LENGTH = 8  # the first digits tell models apart


class Picture(NamedTuple):
    """All that can be shown at one time. `notes`: sentences about what is not as it should be."""

    workers: List[WorkerRow]
    links: List[LinkRow]
    totals: Totals
    notes: List[str]
    runs: Dict[str, str]


class _Known:
    """What is known of one worker. Times are seconds of the clock that `History.add` is given."""

    def __init__(self) -> None:
        self.change: Optional[Change] = None  # None while it is silent
        self.is_unreadable = False
        self.last: Optional[Document] = None
        self.heard_s: Optional[float] = None
        self.restarted_s: Optional[float] = None

    def add(self, document: Optional[Document], now_s: float) -> None:
        self.change, self.is_unreadable = None, False
        if document is None:
            return
        seconds = 0.0 if self.heard_s is None else now_s - self.heard_s
        try:
            document = _printable(document)
            change = Change(self.last, document, seconds)
            worker_row("", change)
            link_rows("", change)
        except (AttributeError, LookupError, TypeError, ValueError):  # of another version
            self.is_unreadable = True
            return
        self.change, self.last, self.heard_s = change, document, now_s
        if change.has_restarted:
            self.restarted_s = now_s


class History:
    """The last two answers of each of the workers `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._known = {name: _Known() for name in names}
        self._begin_s: Optional[float] = None
        self._now_s = self._wall_s = 0.0

    def add(self, answers: Mapping[str, Optional[Document]], now_s: float, wall_s: float) -> None:
        """Take one answer, or None, of each worker. `now_s`: a clock that only goes forward;
        `wall_s`: what people call the same moment, seconds since 1970."""
        if self._begin_s is None:
            self._begin_s = now_s
        self._now_s, self._wall_s = now_s, wall_s
        for name, known in self._known.items():
            known.add(answers.get(name), now_s)

    def picture(self) -> Picture:
        """As of the last answers."""
        changes = {n: k.change for n, k in self._known.items() if k.change is not None}
        leaving = {
            target
            for change in changes.values()
            for target, link in change.after.get("neighbours", {}).items()
            if link.get("state") == LEAVING
        }
        workers = [self._row(name, known, name in leaving) for name, known in self._known.items()]
        links = [row for name, change in changes.items() for row in link_rows(name, change)]
        return Picture(
            workers,
            links,
            totals(workers, links, list(changes.values())),
            self._notes() + _differences(changes),
            _runs(changes),
        )

    def _row(self, name: str, known: _Known, is_leaving: bool) -> WorkerRow:
        if known.change is None:
            ago_s = None if known.heard_s is None else self._now_s - known.heard_s
            return WorkerRow(name, SILENT, ago_s)
        row, restarted_s = worker_row(name, known.change), known.restarted_s
        if is_leaving:
            return row._replace(state=LEAVING)
        is_new = restarted_s is not None and self._now_s - restarted_s < RESTARTED_S
        return row._replace(state=RESTARTED if is_new else UP)

    def _notes(self) -> List[str]:
        notes = []
        for name, known in self._known.items():
            if known.change is not None:
                continue
            if known.is_unreadable:
                since = "answers what cannot be read here; does it run another version of edgesdk?"
            elif known.heard_s is None:
                since = "has not answered yet; asked since " + self._at(self._begin_s)
            else:
                since = "has not answered since " + self._at(known.heard_s)
            said = self._said_of(name)
            notes.append("{} {}{}".format(name, since, "; " + said if said else ""))
        return notes

    def _said_of(self, name: str) -> str:
        """What those who answer say of one who does not."""
        said: Dict[str, List[str]] = {}
        for other, known in self._known.items():
            link = known.change and known.change.after.get("neighbours", {}).get(name)
            if link:
                words = link.get("state", "?")
                if link.get("lost_because"):
                    words += " (lost: {})".format(link["lost_because"])
                said.setdefault(words, []).append(other)
        if len(said) == 1:
            return "its neighbours say: " + "".join(said)
        return ", ".join("{}: {}".format(" and ".join(who), words) for words, who in said.items())

    def _at(self, then_s: Optional[float]) -> str:
        assert then_s is not None
        return time.strftime("%H:%M:%S", time.localtime(self._wall_s - (self._now_s - then_s)))


def _printable(value: Any) -> Any:
    """`value` without what a terminal would obey: no worker commands the screens of people."""
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else "?" for letter in value)
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list) else value


def _values(changes: Mapping[str, Change], key: str) -> Dict[str, List[str]]:
    """Who says what at `key`."""
    values: Dict[str, List[str]] = {}
    for name, change in changes.items():
        value = _text(change.after.get(key))
        values.setdefault(value[:ID_LENGTH] if key.endswith("_id") else value, []).append(name)
    return values


def _text(value: object) -> str:
    """{"kind": "margin", "thresholds": [0.7, 0]} -> "margin, thresholds 0.7 0"."""
    if isinstance(value, dict):
        words = [_text(value["kind"])] if "kind" in value else []
        words += ["{} {}".format(key, _text(value[key])) for key in value if key != "kind"]
        return ", ".join(words)
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return "{:.4g}".format(value) if isinstance(value, float) else str(value)


def _differences(changes: Mapping[str, Change]) -> List[str]:
    """What workers that do not run the same disagree about; they reject each other."""
    notes = []
    for key in SAME_EVERYWHERE:
        values = _values(changes, key)
        if len(values) > 1:
            each = ["{} has {}".format(", ".join(who), value) for value, who in values.items()]
            notes.append("not the same {} everywhere: {}".format(key, "; ".join(each)))
    return notes


def _runs(changes: Mapping[str, Change]) -> Dict[str, str]:
    """What runs, as the most say."""
    runs: Dict[str, str] = {}
    for key in SAME_EVERYWHERE + ("backend", "kernels"):
        values = sorted(_values(changes, key).items(), key=lambda item: -len(item[1]))
        if values:
            runs[key] = values[0][0]
    return runs
