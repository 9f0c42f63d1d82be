"""`python -m edgesdk.simulate SCENARIO.toml`: a fleet that is described, not there, does its work.

The decisions are those of the real workers; times come from profiles or the scenario, chance from
the seed. The same file, changes and seed give the same run. docs/simulation.md describes scenario
files and how to read what is printed.

With --replay FILE instead, a core is told what a trace from the field tells.
"""

import argparse
import shlex
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from . import cli, replayed
from .document import read_document
from .files import write_atomically
from .progress import READ, Progress
from .sim import pictures, report
from .sim.changes import parse_change, parse_value, parse_values
from .sim.drawn import Drawn
from .sim.recorder import Recorder
from .sim.report import Report, Run
from .sim.scenario import EXPECTED, read_scenario
from .sim.simulator import Simulator
from .sim.spec import Scenario
from .sim.totals import Totals
from .telemetry.timeline import whole_sheet
from .trace.file import read_trace
from .trace.replay import replay

EXAMPLE = """python -m edgesdk.simulate examples/scenarios/3-node-mesh.toml --seed 1 --plot run.png
  python -m edgesdk.simulate examples/scenarios/3-node-mesh.toml --set 'model.policy={kind="final"}'
  python -m edgesdk.simulate examples/scenarios/5-node-mesh.toml --sweep 'node[1].count=0,1,2,4'
  python -m edgesdk.simulate --replay robot.trace"""
SAMPLES = 500  # of the queues, and moves of the progress bar, in one run
ROWS_MAX = 40  # of a table
Changes = List[Tuple[str, Any]]


