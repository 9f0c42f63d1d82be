"""What `Pipeline.open` was asked for, with what the cluster file and the bundle say beside it."""

import contextlib
import os
from typing import Iterator, NamedTuple, Optional, Union

from .backends import Backend, open_backend
from .bundle import Bundle, read_bundle
from .choices import check_count, choose_plan, choose_policy
from .core.exits import ExitPolicy
from .core.spec import Plan
from .errors import ConfigError
from .manifest import check_policy
from .placement_file import placed
from .runtime.member import Membership, held_stages, membership_of, sends_codes
from .runtime.pace import read_pace
from .runtime.stages import onnx_files

Path = Union[str, "os.PathLike[str]", None]


class Place(NamedTuple):
    """Where a pipeline stands in a cluster; all None outside one. See `Pipeline.open`."""

    cluster: Path = None
    name: Optional[str] = None
    admission: Optional[str] = None
    pace: Path = None
    trace: Optional[str] = None
    insecure_network: bool = False


class Chosen(NamedTuple):
    """Everything that a pipeline runs: what was asked for comes before the cluster file, and that
    before what the bundle says."""

    bundle: Bundle
    plan: Plan
    policy: ExitPolicy
    threads: int
    max_batch: Optional[int]  # None: what suits the backend
    membership: Optional[Membership]

    @property
    def metrics_port(self) -> Optional[int]:
        """What the cluster file says of this worker."""
        return None if self.membership is None else self.membership.entry.metrics_port


def choose(
    bundle: Path,
    policy: Union[str, ExitPolicy, None],
    plan: Optional[str],
    threads: Optional[int],
    max_batch: Optional[int],
    place: Place,
) -> Chosen:
    """What runs. Raises BundleError and ConfigError."""
    membership = _membership(place)
    if membership is not None:
        entry, file = membership.entry, membership.cluster
        bundle = file.bundle if bundle is None else bundle
        policy = file.policy if policy is None else policy
        plan = file.plan if plan is None else plan
        threads = entry.threads if threads is None else threads
        max_batch = entry.max_batch if max_batch is None else max_batch
    if bundle is None:
        raise ConfigError("bundle: found None, expected a folder, or a cluster file")
    threads = 1 if threads is None else threads
    check_count("threads", threads)
    if max_batch is not None:
        check_count("max_batch", max_batch)
    verified = read_bundle(os.fspath(bundle))
    chosen_policy = choose_policy(verified, policy)
    chosen_plan = choose_plan(verified, policy, plan)
    check_policy(verified.manifest, chosen_policy, chosen_plan.name)
    if membership is not None:
        file = placed(membership.cluster, verified.manifest, chosen_plan.name)
        membership = membership._replace(cluster=file)
    if membership is not None and place.pace is not None:
        manifest = verified.manifest
        pace = read_pace(
            os.fspath(place.pace), manifest.model_id, chosen_plan.name, len(manifest.parts)
        )
        membership = membership._replace(pace=pace)
    return Chosen(verified, chosen_plan, chosen_policy, threads, max_batch, membership)


@contextlib.contextmanager
def opened_backend(chosen: Chosen, name: Optional[str]) -> Iterator[Backend]:
    """The backend called `name`, or the best one, for what was chosen; closed if what is made with
    it cannot be made. Raises what `open_backend` raises."""
    plans = [part.plans[chosen.plan.name] for part in chosen.bundle.manifest.parts]
    held = None if chosen.membership is None else held_stages(chosen.membership, plans)
    has_codes = chosen.membership is not None and sends_codes(
        chosen.membership, chosen.bundle, chosen.plan.name, chosen.policy
    )
    files = onnx_files(chosen.bundle, chosen.plan.name, held, has_codes)
    backend = open_backend(name, chosen.threads, files)
    try:
        yield backend
    except BaseException:
        backend.close()
        raise


def _membership(place: Place) -> Optional[Membership]:
    cluster, name, admission, _, trace, insecure_network = place
    if cluster is not None:
        return membership_of(cluster, name, admission, trace, insecure_network)
    if place != Place(insecure_network=insecure_network):
        raise ConfigError("name, admission, pace, trace: expected a cluster file beside them")
    return None
