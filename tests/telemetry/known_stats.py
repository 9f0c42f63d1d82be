"""A document of `Pipeline.stats(buckets=True)` in which everything is known, and what is in one."""

import copy

DOCUMENT = {
    "worker": "robot-1",
    "uptime_us": 61_500_000,
    "model_id": "b400ebf7b68c4021",
    "plan": "full",
    "policy": {"kind": "max_probability", "thresholds": [0.7, 0.8, 0.0]},
    "backend": "onnxruntime",
    "kernels": "native",
    "admitted_count": 1200,
    "in_flight_count": 3,
    "ended": {"result.threshold": 1100, "result.final": 90, "expired.deadline": 5, "failed.": 2},
    "exit_counts": [1000, 100, 90],
    "dropped_answer_count": 4,
    "latency": {
        "count": 1190,
        "mean_us": 1500.25,
        "p50_us": 900.0,
        "p95_us": 5100.5,
        "max_us": 250_000_000.0,
        "total_us": 1_785_297,
        "buckets": [[96.0, 10], [100.0, 20], [104.1, 30], [900.0, 1100], [5100.5, 29], [2.6e8, 1]],
    },
    "queue": {"waiting_count": 7, "leaving_count": 2, "running_count": 32},
    "stages": [
        {
            "part": 0,
            "stage": 0,
            "run_count": 40,
            "item_count": 1200,
            "busy_us": 480_000,
            "held": True,
        },
        {
            "part": 0,
            "stage": 2,
            "run_count": 11,
            "item_count": 90,
            "busy_us": 77_000,
            "held": False,
        },
    ],
    "board": {
        "temperature_c": {"CPU-therm": 41.5, "GPU-therm": 39.0},
        "power_w": {"POM_5V_IN": 4.75},
        "resident_bytes": 91_234_304,
        "gpu_free_bytes": 1_200_000_000,
        "gpu_total_bytes": 4_157_603_840,
        "cpu_us": 12_340_000,
    },
    "counters": {"tasks_sent": 90, "tasks_computed": 1290, "sessions_lost.silent": 1},
    "transport": {"impostors": 2, "codec_fallbacks": 1},
    "neighbours": {
        "robot-2": {
            "state": "up",
            "queue_length": 5,
            "delay_us": 812,
            "link_delay_us": 1250.5,
            "round_trip_us": 820.0,
            "unsettled_count": 1,
            "sent_count": 90,
            "received_count": 3,
            "answered_count": 88,
            "sent_bytes": 5_000_000,
            "received_bytes": 40_000,
            "heard_us_ago": 130_000,
            "lost_because": "",
        },
        "nano.kitchen": {
            "state": "greeting",
            "queue_length": 0,
            "delay_us": 0,
            "link_delay_us": 0.0,
            "round_trip_us": None,
            "unsettled_count": 0,
            "sent_count": 0,
            "received_count": 0,
            "answered_count": 0,
            "sent_bytes": 420,
            "received_bytes": 0,
            "heard_us_ago": None,
            "lost_because": "silent",
        },
    },
    "admission": {"interarrival_us": 2500, "threshold": 0.65},
    "pace": {"device": "a board", "paced_count": 51, "overrun_count": 1, "worst_ratio": 1.25},
}


def document(**changes):
    """A copy, with other values at the top."""
    return dict(copy.deepcopy(DOCUMENT), **changes)


def numbers(value, path=()):
    """(keys to it, number) of every number in a document, and of every state. What names the entry
    of a list, as part and stage do, stands for its index; what runs is told as text."""
    if isinstance(value, dict):
        for key, each in value.items():
            if path + (key,) != ("policy",):
                yield from numbers(each, path + (key,))
    elif isinstance(value, (list, tuple)):
        if path == ("latency", "buckets"):
            yield path, value
            return
        for index, each in enumerate(value):
            entry = dict(each) if isinstance(each, dict) else each
            name = index
            if isinstance(entry, dict):
                name = "{}.{}".format(entry.pop("part"), entry.pop("stage"))
            yield from numbers(entry, path + (str(name),))
    elif path[-1:] == ("state",):
        yield path, float(value == "up")
    elif not isinstance(value, str) and value is not None:
        yield path, value


def matches(path, pattern):
    """The key in the place of the `*` of a pattern such as "stages.*.busy_us" ("" without one), or
    None if these keys are not meant."""
    steps = pattern.split(".")
    if len(steps) != len(path) or any(s not in ("*", key) for s, key in zip(steps, path)):
        return None
    return next((key for step, key in zip(steps, path) if step == "*"), "")
