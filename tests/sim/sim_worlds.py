"""Small worlds for the tests of the simulator, and toy workers that stand at their nodes."""

from collections import deque

from edgesdk.core.events import (
    Deliver,
    Keep,
    MessageReceived,
    OpenLink,
    Outcome,
    Release,
    RunStage,
    Scores,
    Send,
)
from edgesdk.core.exits import MaxProbability
from edgesdk.core.messages import CONTROL, DATA, Envelope, ItemId, Load, Task
from edgesdk.sim.simulator import Simulator
from edgesdk.sim.spec import Image, Link, Model, Node, Part, Scenario, Workload
from edgesdk.sim.world import Observer

SECOND = 1_000_000


def model(stage_us=(1000, 1000, 1000), **changes):
    """Three stages. Every image of two leaves at the first exit, the others at the last."""
    exits = tuple(range(len(stage_us)))
    easy = Image(3, (tuple(Scores(3, 0.9, 0.8, 0.1) for _ in exits),))
    hard = Image(4, (tuple(Scores(4 if i == exits[-1] else 5, 0.3, 0.1, 1.9) for i in exits),))
    found = Model((Part(exits, tuple(stage_us), (1000,) * len(exits)),), (easy, hard), None)
    return found._replace(policy=MaxProbability(0.8), **changes)


def local(workload=None, **changes):
    """One node that does everything alone."""
    workload = workload or Workload("a", "periodic", rate_hz=100.0, item_count=20)
    return Scenario("local", changes.pop("model", model()), (Node("a"),), (), (workload,))._replace(
        **changes
    )


def pair(workloads=(), nodes=None, **changes):
    """Two nodes, "a" and "b", and a link; what `Link` does not have belongs to the scenario."""
    fields = {name: changes.pop(name) for name in Link._fields if name in changes}
    link = Link("a", "b", ("a", "b"))._replace(**fields)
    nodes = nodes or (Node("a"), Node("b"))
    return Scenario("pair", model(), nodes, (link,), tuple(workloads))._replace(**changes)


class Toy:
    """A worker of which a test says what it does: `on_KIND(event, now_us)` gives its actions.

    It opens a link to every neighbour that it is told of.
    """

    def __init__(self, scenario, node, epoch, rng, metrics):
        self.node, self.epoch, self.rng = node, epoch, rng
        self.peers = []
        self.queue_length = 0

    def handle(self, event, now_us):
        """What is to be done about `event`."""
        return getattr(self, "on_" + type(event).__name__)(event, now_us)

    def on_PeerFound(self, event, now_us):
        self.peers.append(event.peer)
        return [OpenLink(event.peer)]


def load(number):
    """A small message that carries a number."""
    return Envelope(1, 1, Load(number, 0, 0, 0, 0))


def task(item, stage=0):
    """A message that asks to compute a stage of `item`."""
    return Envelope(1, 1, Task(1, 1, item, 0, stage, 0, 0, 0, float("nan"), (0, 0)))


class PingPong(Toy):
    """Returns every Load with the next number."""

    def on_PeerFound(self, event, now_us):
        first = [Send(event.peer, CONTROL, load(0))] if self.node.name == "a" else []
        return [*super().on_PeerFound(event, now_us), *first]

    def on_MessageReceived(self, event, now_us):
        return [Send(event.peer, CONTROL, load(event.envelope.message.report + 1))]


class Forward(Toy):
    """Node "a" sends the input of every item to "b", which computes the first stage of one after
    the other and forgets it. So one item costs three events."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.waiting = deque()

    def on_Submit(self, event, now_us):
        item = event.items[0]
        outcome = Outcome(item, None, "expired", "deadline", None, 0)
        send = Send(self.peers[0], DATA, task(ItemId(1, self.epoch, item)), item)
        return [send, Deliver(outcome), Release(item)]

    def on_MessageReceived(self, event, now_us):
        name = -2 - event.envelope.message.item.number
        self.waiting.append(name)
        return [Keep(name)] + ([self._next()] if len(self.waiting) == 1 else [])

    def on_StageDone(self, event, now_us):
        self.waiting.popleft()
        return [Release(event.items[0])] + ([self._next()] if self.waiting else [])

    def _next(self):
        return RunStage(0, 0, (self.waiting[0],), True)


class Recorder(Observer):
    """Keeps every event that a node saw, with true time."""

    def __init__(self):
        self.events = []

    def on_start(self, node, epoch, now_us):
        self.events.append((node, now_us, "start"))

    def on_crash(self, node, now_us):
        self.events.append((node, now_us, "crash"))

    def on_event(self, node, event, actions, now_us):
        self.events.append((node, now_us, event))

    def at(self, node, *kinds):
        """(time, event) of the events of `kinds` at `node`."""
        return [(t, e) for n, t, e in self.events if n == node and isinstance(e, kinds)]

    def messages(self, node):
        """(time, number) of the Loads that arrived at `node`."""
        found = self.at(node, MessageReceived)
        return [(now_us, event.envelope.message.report) for now_us, event in found]


def run(scenario, seed=1, **options):
    """Simulate; gives the totals."""
    return Simulator(scenario, seed, **options).run()
