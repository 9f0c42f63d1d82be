"""A fleet on one machine loses a worker, and no image: `python -m edgesdk.demo --workers 3`.

This process is the source and computes too; the workers are processes of their own, connected over
loopback with keys. Stages are paced: they take as long as on a device that is so much slower than
this machine that its cores do for all of them.
"""

import argparse
import contextlib
import os
import tempfile
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from .. import cli, digits, timeline
from ..backends import Backend
from ..bench import engine
from ..bench.timing import conditions, device_name
from ..bundle import Bundle
from ..pipeline import Pipeline
from ..profiles import Profile, write_profile
from ..results import AnyOutcome, Result
from ..runtime.pace import Pace
from ..trace.run import find_traces
from . import pictures
from .processes import Processes, trace_path, write_cluster
from .story import ALONE, BACK, END, FULL, GONE, JOIN, KILLED, LEAVE, MISSED, SEEN_S_MAX, UP, Story
from .stream import Stream

SOURCE = "source"
WORKERS_MAX = 8
MAX_BATCH = 1  # as boards that answer each image at once; and the picture is smoother
SLOWER_PER_CORE = 25.0  # times as slow as this machine, for each paced process on one core
PROFILE_S = 0.5
DRAIN_S = 30.0  # for the last images
PAUSE_S_MAX = 5.0  # without any answer, when a worker has died: while others live, far less


class Told(NamedTuple):
    """What was found: the stream; how long one board computes an image on average; of how many
    images the answer was missing or not the only one, or another than that of one process; the
    counts of the source, and those that workers reported."""

    stream: Stream
    board_us: float
    unanswered_count: int
    wrong_count: int
    source: Dict[str, Any]
    reports: Dict[str, Dict[str, Any]]


def main(arguments: argparse.Namespace, bundle: str) -> int:
    """Run the fleet, print what it did, draw the picture, check that nothing was lost."""
    images = digits.load_digits_split("test").images
    pictures.pyplot()  # what is missing is said before the work, not after
    names = ["board-{}".format(number + 1) for number in range(arguments.workers)]
    with tempfile.TemporaryDirectory(prefix="edgesdk-demo-") as folder:
        profile = os.path.join(folder, "profile.json")
        slower = _slower(len(names) + 1)
        with Pipeline.open(bundle, backend=arguments.backend) as alone:
            cluster = write_cluster(folder, bundle, [SOURCE] + names, MAX_BATCH)
            cli.banner(("onnxruntime", "sklearn", "zmq"), as_json=arguments.json)
            cli.say(_first_lines(alone, names, slower), arguments.json)
            expected = list(alone.map(images))
            times = _profile(alone.bundle, alone.plan.name, alone.backend, slower)
            write_profile(profile, times)
            board_us = _mean_us(alone, Pace(times, alone.plan.name), expected)
        traces = arguments.timeline is not None
        with Processes(cluster, profile, arguments.backend, traces) as processes, Pipeline.open(
            cluster=cluster,
            name=SOURCE,
            pace=profile,
            backend=arguments.backend,
            trace=trace_path(folder, SOURCE) if traces else None,
        ) as pipe:
            stream = Stream(pipe, images)
            story = Story(stream, processes, names, arguments.phase_s, arguments.json)
            stream.run(story.tell(), DRAIN_S, story.look)
            for name in names[:-1]:
                processes.tell_to_leave(name)
            reports = {name: processes.report(name) for name in names}
            told = Told(stream, board_us, *_judge(stream, expected) + (pipe.stats(), reports))
        if traces:
            _draw(folder, arguments)
    return _say(arguments, names, told)


def _draw(folder: str, arguments: argparse.Namespace) -> None:
    """The traces of all processes become a timeline; say how."""
    paths = find_traces([folder])
    paths.sort(key=lambda path: path != trace_path(folder, SOURCE))  # its clock, and on top
    merged = timeline.draw(paths, arguments.timeline)
    for line in timeline.lines(merged, len(paths), arguments.timeline):
        cli.say(line, arguments.json)
    cli.say("", arguments.json)


