"""How `simulate --replay` shows what came of a trace."""

from typing import Any, Dict, List

from . import cli
from .trace.file import Trace
from .trace.replay import Difference, Replayed


def lines(trace: Trace, replayed: Replayed) -> List[str]:
    """For a person: who recorded the trace, what happened, and whether it happens again."""
    identity = trace.spec.identity
    versions = "  ".join("{} {}".format(*each) for each in trace.versions.items())
    result = [
        "recorded by worker {}, epoch {}: {}".format(identity.worker, identity.epoch, versions)
    ]
    result += ["{}: {}".format(*each) for each in trace.note.items()]
    result.append("{} events in {:.3f} s".format(replayed.event_count, replayed.duration_us / 1e6))
    for header, counts in (("event", replayed.kinds), ("outcome", replayed.ended)):
        if counts:
            result += [""] + cli.table((header, "count"), sorted(counts.items()))
    result.append("")
    if replayed.difference is not None:
        return result + _difference_lines(replayed.difference)
    if not replayed.is_complete:
        result.append("the file ends before its writer closed it: what came last is missing")
    if replayed.raised:
        result += ["the core raises again:"] + replayed.raised.splitlines()
    return result + ["the same actions"]


def _difference_lines(difference: Difference) -> List[str]:
    record = difference.record
    result = [
        "NOT the same actions, first at line {}, {} us:".format(record.line, record.now_us),
        "  {}".format(record.event),
    ]
    if record.error:
        result.append("then the core raised {}".format(record.error))
    now = [str(action) for action in difference.actions] or ["nothing"]
    if difference.error:
        now = ["raises " + difference.error]
    return result + ["now the core does"] + ["  " + line for line in now]


def document(trace: Trace, replayed: Replayed) -> Dict[str, Any]:
    """The same for programs: plain values."""
    found = replayed.difference
    return {
        "versions": cli.versions(),
        "recorded": trace.versions,
        "note": trace.note,
        "worker": trace.spec.identity.worker,
        "events": replayed.event_count,
        "duration_s": replayed.duration_us / 1e6,
        "kinds": replayed.kinds,
        "ended": replayed.ended,
        "complete": replayed.is_complete,
        "raised": replayed.raised,
        "same": found is None,
        "difference": None
        if found is None
        else {
            "line": found.record.line,
            "now_us": found.record.now_us,
            "event": str(found.record.event),
            "actions": [str(action) for action in found.actions],
            "error": found.error,
        },
    }
