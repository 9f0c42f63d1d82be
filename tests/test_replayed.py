"""How a replay is shown."""

from traces import write_trace

from edgesdk import replayed
from edgesdk.core.events import Timer
from edgesdk.trace.file import read_trace
from edgesdk.trace.replay import Difference, replay


def shown(path, **changes):
    trace = read_trace(path)
    found = replay(trace)._replace(**changes)
    return replayed.lines(trace, found), replayed.document(trace, found)


def difference(path, actions=(), error="", recorded=""):
    record = next(read_trace(path).records())._replace(event=Timer(7), error=recorded)
    return Difference(record, actions, error)


def test_a_failure_that_is_seen_again_has_its_traceback(tmp_path):
    path = write_trace(tmp_path / "a.trace").path
    lines, document = shown(path, raised="Traceback\n  File\nKeyError: 5\n")
    assert lines[-5:] == [
        "the core raises again:",
        "Traceback",
        "  File",
        "KeyError: 5",
        "the same actions",
    ]
    assert document["raised"].endswith("KeyError: 5\n") and document["same"]


def test_a_core_that_does_nothing_now_or_raises(tmp_path):
    path = write_trace(tmp_path / "a.trace").path
    lines, _ = shown(path, difference=difference(path))
    assert lines[-3:] == ["  Timer(item=7)", "now the core does", "  nothing"]
    lines, document = shown(path, difference=difference(path, error="KeyError: 5"))
    assert lines[-1] == "  raises KeyError: 5"
    assert document["difference"]["error"] == "KeyError: 5" and not document["same"]


def test_a_core_that_raised_then(tmp_path):
    path = write_trace(tmp_path / "a.trace").path
    lines, _ = shown(path, difference=difference(path, (Timer(1),), recorded="KeyError"))
    assert lines[-3:] == ["then the core raised KeyError", "now the core does", "  Timer(item=1)"]


def test_a_trace_without_a_note_and_without_events(tmp_path):
    path = write_trace(tmp_path / "a.trace", item_count=0).path
    lines, _ = shown(path, ended={}, kinds={})
    assert "count" not in "".join(lines)
