"""From a bundle, a cluster file, profiles and options to a problem; what was assumed is told."""

import os
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..bundle import Bundle, read_plain_bundle
from ..choices import choose_plan, choose_policy
from ..cluster import Cluster, WorkerEntry, read_cluster
from ..core.codec_choice import RAW
from ..core.exits import ExitPolicy
from ..core.placement import Problem, Site, Stage, check_problem
from ..core.spec import Plan
from ..core.wire_format import HEADER_BYTES, RESULT_FIELDS, TASK_FIELDS, TENSOR_FIELDS, compiled
from ..errors import ConfigError
from ..manifest import check_policy
from ..outcomes import Outcomes, read_outcomes
from ..profiles import Profile, StageTime, read_profile
from ..sim.scenario_files import compared_bytes
from . import options, shares
from .links import links_of

FLOAT_BYTES = 4
VALUE_BYTES = {RAW: 4.0, "float16": 2.0, "uint8": 1.0}  # how others shrink depends on the data
TASK_BYTES = HEADER_BYTES + compiled(TASK_FIELDS + TENSOR_FIELDS).size
RESULT_BYTES = HEADER_BYTES + compiled(RESULT_FIELDS).size
ABOVE_IDLE, TOTAL = "energy_above_idle_mj", "energy_mj"


class Asked(NamedTuple):
    """What the command line says; see `python -m edgesdk.plan --help`."""

    bundle: str
    cluster: str
    source: Optional[str] = None
    plan: Optional[str] = None
    policy: Optional[str] = None
    profile: Sequence[str] = ()
    speed: Sequence[str] = ()
    memory: Sequence[str] = ()
    link: Sequence[str] = ()
    medium: Sequence[str] = ()
    stats: Sequence[str] = ()
    pin: Sequence[str] = ()
    outcomes: Optional[str] = None
    codec: Optional[str] = None
    image_bytes: Optional[float] = None


class Inputs(NamedTuple):
    """A problem, and what it is made of. `image_bytes`: of a compressed image. `notes`: what a
    person should know of the figures that go in."""

    bundle: Bundle
    cluster: Cluster
    plan: Plan
    policy: ExitPolicy
    problem: Problem
    image_bytes: float
    outcomes: Optional[Outcomes]
    notes: List[str]


def gather(asked: Asked) -> Inputs:
    """Read everything. Raises ConfigError and BundleError: the file or the option, and what is
    wrong with it."""
    bundle, cluster = read_plain_bundle(asked.bundle), read_cluster(asked.cluster)
    name = cluster.policy if asked.policy is None else asked.policy
    policy = choose_policy(bundle, name)
    plan = choose_plan(bundle, name, cluster.plan if asked.plan is None else asked.plan)
    check_policy(bundle.manifest, policy, plan.name)
    source = cluster.workers[0].name if asked.source is None else asked.source
    outcomes = None
    if asked.outcomes is not None:
        outcomes = read_outcomes(asked.outcomes, bundle.manifest.model_id)
    left, known_from = shares.exit_shares(bundle.manifest, plan, policy, name, outcomes)
    notes = ["who goes on to the next stage: " + known_from]
    stages, note = _stages(bundle, plan, policy, shares.reach(plan, left), _codec(asked, cluster))
    notes += note
    sites, note = _sites(asked, bundle, cluster, plan)
    notes += note
    said = options.link_options(asked.link, asked.medium, cluster)
    links, note = links_of(cluster, said, asked.stats)
    notes += note
    index = cluster.workers.index(cluster.worker(source))
    problem = check_problem(Problem(stages, sites, links, index, float(RESULT_BYTES)))
    image_bytes = asked.image_bytes
    if image_bytes is None:
        image_bytes = float(np.prod(bundle.manifest.preprocessing.shape))
        notes.append(
            "a full offload sends {:.0f} bytes, uncompressed pixels; say what your "
            "images have with --image-bytes".format(image_bytes)
        )
    return Inputs(bundle, cluster, plan, policy, problem, image_bytes, outcomes, notes)


def _codec(asked: Asked, cluster: Cluster) -> str:
    return cluster.codec if asked.codec is None else asked.codec


# --- stages ---------------------------------------------------------------------------------------


