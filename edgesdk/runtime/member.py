"""A worker of a cluster in this process: its core, its links and its loop, put together."""

import os
import secrets
from hashlib import sha256
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from ..bundle import Bundle
from ..cluster import Cluster, WorkerEntry, check_exposure, read_cluster
from ..codec import available
from ..core.admission import KINDS, Admission, check_admission
from ..core.codec_choice import candidates
from ..core.events import WAKE, PeerFound, Timer
from ..core.exits import ExitPolicy, MaxProbability
from ..core.messages import FEATURE_BYTES_MAX
from ..core.metrics import Metrics
from ..core.neighbours import Identity
from ..core.replanning import Replanning, Seat, Work
from ..core.spec import Part, Plan, Stage
from ..core.tensor import (
    AXES_MAX,
    BODY_BYTES_MAX,
    LEARNED,
    LOSING_CODECS,
    LOSSLESS_CODECS,
)
from ..core.wire_format import REASONS
from ..core_spec import CoreSpec, new_core
from ..errors import BackendUnavailable, ConfigError
from ..key_files import public_path, read_secret, secret_path
from ..manifest import lossy_codecs, plan_id, policy_id
from ..telemetry.journal import Journal
from ..telemetry.merge import CLOCK, NAME
from ..telemetry.timeline import TimelineWriter
from ..trace.file import TraceWriter
from .bottleneck import Bottlenecks
from .clock import clock_name
from .executor import Executor
from .fleet_loop import FleetLoop
from .loop import Owner, Writer
from .network import Network
from .pace import Pace
from .packer import Packer
from .stages import bottlenecks_of
from .transport import Transport

_FLOAT_BYTES = 4
_ID_BYTES = 16
IN_FLIGHT_PER_WORKER = 4  # one is computed, one travels, two wait


class Membership(NamedTuple):
    """Which worker of which cluster this process is, and how it takes part. `admission`: kind of
    algorithm, None for the cluster's. `pace`: how long stages shall take. `trace`,
    `timeline`: files to write. `transport` instead of ZeroMQ, given the worker's id."""

    cluster: Cluster
    name: str
    admission: Optional[str] = None
    pace: Optional[Pace] = None
    trace: Optional[str] = None
    insecure_network: bool = False
    transport: Optional[Callable[[int], Transport]] = None
    timeline: Optional[str] = None

    @property
    def admits_by_rate(self) -> bool:
        """Whether Algorithm 3 says when images are taken."""
        return (self.admission or self.cluster.admission.kind) == "rate"

    @property
    def window(self) -> int:
        """Images in flight that keep every worker busy."""
        return IN_FLIGHT_PER_WORKER * (1 + len(self.cluster.neighbours(self.name)))

    @property
    def names(self) -> Dict[int, str]:
        """The name of every worker of the file by its id, and our own also by 0."""
        names = {each.worker_id: each.name for each in self.cluster.workers}
        names[0] = self.name
        return names

    @property
    def entry(self) -> WorkerEntry:
        """Our own line of the cluster file."""
        return self.cluster.worker(self.name)


def membership_of(
    cluster: Union[str, "os.PathLike[str]"],
    name: Optional[str],
    admission: Optional[str],
    trace: Optional[str],
    insecure_network: bool,
) -> Membership:
    """The worker `name` of the cluster file `cluster`. Raises ConfigError for what is not there."""
    file = read_cluster(cluster)
    if name is None:
        names = ", ".join(entry.name for entry in file.workers)
        raise ConfigError("name: found None, expected this worker's in the cluster: " + names)
    if admission is not None and admission not in KINDS:
        raise ConfigError(
            "admission: found {!r}, expected one of {}".format(admission, ", ".join(KINDS))
        )
    membership = Membership(file, name, admission, None, trace, insecure_network)
    file.worker(name)  # or an error that lists the names there are
    return membership


