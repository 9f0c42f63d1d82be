"""All numbers of a report, from what the traces of a run told. Pure: nothing is opened here."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from ..core.spec import Plan
from . import images as im
from .images import ExitRow, ImageRow, Interval, Latency, OutcomeRow, Spent
from .recording import Made
from .run import Run, plain
from .stays import stays_of
from .troubles import Trouble, troubles_of, verdict_of
from .work import (
    LinkRow,
    QueueCurve,
    StageRow,
    WorkerRow,
    link_rows,
    queue_curves,
    stage_rows,
    worker_rows,
)


class Origin(NamedTuple):
    """How one trace was made, as its header says. `identity`: of the process, in hexadecimal."""

    worker: str
    path: str
    identity: str
    versions: Dict[str, str]
    note: Dict[str, str]
    model_id: str
    plans: Sequence[str]
    policy: Dict[str, Any]
    seed: int
    max_batch: int
    offloading: Dict[str, Any]
    admission: Dict[str, Any]
    event_count: int
    duration_us: int
    is_complete: bool
    is_same: bool


class Facts(NamedTuple):
    """One run. `admitted_count` is the sum of the outcomes. `labelled_count` of the answers have a
    known label, `right_count` of these are right. `per_s`: answers. `intervals` of `interval_us`.
    `verdict`: the worst level of `troubles`, or "good"."""

    admitted_count: int
    outcomes: Sequence[OutcomeRow]
    latency: Optional[Latency]
    latencies_us: Sequence[int]
    per_s: float
    duration_us: int
    has_labels: bool
    labelled_count: int
    right_count: int
    exits: Sequence[ExitRow]
    interval_us: int
    intervals: Sequence[Interval]
    spent: Optional[Spent]
    spent_slow: Optional[Spent]
    workers: Sequence[WorkerRow]
    stages: Sequence[StageRow]
    links: Sequence[LinkRow]
    queues: Sequence[QueueCurve]
    slowest: Sequence[ImageRow]
    unanswered: Sequence[ImageRow]
    troubles: Sequence[Trouble]
    verdict: str
    origins: Sequence[Origin]
    is_aligned: bool
    unrecorded: Sequence[str]
    class_names: Sequence[str]

    @property
    def result_count(self) -> int:
        """Images that were answered."""
        return sum(row.image_count for row in self.outcomes if row.status == im.RESULT)


def facts_of(run: Run) -> Facts:
    """The numbers of `run`."""
    stays = [stays_of(recording) for recording in run.recordings]
    images = im.images_of(run, stays)
    outcomes = im.outcome_rows(images, sum(each.open_count for each in run.recordings))
    troubles = troubles_of(run, images, outcomes)
    latencies_us = images.latency_us[images.answered]
    right = images.right[images.answered]
    width_us, intervals = im.intervals_of(images)
    return Facts(
        admitted_count=sum(each.admitted_count for each in run.recordings),
        outcomes=outcomes,
        latency=im.latency_of(latencies_us),
        latencies_us=latencies_us.tolist(),
        per_s=im.per_s(images, run),
        duration_us=run.end_us,
        has_labels=run.labels is not None,
        labelled_count=int((right >= 0).sum()),
        right_count=int((right == 1).sum()),
        exits=im.exit_rows(images),
        interval_us=width_us,
        intervals=intervals,
        spent=im.mean_spent(images),
        spent_slow=im.mean_spent(images, slow_only=True),
        workers=worker_rows(run),
        stages=stage_rows(run, stays),
        links=link_rows(run),
        queues=queue_curves(run),
        slowest=im.slowest(images, run),
        unanswered=im.unanswered(images, run),
        troubles=troubles,
        verdict=verdict_of(troubles),
        origins=[_origin(name, made) for name, made in zip(run.names, run.made)],
        is_aligned=run.is_aligned,
        unrecorded=_unrecorded(run),
        class_names=list(run.class_names),
    )


def _unrecorded(run: Run) -> List[str]:
    """Workers that tasks or results travelled to or from, of which there is no trace."""
    peers = {peer for recording in run.recordings for peer in recording.peers.words}
    return sorted(run.name_of(peer) for peer in peers if not run.is_recorded(peer))


def _origin(name: str, made: Made) -> Origin:
    spec = made.spec
    return Origin(
        worker=name,
        path=made.path,
        identity="{:016x}-{:08x}".format(*spec.identity[:2]),
        versions=made.versions,
        note=made.note,
        model_id=spec.identity.model_id.hex(),
        plans=[_plan_text(plan) for plan in spec.plans],
        policy=spec.policy.describe(),
        seed=spec.seed,
        max_batch=spec.max_batch,
        offloading=spec.offloading._asdict(),
        admission=spec.admission._asdict(),
        event_count=made.event_count,
        duration_us=made.end_us - made.begin_us,
        is_complete=made.is_complete,
        is_same=not made.difference,
    )


def _plan_text(plan: Plan) -> str:
    """ "full: segments 0, 1-2": what each stage computes."""
    stages = []
    for stage in plan.stages:
        one = stage.first_segment == stage.last_segment
        stages.append(str(stage.first_segment) if one else "{}-{}".format(*stage[:2]))
    return "{}: segments {}".format(plan.name, ", ".join(stages))


def document(facts: Facts) -> Dict[str, Any]:
    """The same as plain values for JSON; of the latencies the summary is enough."""
    result = plain(facts._replace(latencies_us=[]))
    del result["latencies_us"]
    assert isinstance(result, dict)
    return result
