"""Status documents by hand: what a worker says that has run for so long."""


def status(seconds=10.0, exits=(0, 0), latency=None, neighbours=None, board=None, **counters):
    """`latency`: {upper_us: count}; `counters`: those of the algorithms, and computed, busy_s,
    waiting, leaving."""
    computed, busy_s = counters.pop("computed", 0), counters.pop("busy_s", 0.0)
    queue = {"waiting_count": counters.pop("waiting", 0), "running_count": 0}
    queue["leaving_count"] = counters.pop("leaving", 0)
    half = {"run_count": 1, "item_count": computed / 2, "busy_us": busy_s / 2 * 1e6}
    return {
        "worker": "it",
        "uptime_us": int(seconds * 1e6),
        "model_id": "0123456789abcdef" * 2,
        "plan": "full",
        "policy": {"kind": "margin", "thresholds": [0.75, 0]},
        "backend": "onnxruntime",
        "kernels": "native",
        "admitted_count": sum(exits),
        "in_flight_count": 0,
        "ended": {},
        "exit_counts": list(exits),
        "latency": {"buckets": [list(pair) for pair in sorted((latency or {}).items())]},
        "stages": [dict(half, stage=0), dict(half, stage=1)],
        "queue": queue,
        "board": board or {},
        "counters": counters,
        "neighbours": neighbours or {},
    }


def link(state="up", **values):
    """One entry of `neighbours`."""
    entry = {
        "state": state,
        "delay_us": 900,
        "link_delay_us": 300.0,
        "round_trip_us": 90.0,
        "unsettled_count": 1,
    }
    entry.update({"sent_count": 0, "sent_bytes": 0, "lost_because": ""}, **values)
    return entry