class Done(NamedTuple):
    """One simulation that was run: `value` of the key that is swept, the report, the trace hash."""

    value: Any
    report: Report
    trace_hash: str


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, run the scenario or a sweep over it, return the exit status."""
    arguments = _arguments(argv)
    return cli.run(_run if arguments.replay is None else _run_trace, arguments)


def _run(arguments: argparse.Namespace) -> int:
    """Run; print tables, or one JSON object."""
    changes = _changes(arguments)
    key, values = _sweep(arguments.sweep)
    cli.banner(seed=arguments.seed, as_json=arguments.json)
    scenarios = [
        read_scenario(arguments.scenario, changes + ([(key, value)] if key else []))
        for value in values
    ]
    done = [
        Done(value, *_simulate(arguments, scenario, key, value))
        for value, scenario in zip(values, scenarios)
    ]
    lines = _sweep_lines(key, done) if key else _run_lines(done[0], arguments.trace_hash)
    for line in lines:
        cli.say(line, arguments.json)
    if arguments.plot:
        reports = [each.report for each in done]
        content = (
            pictures.sweep_picture(key, values, reports) if key else pictures.run_picture(*reports)
        )
        write_atomically(arguments.plot, content)
        cli.say("\npicture: " + arguments.plot, arguments.json)
    if arguments.timeline:
        cli.say("\ntimeline: " + arguments.timeline, arguments.json)
    if arguments.json:
        cli.print_json(_json(arguments, key, done))
    return _verdict(arguments, done)


# --- what is asked for ----------------------------------------------------------------------------


def _changes(arguments: argparse.Namespace) -> Changes:
    """--duration-s and --rate-hz, then --set in its order."""
    changes: Changes = []
    if arguments.duration_s is not None:
        changes.append(("duration_s", arguments.duration_s))
    if arguments.rate_hz is not None:
        changes += _rate_changes(arguments.scenario, arguments.rate_hz)
    for text in arguments.set:
        key, value = parse_change(text)
        changes.append((key, parse_value(value)))
    return changes


def _rate_changes(path: str, rate_hz: float) -> Changes:
    """Every workload at this rate; those that Algorithm 3 would pace become Poisson."""
    document = read_document(path, EXPECTED)
    changes: Changes = []
    workloads = document.get("workload")
    for index, workload in enumerate(workloads if isinstance(workloads, list) else []):
        if isinstance(workload, dict) and workload.get("kind") == "admission":
            changes += [
                ("workload[{}].kind".format(index), "poisson"),
                ("admission.kind", "none"),
            ]
        changes.append(("workload[{}].rate_hz".format(index), rate_hz))
    return changes


def _sweep(text: Optional[str]) -> Tuple[str, List[Any]]:
    """The key and its values; without a sweep no key, and one run."""
    if text is None:
        return "", [None]
    key, values = parse_change(text)
    return key, parse_values(values)


# --- one run --------------------------------------------------------------------------------------


def _simulate(
    arguments: argparse.Namespace, scenario: Scenario, key: str, value: Any
) -> Tuple[Report, str]:
    """Run `scenario`. An error that is not the user's is preceded by how to see it again."""
    progress = Progress(scenario.duration_us, "{}={}".format(key, value) if key else scenario.name)
    sample_us = max(1, scenario.duration_us // SAMPLES)
    recorder = Recorder(sample_us, progress.move)
    try:
        totals = _observed(arguments, scenario, recorder)
    except Exception:
        print("to see this again: " + _command(arguments), file=sys.stderr)
        raise
    finally:
        progress.close()
    run = Run(scenario, totals, recorder.ended, recorder.queue_samples)
    warmup_s = arguments.warmup_s
    warmup_us = None if warmup_s is None else int(warmup_s * 1e6)
    return report.summarise(run, warmup_us), totals.trace_hash


def _observed(arguments: argparse.Namespace, scenario: Scenario, recorder: Recorder) -> Totals:
    """Run `scenario` under the eyes of `recorder`; with --timeline, draw it."""
    if arguments.timeline is None:
        return _run_watched(arguments, scenario, recorder, recorder)
    with whole_sheet(arguments.timeline, scenario=scenario.name, seed=arguments.seed) as sheet:
        drawn = Drawn(sheet, recorder)
        totals = _run_watched(arguments, scenario, recorder, drawn)
        drawn.finish()
    return totals


def _run_watched(
    arguments: argparse.Namespace,
    scenario: Scenario,
    recorder: Recorder,
    observer: Union[Recorder, Drawn],
) -> Totals:
    simulator = Simulator(scenario, arguments.seed, observer=observer, trace=arguments.trace_hash)
    recorder.watch(simulator)
    if observer is not recorder:
        observer.watch(simulator)
    return simulator.run()


# --- a trace --------------------------------------------------------------------------------------


def _run_trace(arguments: argparse.Namespace) -> int:
    """Replay; say whether the core does the same."""
    cli.banner(as_json=arguments.json)
    trace = read_trace(arguments.replay)
    progress = Progress(trace.size_bytes, "replay", 1.0, READ)
    try:
        found = replay(trace, on_record=lambda record: progress.move(record.end_bytes))
    finally:
        progress.close()
    for line in replayed.lines(trace, found):
        cli.say(line, arguments.json)
    if arguments.json:
        cli.print_json(replayed.document(trace, found))
    return 0 if found.difference is None else cli.EXIT_FAILED


# --- what is printed ------------------------------------------------------------------------------


def _run_lines(done: Done, with_hash: bool) -> List[str]:
    found = done.report
    run = found.run
    lines = [
        "scenario {}: {:g} s, and until the last item ended at {:.1f} s; {} events".format(
            run.scenario.name,
            run.scenario.duration_us / 1e6,
            run.totals.end_us / 1e6,
            run.totals.event_count,
        ),
        "rates, accuracy, latencies and exits: from {:g} s on".format(found.warmup_us / 1e6),
        "bound: of items/s, whatever way the work is shared (docs/simulation.md)",
    ]
    for header, rows in (
        (report.source_header(found), report.source_rows(found)),
        (report.exit_header(found), report.exit_rows(found)),
        (report.WORKER_HEADER, report.worker_rows(found)),
        (report.LINK_HEADER, report.link_rows(found)),
    ):
        if rows:
            lines += [""] + cli.table(header, _folded(rows))
    return lines + (["", "trace " + done.trace_hash] if with_hash else [])


def _folded(rows: Sequence[Tuple[str, ...]]) -> List[Tuple[str, ...]]:
    """The first rows of a long table, and its last, which may be that of all."""
    if len(rows) <= ROWS_MAX:
        return list(rows)
    left_out = len(rows) - ROWS_MAX
    more = ("... {} more, see --json".format(left_out),) + ("",) * (len(rows[0]) - 1)
    return [*rows[: ROWS_MAX - 1], more, rows[-1]]


def _sweep_lines(key: str, done: Sequence[Done]) -> List[str]:
    rows = []
    for each in done:
        row = report.source_rows(each.report)[-1]
        rows.append((report.value_text(each.value),) + tuple(row[1:]))
    header = (key,) + report.source_header(done[0].report)[1:]
    return ["all sources together", ""] + cli.table(header, rows)


def _json(arguments: argparse.Namespace, key: str, done: Sequence[Done]) -> Dict[str, Any]:
    found: Dict[str, Any] = {
        "versions": cli.versions(),
        "scenario": done[0].report.run.scenario.name,
        "seed": arguments.seed,
        "replay": _command(arguments),
    }
    if not key:
        return dict(found, **_figures(done[0], arguments.trace_hash))
    runs = [dict(_figures(each, arguments.trace_hash), value=each.value) for each in done]
    return dict(found, sweep=key, runs=runs)


def _figures(done: Done, with_hash: bool) -> Dict[str, Any]:
    figures = [cli.figure(*each) for each in report.figures(done.report)]
    return dict({"trace_hash": done.trace_hash} if with_hash else {}, figures=figures)


def _verdict(arguments: argparse.Namespace, done: Sequence[Done]) -> int:
    """Where a scenario heals, every item must have come to its end."""
    open_count = sum(
        each.report.total.open_count
        for each in done
        if each.report.run.scenario.heal_us is not None
    )
    if not open_count:
        return 0
    print(
        "FAILED: {} items have no end, though all has healed\nto see this again: {}".format(
            open_count, _command(arguments)
        ),
        file=sys.stderr,
    )
    return cli.EXIT_FAILED


def _command(arguments: argparse.Namespace) -> str:
    """The command that does the same again."""
    words = ["python", "-m", "edgesdk.simulate", arguments.scenario]
    words += ["--seed", str(arguments.seed)]
    for name in ("duration_s", "rate_hz", "warmup_s", "sweep"):
        value = getattr(arguments, name)
        if value is not None:
            text = "{:g}".format(value) if isinstance(value, float) else value
            words += ["--" + name.replace("_", "-"), text]
    for text in arguments.set:
        words += ["--set", text]
    return " ".join(shlex.quote(word) for word in words)


# --- the command line -----------------------------------------------------------------------------


def _from_0(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("found {}, expected a number from 0".format(text))
    return value


def _arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = cli.parser("simulate", (__doc__ or "").strip(), EXAMPLE)
    parser.add_argument(
        "scenario", metavar="SCENARIO.toml", nargs="?", help="such as those in examples/"
    )
    parser.add_argument(
        "--replay", metavar="FILE", help="a trace instead: does a core still do the same?"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all chance; default: %(default)s")
    parser.add_argument(
        "--duration-s", type=cli.above_0, metavar="S", help="instead of the scenario's duration"
    )
    parser.add_argument(
        "--rate-hz",
        type=cli.above_0,
        metavar="R",
        help="instead of the rate of every workload; those that adapt their rate become Poisson",
    )
    parser.add_argument(
        "--warmup-s",
        type=_from_0,
        metavar="S",
        help="left out of rates and latencies; default: a fifth of the duration",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the scenario: model.batch_share=0.5, 'node[1].speed=2', "
        "link.loss=0.1 (every link); may be repeated",
    )
    parser.add_argument(
        "--sweep", metavar="KEY=A,B,C", help="one simulation for each value of a key, in one table"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="draw the run, or the sweep")
    parser.add_argument(
        "--timeline", metavar="FILE.json", help="draw what each worker does when, for Perfetto"
    )
    parser.add_argument(
        "--trace-hash", action="store_true", help="print a hash of every event: equal runs, equal"
    )
    arguments = parser.parse_args(argv)
    given = [name for name, value in vars(arguments).items() if value != parser.get_default(name)]
    others = sorted(set(given) - {"replay", "json", "debug"})
    if arguments.replay is not None and others:
        parser.error("--replay takes no scenario and none of its options: " + ", ".join(others))
    if arguments.timeline is not None and arguments.sweep is not None:
        parser.error("--timeline draws one run, found --sweep beside it")
    if arguments.replay is None and arguments.scenario is None:
        parser.error("name a scenario, or a trace with --replay")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
