"""What Prometheus is told of `Pipeline.stats()`: one table, and what it makes of a document.

Names follow Prometheus: `edgesdk_`, base units (seconds, bytes, celsius, watts) in the name, and
`_total` behind what only grows. docs/metrics.md is made from this table, by `markdown`.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

COUNTER, GAUGE, HISTOGRAM, INFO = "counter", "gauge", "histogram", "info"
UNITS = ("seconds", "bytes", "celsius", "watts")

# 1-2-5 from 100 us, within a stage of a small network, to 100 s, when nobody waits any more.
BOUNDS_US = tuple(digit * 10**power for power in range(2, 8) for digit in (1, 2, 5)) + (10**8,)

Labels = Tuple[str, ...]
Row = Tuple[str, str, str, Labels]


class Metric(NamedTuple):
    """One family of Prometheus, and where its values stand in a document of stats.

    `path`: keys joined by dots; `*` stands for every key of a table, every index of a list, or, in
    a list of tables, what stands there under the names of the labels. That fills the `labels`:
    without a "_count" at its end, and cut at dots if there are several. What the document lacks, or
    is None there, has no sample.
    """

    path: str
    name: str
    kind: str
    help: str
    labels: Labels = ()

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

    def read(self, value: Any) -> float:
        """In the unit of the name. Times are in us in a document; of states, only "up" is 1."""
        if isinstance(value, str):
            return float(value == "up")
        return value / 1e6 if self.unit == "seconds" else float(value)

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
                name = str(index)
                if isinstance(each, dict):
                    name = ".".join(str(each[label]) for label in self.labels)
                yield from self._find(each, path[1:], name)

    def _label_values(self, key: str) -> Labels:
        if not self.labels:
            return ()
        key = key[: -len("_count")] if key.endswith("_count") else key
        values = key.split(".", len(self.labels) - 1)
        return tuple(values + [""] * (len(self.labels) - len(values)))


INFO_LABELS = ("worker", "model_id", "plan", "policy", "backend", "kernels", "version")
EXIT, STAGE, PEER, EVENT = ("exit",), ("part", "stage"), ("neighbour",), ("event",)
QUEUE, ZONE, RAIL = ("queue",), ("zone",), ("rail",)

# Path in the document, name behind "edgesdk_", meaning, labels.
INFOS: List[Row] = [("", "info", "What runs here; always 1", INFO_LABELS)]
HISTOGRAMS: List[Row] = [
    ("latency", "latency_seconds", "From an image handed in to its answer", ()),
]
COUNTERS: List[Row] = [
    ("admitted_count", "admitted_items_total", "Images handed in here", ()),
    ("ended.*", "items_total", "Images with an outcome, and which", ("status", "reason")),
    ("exit_counts.*", "exits_total", "Answers, by the exit that gave them", EXIT),
    ("dropped_answer_count", "dropped_answers_total", "Stages that ended after the outcome", ()),
    ("stages.*.run_count", "stage_runs_total", "Batches computed here", STAGE),
    ("stages.*.item_count", "stage_items_total", "Tasks in these batches", STAGE),
    ("stages.*.busy_us", "stage_busy_seconds_total", "Time of these batches, with exits", STAGE),
    ("board.cpu_us", "cpu_seconds_total", "Processor time of this process", ()),
    ("neighbours.*.sent_count", "sent_tasks_total", "Tasks sent there", PEER),
    ("neighbours.*.received_count", "received_tasks_total", "Tasks taken from there", PEER),
    ("neighbours.*.answered_count", "answered_items_total", "Answers that came back", PEER),
    ("neighbours.*.sent_bytes", "sent_bytes_total", "Messages sent there", PEER),
    ("neighbours.*.received_bytes", "received_bytes_total", "Messages that came from there", PEER),
    ("counters.*", "events_total", "What the algorithms did between workers", EVENT),
    ("transport.*", "transport_events_total", "What was dropped or refused, and why", EVENT),
    ("pace.paced_count", "paced_stages_total", "Batches that were to take a set time", ()),
    ("pace.overrun_count", "pace_overruns_total", "Paced batches that took longer", ()),
]
GAUGES: List[Row] = [
    ("stages.*.held", "stage_held", "1: this stage is computed here, 0: elsewhere", STAGE),
    ("uptime_us", "uptime_seconds", "Time since the pipeline was opened", ()),
    ("in_flight_count", "in_flight_items", "Images handed in here that are open", ()),
    ("latency.max_us", "latency_max_seconds", "The longest latency since opening", ()),
    ("queue.*", "queue_tasks", "Tasks waiting (I_n), leaving (O_n), and running", QUEUE),
    ("board.temperature_c.*", "board_temperature_celsius", "Temperature of this board", ZONE),
    ("board.power_w.*", "board_power_watts", "Power that this board draws", RAIL),
    ("board.resident_bytes", "resident_bytes", "Memory of this process", ()),
    ("board.gpu_free_bytes", "gpu_free_bytes", "Free memory of the GPU; a Jetson's is all's", ()),
    ("board.gpu_total_bytes", "gpu_total_bytes", "Memory of the GPU", ()),
    ("neighbours.*.state", "neighbour_up", "1 if tasks may go there and come back", PEER),
    ("neighbours.*.queue_length", "neighbour_queue_tasks", "Tasks waiting there (I_m)", PEER),
    ("neighbours.*.delay_us", "neighbour_delay_seconds", "Time of a task there (Gamma_m)", PEER),
    ("neighbours.*.link_delay_us", "link_delay_seconds", "A task's way there (D_nm)", PEER),
    ("neighbours.*.round_trip_us", "link_round_trip_seconds", "Of small messages", PEER),
    ("neighbours.*.unsettled_count", "unsettled_messages", "Sent there, no verdict yet", PEER),
    ("neighbours.*.heard_us_ago", "neighbour_silence_seconds", "Since its last message", PEER),
    ("admission.interarrival_us", "admission_interarrival_seconds", "Between admissions (mu)", ()),
    ("admission.threshold", "admission_threshold", "Score that lets an image leave (T_e)", ()),
    ("pace.worst_ratio", "pace_worst_ratio", "Time over set time, worst paced batch", ()),
]
METRICS = tuple(
    Metric(path, "edgesdk_" + name, kind, meaning, labels)
    for kind, rows in zip((INFO, HISTOGRAM, COUNTER, GAUGE), (INFOS, HISTOGRAMS, COUNTERS, GAUGES))
    for path, name, meaning, labels in rows
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
        result.append((bound_us / 1e6, total))
    return result


def markdown() -> str:
    """The tables of docs/metrics.md."""
    rows = [("metric", "type", "labels", "unit", "meaning", "in `stats()`")]
    for metric in METRICS:
        labels = ", ".join("`{}`".format(label) for label in metric.labels)
        path = "`{}`".format(metric.path) if metric.path else "what is not a number"
        name = "`{}`".format(metric.name)
        rows.append((name, metric.kind, labels, metric.unit, metric.help, path))
    derived = [("in `stats()`", "here")]
    derived += [("`{}`".format(path), "`{}`".format(query)) for path, query in DERIVED]
    return _markdown_table(rows) + "\n" + _markdown_table(derived)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    ruled = [rows[0], ["---"] * len(rows[0])] + list(rows[1:])
    return "".join("| {} |\n".format(" | ".join(row)) for row in ruled)