def join(
    membership: Membership,
    bundle: Bundle,
    plans: Sequence[Plan],
    policy: ExitPolicy,
    executor: Executor,
    owner: Owner,
    max_batch: int,
    seed: int,
) -> Tuple[FleetLoop, Metrics]:
    """The loop of a worker that greets its neighbours as soon as somebody drives it.

    Raises ConfigError for what does not fit together, TransportError for an address that cannot be
    bound, BackendUnavailable without CURVE.
    """
    cluster, entry = membership.cluster, membership.entry
    check_exposure(cluster, entry.name, membership.insecure_network)
    _check_travels(bundle, plans, policy)
    choices = _codecs(cluster, bundle, plans[0].name, policy)
    bottlenecks = None
    if sends_codes(membership, bundle, plans[0].name, policy):
        bottlenecks = Bottlenecks(bundle, plans[0].name, executor)
    spec = _core_spec(membership, bundle, plans, policy, choices, max_batch, seed)
    core, metrics = new_core(spec)
    neighbours = cluster.neighbours(entry.name)
    make = membership.transport
    transport = _zeromq(membership) if make is None else make(entry.worker_id)
    try:
        names = {each.entry.worker_id: each.entry.name for each in neighbours}
        metrics.on_incident = Journal(entry.name, names)
        packer = Packer(
            cluster.codec, choices, core.neighbours.get, names, transport.count, bottlenecks
        )
        # CURVE protects features better, and TCP on one machine has nothing to protect them from.
        others = [entry] + [each.entry for each in neighbours]
        checks = cluster.security.insecure and not all(each.is_loopback for each in others)
        network = Network(transport, executor, names, packer, checks)
        writers = _writers(membership, spec, names)
        loop = FleetLoop(core, executor, owner, network, membership.pace, writers)
    except BaseException:
        transport.close(0)
        raise
    for each in neighbours:
        loop.post(PeerFound(each.entry.worker_id, each.offload))
    if not neighbours:
        loop.post(Timer(WAKE))  # nobody else says the first word, and admission begins with it
    loop.drive(lambda: len(core.neighbours) == len(neighbours))  # from now on stats name them
    return loop, metrics


def _writers(membership: Membership, spec: CoreSpec, names: Dict[int, str]) -> List[Writer]:
    """Who is told of every event: nobody, as a rule."""
    writers: List[Writer] = []
    name, (worker, epoch) = membership.name, spec.identity[:2]
    if membership.trace is not None:
        note = {NAME: name, CLOCK: clock_name()}
        writers.append(TraceWriter(membership.trace, spec, note))
    if membership.timeline is not None:
        writers.append(TimelineWriter(membership.timeline, name, worker, epoch, names))
    return writers


def _core_spec(
    membership: Membership,
    bundle: Bundle,
    plans: Sequence[Plan],
    policy: ExitPolicy,
    choices: Sequence[str],
    max_batch: int,
    seed: int,
) -> CoreSpec:
    cluster, entry = membership.cluster, membership.entry
    admission = cluster.admission
    if membership.admission is not None:
        admission = admission._replace(kind=membership.admission)
    _check_admission(admission, policy)
    return CoreSpec(
        identity=Identity(
            worker=entry.worker_id,
            epoch=secrets.randbits(32) or 1,
            model_id=bytes.fromhex(bundle.manifest.model_id),
            plan_id=_agreement(bundle, plans, policy),
            stages=held_stages(membership, plans),
            # Who may not lose anything here must not be sent what has lost something.
            codecs=tuple(
                name
                for name in available() + (LEARNED,)
                if name not in LOSING_CODECS or name in choices or name == cluster.codec
            ),
        ),
        plans=tuple(plans),
        policy=policy,
        exit_count=bundle.manifest.exit_count,
        part_count=len(plans),
        # Numbers of sessions are drawn too, and must not come again after a restart.
        seed=seed ^ secrets.randbits(63),
        max_batch=max_batch,
        offloading=cluster.offloading,
        admission=admission,
        replanning=replanning_of(membership, bundle.manifest.parts[0], plans[0]),
    )


