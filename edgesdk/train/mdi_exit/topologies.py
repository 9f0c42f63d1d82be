"""The paper's topologies and the baselines it names, as scenarios of the simulator."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

from ...core.admission import Admission
from ...core.exits import ExitPolicy, FinalExit, MaxProbability
from ...core.offload import Offloading
from ...sim.spec import Image, Link, Medium, Model, Node, Scenario, Workload
from ...sim.topology import default_offload, offloaders, pairs
from .boards import Board

LINK_DELAY_US = 1_000
LINK_JITTER_US = 500
SERVER_SPEED = 10.0  # of the baseline's server, in boards
THRESHOLD = 0.8  # T_e that Algorithm 4 begins with
SOURCE, SERVER, WIFI = "source", "server", "wifi"


class Topology(NamedTuple):
    """`shape`: "mesh", "ring" (one way round), "star" (of workers that are sent images), or
    "server" (the source only sends). `coded`: features behind the first exit travel as codes."""

    name: str
    node_count: int
    shape: str
    coded: bool = False

    @property
    def sends_inputs(self) -> bool:
        """Whether images may travel as they are."""
        return self.shape in ("star", "server")

    @property
    def boards(self) -> float:
        """How many boards could do what its nodes can."""
        return SERVER_SPEED if self.shape == "server" else float(self.node_count)


LOCAL = Topology("Local", 1, "mesh")
TWO = Topology("2-Node", 2, "mesh")
MESH_3 = Topology("3-Node-Mesh", 3, "mesh")
CIRCLE_3 = Topology("3-Node-Circular", 3, "ring")
MESH_5 = Topology("5-Node-Mesh", 5, "mesh")
DATA_5 = Topology("Data-distributed, 5", 5, "star")
OFFLOAD = Topology("Full offload", 2, "server")
CODED_3 = Topology("3-Node-Mesh, AE", 3, "mesh", coded=True)
CODED_5 = Topology("5-Node-Mesh, AE", 5, "mesh", coded=True)

PAPER = (LOCAL, TWO, MESH_3, CIRCLE_3, MESH_5)
BASELINES = (DATA_5, OFFLOAD)
CODED = (CODED_3, CODED_5)


class Drive(NamedTuple):
    """Who decides what: the exits' policy, how images arrive, and what admission adapts."""

    policy: ExitPolicy
    workload: Workload
    admission: Admission


def at_threshold(threshold: Optional[float], begin_per_s: float) -> Drive:
    """Algorithm 3 finds the rate, from `begin_per_s` on; None: without early exits."""
    policy = FinalExit() if threshold is None else MaxProbability(threshold)
    admission = Admission(kind="rate", interarrival_us=max(1, round(1e6 / begin_per_s)))
    return Drive(policy, Workload(SOURCE, "admission"), admission)


def at_rate(rate_hz: float) -> Drive:
    """Poisson arrivals; Algorithm 4 finds the threshold."""
    admission = Admission(kind="threshold", threshold=THRESHOLD)
    return Drive(MaxProbability(THRESHOLD), Workload(SOURCE, "poisson", rate_hz), admission)


def scenario_of(
    topology: Topology,
    board: Board,
    images: Sequence[Image],
    drive: Drive,
    seconds: float,
    wifi_mbit_s: Optional[float],
    image_bytes: int,
    link_delay_us: int = LINK_DELAY_US,
) -> Scenario:
    """One fleet, one channel for all of its links, or, without `wifi_mbit_s`, links that only take
    `link_delay_us`. `image_bytes`: of a compressed image, for those who send them to a server."""
    compressed = image_bytes if topology.shape == "server" else None
    with_exits = not isinstance(drive.policy, FinalExit)
    part = board.part(with_exits, topology.coded, compressed)
    media = () if wifi_mbit_s is None else (Medium(WIFI, wifi_mbit_s * 1e6 / 8),)
    return Scenario(
        topology.name,
        Model((part,), images, drive.policy),
        nodes_of(topology),
        _links(topology, link_delay_us, wifi_mbit_s is not None),
        (drive.workload,),
        media,
        duration_us=round(seconds * 1e6),
        offloading=Offloading(offload_inputs=topology.sends_inputs),
        admission=drive.admission,
    )


def nodes_of(topology: Topology) -> tuple[Node, ...]:
    """The source first."""
    if topology.shape == "server":
        return (Node(SOURCE, stages=()), Node(SERVER, speed=SERVER_SPEED))
    workers = [Node(f"worker-{index}") for index in range(1, topology.node_count)]
    return (Node(SOURCE), *workers)


def _links(topology: Topology, delay_us: int, is_wifi: bool) -> tuple[Link, ...]:
    names = [node.name for node in nodes_of(topology)]
    shape = "star" if topology.shape == "server" else topology.shape
    way = "forward" if topology.sends_inputs else default_offload(shape, len(names))
    jitter_us, medium = (LINK_JITTER_US, WIFI) if is_wifi else (0, None)
    return tuple(
        Link(first, second, offloaders(way, first, second), delay_us, jitter_us, medium=medium)
        for first, second in pairs(shape, names)
    )