def _slower(process_count: int) -> float:
    """How many times slower than this machine each of so many paced processes is to be."""
    core_count = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):  # not on every system
        core_count = len(os.sched_getaffinity(0))
    return round(SLOWER_PER_CORE * max(1.0, process_count / core_count))


def _profile(bundle: Bundle, plan: str, backend: Backend, slower: float) -> Profile:
    """Of a device that is `slower` times as slow as this machine."""
    found = conditions(1)
    times = engine.measure(bundle, plan, backend, PROFILE_S, batches=(1,))
    device = "{}, made {:g} times slower".format(device_name(found), slower)
    times = engine.slowed(times, slower)
    return Profile(bundle.manifest.model_id, device, backend.name, found, times)


def _mean_us(pipe: Pipeline, pace: Pace, expected: Sequence[AnyOutcome]) -> float:
    """How long one board computes an image on average, if it does nothing else."""
    final, total_us = len(pipe.plan.stages) - 1, 0.0
    for result in expected:
        for index, stage in enumerate(pipe.plan.stages):
            exit_index = stage.exit_index
            asked = exit_index is not None and pipe.policy.evaluates(exit_index, None)
            total_us += pace.stage_us(index, 1, asked or index == final)
            if exit_index == getattr(result, "exit_index", None):
                break
    return total_us / len(expected)


def _first_lines(pipe: Pipeline, names: Sequence[str], slower: float) -> str:
    return (
        "this process ({}) and {} workers, policy {}, backend {}, encrypted links\n"
        "paced: every stage takes {:g} times as long as this machine needs, so that it can stand "
        "for {} boards\n".format(
            SOURCE, len(names), pipe.policy, pipe.backend.name, slower, len(names) + 1
        )
    )


def _judge(stream: Stream, expected: Sequence[AnyOutcome]) -> Tuple[int, int]:
    """How many images have not exactly one answer, and how many answers are not that of one
    process: class, exit and scores, to the last bit."""
    tags = [answer.tag for answer in stream.answers]
    answer_counts = np.bincount(tags, minlength=stream.submitted_count)
    wrong_count = sum(
        not _is_same(answer.outcome, expected[answer.tag % len(expected)])
        for answer in stream.answers
    )
    return int((answer_counts != 1).sum()), wrong_count


def _is_same(outcome: Any, expected: AnyOutcome) -> bool:
    return isinstance(outcome, Result) and all(
        getattr(outcome, name) == getattr(expected, name)
        for name in ("class_index", "exit_index", "max_probability", "margin", "entropy")
    )


# --- telling --------------------------------------------------------------------------------------


def _say(arguments: argparse.Namespace, names: Sequence[str], told: Told) -> int:
    rates = _rates(names, told.stream)
    for lines in (_rate_table(rates, 1e6 / told.board_us), _worker_table(names, told)):
        for line in [""] + lines:
            cli.say(line, arguments.json)
    path = os.path.join(arguments.out, "fleet.png")
    pictures.draw_fleet(told.stream, SOURCE, names, rates[0].per_s, path)
    cli.say("\npicture of who answered when: " + path, arguments.json)
    checks = _check(names, told, rates)
    for name, ok in checks.items():
        cli.say("{}  {}".format("ok    " if ok else "FAILED", name), arguments.json)
    if arguments.json:
        figures = [cli.figure(rate.name, rate.per_s, "images/s") for rate in rates]
        figures.append(cli.figure("one board at most", 1e6 / told.board_us, "images/s"))
        figures += _times(told.stream)
        versions = cli.versions(("onnxruntime", "zmq"))
        cli.print_json({"versions": versions, "figures": figures, "checks": checks})
    return 0 if all(checks.values()) else cli.EXIT_FAILED


class Rate(NamedTuple):
    """A phase, in which `board_count` boards computed, the source among them."""

    name: str
    board_count: int
    seconds: float
    per_s: float


def _rates(names: Sequence[str], stream: Stream) -> List[Rate]:
    count = len(names)
    phases = (
        (SOURCE + " alone", 1, ALONE, JOIN),
        ("with {} workers".format(count), count + 1, FULL, KILLED),
        ("{} killed".format(names[0]), count, MISSED, BACK),
        ("{} back".format(names[0]), count + 1, UP, LEAVE),
        ("{} left".format(names[-1]), count, GONE, END),
    )
    return [Rate(name, boards, *stream.rate(begin, end)) for name, boards, begin, end in phases]


