"""`python -m edgesdk.plan BUNDLE --cluster FILE`: which stages belong on which worker.

Times come from profiles, links from what was measured or what you say, and how many images go on to
the next stage from the bundle. It prints what each worker and link would have to do, beside the
same network on one device and split over two. --out writes a placement file, which the cluster file
then names; the cluster file itself is never changed. docs/placement.md has it all.
"""

import argparse
import json
import os
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from .. import cli
from ..core.placement import (
    LATENCY,
    OBJECTIVES,
    Placement,
    Problem,
    check_memory,
    evaluate,
    stages_of,
)
from ..core.placement_cases import Case, full_offload, local, right_size, two_device_split, until
from ..errors import ConfigError
from ..files import write_atomically
from ..placement_file import placement_of, read_placement, write_placement
from . import shares
from .inputs import VALUE_BYTES, Asked, Inputs, gather
from .pictures import picture
from .preview import Preview, document, lines, preview
from .solving import best

EXAMPLE = """python -m edgesdk.plan engines/mine/1 --cluster robots.toml --profile nano.json \\
    --objective throughput --out placement.toml
  python -m edgesdk.plan engines/mine/1 --cluster robots.toml --profile nano.json --deadline-ms 30
  python -m edgesdk.plan engines/mine/1 --cluster robots.toml --profile nano.json \\
    --evaluate placement.toml"""
METHODS = ("best", "local", "offload", "split")


