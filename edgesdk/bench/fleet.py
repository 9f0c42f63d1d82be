"""`python -m edgesdk.bench pipeline --workers N`: a fleet of real processes, beside what bounds it.

N - 1 worker processes and this one, each paced: it computes for real, then waits until the stage
has taken as long as on a device some times slower, so that one machine stands for N boards.
Algorithm 3 admits images here as fast as the fleet can answer them. Beside the rate stand the bound
min(1/t_0, N/m) and the rate of the same fleet in the simulator; the trace of this worker is told to
a fresh core, which must do the same.
"""

import argparse
import itertools
import os
import tempfile
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from .. import cli
from ..backends import Backend, open_backend
from ..bundle import Bundle, read_plain_bundle
from ..choices import choose_policy
from ..cluster import local_cluster_text
from ..core.admission import Admission
from ..core.events import RunStage
from ..core.exits import ExitPolicy
from ..core.spec import FULL_PLAN
from ..errors import Failed
from ..pipeline import Pipeline
from ..preprocess import Preprocessor
from ..profiles import Profile, write_profile
from ..results import Result
from ..runtime.executor import Executor
from ..runtime.pace import Pace
from ..sim.bound import bound_per_s
from ..sim.runs import run_scenario
from ..sim.spec import Image, Link, Model, Node, Part, Scenario, Workload
from ..trace.file import read_trace
from ..trace.replay import replay
from . import engine
from .images import LabelledImages, read_test_images
from .link_process import Child
from .timing import conditions, device_name

SLOWER = 80.0
JOIN_S = 30.0
WARMUP_SHARE = 0.25  # of the run, in which admission looks for its rate
SOURCE = "source"
PACE = "pace.json"
OF_BOUND_MIN = 0.8
OF_SIMULATED = 0.15
PERIOD_US = 200_000  # of Algorithm 3
MEASURE_S = 2.0


class Live(NamedTuple):
    """A run: `ended_s` when each of the `results` came, from the first image on; their tags are
    numbers of images; `link_us`: one way to a neighbour; what the source's pace and counters say.
    """

    ended_s: Sequence[float]
    results: Sequence[Result]
    failed_count: int
    seconds: float
    link_us: float
    pace: Dict[str, Any]
    counters: Dict[str, int]


def measure(arguments: argparse.Namespace) -> List[Dict[str, Any]]:
    """Run the fleet, simulate it, replay it; print the table, return the figures."""
    bundle = read_plain_bundle(arguments.bundle)
    data = read_test_images(arguments.data, bundle.manifest.labels)
    backend = open_backend(None, 1)
    policy = choose_policy(bundle, arguments.policy)
    cli.banner(("onnxruntime", "zmq"), as_json=arguments.json)
    with tempfile.TemporaryDirectory(prefix="edgesdk-fleet-") as folder:
        pace = _paced(bundle, backend, arguments.slower, os.path.join(folder, PACE))
        model = _model(bundle, backend, policy, pace, data)
        admission = _admission(model, arguments.workers)
        cluster = write_cluster(folder, bundle.path, arguments.workers, arguments.policy, admission)
        live = run(folder, cluster, arguments.workers, data.images, arguments.seconds)
        replayed = replay(read_trace(os.path.join(folder, SOURCE + ".trace")))
    scenario = _scenario(model, arguments.workers, live)
    simulated_per_s = _simulate(scenario)
    return _report(arguments, live, scenario, simulated_per_s, replayed.difference is None)


# --- what is run ----------------------------------------------------------------------------------


def _paced(bundle: Bundle, backend: Backend, slower: float, path: str) -> Pace:
    """Times of every stage here, made `slower`; written to `path` for the workers."""
    times = engine.slowed(engine.measure(bundle, FULL_PLAN, backend, MEASURE_S), slower)
    alone = [each for each in times if each.batch == 1]
    found = dict(conditions(1), slower=slower)
    device = "{}, made {:g} times slower".format(device_name(found), slower)
    profile = Profile(bundle.manifest.model_id, device, backend.name, found, alone)
    write_profile(path, profile)
    return Pace(profile, FULL_PLAN)


def _model(
    bundle: Bundle, backend: Backend, policy: ExitPolicy, pace: Pace, data: LabelledImages
) -> Model:
    """The network as the simulator knows it, with the real scores of the real images."""
    part = bundle.manifest.parts[0]
    plan = part.plans[FULL_PLAN]
    last = len(plan.stages) - 1
    stage_us = tuple(
        round(pace.stage_us(index, 1, index == last or policy.evaluates(index, None)))
        for index in range(len(plan.stages))
    )
    shapes = [part.segments[stage.first_segment].input_shape for stage in plan.stages]
    sizes = tuple(4 * int(np.prod(shape)) for shape in shapes)
    images = _recorded(bundle, backend, policy, data)
    return Model((Part(plan.exit_indices, stage_us, sizes),), images, policy)


