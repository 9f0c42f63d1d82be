"""Small scenarios for tests, as the tables of a file."""

import copy

MODEL = {
    "stage_us": [1000, 2000, 3000],
    "feature_bytes": [100, 200, 300],
    "policy": {"kind": "max_probability", "thresholds": 0.8},
    "exit_shares": [0.5, 0.2, 0.3],
    "exit_accuracy": [0.6, 0.7, 0.9],
}
LOCAL = {
    "name": "local",
    "duration_s": 10,
    "model": MODEL,
    "node": [{"name": "a"}],
    "workload": [{"source": "a", "kind": "periodic", "rate_hz": 10}],
}
PAIR = dict(LOCAL, name="pair", node=[{"name": "a"}, {"name": "b"}], link=[{"between": ["a", "b"]}])


def world(base=PAIR, **changes):
    """A copy of `base` with other top-level values; None removes one."""
    document = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = copy.deepcopy(value)
    return document