class Chosen(NamedTuple):
    """A placement of a problem, what is said of it, and by what share of its cost another may be
    better."""

    problem: Problem
    placement: Placement
    remarks: List[str]
    gap: Optional[float] = None


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse `argv`, plan, return the exit status."""
    return cli.run(_plan, _arguments(argv))


def _plan(arguments: argparse.Namespace) -> int:
    cli.banner(as_json=arguments.json)
    inputs = gather(Asked(**{name: getattr(arguments, name) for name in Asked._fields}))
    for note in inputs.notes:
        cli.say(note, arguments.json)
    chosen = _choose(arguments, inputs)
    check_memory(chosen.problem, chosen.placement)
    found = preview(
        chosen.problem,
        chosen.placement,
        evaluate(chosen.problem, chosen.placement),
        arguments.objective,
        inputs.image_bytes,
        arguments.rate_hz,
    )
    for line in [""] + lines(found) + [""] + chosen.remarks:
        cli.say(line, arguments.json)
    _write(arguments, inputs, found)
    if arguments.json:
        cli.print_json(_json(arguments, inputs, chosen, found))
    return 0


# --- choosing -------------------------------------------------------------------------------------


def _choose(arguments: argparse.Namespace, inputs: Inputs) -> Chosen:
    if arguments.evaluate is not None:
        placement = _read(arguments.evaluate, inputs)
        return Chosen(inputs.problem, placement, ["as {} says".format(arguments.evaluate)])
    if arguments.deadline_ms is not None:
        return _within(arguments.deadline_ms, inputs)
    if arguments.method != "best":
        return _named(arguments.method, arguments.objective, inputs)
    answer = best(inputs.problem, arguments.objective, arguments.seconds)
    remark = answer.remark or "no placement is better for " + arguments.objective
    return Chosen(inputs.problem, answer.found.placement, [remark], answer.gap)


def _read(path: str, inputs: Inputs) -> Placement:
    """The worker of each stage, as a file says."""
    names = [site.name for site in inputs.problem.sites]
    held = read_placement(path, inputs.bundle.manifest, inputs.plan.name, names).stages
    placement = []
    for stage in range(len(inputs.plan.stages)):
        where = [index for index, name in enumerate(names) if stage in held[name]]
        if len(where) > 1:
            raise ConfigError(
                "{}: stages: found stage {} on {}, expected one worker: who computes it is "
                "decided while they run".format(
                    path, stage, " and ".join(names[index] for index in where)
                )
            )
        placement += where
    return tuple(placement)


def _within(deadline_ms: float, inputs: Inputs) -> Chosen:
    accuracies, known = shares.accuracies(inputs.bundle.manifest, inputs.plan, inputs.outcomes)
    sized = right_size(inputs.problem, deadline_ms * 1e3, accuracies)
    exit_index = inputs.plan.stages[sized.last_stage].exit_index
    remarks = [
        "within {:g} ms: exit {}, right for {:.1f} % of the images ({}), after {:.2f} ms "
        "if nothing else is to be done".format(
            deadline_ms, exit_index, 100 * sized.accuracy, known, sized.worst_us / 1e3
        )
    ]
    if exit_index != inputs.plan.exit_indices[-1]:
        remarks.append(
            "for that let every image leave there that comes as far: a policy with the threshold 0 "
            "(of entropy or difference infinity) at exit {}".format(exit_index)
        )
    return Chosen(until(inputs.problem, sized.last_stage), sized.placement, remarks)


def _named(method: str, objective: str, inputs: Inputs) -> Chosen:
    cases: Dict[str, Optional[Case]] = {
        "local": local(inputs.problem),
        "offload": full_offload(inputs.problem, inputs.image_bytes, objective),
        "split": two_device_split(inputs.problem, objective),
    }
    case = cases[method]
    if case is None:
        raise ConfigError(
            "--method {}: found no worker that can hold its stages, or no way to it; expected more "
            "memory, a neighbour of {}, or --method best".format(
                method, inputs.problem.sites[inputs.problem.source].name
            )
        )
    return Chosen(inputs.problem, case.placement, [case.name])


# --- what is left behind --------------------------------------------------------------------------


def _write(arguments: argparse.Namespace, inputs: Inputs, found: Preview) -> None:
    if arguments.plot:
        write_atomically(arguments.plot, picture(found))
        cli.say("picture: " + arguments.plot, arguments.json)
    if arguments.out is None:
        return
    sites = found.problem.sites
    held = zip([site.name for site in sites], stages_of(found.placement, len(sites)))
    file = placement_of(inputs.bundle.manifest, inputs.plan.name, dict(held))
    remark = "{:.2f} ms for one image, {:.1f} images/s; by python -m edgesdk.plan".format(
        found.expected.latency_us / 1e3, found.expected.throughput_per_s
    )
    write_placement(arguments.out, file, [remark])
    cluster = inputs.cluster
    folder = os.path.dirname(os.path.abspath(cluster.path))
    name = os.path.relpath(arguments.out, folder)
    cli.say("written: " + arguments.out, arguments.json)
    if cluster.placement is None or os.path.relpath(cluster.placement, folder) != name:
        cli.say(
            "to use it, add to {}, before the first table: placement = {}".format(
                cluster.path, json.dumps(name, ensure_ascii=False)
            ),
            arguments.json,
        )


def _json(
    arguments: argparse.Namespace, inputs: Inputs, chosen: Chosen, found: Preview
) -> Dict[str, Any]:
    return dict(
        document(found),
        versions=cli.versions(),
        model_id=inputs.bundle.manifest.model_id,
        plan=inputs.plan.name,
        policy=inputs.policy.describe(),
        objective=arguments.objective,
        gap=chosen.gap,
        remarks=chosen.remarks,
        notes=inputs.notes,
    )


# --- the command line -----------------------------------------------------------------------------


def _arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = cli.parser("plan", (__doc__ or "").strip(), EXAMPLE)
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--cluster", required=True, metavar="FILE", help="docs/cluster.md")
    parser.add_argument(
        "--objective", choices=OBJECTIVES, default=LATENCY, help="default: %(default)s"
    )
    _input_options(parser)
    _choice_options(parser)
    parser.add_argument(
        "--rate-hz",
        type=cli.above_0,
        metavar="R",
        help="of images, for the loads; default: the most",
    )
    parser.add_argument("--out", metavar="FILE.toml", help="write the placement there")
    parser.add_argument("--plot", metavar="FILE.png", help="draw it")
    return _checked(parser, parser.parse_args(argv))


def _input_options(parser: argparse.ArgumentParser) -> None:
    many: Dict[str, Any] = {"action": "append", "default": []}
    add = parser.add_argument
    add("--source", metavar="NAME", help="worker that has the images; default: the first")
    add(
        "--plan", metavar="NAME", help="of the bundle; default: the cluster file's, or the policy's"
    )
    add("--policy", metavar="NAME", help="of the bundle; default: the cluster file's, or its own")
    add(
        "--profile",
        metavar="[NAME=]FILE",
        help="times of the stages on that worker, or on all others (bench engine --profile)",
        **many,
    )
    add("--speed", metavar="[NAME=]X", help="that worker is X times as fast as its profile", **many)
    add("--memory", metavar="[NAME=]SIZE", help="that its stages may take, such as 64MB", **many)
    add(
        "--link",
        metavar="[A:B=]RATE,DELAY",
        help="between A and B, or of all links: 20mbit,2ms; also an energy per byte, 100nJ, or a "
        "medium instead of the rate",
        **many,
    )
    add("--medium", metavar="NAME=RATE", help="that links share, such as wifi=40mbit", **many)
    add(
        "--stats",
        metavar="FILE",
        help="links as measured: Pipeline.stats() as JSON, or from edgesdk.top --once --json",
        **many,
    )
    add("--outcomes", metavar="FILE.npz", help="who goes on, from answers of train calibrate")
    add("--codec", choices=sorted(VALUE_BYTES), help="of features; default: the cluster file's")
    add(
        "--image-bytes",
        type=cli.above_0,
        metavar="N",
        help="of a compressed image, for the full offload; default: uncompressed",
    )


def _choice_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--pin",
        action="append",
        default=[],
        metavar="STAGE=NAME",
        help="this stage is on that worker; may be repeated",
    )
    add(
        "--method",
        choices=METHODS,
        default="best",
        help="local, offload: all on the source, or on one neighbour; split: both; default: "
        "%(default)s",
    )
    add(
        "--deadline-ms",
        type=cli.above_0,
        metavar="T",
        help="the most accurate exit that answers every image within it, and where",
    )
    add("--evaluate", metavar="FILE.toml", help="look at that placement instead of seeking one")
    add(
        "--seconds",
        type=cli.above_0,
        default=10.0,
        metavar="S",
        help="for the solver, where the search is too long; default: %(default)s",
    )


def _checked(parser: argparse.ArgumentParser, found: argparse.Namespace) -> argparse.Namespace:
    ways = [("--evaluate", found.evaluate), ("--deadline-ms", found.deadline_ms)]
    ways += [("--method", None if found.method == "best" else found.method)]
    given = [name for name, value in ways if value is not None]
    if len(given) > 1:
        parser.error("expected one of {}".format(", ".join(given)))
    return found


if __name__ == "__main__":
    sys.exit(main())
