"""The command `bench ensemble`: its options, what a person reads, and figures for programs."""

import argparse
from typing import Any, Callable, Dict, List, Tuple

from .. import cli
from ..bundle import read_bundle
from .ensemble import LATE_SLACK_US, SEED, SLOWER, KillRun, Measured, PolicyRun, measure
from .images import read_test_images

EXAMPLE = "python -m edgesdk.bench ensemble engines/students/1 --data digits --kill --images 100"
HEADER = ("policy", "mean ms", "p50 ms", "p95 ms", "x final", "accuracy", "B sent", "B received")


def options(command: argparse.ArgumentParser) -> None:
    """Of the command, beside those that every bench has."""
    command.epilog = "example:\n  " + EXAMPLE
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument("bundle", metavar="BUNDLE", help="folder of an ensemble")
    command.add_argument(
        "--data", help="data set of the bundle, as training takes it; default: the digits scans"
    )
    command.add_argument(
        "--policies",
        type=lambda text: text.split(","),
        default=(),
        metavar="NAME,...",
        help="of the bundle; default: final, difference, and the bundle's own default",
    )
    command.add_argument(
        "--images", type=_count, metavar="N", help="so many for each policy, instead of --seconds"
    )
    command.add_argument(
        "--slower",
        type=cli.above_0,
        default=SLOWER,
        metavar="FACTOR",
        help="of the devices that the students stand for; default: %(default)s",
    )
    command.add_argument(
        "--kill",
        action="store_true",
        help="then kill the worker of the first student, under the last policy, and start it again",
    )
    command.add_argument(
        "--deadline-ms",
        type=cli.above_0,
        metavar="MS",
        help="of images while a student is missing; default: three times p95",
    )


def run(arguments: argparse.Namespace, progress: Callable[[str], None]) -> List[Dict[str, Any]]:
    """Measure, print for a person, return the figures."""
    bundle = read_bundle(arguments.bundle)
    data = read_test_images(arguments.data, bundle.manifest.labels)
    cli.banner(("zmq",), seed=SEED, as_json=arguments.json)
    found = measure(
        arguments.bundle,
        data.images,
        data.labels.tolist(),
        arguments.policies,
        arguments.seconds,
        arguments.images,
        arguments.slower,
        0 if arguments.kill else None,
        arguments.deadline_ms,
        progress=progress,
    )
    progress("")
    cli.say("\n".join(lines(found)), arguments.json)
    return figures(found)


def lines(found: Measured) -> List[str]:
    """What a person reads."""
    student_count = len(found.policies[0].exit_shares)
    result = [
        "{} students, each in a process paced {:g} times slower than this machine; {} images, "
        "policies in turns".format(student_count, found.slower, found.image_count),
        "",
    ]
    result += cli.table(HEADER, [_row(one) for one in found.policies])
    result += [
        "",
        "x final: ratio of means, in brackets where it is with 95 % certainty. Bytes of an image "
        "to and from",
        "all students: {} are the image itself (uint8: {} for each), {} would be their last "
        "maps.".format(found.sent_image_bytes, found.image_bytes, found.map_bytes),
        "",
    ]
    result += cli.table(*_exit_table(found))
    overrun = max(one.overrun_share for one in found.policies)
    result += ["", "too slow for their pace: at most {:.1%} of the stages".format(overrun)]
    degraded = sum(one.degraded_count for one in found.policies)
    if degraded:
        result.append("{} ANSWERS WITHOUT ALL STUDENTS, though none was killed".format(degraded))
    return result + ([] if found.killed is None else [""] + _killed_lines(found.killed))


def _row(one: PolicyRun) -> Tuple[str, ...]:
    times_us = (one.mean_us, one.at_share(0.50), one.at_share(0.95))
    return (
        one.policy,
        *("{:.1f}".format(time_us / 1000) for time_us in times_us),
        "{:.3f} ({:.3f} to {:.3f})".format(*one.to_final),
        "{:.2%}".format(one.accuracy),
        "{:.0f}".format(one.sent_bytes),
        "{:.0f}".format(one.received_bytes),
    )