def _rate_table(rates: Sequence[Rate], board_per_s: float) -> List[str]:
    """Less than what the boards can is lost to links, to waiting, or to a machine that is busy."""
    rows = []
    for rate in rates:
        row = [rate.name, "{:.1f}".format(rate.seconds), "{:.0f}".format(rate.per_s)]
        row.append("{:.2f}".format(rate.per_s / rates[0].per_s))
        row.append("{:.0f} %".format(100 * rate.per_s / (rate.board_count * board_per_s)))
        rows.append(row)
    return cli.table(("", "seconds", "images/s", "x alone", "of what boards can"), rows)


def _worker_table(names: Sequence[str], told: Told) -> List[str]:
    """Who computed how much. A killed process takes its counts along; the source knows answers."""
    victim, stream = names[0], told.stream
    lost = stream.answered_by(victim, stream.at_s(BACK))
    answered = {name: stream.answered_by(name) for name in names}
    rows = [_worker_row(SOURCE, told.source, len(stream.answers) - sum(answered.values()))]
    rows.append((victim + ", killed", "?", str(lost), "?", "?"))
    for name in names:
        own = answered[name] - (lost if name == victim else 0)
        rows.append(
            _worker_row(name + (", again" if name == victim else ""), told.reports[name], own)
        )
    header = ("", "tasks computed", "images answered", "tasks sent on", "stages late")
    return cli.table(header, rows)


def _worker_row(name: str, stats: Dict[str, Any], answered_count: int) -> Tuple[str, ...]:
    counters, pace = stats["counters"], stats["pace"]
    late = pace["overrun_count"] / max(1, pace["paced_count"])
    counts = (counters.get("tasks_computed", 0), answered_count, counters.get("tasks_sent", 0))
    return (name,) + tuple(str(count) for count in counts) + ("{:.1f} %".format(100 * late),)


def _times(stream: Stream) -> List[Dict[str, Any]]:
    return [
        cli.figure("death seen after", stream.at_s(MISSED) - stream.at_s(KILLED), "s"),
        cli.figure("longest pause after it", stream.pause_s(KILLED, BACK), "s"),
        cli.figure("all that was under way answered after", stream.overdue_s(KILLED), "s"),
        cli.figure("up again after", stream.at_s(UP) - stream.at_s(BACK), "s"),
        cli.figure("has left after", stream.at_s(GONE) - stream.at_s(LEAVE), "s"),
    ]


def _check(names: Sequence[str], told: Told, rates: Sequence[Rate]) -> Dict[str, bool]:
    stream, victim, leaver = told.stream, names[0], names[-1]
    seen_s, pause_s, overdue_s, up_s, left_s = [time["value"] for time in _times(stream)]
    back_count = stream.answered_by(victim) - stream.answered_by(victim, stream.at_s(BACK))
    gain = rates[1].per_s / rates[0].per_s
    return {
        "every image got exactly one answer ({} images)".format(
            stream.submitted_count
        ): told.unanswered_count == 0 and told.source["in_flight_count"] == 0,
        "every answer is that of one process, class, exit and scores to the last bit": (
            told.wrong_count == 0
        ),
        "{} was missed {:.2f} s after it was killed".format(victim, seen_s): seen_s <= SEEN_S_MAX,
        "answers then paused for {:.2f} s at most; all that was under way took {:.2f} s".format(
            pause_s, overdue_s
        ): pause_s <= PAUSE_S_MAX,
        "{} was back {:.2f} s after its start and answered {} images".format(
            victim, up_s, back_count
        ): back_count > 0,
        "{} left within {:.2f} s, and all others at the end, with their tasks done".format(
            leaver, left_s
        ): all(_has_ended_all(told.reports[name]) for name in names),
        "{} workers beside it make it {:.2f} times as fast".format(len(names), gain): gain > 1,
    }


def _has_ended_all(report: Dict[str, Any]) -> bool:
    return report["left_in_order"] and report["in_flight_count"] == 0