def replanning_of(membership: Membership, part: Part, plan: Plan) -> Optional[Replanning]:
    """What this worker knows of moving stages. At the coordinator that is everything: the fleet is
    itself and its neighbours, of others it hears nothing."""
    cluster, entry = membership.cluster, membership.entry
    options = cluster.replanning
    if options is None or options.coordinator != entry.worker_id:
        return options
    every, ids = (
        tuple(range(len(plan.stages))),
        {each.name: each.worker_id for each in cluster.workers},
    )
    seated = [entry] + [each.entry for each in cluster.neighbours(entry.name)]
    return options._replace(
        work=tuple(_work(part, stage) for stage in plan.stages),
        seats=tuple(
            Seat(
                each.worker_id,
                each.name,
                every if each.may_hold is None else each.may_hold,
                tuple(ids[name] for name in each.neighbours),
            )
            for each in seated
        ),
    )


def _work(part: Part, stage: Stage) -> Work:
    """Bytes as they are without a codec: rates are measured on the same scale."""
    size = _FLOAT_BYTES
    for axis in part.segments[stage.first_segment].input_shape:
        size *= axis
    segments = part.segments[stage.first_segment : stage.last_segment + 1]
    multiply_adds = sum(segment.multiply_adds for segment in segments)
    if stage.exit_index is not None:
        multiply_adds += part.exits[stage.exit_index].multiply_adds
    return Work(float(size), float(multiply_adds))


def held_stages(membership: Membership, plans: Sequence[Plan]) -> Tuple[Tuple[int, int], ...]:
    """The (part, stage) pairs that this worker is to compute. Raises ConfigError for a number of a
    part or stage that there is not."""
    entry, count = membership.entry, max(len(plan.stages) for plan in plans)
    for what, numbers, limit in (
        ("parts", entry.parts, len(plans)),
        ("stages", entry.stages, count),
    ):
        beyond = [number for number in numbers or () if number >= limit]
        if beyond:
            raise ConfigError(
                "{}: worker {}: {}: found {}, expected numbers below {}, for the plan {!r} has so "
                "many".format(
                    membership.cluster.path, entry.name, what, beyond, limit, plans[0].name
                )
            )
    return tuple(
        (part, stage)
        for part, plan in enumerate(plans)
        for stage in range(len(plan.stages))
        if (entry.parts is None or part in entry.parts)
        and (entry.stages is None or stage in entry.stages)
    )


def sends_codes(membership: Membership, bundle: Bundle, plan: str, policy: ExitPolicy) -> bool:
    """Whether features may leave or come by bottlenecks here. Raises ConfigError for a codec that
    this bundle does not allow."""
    cluster = membership.cluster
    return LEARNED in (cluster.codec,) + _codecs(cluster, bundle, plan, policy)


def _agreement(bundle: Bundle, plans: Sequence[Plan], policy: ExitPolicy) -> bytes:
    """16 bytes that are equal where plans and policy are: a task may leave wherever it is. And
    bottlenecks, for nobody reads the codes of another one's."""
    ids = [plan_id(bundle.manifest, part, plan.name) for part, plan in enumerate(plans)]
    files = bundle.manifest.document["files"]
    for spec in bottlenecks_of(bundle, plans[0].name).values():
        ids += [files[name]["sha256"] for name in (spec.encoder, spec.decoder)]
    return sha256("".join(ids + [policy_id(policy)]).encode("ascii")).digest()[:_ID_BYTES]


