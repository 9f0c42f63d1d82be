"""Numbers of workers: what each computed, how long tasks waited, what travelled between them."""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..core.metrics import percentile
from ..telemetry.spans import ACCEPTED, OPEN, REFUSED
from .columns import Moment
from .recording import NO_ANSWER, Recording
from .run import Clock, Run, clock_text, made_of
from .stays import WAITING, Stays


class StageRow(NamedTuple):
    """One stage at one worker. `exit_index`: the trained exit behind it, or None. `sizes`: how many
    batches had how many items. `waited_*`: in a queue here before it. None where nothing is."""

    worker: str
    part: int
    stage: int
    exit_index: Optional[int]
    batch_count: int
    item_count: int
    failed_count: int
    busy_us: int
    batch_p50_us: float
    batch_p95_us: float
    sizes: Dict[int, int]
    waited_p50_us: Optional[float]
    waited_p95_us: Optional[float]


class LinkRow(NamedTuple):
    """What one worker sent to another. Tasks by verdict, results, messages repeated. `settled_*`:
    from sending a task to the verdict on it. `one_way_p50_us`: until it was there, where both
    clocks are known. `feature_bytes`: of the tasks, before compression, where a bundle tells."""

    sender: str
    receiver: str
    task_count: int
    accepted_count: int
    refused_count: int
    unsettled_count: int
    result_count: int
    repeated_count: int
    settled_p50_us: Optional[float]
    settled_p95_us: Optional[float]
    one_way_p50_us: Optional[float]
    one_way_p95_us: Optional[float]
    feature_bytes: Optional[int]


class WorkerRow(NamedTuple):
    """One process: from `begin_us` to `end_us` on the run's axis, of which it computed `busy_us`.
    `guest_count`: tasks that came from others; `sent_count`: that went to others. `answer_count`:
    images that an exit of `worker` answered, in all of its processes. `clock`: a sentence."""

    name: str
    worker: str
    clock: str
    is_placed: bool
    begin_us: int
    end_us: int
    admitted_count: int
    answer_count: int
    guest_count: int
    sent_count: int
    batch_count: int
    item_count: int
    busy_us: int

    @property
    def busy_share(self) -> float:
        """Of the time that its trace covers."""
        return self.busy_us / max(1, self.end_us - self.begin_us)


class QueueCurve(NamedTuple):
    """Tasks that wait at one worker, in its input and its output queue, over the run's time."""

    worker: str
    waiting: Sequence[Moment]
    leaving: Sequence[Moment]


class Arrived(NamedTuple):
    """Tasks that came to one worker: int64 [n] each, `codes` ascending."""

    codes: np.ndarray
    times_us: np.ndarray


def worker_rows(run: Run) -> List[WorkerRow]:
    """One for each process."""
    rows = []
    for name, recording, clock in zip(run.names, run.recordings, run.clocks):
        made, batches = made_of(recording), recording.batches.arrays()
        guests = recording.arrivals.arrays()["key"]
        own = np.isin(guests, recording.items.arrays()["key"])
        rows.append(
            WorkerRow(
                name=name,
                worker=made.worker,
                clock=clock_text(clock, run.names[0]),
                is_placed=clock.is_known,
                begin_us=clock.moment(made.begin_us),
                end_us=clock.moment(made.end_us),
                admitted_count=recording.admitted_count,
                answer_count=_answer_count(run, made.spec.identity.worker),
                guest_count=int((~own).sum()),
                sent_count=len(recording.transfers),
                batch_count=len(recording.batches),
                item_count=int(batches["count"].sum()),
                busy_us=int((batches["end"] - batches["begin"]).sum()),
            )
        )
    return rows


def _answer_count(run: Run, worker: int) -> int:
    total = 0
    for recording in run.recordings:
        items = recording.items.arrays()
        answered = items["answerer"] == recording.answerers.number(worker)
        total += int((answered & (items["class"] != NO_ANSWER)).sum())
    return total


def stage_rows(run: Run, stays: Sequence[Stays]) -> List[StageRow]:
    """One for each stage that a worker computed."""
    rows = []
    for name, recording, found in zip(run.names, run.recordings, stays):
        batches = recording.batches.arrays()
        pairs = np.stack([batches["part"], batches["stage"]], axis=1)
        for part, stage in np.unique(pairs, axis=0).tolist() if len(pairs) else []:
            chosen = (batches["part"] == part) & (batches["stage"] == stage)
            rows.append(_stage_row(name, recording, found, batches, part, stage, chosen))
    return rows


def _stage_row(
    name: str,
    recording: Recording,
    stays: Stays,
    batches: Dict[str, np.ndarray],
    part: int,
    stage: int,
    chosen: np.ndarray,
) -> StageRow:
    took_us = (batches["end"] - batches["begin"])[chosen]
    counts = batches["count"][chosen]
    waits = (stays.state == WAITING) & (stays.batch >= 0)
    waited_us = stays.length_us[waits][chosen[stays.batch[waits]]]
    sizes = {int(size): int(count) for size, count in zip(*np.unique(counts, return_counts=True))}
    batch_p50, batch_p95 = _p50_p95(took_us)
    assert batch_p50 is not None and batch_p95 is not None
    return StageRow(
        name,
        part,
        stage,
        _exit_behind(recording, part, stage),
        int(chosen.sum()),
        int(counts.sum()),
        int((batches["ok"][chosen] == 0).sum()),
        int(took_us.sum()),
        batch_p50,
        batch_p95,
        sizes,
        *_p50_p95(waited_us),
    )


