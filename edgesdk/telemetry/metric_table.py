"""What Prometheus is told of `Pipeline.stats()`: one table, and what it makes of a document.

Names follow Prometheus: `edgesdk_`, base units (seconds, bytes, celsius, watts) in the name, and
`_total` behind what only grows. docs/metrics.md is made from this table, by `markdown`.
"""

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

COUNTER, GAUGE, HISTOGRAM, INFO = "counter", "gauge", "histogram", "info"
UNITS = ("seconds", "bytes", "celsius", "watts")

# 1-2-5 from 100 us, within a stage of a small network, to 100 s, when nobody waits any more.
BOUNDS_US = tuple(digit * 10**power for power in range(2, 8) for digit in (1, 2, 5)) + (10**8,)

Labels = Tuple[str, ...]


def _seconds(time_us: float) -> float:
    return time_us / 1e6


def _is_up(state: str) -> float:
    return float(state == "up")


class Metric(NamedTuple):
    """One family of Prometheus, and where its values stand in a document of stats.

    `path`: keys joined by dots; `*` stands for every key of a table, every index of a list, or, in
    a list of tables, what stands there under the name of the first label. That fills the `labels`:
    without a "_count" at its end, and cut at dots if there are several. `read` converts what is
    found to the unit in the name. What a document lacks, or is None there, has no sample.
    """

    path: str
    name: str
    kind: str
    help: str
    labels: Labels = ()
    read: Callable[[Any], float] = float

    @property
    def unit(self) -> str:
        """One of UNITS, or "1" for what is counted."""
        return next((unit for unit in UNITS if unit in self.name.split("_")), "1")

    def samples(self, stats: Dict[str, Any]) -> List[Tuple[Labels, float]]:
        """(values of the labels, value) of a counter or gauge, in the order of the document."""
        return [
            (self._label_values(key), self.read(value))
            for key, value in self._find(stats, self.path.split("."), "")
            if value is not None
        ]

    def _find(self, value: Any, path: Sequence[str], key: str) -> Iterator[Tuple[str, Any]]:
        if not path:
            yield key, value
        elif path[0] != "*":
            if isinstance(value, dict) and path[0] in value:
                yield from self._find(value[path[0]], path[1:], key)
        elif isinstance(value, dict):
            for name, each in value.items():
                yield from self._find(each, path[1:], name)
        else:
            for index, each in enumerate(value or ()):
                name = each[self.labels[0]] if isinstance(each, dict) else index
                yield from self._find(each, path[1:], str(name))

    def _label_values(self, key: str) -> Labels:
        if not self.labels:
            return ()
        key = key[: -len("_count")] if key.endswith("_count") else key
        values = key.split(".", len(self.labels) - 1)
        return tuple(values + [""] * (len(self.labels) - len(values)))


INFO_LABELS = ("worker", "model_id", "plan", "policy", "backend", "kernels", "version")
STAGE, NEIGHBOUR = ("stage",), ("neighbour",)


def _metrics(kind: str, rows: Sequence[Tuple[Any, ...]]) -> List[Metric]:
    return [Metric(row[0], "edgesdk_" + row[1], kind, *row[2:]) for row in rows]


