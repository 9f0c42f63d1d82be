"""What a viewer asks of a file in Chrome's trace event format, and reading one as viewers do."""

import json
from bisect import bisect_right

PHASES = {"M", "X", "i", "s", "t", "f"}
NAMES = {"process_name", "process_labels", "thread_name"}
NUMBERS = {"process_sort_index", "thread_sort_index"}


def read(path):
    """The events of a file; as viewers do, without its end if the process was killed."""
    with open(str(path), encoding="ascii") as file:
        text = file.read()
    if not text.endswith("]\n"):
        text = text.rstrip().rstrip(",") + "]"
    return json.loads(text, parse_constant=lambda name: 1 / 0)  # NaN is no JSON


def slices(events, name=None):
    """The slices, of the row `name` of any process if it is given."""
    rows = threads(events)
    return [e for e in events if e["ph"] == "X" and name in (None, rows[e["pid"], e["tid"]])]


def threads(events):
    """(process, thread) -> the name of its row."""
    return {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}


def processes(events):
    """number -> name"""
    return {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}


def problems(events):
    """What is wrong; every rule of docs that a viewer relies on."""
    found = []
    rows, names = threads(events), processes(events)
    by_row = {}
    if len(rows) != sum(event["name"] == "thread_name" for event in events):
        found.append("two rows of a process have one number")
    if len(set(names.values())) != len(names):
        found.append("two processes have one name")
    for event in events:
        found += [(what, event) for what in _of_one(event, rows, names)]
        if event["ph"] == "X":
            by_row.setdefault((event["pid"], event["tid"]), []).append(event)
    for in_row in by_row.values():
        in_row.sort(key=lambda e: (e["ts"], e["dur"]))
        for before, after in zip(in_row, in_row[1:]):
            if before["ts"] + before["dur"] > after["ts"]:
                found.append(("overlaps", before, after))
    return found + list(_of_flows(events, by_row))


def _of_one(event, rows, names):
    phase = event["ph"]
    if phase not in PHASES:
        yield "unknown phase"
    elif phase == "M":
        if event["name"] in NAMES and not all(isinstance(v, str) for v in event["args"].values()):
            yield "a name is text"
        if event["name"] in NUMBERS and not isinstance(event["args"]["sort_index"], int):
            yield "an index is a number"
    else:
        if (event["pid"], event["tid"]) not in rows or event["pid"] not in names:
            yield "its row or process has no name"
        if not isinstance(event["ts"], (int, float)) or not event["name"]:
            yield "no time, or no name"
        if phase == "X" and not (isinstance(event["dur"], int) and event["dur"] >= 0):
            yield "no duration"
        if phase == "i" and event["s"] != "t":
            yield "no scope"
        if phase in "stf" and not 0 <= event["id"] < 2**53:
            yield "a number that JSON does not hold"


def _of_flows(events, by_row):
    """Every end of an arrow lies in a slice; those of a row are sorted, and do not overlap."""
    begins = {row: [e["ts"] for e in in_row] for row, in_row in by_row.items()}
    for event in events:
        if event["ph"] in ("s", "t", "f"):
            row, at = (event["pid"], event["tid"]), event["ts"]
            index = bisect_right(begins.get(row, ()), at) - 1
            around = by_row[row][index] if index >= 0 else {"ts": 0, "dur": 0}
            if not around["ts"] <= at < around["ts"] + around["dur"]:
                yield ("bound to no slice", event)
            if event["ph"] == "f" and event.get("bp") != "e":
                yield ("bound to the next slice", event)


def unordered_flows(events):
    """Arrows that lead back in time, or do not begin."""
    flows = {}
    for event in events:
        if event["ph"] in ("s", "t", "f"):
            flows.setdefault(event["id"], []).append(event)
    for number, ends in flows.items():
        begin = min(ends, key=lambda e: e["ts"])
        if begin["ph"] != "s" and not any(e["ph"] == "s" and e["ts"] == begin["ts"] for e in ends):
            yield number
