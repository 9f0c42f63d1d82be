"""`python -m edgesdk.timeline TRACE ...`: what workers did, for Perfetto, from their traces.

Traces are those that `edgesdk.worker --trace` and `Pipeline.open(trace=...)` write. Each is told to
a core again, and what that does is drawn; the clocks of all are laid over each other.
docs/timeline.md says how to open and to read what comes out.
"""

import argparse
import os
import sys
from typing import Any, Dict, List, Sequence

from . import cli
from .progress import READ, Progress
from .telemetry.merge import Merged, merge
from .trace.run import find_traces

EXAMPLE = """python -m edgesdk.timeline nano-1.trace nano-2.trace --out timeline.json
  python -m edgesdk.timeline traces/"""
HEADER = ("worker", "events", "seconds", "images ended", "clock")
OPEN = "open it at https://ui.perfetto.dev or in chrome://tracing; docs/timeline.md"


def main(arguments: argparse.Namespace) -> int:
    """Merge the traces; say what was done. Status 1 if one could not be drawn to its end."""
    cli.banner(as_json=arguments.json)
    paths = find_traces(arguments.traces)
    merged = draw(paths, arguments.out)
    for line in lines(merged, len(paths), arguments.out):
        cli.say(line, arguments.json)
    if arguments.json:
        cli.print_json(_document(merged, arguments.out))
    return cli.EXIT_FAILED if any(each.replayed.difference for each in merged) else 0


def draw(paths: Sequence[str], out: str) -> List[Merged]:
    """`merge`, with a progress bar on a terminal."""
    progress = Progress(2 * sum(os.path.getsize(path) for path in paths), "timeline", 1.0, READ)
    done_bytes = 0

    def on_bytes(count: int) -> None:
        nonlocal done_bytes
        done_bytes += count
        progress.move(done_bytes)

    try:
        return merge(paths, out, on_bytes)
    finally:
        progress.close()


def lines(merged: Sequence[Merged], trace_count: int, out: str) -> List[str]:
    """What was done, for people."""
    rows = []
    for part, replayed in merged:
        ended_count = sum(replayed.ended.values())
        seconds = "{:.3f}".format(replayed.duration_us / 1e6)
        rows.append((part.name, replayed.event_count, seconds, ended_count, part.clock))
    result = cli.table(HEADER, rows) + [""]
    if len(merged) < trace_count:
        count = trace_count - len(merged)
        what = "trace" if count == 1 else "traces"
        result.append("left out: {} {} without events".format(count, what))
    for part, replayed in merged:
        difference = replayed.difference
        if difference is not None:
            result.append(
                "{}: NOT drawn from line {} on: this edgesdk decides otherwise there than the one "
                "that wrote it ({}); python -m edgesdk.simulate --replay {}".format(
                    part.name,
                    difference.record.line,
                    part.trace.versions.get("edgesdk", "unknown"),
                    part.trace.path,
                )
            )
        elif not replayed.is_complete:
            result.append(
                "{}: its trace was not closed, for it was killed or its disk full; what came last, "
                "up to about a second, is missing".format(part.name)
            )
    return result + ["timeline: " + out, OPEN]


def _document(merged: Sequence[Merged], out: str) -> Dict[str, Any]:
    return {
        "versions": cli.versions(),
        "timeline": out,
        "workers": [
            {
                "name": part.name,
                "trace": part.trace.path,
                "events": replayed.event_count,
                "duration_s": replayed.duration_us / 1e6,
                "ended": replayed.ended,
                "complete": replayed.is_complete,
                "aligned": part.shift_us is None,
                "reference": part.reference,
                "uncertainty_us": part.alignment.uncertainty_us,
                "same": replayed.difference is None,
                "not_drawn_from_line": replayed.difference and replayed.difference.record.line,
            }
            for part, replayed in merged
        ],
    }


def _arguments() -> argparse.Namespace:
    parser = cli.parser("timeline", (__doc__ or "").strip(), EXAMPLE)
    parser.add_argument(
        "traces", nargs="+", metavar="TRACE", help="traces, or folders with *.trace in them"
    )
    parser.add_argument(
        "--out", default="timeline.json", metavar="FILE", help="default: %(default)s"
    )
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(cli.run(main, arguments))