METRICS = (
    _metrics(INFO, [("", "info", "Always 1; the labels say what runs", INFO_LABELS)])
    + _metrics(
        HISTOGRAM,
        [("latency", "latency_seconds", "From an image's submission to its answer", (), _seconds)],
    )
    + _metrics(
        COUNTER,
        [
            ("admitted_count", "admitted_items_total", "Images that were handed in here"),
            ("ended.*", "items_total", "Images that have their outcome", ("status", "reason")),
            ("exit_counts.*", "exits_total", "Answers, by the exit they were taken at", ("exit",)),
            ("dropped_answer_count", "dropped_answers_total", "Stages computed too late to count"),
            ("stages.*.run_count", "stage_runs_total", "Batches computed here", STAGE),
            ("stages.*.item_count", "stage_items_total", "Tasks in these batches", STAGE),
            (
                "stages.*.busy_us",
                "stage_busy_seconds_total",
                "Time these batches took",
                STAGE,
                _seconds,
            ),
            ("board.cpu_us", "cpu_seconds_total", "Processor time of this process", (), _seconds),
            ("neighbours.*.sent_count", "sent_tasks_total", "Tasks sent there", NEIGHBOUR),
            ("neighbours.*.received_count", "received_tasks_total", "Tasks from there", NEIGHBOUR),
            (
                "neighbours.*.answered_count",
                "answered_items_total",
                "Images from here that were answered there or beyond",
                NEIGHBOUR,
            ),
            ("neighbours.*.sent_bytes", "sent_bytes_total", "Messages to there", NEIGHBOUR),
            (
                "neighbours.*.received_bytes",
                "received_bytes_total",
                "Messages from there",
                NEIGHBOUR,
            ),
            ("counters.*", "events_total", "What the algorithms did", ("event",)),
            (
                "transport.*",
                "transport_events_total",
                "Messages dropped or refused, and why",
                ("event",),
            ),
            ("pace.paced_count", "paced_stages_total", "Batches that were to take a set time"),
            ("pace.overrun_count", "pace_overruns_total", "Those that took longer"),
        ],
    )
    + _metrics(
        GAUGE,
        [
            ("uptime_us", "uptime_seconds", "Since the pipeline was opened", (), _seconds),
            ("in_flight_count", "in_flight_items", "Images handed in here without an outcome yet"),
            ("latency.max_us", "latency_max_seconds", "The longest ever", (), _seconds),
            (
                "queue.*",
                "queue_tasks",
                "Tasks here: waiting (I_n), leaving (O_n), or in the batch that is running",
                ("queue",),
            ),
            ("board.temperature_c.*", "board_temperature_celsius", "As the board says", ("zone",)),
            ("board.power_w.*", "board_power_watts", "As the board says", ("rail",)),
            ("board.resident_bytes", "resident_bytes", "Memory of this process"),
            (
                "neighbours.*.state",
                "neighbour_up",
                "1: known and working, 0: greeting, leaving or absent",
                NEIGHBOUR,
                _is_up,
            ),
            (
                "neighbours.*.queue_length",
                "neighbour_queue_tasks",
                "Tasks that wait there, as far as is known here",
                NEIGHBOUR,
            ),
            (
                "neighbours.*.delay_us",
                "neighbour_delay_seconds",
                "Time of one task there (Gamma_m), as last reported",
                NEIGHBOUR,
                _seconds,
            ),
            (
                "neighbours.*.link_delay_us",
                "link_delay_seconds",
                "Of a task on its way there (D_nm), smoothed",
                NEIGHBOUR,
                _seconds,
            ),
            (
                "neighbours.*.unsettled_count",
                "unsettled_messages",
                "Sent there, no verdict yet",
                NEIGHBOUR,
            ),
            (
                "neighbours.*.heard_us_ago",
                "neighbour_silence_seconds",
                "Since its last message",
                NEIGHBOUR,
                _seconds,
            ),
            (
                "admission.interarrival_us",
                "admission_interarrival_seconds",
                "Between two images that are let in (Algorithm 3)",
                (),
                _seconds,
            ),
            (
                "admission.threshold",
                "admission_threshold",
                "That an exit has to pass (Algorithm 4)",
            ),
            ("pace.worst_ratio", "pace_worst_ratio", "Time over set time, of the worst batch"),
        ],
    )
)

# Numbers of the document that are no metric of their own, for Prometheus has them from others.
DERIVED = (
    ("latency.count", "edgesdk_latency_seconds_count"),
    ("latency.total_us", "edgesdk_latency_seconds_sum"),
    ("latency.buckets", "edgesdk_latency_seconds_bucket"),
    ("latency.mean_us", "edgesdk_latency_seconds_sum / edgesdk_latency_seconds_count"),
    ("latency.p50_us", "histogram_quantile(0.50, rate(edgesdk_latency_seconds_bucket[5m]))"),
    ("latency.p95_us", "histogram_quantile(0.95, rate(edgesdk_latency_seconds_bucket[5m]))"),
)


def info_values(stats: Dict[str, Any], version: str) -> Labels:
    """What stands behind INFO_LABELS; "" for what the document does not say."""
    values = dict(stats, version=version)
    return tuple(_text(values.get(label)) for label in INFO_LABELS)


def _text(value: Any) -> str:
    if isinstance(value, dict):  # a policy
        rest = sorted((key, each) for key, each in value.items() if key != "kind")
        return " ".join([_text(value.get("kind"))] + ["{}={}".format(*each) for each in rest])
    return "" if value is None else str(value)


def folded(buckets: Sequence[Sequence[float]]) -> List[Tuple[float, int]]:
    """(bound in seconds, durations up to it) for each of BOUNDS_US, and infinity.

    `buckets`: (upper end in us, count) ascending, fine; one that a bound cuts counts for the next.
    """
    result, total, index = [], 0, 0
    for bound_us in BOUNDS_US + (float("inf"),):
        while index < len(buckets) and buckets[index][0] <= bound_us:
            total += int(buckets[index][1])
            index += 1
        result.append((_seconds(bound_us), total))
    return result


def markdown() -> str:
    """The table as docs/metrics.md shows it."""
    lines = [
        "| metric | type | labels | unit | meaning | in `stats()` |",
        "|---|---|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join("`{}`".format(label) for label in metric.labels)
        path = "`{}`".format(metric.path) if metric.path else ""
        cells = ["`{}`".format(metric.name), metric.kind, labels, metric.unit, metric.help, path]
        lines.append("| {} |".format(" | ".join(cells)))
    return "\n".join(lines) + "\n"