def _exit_table(found: Measured) -> Tuple[Tuple[str, ...], List[Tuple[str, ...]]]:
    """Where each student left, under each policy."""
    exits = range(len(found.policies[0].exit_shares[0]))
    header = ("% of images that left at exit", *(str(index) for index in exits))
    rows = [
        (
            "{}, student {}".format(one.policy, student),
            *("{:.0f}".format(100 * share) if share else "-" for share in shares),
        )
        for one in found.policies
        for student, shares in enumerate(one.exit_shares)
    ]
    return header, rows


def _killed_lines(killed: KillRun) -> List[str]:
    return [
        "student {} was killed under {!r}, deadline {:.0f} ms; until it was back:".format(
            killed.student, killed.policy, killed.deadline_ms
        ),
        "{:>8}  answered".format(killed.answered_count),
        "{:>8}  of these degraded, {:.2%} right".format(killed.degraded_count, killed.accuracy),
        "{:>8}  at the deadline only: until then they waited for it".format(killed.waited_count),
        "{:>8}  more than {:g} ms behind the deadline; the slowest took {:.1f} ms".format(
            killed.late_count, LATE_SLACK_US / 1000, killed.worst_us / 1000
        ),
        "{:>8}  expired or failed".format(killed.unanswered_count),
        "{:>6.1f} s  from its start to the first answer with all students".format(killed.back_s),
    ]


def figures(found: Measured) -> List[Dict[str, Any]]:
    """All of it, for programs."""
    result = [cli.figure("images of each policy", found.image_count, "count")]
    for one in found.policies:
        name = one.policy + ": "
        result += [
            cli.figure(name + "mean latency", one.mean_us, "us"),
            cli.figure(name + "p50 latency", one.at_share(0.50), "us"),
            cli.figure(name + "p95 latency", one.at_share(0.95), "us"),
            cli.figure(name + "mean latency of final's", one.to_final.value, "x"),
            cli.figure(name + "mean latency of final's, at least", one.to_final.low, "x"),
            cli.figure(name + "mean latency of final's, at most", one.to_final.high, "x"),
            cli.figure(name + "accuracy", one.accuracy, "share"),
            cli.figure(name + "sent", one.sent_bytes, "bytes"),
            cli.figure(name + "received", one.received_bytes, "bytes"),
            cli.figure(name + "degraded answers", one.degraded_count, "count"),
            cli.figure(name + "stages slower than their pace", one.overrun_share, "share"),
        ]
        for student, shares in enumerate(one.exit_shares):
            for index, share in enumerate(shares):
                about = "{}student {} left at exit {}".format(name, student, index)
                result.append(cli.figure(about, share, "share"))
    result += [
        cli.figure("image", found.image_bytes, "bytes"),
        cli.figure("image as sent to all students", found.sent_image_bytes, "bytes"),
        cli.figure("last maps of all students", found.map_bytes, "bytes"),
    ]
    return result + ([] if found.killed is None else _killed_figures(found.killed))


def _killed_figures(killed: KillRun) -> List[Dict[str, Any]]:
    return [
        cli.figure("killed: deadline", killed.deadline_ms, "ms"),
        cli.figure("killed: answered", killed.answered_count, "count"),
        cli.figure("killed: degraded", killed.degraded_count, "count"),
        cli.figure("killed: answered at the deadline", killed.waited_count, "count"),
        cli.figure("killed: late", killed.late_count, "count", 0.0, not killed.late_count),
        cli.figure(
            "killed: unanswered", killed.unanswered_count, "count", 0.0, not killed.unanswered_count
        ),
        cli.figure("killed: accuracy of degraded answers", killed.accuracy, "share"),
        cli.figure("killed: slowest answer", killed.worst_us, "us"),
        cli.figure("killed: back after", killed.back_s, "s"),
    ]


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("found {}, expected 1 or more".format(text))
    return value
