"""What is simulated, as plain values. `sim/scenario.py` reads them from TOML.

Rates are per second, times in microseconds of virtual time, sizes in bytes, shares 0..1.
"""

from typing import NamedTuple, Optional, Sequence, Tuple

from ..core.admission import Admission
from ..core.events import Scores
from ..core.exits import ExitPolicy
from ..core.offload import Offloading
from ..core.replanning import Replanning
from ..features import Features


class Image(NamedTuple):
    """What is recorded of one image: its true class, and the scores of each part at every trained
    exit."""

    label: int
    scores: Tuple[Tuple[Scores, ...], ...]


class Part(NamedTuple):
    """A cascade of stages: a plain network is one, an ensemble has one for each student.

    `exit_indices`: the trained exit behind each stage of the plan. `stage_us`: time of a stage with
    its head for one item at speed 1. `feature_bytes`: what travels to stage k (index 0: the input
    itself), behind the encoder where there is one. `encode_us`, `decode_us`: what making and
    undoing it takes at speed 1, both ends of a bottleneck; empty for nothing.
    """

    exit_indices: Tuple[int, ...]
    stage_us: Tuple[int, ...]
    feature_bytes: Tuple[int, ...]
    encode_us: Tuple[int, ...] = ()
    decode_us: Tuple[int, ...] = ()


class Model(NamedTuple):
    """A network, or an ensemble, as its times and answers.

    A batch of n takes `batch_share` of n - 1 further times. `images`: items draw one each, in turn.
    `features`: of an ensemble, of the same images; one answer is made of them.
    """

    parts: Tuple[Part, ...]
    images: Sequence[Image]
    policy: ExitPolicy
    batch_share: float = 1.0
    features: Optional[Features] = None

    @property
    def stage_count(self) -> int:
        """Stages of the deepest part."""
        return max(len(part.stage_us) for part in self.parts)

    @property
    def exit_indices(self) -> Tuple[int, ...]:
        """The trained exits that some part evaluates, in order."""
        return tuple(sorted({index for part in self.parts for index in part.exit_indices}))

    @property
    def stages(self) -> Tuple[Tuple[int, int], ...]:
        """(part, stage) of every stage."""
        return tuple(
            (part, stage)
            for part, spec in enumerate(self.parts)
            for stage in range(len(spec.stage_us))
        )


class Node(NamedTuple):
    """A worker. `stages`: those it holds, None for all; and of which `parts`, None for all.
    `speed`: of a node twice as fast, 2. A clock that drifts by `drift_ppm` and starts at
    `clock_offset_us`. It is there from `join_us` and leaves gracefully at `leave_us`."""

    name: str
    stages: Optional[Tuple[int, ...]] = None
    speed: float = 1.0
    max_batch: int = 1
    drift_ppm: float = 0.0
    clock_offset_us: int = 0
    join_us: int = 0
    leave_us: Optional[int] = None
    parts: Optional[Tuple[int, ...]] = None

    def holds(self, part: int, stage: int) -> bool:
        """Whether it can compute a stage."""
        return (self.parts is None or part in self.parts) and (
            self.stages is None or stage in self.stages
        )


class Medium(NamedTuple):
    """Links of one medium (a Wi-Fi channel) share its rate: one message at a time."""

    name: str
    bytes_per_s: float


class Link(NamedTuple):
    """Both directions between two nodes; `offload` lists who may send tasks along it.

    One way takes `delay_us` plus an exponential tail of mean `jitter_us`, plus the bytes over
    `bytes_per_s` (None: no limit), one message after the other on each lane, or over the medium.
    `loss`, `duplication`, `reordering`: shares of messages; in TCP mode they cost time instead.
    """

    first: str
    second: str
    offload: Tuple[str, ...]
    delay_us: int = 500
    jitter_us: int = 0
    bytes_per_s: Optional[float] = None
    medium: Optional[str] = None
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0


class Workload(NamedTuple):
    """What the application at node `source` does. `kind`: "periodic", "poisson", "trace" (arrivals
    at `times_us`), or "admission" (Algorithm 3 says when). Ends after `item_count` items or at
    the scenario's end. `deadline_us`: after submission, None for none."""

    source: str
    kind: str
    rate_hz: float = 0.0
    item_count: Optional[int] = None
    start_us: int = 0
    times_us: Tuple[int, ...] = ()
    deadline_us: Optional[int] = None
    best_at_deadline: bool = False
    latest: bool = False


class Fault(NamedTuple):
    """Something that happens at `at_us` and is over `duration_us` later (None: it stays).

    kind          where                 what
    crash         node                  its process dies; after `duration_us` a new one starts
    leave         node                  it leaves gracefully; after `duration_us` a new one starts
    pause         node                  frozen: it sees nothing, its inbox fills
    slow          node                  computes `factor` times as long
    fail          node                  stages raise for `factor` (0..1) of the batches
    cut           "a->b" or "a-b"       nothing arrives, one way or both; TCP repairs a short one
    reset         "a-b"                 the connection breaks: all that is under way is lost
    loss          "a->b" or "a-b"       `factor` of the messages is lost (chaos mode)
    rate          "a-b"                 the rate is divided by `factor`
    """

    kind: str
    where: str
    at_us: int
    duration_us: Optional[int] = None
    factor: float = 1.0


class Scenario(NamedTuple):
    """A world. `mode` "tcp": links do what ZeroMQ over TCP does; "chaos": messages may be lost,
    doubled, reordered. Faults end before `heal_us` (None: never), after which every item must
    come to its end within `grace_us`. `is_disturbed`: cores do unlikely things on purpose
    (`core.disturbance`). `places`: of the nodes in the unit square, where they have one."""

    name: str
    model: Model
    nodes: Tuple[Node, ...]
    links: Tuple[Link, ...]
    workloads: Tuple[Workload, ...]
    media: Tuple[Medium, ...] = ()
    faults: Tuple[Fault, ...] = ()
    mode: str = "tcp"
    duration_us: int = 60_000_000
    heal_us: Optional[int] = None
    grace_us: int = 60_000_000
    offloading: Offloading = Offloading()
    admission: Admission = Admission()
    is_disturbed: bool = False
    replanning: Optional[Replanning] = None
    places: Tuple[Tuple[float, float], ...] = ()
