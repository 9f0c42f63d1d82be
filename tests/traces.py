"""Traces for tests: of workers in a simulated world, or of one that is told what a test says."""

import os

from edgesdk.core import wire
from edgesdk.core.events import MessageReceived, PeerFound, Scores, StageDone, Submit
from edgesdk.core.exits import MaxProbability
from edgesdk.core.messages import Task
from edgesdk.core.neighbours import Identity
from edgesdk.core.spec import Plan, Stage
from edgesdk.core.tensor import Tensor
from edgesdk.core_spec import CoreSpec, new_core
from edgesdk.sim import cores
from edgesdk.sim.simulator import Simulator
from edgesdk.trace.file import TraceWriter

FULL = Plan("full", tuple(Stage(i, i, i, "stage_{}.onnx".format(i)) for i in range(3)))
IDENTITY = Identity(2**63 + 5, 7, b"m" * 16, b"p" * 16, ((0, 0), (0, 1), (0, 2)))
SPEC = CoreSpec(IDENTITY, (FULL,), MaxProbability([0.9, 0.75, 0.0]), 3, seed=11, max_batch=4)
FEATURES = Tensor("uint8", (1,), "raw", b"x")


class Recorded:
    """A core that is recorded. `through_wire`: messages come as after encoding and decoding, which
    rounds their floats."""

    def __init__(self, core, writer, through_wire=False):
        self.core, self.writer, self.through_wire = core, writer, through_wire

    @property
    def queue_length(self):
        """As Body asks for it."""
        return self.core.queue_length

    def handle(self, event, now_us):
        """As the core, and recorded."""
        if self.through_wire and isinstance(event, MessageReceived):
            event = MessageReceived(event.peer, travelled(event.envelope))
        try:
            actions = self.core.handle(event, now_us)
        except Exception as error:
            self.writer.record_failure(now_us, event, error)
            raise
        self.writer.record(now_us, event, actions)
        return actions


def travelled(envelope):
    """`envelope` as it comes out of a wire."""
    tensor = FEATURES if isinstance(envelope.message, Task) else None
    return wire.decode(wire.encode(envelope, tensor))[0]


def record_world(folder, scenario, seed, through_wire=False):
    """Simulate; the paths of the traces, one for each process that ran."""
    writers = []

    def new_worker(scenario, node, epoch, rng, metrics):
        spec = cores.core_spec(scenario, node, epoch)._replace(seed=rng.getrandbits(64))
        path = os.path.join(str(folder), "{}-{}.trace".format(node.name, epoch))
        writers.append(TraceWriter(path, spec, {"node": node.name}))
        return Recorded(new_core(spec, metrics)[0], writers[-1], through_wire)

    Simulator(scenario, seed, trace=False, new_worker=new_worker).run()
    for writer in writers:
        writer.close()
    return [writer.path for writer in writers]


def write_trace(path, item_count=3, close=True, spec=SPEC):
    """A worker without neighbours that answer, and `item_count` items: one leaves at each exit."""
    writer = TraceWriter(str(path), spec, {"device": "test"})
    recorded = Recorded(new_core(spec)[0], writer)
    now_us = 1_000_000
    recorded.handle(PeerFound(9), now_us)
    for item in range(item_count):
        now_us += 1_000
        actions = recorded.handle(Submit((item,), ("tag",), now_us), now_us)
        for _ in range(1 + item % 3):
            run = actions[-1]
            now_us += 500
            sure = 0.95 if run.stage == item % 3 else 0.1
            scores = [Scores(1, sure, 0.1, 0.2)]
            actions = recorded.handle(StageDone(0, run.stage, run.items, scores), now_us)
    if close:
        writer.close()
    return writer


def lines_of(path):
    """The lines of a file, with their ends."""
    with open(str(path), "rb") as file:
        return file.read().splitlines(True)
