"""`python -m edgesdk.bench scale`: fleets of 10, 100 and 1,000 simulated workers, side by side.

Each scenario file is simulated as it is and without some of what it has: one source only, links
that share no medium, nobody who goes. Then one of the files is changed step by step. Everything but
the time and the memory that it takes is the same wherever and however often it is run.
"""

import argparse
import os
import resource
from collections import Counter, deque
from time import process_time
from typing import Any, Callable, Dict, List, Sequence, Tuple

from .. import cli
from ..core.events import Action, Event, Send
from ..core.messages import Task
from ..core.peer import HEARTBEAT_US
from ..errors import ConfigError
from ..files import write_atomically
from ..sim.changes import parse_change, parse_value
from ..sim.recorder import Recorder
from ..sim.report import Run, summarise
from ..sim.scenario import read_scenario
from ..sim.simulator import Simulator
from ..sim.spec import Scenario
from . import scale_report
from .scale_report import Found, World

SCENARIOS = ["examples/scenarios/scale-{}.toml".format(count) for count in (10, 100, 1000)]
SEED = 0
SECONDS = 20.0  # of virtual time for each world, or less where its file says less
STEP_SECONDS = 5.0  # of virtual time, for each value that is changed
WARMUP_SHARE = 0.5  # of the run, in which admission looks for its rate
SAMPLES = 100
CHANGED_WITH = 100  # workers of the file that is changed step by step
STEPS: Tuple[Tuple[str, Tuple[str, ...]], ...] = (
    ("neighbours", tuple("radio.mean_degree={}".format(each) for each in (8, 16, 32))),
    ("mean time until a worker goes", tuple("churn.up_s={}".format(s) for s in (60, 20, 5))),
    ("what travels", ("bytes/4", "offloading.offload_inputs=true")),
)
QUARTER = "bytes/4"
OWN_LINKS_MAX = 300  # workers; beyond it many sources with free links take the simulator minutes


class Watch(Recorder):
    """A recorder that counts hops."""

    def __init__(self, sample_us: int) -> None:
        super().__init__(sample_us)
        self.hops: Dict[int, int] = Counter()

    def on_event(self, node: str, event: Event, actions: List[Action], now_us: int) -> None:
        """Count the tasks that are sent on."""
        for action in actions:
            if action.__class__ is Send:
                message = action.envelope.message
                if message.__class__ is Task:
                    self.hops[message.hop] += 1
        super().on_event(node, event, actions, now_us)


def options(command: argparse.ArgumentParser) -> None:
    """What `bench scale` takes besides."""
    command.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO.toml", help="default: " + ", ".join(SCENARIOS)
    )
    command.add_argument("--out", metavar="DIR", help="write scale.txt and scale.png there")
    command.add_argument(
        "--no-steps", action="store_true", help="the sizes only, nothing changed step by step"
    )


def measure(arguments: argparse.Namespace, progress: Callable[[str], None]) -> List[Dict[str, Any]]:
    """Simulate, print the tables, write them and the picture, return the figures."""
    cli.banner(seed=SEED, as_json=arguments.json)
    paths = arguments.scenarios or SCENARIOS
    scenarios = [_read(path, arguments.seconds) for path in paths]
    if arguments.out:
        os.makedirs(arguments.out, exist_ok=True)
    worlds = [world for scenario in scenarios for world in worlds_of(scenario)]
    found = []
    for number, world in enumerate(worlds):
        progress("{}/{} {}".format(number + 1, len(worlds), world.scenario.name))
        found.append(simulate(world))
        progress("")
        cli.say(scale_report.progress_line(found[-1]), arguments.json)
    tables = scale_report.tables(found)
    cli.say("\n" + tables, arguments.json)
    results = [each for one in found for each in figures(_about(one), one)]
    for what, changes in () if arguments.no_steps else STEPS:
        seconds = min(arguments.seconds, STEP_SECONDS)
        rows = _changed(nearest(paths, scenarios), seconds, changes, progress)
        tables += "\n" + scale_report.steps(what, rows)
        cli.say("\n" + scale_report.steps(what, rows), arguments.json)
        results += [each for change, one in rows for each in figures(change, one)]
    if arguments.out:
        write_atomically(os.path.join(arguments.out, "scale.txt"), tables.encode("utf-8"))
        picture = scale_report.picture(found)
        write_atomically(os.path.join(arguments.out, "scale.png"), picture)
    return results


def _read(path: str, seconds: float, changes: Sequence[Tuple[str, Any]] = ()) -> Scenario:
    """The scenario in `path`, at most `seconds` of it. Raises ConfigError: no places."""
    scenario = read_scenario(path, changes)
    if not scenario.places:
        raise ConfigError('{}: found no places, expected topology = "radio"'.format(path))
    if scenario.duration_us <= seconds * 1e6:
        return scenario
    return read_scenario(path, [("duration_s", seconds), *changes])


def nearest(paths: Sequence[str], scenarios: Sequence[Scenario]) -> str:
    """The file whose fleet is changed step by step."""
    sizes = [abs(len(scenario.nodes) - CHANGED_WITH) for scenario in scenarios]
    return paths[sizes.index(min(sizes))]