def _check_travels(bundle: Bundle, plans: Sequence[Plan], policy: ExitPolicy) -> None:
    """Raise ConfigError for what no message can carry, before anything begins."""
    if policy.reason not in REASONS:
        raise ConfigError(
            "policy: found the reason {!r}, expected one that results can carry to other "
            "workers: {}".format(policy.reason, ", ".join(REASONS))
        )
    classifier = bundle.manifest.classifier
    if classifier is not None and classifier.feature_size * _FLOAT_BYTES > FEATURE_BYTES_MAX:
        raise ConfigError(
            "classifier: feature_size: found {}, expected at most {}, what a result carries".format(
                classifier.feature_size, FEATURE_BYTES_MAX // _FLOAT_BYTES
            )
        )
    for part, plan in zip(bundle.manifest.parts, plans):
        for index, stage in enumerate(plan.stages):
            shape = part.segments[stage.first_segment].input_shape
            size = _FLOAT_BYTES
            for axis in shape:
                size *= axis
            if len(shape) > AXES_MAX or size > BODY_BYTES_MAX:
                raise ConfigError(
                    "plan {!r}: the input of stage {} is {}, {} bytes; expected at most {} axes "
                    "and {} bytes, what a message carries: choose a plan with other cuts".format(
                        plan.name, index, list(shape), size, AXES_MAX, BODY_BYTES_MAX
                    )
                )


def _check_admission(admission: Admission, policy: ExitPolicy) -> None:
    check_admission(admission)
    if admission.kind == "threshold" and policy.kind != MaxProbability.kind:
        raise ConfigError(
            "admission: found {!r} beside the policy {}, expected a policy of the kind {!r}, whose "
            "threshold Algorithm 4 moves".format(admission.kind, policy, MaxProbability.kind)
        )


def _codecs(cluster: Cluster, bundle: Bundle, plan: str, policy: ExitPolicy) -> Tuple[str, ...]:
    """What "auto" may choose from. Raises ConfigError for a lossy codec that calibration has not
    found harmless, and for "learned" without a bottleneck."""
    usable = available() + ((LEARNED,) if bottlenecks_of(bundle, plan) else ())
    harmless = lossy_codecs(bundle.manifest, policy=policy)
    if cluster.codec == LEARNED and LEARNED not in usable:
        raise ConfigError(
            "{}: codec: found {!r}, expected a codec that needs no bottlenecks, for {} has none "
            "between the stages of plan {!r}".format(cluster.path, LEARNED, bundle.path, plan)
        )
    if cluster.codec in LOSING_CODECS and cluster.codec not in harmless:
        raise ConfigError(
            "{}: codec: found {!r}, which calibration has not found harmless for this bundle; "
            "expected one of {}, or calibrate: python -m edgesdk.train calibrate {} --data PATH "
            "--codecs-only".format(
                cluster.path, cluster.codec, ", ".join(LOSSLESS_CODECS + harmless), bundle.path
            )
        )
    return candidates(usable, harmless if cluster.lossy else ())


def _zeromq(membership: Membership) -> Transport:
    try:  # a pipeline without neighbours needs no libzmq
        from .zeromq import Address, ZeroMQ
        from .zeromq_security import Curve, has_curve
    except ImportError as error:
        raise BackendUnavailable(
            "neighbours are reached by pyzmq, which cannot be imported ({}); install it with: "
            "pip install pyzmq".format(error)
        ) from None
    cluster, entry = membership.cluster, membership.entry
    others = [each.entry for each in cluster.neighbours(entry.name)]
    curve = None
    if not cluster.security.insecure:
        keys = cluster.public_keys()
        curve = Curve(
            keys[entry.name],
            read_secret(cluster.security.keys, entry.name),
            {each.worker_id: keys[each.name] for each in others},
            cluster.observer_key(),
        )
        if has_curve() and not curve.is_pair:
            raise ConfigError(
                "{}: does not belong to {}, expected one pair: nobody would let this worker in. "
                "Copy both from where they were made".format(
                    secret_path(cluster.security.keys, entry.name),
                    public_path(cluster.security.keys, entry.name),
                )
            )
    return ZeroMQ(
        entry.worker_id,
        Address(entry.bind_address, entry.bind_data_address),
        {each.worker_id: Address(each.control_address, each.data_address) for each in others},
        curve,
    )
