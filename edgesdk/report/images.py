"""Numbers of images: what became of them, at which exits, how fast, and where their time went."""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..core.metrics import percentile
from ..telemetry.spans import OPEN
from .recording import NO_ANSWER, Recording, number_of
from .run import Run
from .stays import COMPUTING, WAITING, Stays

ROWS_MAX = 20  # of the tables of slowest and unanswered images
INTERVALS = 50  # of charts over time, about
SLOW_SHARE = 0.05  # those that are called slow

RESULT, EXPIRED, FAILED = "result", "expired", "failed"


class Latency(NamedTuple):
    """Of `answer_count` answers, in us."""

    answer_count: int
    mean_us: float
    p5_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float


class OutcomeRow(NamedTuple):
    """How `image_count` images ended; `status` "open" is for those that had not."""

    status: str
    reason: str
    image_count: int


class ExitRow(NamedTuple):
    """Answers of one exit. Of `labelled_count` the label is known, and `right_count` are right."""

    exit_index: int
    answer_count: int
    labelled_count: int
    right_count: int
    latency: Latency


class Interval(NamedTuple):
    """What ended from `begin_us` on: answers by exit, and images without one."""

    begin_us: int
    exit_counts: Dict[int, int]
    unanswered_count: int
    p50_us: Optional[float]
    p95_us: Optional[float]
    p99_us: Optional[float]


class Spent(NamedTuple):
    """Where the time of an image went: at its source, and elsewhere as far as traces tell. The rest
    is `away_us`: travelling, and at workers without a trace. All add up to the latency."""

    computing_us: float
    waiting_us: float
    computing_elsewhere_us: float
    waiting_elsewhere_us: float
    away_us: float


class ImageRow(NamedTuple):
    """One image of `source`. `label` and `answer` are classes, None where there is none; `spent` is
    None where it had no end."""

    source: str
    number: int
    tag: Any
    begin_us: int
    latency_us: int
    status: str
    reason: str
    detail: str
    exit_index: Optional[int]
    answer: Optional[int]
    label: Optional[int]
    spent: Optional[Spent]


class Images(NamedTuple):
    """All images that ended, arrays of int64 [n]. `recording` and `row` say where each stands.
    `begin_us` and `end_us` on the run's axis, `latency_us` by the source's clock. `outcome`: a
    place in `outcomes`. `right`: 1, 0, or -1 where the label is not known. `spent`: int64 [n, 5],
    as `Spent`."""

    recording: np.ndarray
    row: np.ndarray
    key: np.ndarray
    begin_us: np.ndarray
    end_us: np.ndarray
    latency_us: np.ndarray
    outcome: np.ndarray
    exit_index: np.ndarray
    right: np.ndarray
    spent: np.ndarray
    outcomes: Sequence[Tuple[str, str]]

    @property
    def answered(self) -> np.ndarray:
        """bool [n]"""
        is_result = np.array([status == RESULT for status, _ in self.outcomes] + [False])
        return is_result[self.outcome]


def images_of(run: Run, stays: Sequence[Stays]) -> Images:
    """Every image of the run; `stays` of each recording."""
    outcomes: List[Tuple[str, str]] = []
    columns: List[List[np.ndarray]] = []
    for index, (recording, clock) in enumerate(zip(run.recordings, run.clocks)):
        items = recording.items.arrays()
        count = len(items["key"])
        first = len(outcomes)
        outcomes += recording.outcomes.words
        columns.append(
            [
                np.full(count, index),
                np.arange(count),
                items["key"],
                clock.to_run(items["begin"]),
                clock.to_run(items["end"]),
                items["end"] - items["begin"],
                items["outcome"] + first,
                items["exit"],
                _right(recording, items["class"], run),
            ]
        )
    merged: List[Any] = [np.concatenate(each).astype(np.int64) for each in zip(*columns)]
    spent = _spent(merged[2], merged[5], run, stays)
    return Images(*merged + [spent, outcomes])


