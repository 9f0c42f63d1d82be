"""`python -m edgesdk.bench sim`: how fast the simulator is, and what of that is not the core."""

from random import Random
from time import process_time
from typing import Any, Dict, List, Tuple

from .. import cli
from ..core.events import (
    Action,
    Deliver,
    Event,
    Keep,
    MessageReceived,
    OpenLink,
    Outcome,
    PeerFound,
    Release,
    Scores,
    Send,
    Submit,
)
from ..core.exits import MaxProbability
from ..core.messages import DATA, Envelope, ItemId, Task
from ..core.metrics import Metrics
from ..sim.cores import new_metrics
from ..sim.cores import new_worker as new_core
from ..sim.simulator import Simulator
from ..sim.spec import Image, Link, Model, Node, Part, Scenario, Workload
from ..sim.world import Observer

SEED = 0
STAGE_COUNT = 7
CLUSTER = 4
ITEM_COUNT = 3000
ROUNDS = 7
EVENTS_PER_S_MIN = 100_000.0
ENGINE_US_MAX = 3.0
ENGINE_TRACED_US_MAX = 4.0

_HANDED_OVER = Outcome(0, None, "expired", "deadline", None, 0)


class _Relay:
    """A worker that decides nothing: a source hands its items over, others forget them."""

    queue_length = 0

    def __init__(
        self, scenario: Scenario, node: Node, epoch: int, rng: Random, metrics: Metrics
    ) -> None:
        self._epoch = epoch

    def handle(self, event: Event, now_us: int) -> List[Action]:
        """Two actions for a task that comes, three for an item."""
        if isinstance(event, Submit):
            item = event.items[0]
            task = Task(1, 1, ItemId(1, self._epoch, item), 0, 0, 0, 0, 0, 0.5, (0, 0))
            send = Send(2, DATA, Envelope(1, 1, task), item)
            return [send, Release(item), Deliver(_HANDED_OVER)]
        if isinstance(event, MessageReceived):
            return [Keep(-2), Release(-2)]
        return [OpenLink(event.peer)] if isinstance(event, PeerFound) else []


class _Recording(Observer):
    """Keeps what the core was told."""

    def __init__(self) -> None:
        self.events: List[Tuple[Event, int]] = []

    def on_event(self, node: str, event: Event, actions: List[Action], now_us: int) -> None:
        """Keep it."""
        self.events.append((event, now_us))


def measure() -> List[Dict[str, Any]]:
    """Figures: events per second, and the engine's share of an event."""
    total_us, traced_us = engine_run_us(local(), False), engine_run_us(local(), True)
    core_us = core_run_us(local())
    relay_us = engine_run_us(pair(), False, _Relay) - core_run_us(pair(), _Relay)
    engine, traced = "engine's share of an event", ENGINE_TRACED_US_MAX
    mesh_us = engine_run_us(clusters(CLUSTER, ITEM_COUNT), False)
    return [
        _figure(
            "events/s, {} workers that share the work".format(CLUSTER),
            1e6 / mesh_us,
            "1/s",
            EVENTS_PER_S_MIN,
            at_least=True,
        ),
        _figure("events/s, local", 1e6 / total_us, "1/s", EVENTS_PER_S_MIN, at_least=True),
        _figure(engine, total_us - core_us, "us", ENGINE_US_MAX),
        _figure(engine + ", with trace", traced_us - core_us, "us", traced),
        _figure(engine + ", between two nodes", relay_us, "us", ENGINE_US_MAX),
    ]


def measure_large(worker_count: int, item_count: int) -> List[Dict[str, Any]]:
    """Figures of one large world, run once to its end."""
    begin = process_time()
    totals = Simulator(clusters(worker_count, item_count), SEED, trace=False).run()
    seconds = process_time() - begin
    answered = sum(source.answered_count for source in totals.sources)
    about = "{} workers, {} items: ".format(worker_count, item_count)
    return [
        cli.figure(about + "answered", answered, "items", item_count, answered == item_count),
        cli.figure(about + "events/s", round(totals.event_count / seconds), "1/s"),
        cli.figure(about + "virtual time", round(totals.end_us / 1e6, 1), "s"),
        cli.figure(about + "processor time", round(seconds, 1), "s"),
    ]


def clusters(worker_count: int, item_count: int) -> Scenario:
    """Fours of neighbours, one of each the source of an equal share of the items."""
    names = ["n{}".format(index) for index in range(worker_count)]
    links, workloads = [], []
    for first in range(0, worker_count, CLUSTER):
        group = names[first : first + CLUSTER]
        links += [Link(a, b, (a, b)) for i, a in enumerate(group) for b in group[i + 1 :]]
        share = item_count * (first + len(group)) // worker_count
        share -= item_count * first // worker_count
        workloads.append(Workload(group[0], "periodic", rate_hz=100.0, item_count=share))
    end_us = 100 * item_count // worker_count * 1_000_000 + 60_000_000
    model = local().model
    slower = model.parts[0]._replace(stage_us=(4_000,) * STAGE_COUNT)
    model = model._replace(parts=(slower,))
    nodes = tuple(Node(name) for name in names)
    return Scenario("clusters", model, nodes, tuple(links), tuple(workloads), duration_us=end_us)


def local() -> Scenario:
    """One node, every item through seven exits."""
    exits = tuple(range(STAGE_COUNT))
    image = Image(1, ((Scores(1, 0.5, 0.2, 0.3),) * STAGE_COUNT,))
    part = Part(exits, (100,) * STAGE_COUNT, (100_000,) * STAGE_COUNT)
    model = Model((part,), (image,), MaxProbability([0.9] * STAGE_COUNT))
    workload = Workload("a", "periodic", rate_hz=1000.0, item_count=ITEM_COUNT)
    return Scenario("local", model, (Node("a"),), (), (workload,))


def pair() -> Scenario:
    """Two nodes; features of every item go from one to the other."""
    links = (Link("a", "b", ("a",), bytes_per_s=1e9),)
    return local()._replace(nodes=(Node("a"), Node("b")), links=links)


def engine_run_us(scenario: Scenario, trace: bool, new_worker: Any = new_core) -> float:
    """Microseconds per event of the fastest round."""
    fastest = float("inf")
    for _ in range(ROUNDS):
        simulator = Simulator(scenario, SEED, trace=trace, new_worker=new_worker)
        begin = process_time()
        totals = simulator.run()
        fastest = min(fastest, (process_time() - begin) / totals.event_count)
    return fastest * 1e6


def core_run_us(scenario: Scenario, new_worker: Any = new_core) -> float:
    """The same for the core of the first node alone, told the same events at the same times."""
    recording = _Recording()
    Simulator(scenario, SEED, recording, trace=False, new_worker=new_worker).run()
    fastest = float("inf")
    for _ in range(ROUNDS):
        metrics = new_metrics(scenario.model)
        worker = new_worker(scenario, scenario.nodes[0], 1, Random(SEED), metrics)
        handle = worker.handle
        begin = process_time()
        for event, now_us in recording.events:
            handle(event, now_us)
        fastest = min(fastest, (process_time() - begin) / len(recording.events))
    return fastest * 1e6


def _figure(
    name: str, value: float, unit: str, target: float, at_least: bool = False
) -> Dict[str, Any]:
    ok = value >= target if at_least else value <= target
    return cli.figure(name, round(value, 2), unit, target, ok)