def worlds_of(scenario: Scenario) -> List[World]:
    """The worlds of one file, from the least to all that it describes; each once."""
    still = scenario._replace(faults=())
    count = len({workload.source for workload in scenario.workloads})
    sources = "{} sources".format(count)
    worlds = [World(_own_links(_one_source(still)), "1 source", "own", "no")]
    if count > 1 and len(scenario.nodes) <= OWN_LINKS_MAX:
        worlds.append(World(_own_links(still), sources, "own", "no"))
    if count > 1:
        worlds.append(World(_one_source(still), "1 source", "shared", "no"))
    sources = sources if count > 1 else "1 source"
    worlds.append(World(still, sources, "shared", "no"))
    worlds.append(World(scenario, sources, "shared", "yes"))
    return worlds


def _one_source(scenario: Scenario) -> Scenario:
    first = scenario.workloads[0].source
    return scenario._replace(
        workloads=tuple(each for each in scenario.workloads if each.source == first)
    )


def _own_links(scenario: Scenario) -> Scenario:
    """Every link has the rate of its medium for itself, each way."""
    rates = {medium.name: medium.bytes_per_s for medium in scenario.media}
    links = [
        link._replace(medium=None, bytes_per_s=rates[link.medium]) if link.medium else link
        for link in scenario.links
    ]
    return scenario._replace(links=tuple(links), media=())


def quarter(scenario: Scenario) -> Scenario:
    """Features a quarter as large, as from float32 to uint8."""
    parts = [
        part._replace(feature_bytes=tuple(size // 4 for size in part.feature_bytes))
        for part in scenario.model.parts
    ]
    return scenario._replace(model=scenario.model._replace(parts=tuple(parts)))


def _changed(
    path: str,
    seconds: float,
    changes: Sequence[str],
    progress: Callable[[str], None],
) -> List[Tuple[str, Found]]:
    """One simulation for each change: of the shared media, and of who goes if it says so."""
    rows = []
    for text in changes:
        progress(text)
        key, value = parse_change(text) if text != QUARTER else ("", "")
        scenario = _read(path, seconds, [(key, parse_value(value))] if key else [])
        goes = key.startswith("churn")
        scenario = scenario if goes else scenario._replace(faults=())
        scenario = quarter(scenario) if text == QUARTER else scenario
        world = World(scenario, "", "shared", "yes" if goes else "no")
        rows.append((text, simulate(world)))
    progress("")
    return rows


def simulate(world: World) -> Found:
    """One run, with what it cost."""
    scenario = world.scenario
    begin = process_time()
    watch = Watch(max(1, scenario.duration_us // SAMPLES))
    simulator = Simulator(scenario, SEED, observer=watch, trace=False)
    watch.watch(simulator)
    totals = simulator.run()
    cpu_s = process_time() - begin
    run = Run(scenario, totals, watch.ended)
    report = summarise(run, int(scenario.duration_us * WARMUP_SHARE))
    sent: Dict[str, int] = Counter()
    for direction in totals.directions:
        for kind, count in direction.messages.items():
            sent[kind] += count
    beats = min(sent["Load"], len(totals.directions) * totals.end_us // HEARTBEAT_US)
    sent["Load"], sent["heartbeat"] = sent["Load"] - beats, beats
    counters: Dict[str, int] = Counter()
    for node in totals.nodes:
        for name, count in node.counters.items():
            counters[name] += count
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    busy = busy_by_distance(scenario, {n.name: n.busy_us / totals.end_us for n in totals.nodes})
    return Found(world, report, sent, counters, watch.hops, busy, cpu_s, memory_mb)


def busy_by_distance(scenario: Scenario, busy: Dict[str, float]) -> Dict[int, Tuple[int, float]]:
    """(how many nodes, their mean) for each distance from the nearest source, in links."""
    ways: Dict[str, List[str]] = {node.name: [] for node in scenario.nodes}
    for link in scenario.links:
        ways[link.first].append(link.second)
        ways[link.second].append(link.first)
    far = {workload.source: 0 for workload in scenario.workloads}
    waiting = deque(far)
    while waiting:
        name = waiting.popleft()
        for other in ways[name]:
            if other not in far:
                far[other] = far[name] + 1
                waiting.append(other)
    rings: Dict[int, List[float]] = {}
    for name, distance in far.items():
        rings.setdefault(distance, []).append(busy[name])
    return {each: (len(rings[each]), sum(rings[each]) / len(rings[each])) for each in sorted(rings)}


def _about(found: Found) -> str:
    world = found.world
    return "{} workers, {}, {} links, churn {}".format(
        len(world.scenario.nodes), world.sources, world.links, world.churn
    )


def figures(about: str, found: Found) -> List[Dict[str, Any]]:
    """Every number of one simulation."""
    total = found.report.total
    ended = total.result_count + total.expired_count + total.failed_count
    kept = ended + total.open_count + total.lost_count
    values: List[Tuple[str, Any, str]] = [
        ("throughput", total.items_per_s, "items/s"),
        ("bound of the throughput", total.bound_per_s, "items/s"),
        ("accuracy", total.accuracy, "share"),
        ("latency p50", total.p50_us, "us"),
        ("latency p95", total.p95_us, "us"),
        ("processor time", found.cpu_s, "s"),
        ("most memory so far", found.memory_mb, "MB"),
    ]
    count = max(1, total.result_count)
    values += [
        ("{} per item".format(kind), sent / count, "messages")
        for kind, sent in sorted(found.messages.items())
    ]
    rows = [
        cli.figure(about + ": " + name, value, unit)
        for name, value, unit in values
        if value is not None
    ]
    rows.append(
        cli.figure(
            about + ": items with one end",
            kept,
            "items",
            total.admitted_count,
            kept == total.admitted_count,
        )
    )
    return rows
