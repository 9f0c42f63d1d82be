"""`python -m edgesdk.report RUN`: traces of a run as one page to read and to send to a colleague.

RUN is a trace, several, or a folder of them, as `edgesdk.worker --trace FILE` and
`Pipeline.open(cluster=..., trace=FILE)` write them: one for each worker. The page is one file that
needs nothing else. docs/report.md says how to read it.
"""

import argparse
import shlex
import sys
from typing import List, Optional, Sequence, Tuple

from .. import cli
from ..bundle import Bundle, read_plain_bundle
from ..errors import ConfigError
from ..files import write_atomically
from ..progress import READ, Progress
from ..trace.file import Trace
from ..trace.run import find_traces
from . import pictures
from .facts import Facts, document, facts_of
from .labels import Labels, read_labels
from .page import VERDICTS, page
from .reading import open_traces, record
from .recording import Keys, Recording
from .run import Run, clocks_of, made_of, names_of
from .words import number, percent, plural

EXAMPLE = """python -m edgesdk.report traces/ --labels labels.csv --bundle engines/mine/1
  python -m edgesdk.report robot.trace helper.trace --out monday.html"""
DEFAULT_OUT = "report.html"
FLOAT_BYTES = 4


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, read the traces, write the page, return the exit status."""
    return cli.run(_run, _arguments(argv))


def _run(arguments: argparse.Namespace) -> int:
    cli.banner(as_json=arguments.json)
    out = arguments.out or (None if arguments.json else DEFAULT_OUT)
    if out is not None:
        pictures.matplotlib()  # what is missing is said before the work, not after
    traces = open_traces(find_traces(arguments.run))
    bundle = None if arguments.bundle is None else _bundle(arguments.bundle, traces[0])
    names = () if bundle is None else bundle.manifest.labels
    labels = None if arguments.labels is None else read_labels(arguments.labels, names)
    facts = facts_of(_combine(_record_all(traces), bundle, labels))
    if out is not None:
        text = page(facts, pictures.pictures_of(facts), _command(arguments))
        write_atomically(out, text.encode("utf-8"))
    for line in _lines(facts, out):
        cli.say(_printable(line), arguments.json)
    if arguments.json:
        cli.print_json(dict(document(facts), versions=cli.versions()))
    return 0 if all(origin.is_same for origin in facts.origins) else cli.EXIT_FAILED


def _bundle(path: str, trace: Trace) -> Bundle:
    """The bundle of the network that was traced."""
    bundle = read_plain_bundle(path)
    found = trace.spec.identity.model_id.hex()
    if bundle.manifest.model_id != found:
        raise ConfigError(
            "{}: found the network {}, expected {} as in {}; name the bundle that ran".format(
                path, bundle.manifest.model_id, found, trace.path
            )
        )
    return bundle


def _record_all(traces: Sequence[Trace]) -> List[Recording]:
    """Every trace is told to a core again; the slow part."""
    total_bytes = sum(trace.size_bytes for trace in traces)
    progress = Progress(total_bytes, "report", 1.0, READ)
    keys = Keys()
    recordings: List[Recording] = []
    before_bytes = 0

    def move(end_bytes: int) -> None:
        progress.move(before_bytes + end_bytes)

    try:
        for trace in traces:
            recordings.append(record(trace, keys, move))
            before_bytes += trace.size_bytes
    finally:
        progress.close()
    return recordings


def _combine(
    recordings: Sequence[Recording], bundle: Optional[Bundle], labels: Optional[Labels]
) -> Run:
    # Where the images come from is what readers look for, and whose clock they think in.
    recordings = sorted(recordings, key=lambda recording: -recording.admitted_count)
    clocks = clocks_of(recordings)
    return Run(
        recordings=recordings,
        names=names_of([made_of(recording) for recording in recordings], clocks),
        clocks=clocks,
        labels=labels,
        class_names=() if bundle is None else bundle.manifest.labels,
        feature_bytes=() if bundle is None else _feature_bytes(bundle, recordings),
    )


def _feature_bytes(bundle: Bundle, recordings: Sequence[Recording]) -> Tuple[int, ...]:
    """Of the input of each stage as float32; of ensembles nothing is said."""
    plans = made_of(recordings[0]).spec.plans
    if len(plans) != 1 or len(bundle.manifest.parts) != 1:
        return ()
    segments = bundle.manifest.parts[0].segments
    sizes = []
    for stage in plans[0].stages:
        size = FLOAT_BYTES
        for length in segments[stage.first_segment].input_shape:
            size *= length
        sizes.append(size)
    return tuple(sizes)


def _lines(facts: Facts, out: Optional[str]) -> List[str]:
    """The answer in short, for those who do not open the page."""
    answered = percent(facts.result_count, facts.admitted_count)
    lines = ["{}, {} answered".format(plural(facts.admitted_count, "image"), answered)]
    if facts.latency is not None:
        times = ["{:.1f}".format(us / 1000) for us in facts.latency[3:6]]
        lines.append("latency p50 {}, p95 {}, p99 {} ms".format(*times))
        lines.append("{:.1f} answers per second".format(facts.per_s))
    if facts.has_labels:
        share = percent(facts.right_count, facts.labelled_count)
        lines.append("{} right, of {}".format(share, number(facts.labelled_count)))
    lines.append(VERDICTS[facts.verdict])
    for trouble in facts.troubles:
        lines.append("  {} x {}: {}".format(trouble.event_count, trouble.name, trouble.sentence))
    return lines + (["", "report: " + out] if out is not None else [])


def _printable(line: str) -> str:
    """For any terminal, also one that knows ASCII only: a page's spaces are plain ones."""
    spaced = line.replace("\u00a0", " ").replace("\u202f", " ")
    return spaced.encode("ascii", "backslashreplace").decode("ascii")


def _command(arguments: argparse.Namespace) -> str:
    """The command that makes the page again."""
    found = ["python", "-m", "edgesdk.report"] + arguments.run
    for name in ("out", "labels", "bundle"):
        value = getattr(arguments, name)
        found += [] if value is None else ["--" + name, value]
    return " ".join(shlex.quote(word) for word in found)


def _arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = cli.parser("report", (__doc__ or "").strip(), EXAMPLE)
    parser.add_argument("run", metavar="RUN", nargs="+", help="traces, or folders with *.trace")
    parser.add_argument(
        "--out",
        metavar="FILE.html",
        help="default: {}; with --json none".format(DEFAULT_OUT),
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="what images show, by tag: JSON, CSV (tag, label), or one label per line",
    )
    parser.add_argument("--bundle", metavar="DIR", help="of the network: names of its classes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