def _stages(
    bundle: Bundle, plan: Plan, policy: ExitPolicy, reach: Sequence[float], codec: str
) -> Tuple[Tuple[Stage, ...], List[str]]:
    part, files = bundle.manifest.parts[0], bundle.manifest.document["files"]
    compared = compared_bytes(bundle.manifest, policy)
    value_bytes = VALUE_BYTES.get(codec, VALUE_BYTES[RAW])
    found = []
    for index, (stage, share) in enumerate(zip(plan.stages, reach)):
        came = int(np.prod(part.segments[stage.first_segment].input_shape))
        goes = int(np.prod(part.segments[stage.last_segment].output_shape))
        names = [stage.file]
        if stage.exit_index is not None:
            names.append(part.exits[stage.exit_index].file)
        memory = sum(files[name]["bytes"] for name in names) + FLOAT_BYTES * (came + goes)
        size = TASK_BYTES + came * value_bytes + (compared if index else 0)
        found.append(Stage(share, size, float(memory)))
    notes = []
    if codec not in VALUE_BYTES:
        notes.append(
            "features: 4 bytes a value, as the codec {!r} may send fewer; --codec uint8 "
            "reckons with 1".format(codec)
        )
    return tuple(found), notes


# --- workers --------------------------------------------------------------------------------------


def _sites(
    asked: Asked, bundle: Bundle, cluster: Cluster, plan: Plan
) -> Tuple[Tuple[Site, ...], List[str]]:
    times = _times(asked, bundle, cluster, plan)
    speeds, all_speed = options.by_worker("--speed", asked.speed, cluster, "NAME=FACTOR")
    rooms, all_room = options.by_worker("--memory", asked.memory, cluster, "NAME=SIZE")
    pins = options.pins(asked.pin, cluster, len(plan.stages))
    energy = _energy_of(list(times.values()))
    sites = []
    for entry in cluster.workers:
        factor = options.speed(speeds.get(entry.name, all_speed or "1"))
        room = rooms.get(entry.name, all_room)
        known = times.get(entry.name, [])
        sites.append(
            Site(
                entry.name,
                tuple(
                    known[stage].total_us / factor if _may_hold(entry, stage, pins) else None
                    for stage in range(len(plan.stages))
                ),
                _energies(known, energy),
                None if room is None else options.memory_bytes(room),
            )
        )
    return tuple(sites), _site_notes(cluster, energy, bool(rooms or all_room))


def _may_hold(entry: WorkerEntry, stage: int, pins: Dict[int, str]) -> bool:
    is_free = entry.stages is None or stage in entry.stages
    return is_free and pins.get(stage, entry.name) == entry.name


def _times(
    asked: Asked, bundle: Bundle, cluster: Cluster, plan: Plan
) -> Dict[str, List[StageTime]]:
    """The times of the stages on each worker."""
    paths, others = options.by_worker("--profile", asked.profile, cluster, "NAME=FILE")
    known: Dict[str, Profile] = {}
    found: Dict[str, List[StageTime]] = {}
    for entry in cluster.workers:
        if entry.stages == ():
            continue  # a camera that computes nothing
        path = paths.get(entry.name, others)
        if path is None:
            raise ConfigError(
                "--profile: found none of {}, expected {}=FILE, or one FILE for all; python -m "
                "edgesdk.bench engine --bundle {} --plan {} --profile FILE measures one "
                "there".format(entry.name, entry.name, bundle.path, plan.name)
            )
        if path not in known:
            known[path] = read_profile(path, bundle.manifest.model_id)
        found[entry.name] = _of_plan(path, known[path], plan)
    return found


def _of_plan(path: str, profile: Profile, plan: Plan) -> List[StageTime]:
    try:
        times = profile.stage_times(plan.name)
    except ConfigError as error:
        raise ConfigError("{}: {}".format(path, error)) from None
    if len(times) != len(plan.stages):
        raise ConfigError(
            "{}: found times of {} stages of plan {!r}, expected {}".format(
                path, len(times), plan.name, len(plan.stages)
            )
        )
    return times


def _energy_of(times: Sequence[Sequence[StageTime]]) -> Optional[str]:
    """The figure of energy that all profiles have: what stages draw above idle, if they do."""
    for name in (ABOVE_IDLE, TOTAL):
        if all(getattr(time, name) is not None for each in times for time in each):
            return name
    return None


def _energies(times: Sequence[StageTime], name: Optional[str]) -> Optional[Tuple[float, ...]]:
    return (
        None if name is None or not times else tuple(float(getattr(time, name)) for time in times)
    )


def _site_notes(cluster: Cluster, energy: Optional[str], knows_memory: bool) -> List[str]:
    notes = []
    limited = [entry.name for entry in cluster.workers if entry.stages is not None]
    if limited:
        notes.append(
            "{}: {} may hold no other stages than its entry says".format(
                os.path.basename(cluster.path), ", ".join(limited)
            )
        )
    if energy is None:
        notes.append("energy: not in every profile; a board that measures its power has it")
    elif energy == TOTAL:
        notes.append("energy: all that the boards draw while they compute, idle included")
    if knows_memory:
        notes.append("memory: weights and the features of one image; the runtime needs its own")
    return notes