def _right(recording: Recording, classes: np.ndarray, run: Run) -> np.ndarray:
    if run.labels is None:
        return np.full(len(classes), -1)
    labels = np.array([run.labels.of(tag) for tag in recording.tags] or [], dtype=np.int64)
    return np.where((labels < 0) | (classes == NO_ANSWER), -1, (labels == classes).astype(int))


def _spent(
    keys: np.ndarray, latency_us: np.ndarray, run: Run, stays: Sequence[Stays]
) -> np.ndarray:
    """int64 [n, 5]. Elsewhere some of an image may be computed twice: then what was done first
    counts, as far as it was away for."""
    spent = np.zeros((len(keys), 5), dtype=np.int64)
    order = np.argsort(keys)
    for recording, found in zip(run.recordings, stays):
        own = np.isin(found.key, recording.items.arrays()["key"])
        for is_own, state, column in (
            (True, COMPUTING, 0),
            (True, WAITING, 1),
            (False, COMPUTING, 2),
            (False, WAITING, 3),
        ):
            chosen = (own == is_own) & (found.state == state)
            places = np.searchsorted(keys[order], found.key[chosen])
            known = places < len(keys)
            rows = order[places[known]]
            same = keys[rows] == found.key[chosen][known]
            np.add.at(spent[:, column], rows[same], found.length_us[chosen][known][same])
    away = latency_us - spent[:, 0] - spent[:, 1]
    for column in (2, 3):
        spent[:, column] = np.minimum(spent[:, column], away)
        away = away - spent[:, column]
    spent[:, 4] = away
    return spent


# --- numbers of them ------------------------------------------------------------------------------


def latency_of(values_us: np.ndarray) -> Optional[Latency]:
    """None without any."""
    if not len(values_us):
        return None
    ordered = np.sort(values_us).tolist()
    shares = [float(percentile(ordered, share)) for share in (0.05, 0.50, 0.95, 0.99)]
    return Latency(len(ordered), float(values_us.mean()), *shares + [float(ordered[-1])])


def outcome_rows(images: Images, open_count: int) -> List[OutcomeRow]:
    """Answers first, then by number."""
    counts: Dict[Tuple[str, str], int] = {}
    for outcome, count in zip(*np.unique(images.outcome, return_counts=True)):
        words = images.outcomes[outcome]
        counts[words] = counts.get(words, 0) + int(count)
    rows = [OutcomeRow(status, reason, count) for (status, reason), count in counts.items()]
    rows.sort(key=lambda row: (row.status != RESULT, -row.image_count, row.status, row.reason))
    return rows + ([OutcomeRow(OPEN, "", open_count)] if open_count else [])


def exit_rows(images: Images) -> List[ExitRow]:
    """One for each exit that answered."""
    rows = []
    for exit_index in np.unique(images.exit_index[images.exit_index != NO_ANSWER]).tolist():
        chosen = images.exit_index == exit_index
        latency = latency_of(images.latency_us[chosen])
        assert latency is not None
        right = images.right[chosen]
        labelled, found = int((right >= 0).sum()), int((right == 1).sum())
        rows.append(ExitRow(exit_index, latency.answer_count, labelled, found, latency))
    return rows


def per_s(images: Images, run: Run) -> float:
    """Answers per second, from the first image that was handed in to the last answer; of several
    sources whose clocks are not known, the sum."""
    groups = [images.answered]
    if not run.is_aligned:
        groups = [
            images.answered & (images.recording == index) for index in range(len(run.recordings))
        ]
    total = 0.0
    for chosen in groups:
        if chosen.any():
            first_us = int(images.begin_us[chosen].min())
            total += int(chosen.sum()) * 1e6 / max(1, int(images.end_us[chosen].max()) - first_us)
    return total


def nice_us(about_us: float) -> int:
    """The least of 1, 2, 5, 10, ... ms that is at least `about_us`."""
    power = 1000
    while True:
        for factor in (1, 2, 5):
            if factor * power >= about_us:
                return factor * power
        power *= 10