def _recorded(
    bundle: Bundle, backend: Backend, policy: ExitPolicy, data: LabelledImages
) -> Tuple[Image, ...]:
    """What every exit says about every image."""
    executor = Executor(bundle, FULL_PLAN, backend, policy.needs)
    preprocessor = Preprocessor(bundle.manifest.preprocessing, "rgb", None)
    stage_count = len(bundle.manifest.parts[0].plans[FULL_PLAN].stages)
    images = []
    for item, (image, label) in enumerate(zip(data.images, data.labels.tolist())):
        buffer = executor.take_input(1, preprocessor.shape)
        preprocessor.write(image, buffer.array[0])
        executor.admit((item,), buffer)
        scores = []
        for stage in range(stage_count):
            scores += executor.run(RunStage(0, stage, (item,), True)).scores or []
        executor.release(item)
        images.append(Image(label, (tuple(scores),)))
    return tuple(images)


def _admission(model: Model, count: int) -> Admission:
    """Algorithm 3, from half of what the workers could do without early exits."""
    return Admission(
        kind="rate",
        period_us=PERIOD_US,
        interarrival_us=round(2 * sum(model.parts[0].stage_us) / count),
    )


def write_cluster(
    folder: str, bundle_path: str, count: int, policy: str, admission: Admission
) -> str:
    """The cluster file of `count` workers: a mesh, without encryption, for all of it is this
    machine; Algorithm 3 as `admission` says."""
    head = [
        'plan = "{}"\npolicy = "{}"\ncodec = "raw"'.format(FULL_PLAN, policy),
        "[security]\ninsecure = true",
        '[admission]\nkind = "rate"\nperiod_ms = {}'.format(admission.period_us / 1000),
        "interarrival_ms = {}".format(admission.interarrival_us / 1000),
    ]
    workers = {name: ["max_batch = 1"] for name in _names(count)}
    text = local_cluster_text(bundle_path, workers, head)
    path = os.path.join(folder, "cluster.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _names(count: int) -> List[str]:
    return [SOURCE] + ["worker-{}".format(index) for index in range(1, count)]


def run(folder: str, cluster: str, count: int, images: Sequence[Any], seconds: float) -> Live:
    """Let the workers of `cluster`, paced by the profile in `folder`, answer `images` again and
    again for `seconds`; the source's trace is then in `folder`. Raises Failed if one does not come
    up."""
    pace = os.path.join(folder, PACE)
    children: List[Child] = []
    try:
        for name in _names(count)[1:]:
            options = {"cluster": cluster, "name": name, "arguments": ["--pace", pace]}
            children.append(Child("edgesdk.bench.link_ours:serve", options))
        trace = os.path.join(folder, SOURCE + ".trace")
        with Pipeline.open(cluster=cluster, name=SOURCE, pace=pace, trace=trace) as pipe:
            _wait_until_up(pipe, children)
            return _stream(pipe, images, seconds)
    finally:
        for child in children:
            child.stop()


def _wait_until_up(pipe: Pipeline, children: Sequence[Child]) -> None:
    until_s = time.monotonic() + JOIN_S
    while any(each["state"] != "up" for each in pipe.stats()["neighbours"].values()):
        if time.monotonic() > until_s:
            raise Failed(
                "not every worker is up after {:g} s: {}".format(
                    JOIN_S, "; ".join(child.explain() for child in children)
                )
            )
        time.sleep(0.01)


def _stream(pipe: Pipeline, images: Sequence[Any], seconds: float) -> Live:
    """Images for `seconds`, as fast as they are admitted. Outcomes are handed over late, when many
    have gathered: when each ended follows from when it was submitted, and its latency."""
    begin_s = time.monotonic()
    asked_s: List[float] = []  # who asks for an image has submitted the one before

    def repeated() -> Iterator[Any]:
        for image in itertools.cycle(images):
            asked_s.append(time.monotonic() - begin_s)
            if asked_s[-1] >= seconds:
                return
            yield image

    ended_s, results, failed_count = [], [], 0
    link_us = float("nan")
    for outcome in pipe.map(repeated()):
        if isinstance(outcome, Result):
            submitted_s = asked_s[min(outcome.tag + 1, len(asked_s) - 1)]
            ended_s.append(submitted_s + outcome.latency_us * 1e-6)
            results.append(outcome)
        else:
            failed_count += 1
        if not len(ended_s) % 64:
            known = pipe.stats()["neighbours"].values()
            link_us = float(np.mean([each["link_delay_us"] for each in known] or [link_us]))
    stats = pipe.stats()
    return Live(ended_s, results, failed_count, seconds, link_us, stats["pace"], stats["counters"])


# --- what it is compared with ---------------------------------------------------------------------


def _scenario(model: Model, count: int, live: Live) -> Scenario:
    """The same fleet in the simulator, with the delay of links that was measured."""
    names = _names(count)
    delay_us = max(1, round(live.link_us)) if live.link_us == live.link_us else 1
    links = [Link(a, b, (a, b), delay_us) for a, b in itertools.combinations(names, 2)]
    return Scenario(
        name="fleet",
        model=model,
        nodes=tuple(Node(name) for name in names),
        links=tuple(links),
        workloads=(Workload(SOURCE, "admission"),),
        duration_us=round(live.seconds * 1e6),
        admission=_admission(model, count),
    )


def _simulate(scenario: Scenario) -> float:
    warmup_us = round(scenario.duration_us * WARMUP_SHARE)
    return run_scenario(scenario, warmup_us=warmup_us).total.items_per_s


def _report(
    arguments: argparse.Namespace,
    live: Live,
    scenario: Scenario,
    simulated_per_s: float,
    is_replayed: bool,
) -> List[Dict[str, Any]]:
    warmup_s = live.seconds * WARMUP_SHARE
    counted = [
        result.exit_index
        for at_s, result in zip(live.ended_s, live.results)
        if warmup_s <= at_s <= live.seconds
    ]
    live_per_s = len(counted) / (live.seconds - warmup_s)
    shares = {each: counted.count(each) / len(counted) for each in sorted(set(counted))}
    bound = bound_per_s(scenario, [SOURCE], [shares]) or float("nan")
    alone_scenario = scenario._replace(nodes=scenario.nodes[:1])
    alone = bound_per_s(alone_scenario, [SOURCE], [shares]) or float("nan")
    rows = [
        ("bound min(1/t_0, N/m)", "{:.1f}".format(bound), "1.00"),
        ("simulated", "{:.1f}".format(simulated_per_s), "{:.2f}".format(simulated_per_s / bound)),
        ("live", "{:.1f}".format(live_per_s), "{:.2f}".format(live_per_s / bound)),
        ("one worker alone, at most", "{:.1f}".format(alone), "{:.2f}".format(alone / bound)),
    ]
    title = "{} workers, mesh, paced {:g} times slower".format(arguments.workers, arguments.slower)
    cli.say("\n".join(cli.table((title, "images/s", "of bound"), rows)), arguments.json)
    overrun = live.pace["overrun_count"] / max(1, live.pace["paced_count"])
    cli.say(
        "\nof the source's own stages {:.1%} were too slow for their pace (worst {:.1f} times); "
        "{} tasks sent, link {:.0f} us, {} images failed".format(
            overrun,
            live.pace["worst_ratio"],
            live.counters.get("tasks_sent", 0),
            live.link_us,
            live.failed_count,
        ),
        arguments.json,
    )
    cli.say(
        "trace replayed: " + ("the same actions" if is_replayed else "OTHER ACTIONS"),
        arguments.json,
    )
    of_bound, of_simulated = live_per_s / bound, live_per_s / simulated_per_s
    return [
        cli.figure("admitted rate", live_per_s, "images/s"),
        cli.figure("bound", bound, "images/s"),
        cli.figure("simulated rate", simulated_per_s, "images/s"),
        cli.figure("rate of bound", of_bound, "", OF_BOUND_MIN, of_bound >= OF_BOUND_MIN),
        cli.figure(
            "rate of simulated", of_simulated, "", 1.0, abs(of_simulated - 1) <= OF_SIMULATED
        ),
        cli.figure("trace replays", float(is_replayed), "", 1.0, is_replayed),
        cli.figure("failed images", float(live.failed_count), "count", 0.0, not live.failed_count),
        cli.figure("stages slower than their pace", overrun, "share"),
    ]


def options(command: argparse.ArgumentParser) -> None:
    """Of the fleet, beside those of the bench that it belongs to."""
    command.add_argument(
        "--workers",
        type=_from_2,
        metavar="N",
        help="a fleet of N paced workers, this process among them, instead of one pipeline",
    )
    command.add_argument(
        "--slower",
        type=float,
        default=SLOWER,
        metavar="FACTOR",
        help="of the devices that paced workers stand for; default: %(default)s",
    )
    command.add_argument(
        "--policy", default="final", help="of the fleet, by name; default: %(default)s"
    )


def _from_2(text: str) -> int:
    count = int(text)
    if not 2 <= count <= 32:
        raise argparse.ArgumentTypeError("found {}, expected 2 to 32".format(text))
    return count