def _exit_behind(recording: Recording, part: int, stage: int) -> Optional[int]:
    plans = made_of(recording).spec.plans
    if part < len(plans) and stage < len(plans[part].stages):
        return plans[part].stages[stage].exit_index
    return None


def link_rows(run: Run) -> List[LinkRow]:
    """One for each pair of workers between which something travelled, by who sent it."""
    arrived = _arrived_us(run)
    rows = []
    for index, recording in enumerate(run.recordings):
        transfers, results = recording.transfers.arrays(), recording.results.arrays()
        for number, peer in enumerate(recording.peers.words):
            tasks = {name: each[transfers["peer"] == number] for name, each in transfers.items()}
            result_count = int((results["peer"] == number).sum())
            repeated = recording.incident_counts.get(("retransmissions", peer), 0)
            if len(tasks["key"]) or result_count:
                row = _link_row(run, index, peer, tasks, arrived)
                rows.append(row._replace(result_count=result_count, repeated_count=repeated))
    return rows


def _link_row(
    run: Run,
    index: int,
    peer: int,
    tasks: Dict[str, np.ndarray],
    arrived: Dict[int, Arrived],
) -> LinkRow:
    recording = run.recordings[index]
    counts = {ACCEPTED: 0, REFUSED: 0, OPEN: 0}
    for verdict in tasks["verdict"].tolist():
        counts[recording.verdicts.words[verdict]] += 1
    settled = tasks["verdict"] == recording.verdicts.number(ACCEPTED)
    one_way_us = _one_way_us(tasks, run.clocks[index], arrived.get(peer))
    sizes = run.feature_bytes
    known = len(sizes) > int(tasks["stage"].max(initial=0))
    return LinkRow(
        run.names[index],
        run.name_of(peer),
        len(tasks["key"]),
        counts[ACCEPTED],
        counts[REFUSED],
        counts[OPEN],
        0,
        0,
        *_p50_p95((tasks["end"] - tasks["begin"])[settled]) + _p50_p95(one_way_us),
        feature_bytes=sum(sizes[stage] for stage in tasks["stage"].tolist()) if known else None,
    )


def _arrived_us(run: Run) -> Dict[int, Arrived]:
    """When tasks came, on the run's axis, by receiver. Nothing where clocks are not known. A task
    that came twice is left out: nobody knows which one was meant."""
    found: Dict[int, Arrived] = {}
    for recording, clock in zip(run.recordings, run.clocks):
        if not clock.is_known:
            continue
        worker = made_of(recording).spec.identity.worker
        arrivals = recording.arrivals.arrays()
        codes, times_us = _codes(arrivals), clock.to_run(arrivals["at"])
        if worker in found:  # another process of the same worker
            codes = np.concatenate([codes, found[worker].codes])
            times_us = np.concatenate([times_us, found[worker].times_us])
        codes, first, counts = np.unique(codes, return_index=True, return_counts=True)
        found[worker] = Arrived(codes[counts == 1], times_us[first][counts == 1])
    return found


def _codes(rows: Dict[str, np.ndarray]) -> np.ndarray:
    """Item and stage as one number: a stage has 8 bits on the wire."""
    return (rows["key"] << 8) | (rows["stage"] & 255)


def _one_way_us(
    tasks: Dict[str, np.ndarray], clock: Clock, arrived: Optional[Arrived]
) -> np.ndarray:
    """From sending to coming, of the tasks of which that is known."""
    if not clock.is_known or arrived is None or not len(arrived.codes) or not len(tasks["key"]):
        return np.zeros(0, dtype=np.int64)
    codes, first, counts = np.unique(_codes(tasks), return_index=True, return_counts=True)
    codes, first = codes[counts == 1], first[counts == 1]
    places = np.minimum(np.searchsorted(arrived.codes, codes), len(arrived.codes) - 1)
    came = arrived.codes[places] == codes
    return arrived.times_us[places[came]] - clock.to_run(tasks["begin"][first[came]])


def queue_curves(run: Run) -> List[QueueCurve]:
    """One for each process."""
    return [
        QueueCurve(
            name, _moved(each.waiting.moments(), clock), _moved(each.leaving.moments(), clock)
        )
        for name, each, clock in zip(run.names, run.recordings, run.clocks)
    ]


def _moved(moments: Sequence[Moment], clock: Clock) -> List[Moment]:
    return [moment._replace(at_us=clock.moment(moment.at_us)) for moment in moments]


def _p50_p95(values_us: np.ndarray) -> Tuple[Optional[float], Optional[float]]:
    if not len(values_us):
        return None, None
    ordered = np.sort(values_us).tolist()
    return float(percentile(ordered, 0.50)), float(percentile(ordered, 0.95))