def intervals_of(images: Images) -> Tuple[int, List[Interval]]:
    """How long each is, and what ended in it; from the first end to the last."""
    if not len(images.key):
        return 0, []
    first_us, last_us = int(images.begin_us.min()), int(images.end_us.max())
    width_us = nice_us((last_us - first_us) / INTERVALS)
    places = images.end_us // width_us
    order = np.argsort(places, kind="stable")
    numbers = np.arange(first_us // width_us, last_us // width_us + 1)
    edges = np.searchsorted(places[order], np.append(numbers, numbers[-1] + 1))
    rows, answered = [], images.answered
    for number, begin, end in zip(numbers.tolist(), edges[:-1], edges[1:]):
        chosen = order[begin:end]
        rows.append(_interval(number * width_us, images, chosen, answered[chosen]))
    return width_us, rows


def _interval(begin_us: int, images: Images, rows: np.ndarray, answered: np.ndarray) -> Interval:
    """Of the images in `rows`; an ensemble's answers have no exit, NO_ANSWER."""
    exits = images.exit_index[rows]
    found = {int(k): int(n) for k, n in zip(*np.unique(exits[answered], return_counts=True))}
    latency = latency_of(images.latency_us[rows][answered])
    times = [None] * 3 if latency is None else [latency.p50_us, latency.p95_us, latency.p99_us]
    return Interval(begin_us, found, int((~answered).sum()), *times)


def mean_spent(images: Images, slow_only: bool = False) -> Optional[Spent]:
    """Of the answers, or of the slowest SLOW_SHARE of them. None without any."""
    rows = np.flatnonzero(images.answered)
    if not len(rows):
        return None
    if slow_only:
        slowest_first = np.argsort(-images.latency_us[rows], kind="stable")
        rows = rows[slowest_first[: max(1, math.ceil(SLOW_SHARE * len(rows)))]]
    return Spent(*images.spent[rows].mean(axis=0).tolist())


def slowest(images: Images, run: Run) -> List[ImageRow]:
    """The answers that took longest."""
    rows = np.flatnonzero(images.answered)
    order = np.argsort(-images.latency_us[rows], kind="stable")[:ROWS_MAX]
    return [_image_row(images, int(row), run) for row in rows[order]]


def unanswered(images: Images, run: Run) -> List[ImageRow]:
    """The first images without an answer: failures, those without an end, then what expired."""
    failed = np.array([status == FAILED for status, _ in images.outcomes] + [False])
    rows = np.flatnonzero(~images.answered)
    order = np.lexsort((images.end_us[rows], ~failed[images.outcome[rows]]))[:ROWS_MAX]
    found = [_image_row(images, int(row), run) for row in rows[order]]
    failures = [row for row in found if row.status == FAILED]
    return (failures + _open_rows(run) + found[len(failures) :])[:ROWS_MAX]


def _open_rows(run: Run) -> List[ImageRow]:
    rows = []
    for name, recording, clock in zip(run.names, run.recordings, run.clocks):
        for item in recording.open_items:
            rows.append(
                ImageRow(
                    source=name,
                    number=item.item.number,
                    tag=item.tag,
                    begin_us=clock.moment(item.begin_us),
                    latency_us=item.end_us - item.begin_us,
                    status=OPEN,
                    reason="",
                    detail="",
                    exit_index=None,
                    answer=None,
                    label=None,
                    spent=None,
                )
            )
    return rows


def _image_row(images: Images, row: int, run: Run) -> ImageRow:
    index, place = int(images.recording[row]), int(images.row[row])
    recording = run.recordings[index]
    status, reason = images.outcomes[int(images.outcome[row])]
    tag, number = recording.tags[place], number_of(int(images.key[row]))
    name = "{}.{}".format(status, reason)  # as failures are counted
    label = None if run.labels is None else run.labels.of(tag)
    return ImageRow(
        source=run.names[index],
        number=number,
        tag=tag,
        begin_us=int(images.begin_us[row]),
        latency_us=int(images.latency_us[row]),
        status=status,
        reason=reason,
        detail=recording.details.get(name, {}).get(number, ""),
        exit_index=_or_none(int(images.exit_index[row])),
        answer=_or_none(recording.items.value("class", place)),
        label=_or_none(label),
        spent=Spent(*images.spent[row].tolist()),
    )


def _or_none(value: Optional[int]) -> Optional[int]:
    return None if value == NO_ANSWER else value
