"""The command `bench engine`: its options, what a person reads, and the profile it writes."""

import argparse
from typing import Any, Dict, List, Sequence

from .. import cli
from ..backends import Backend, open_backend
from ..backends.trt import TensorRTBackend
from ..bundle import Bundle, read_bundle
from ..core.spec import FULL_PLAN
from ..errors import ConfigError
from ..profiles import Profile, StageTime, write_profile
from ..runtime.stages import onnx_files
from . import energy, engine, host_memory
from .timing import conditions, device_name


def options(command: argparse.ArgumentParser) -> None:
    """Of the command, beside those that every bench has."""
    command.add_argument("--bundle", required=True, help="folder of the bundle")
    command.add_argument("--plan", default=FULL_PLAN, help="default: %(default)s")
    command.add_argument("--backend", help="tensorrt, onnxruntime or torch; default: the best")
    command.add_argument("--profile", metavar="FILE", help="write the times to this file")
    command.add_argument(
        "--memory",
        choices=host_memory.CHOICES,
        help="with tensorrt: whether the GPU works on the host's memory or on copies; both: "
        "measure which is faster here, and keep that",
    )
    command.add_argument(
        "--slower",
        type=_from_1,
        metavar="FACTOR",
        help="of a device that needs FACTOR times as long: for trials with paced workers",
    )


def run(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Every stage and head of a plan; a profile if one is asked for."""
    if arguments.slower is not None and not arguments.profile:
        raise ConfigError("--slower changes the profile only; name its file with --profile")
    bundle = read_bundle(arguments.bundle)
    is_measured = bool(arguments.profile) and arguments.slower is None
    meter = energy.open_meter() if is_measured else None

    def measured(backend: Backend) -> List[StageTime]:
        packages = ("tensorrt", "onnxruntime", "torch")
        cli.banner(packages, seed=engine.SEED, as_json=arguments.json)
        times = engine.measure(bundle, arguments.plan, backend, arguments.seconds, meter=meter)
        rows = [engine.row(time) for time in times]
        cli.say("\n".join(cli.table(engine.HEADER, rows)), arguments.json)
        return times

    if arguments.memory is not None:
        name, times = "tensorrt", _by_host_memory(arguments, bundle, measured)
    else:
        backend = open_backend(arguments.backend, arguments.threads, _files(arguments, bundle))
        name, times = backend.name, measured(backend)
        backend.close()
    if arguments.profile:
        profile = _profile(bundle.manifest.model_id, name, times, arguments)
        if meter is not None:
            profile.conditions.update(power_rails=list(meter.rails), idle_w=meter.idle_w)
        write_profile(arguments.profile, profile)
        cli.say("profile written to " + arguments.profile, arguments.json)
        if is_measured and meter is None:
            cli.say("no energy in it: no sensor here tells what the board draws", arguments.json)
    return engine.figures(times)


def _files(arguments: argparse.Namespace, bundle: Bundle) -> List[str]:
    """What a backend is to load; none for a plan that there is not."""
    is_there = arguments.plan in bundle.manifest.parts[0].plans
    return onnx_files(bundle, arguments.plan) if is_there else []


def _by_host_memory(
    arguments: argparse.Namespace, bundle: Bundle, measured: host_memory.Measure
) -> List[StageTime]:
    """Times with the kind of host memory that was asked for, or the better of both, which is then
    kept."""
    if arguments.backend not in (None, "tensorrt"):
        raise ConfigError(
            "--memory: found --backend {}, expected tensorrt: other backends have no memory of "
            "their own".format(arguments.backend)
        )
    found = host_memory.measure_kinds(arguments.memory, measured)
    needed_us = {kind: host_memory.one_image_us(times) for kind, times in found.items()}
    for kind, us in needed_us.items():
        cli.say("{}: one image takes {:.0f} us".format(kind, us), arguments.json)
    best = min(needed_us, key=lambda kind: needed_us[kind])
    if arguments.memory == host_memory.BOTH:
        host_memory.keep(_files(arguments, bundle), TensorRTBackend.find_device(), best)
        cli.say(
            "{} is faster, and taken from now on with these engines".format(best), arguments.json
        )
    return found[best]


def _profile(
    model_id: str, backend: str, times: Sequence[StageTime], arguments: argparse.Namespace
) -> Profile:
    """What was measured, or what a slower device would have been measured as: that is another
    device, and plans made for it would be wrong for this one."""
    found = conditions(arguments.threads)
    device = device_name(found)
    if arguments.slower is not None:
        found["slower"] = arguments.slower
        device = "{}, made {:g} times slower".format(device, arguments.slower)
        times = engine.slowed(times, arguments.slower)
    return Profile(model_id, device, backend, found, times)


def _from_1(text: str) -> float:
    value = float(text)
    if not 1 <= value < float("inf"):
        raise argparse.ArgumentTypeError("found {}, expected a number from 1".format(text))
    return value
