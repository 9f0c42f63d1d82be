"""Metrics of a pipeline, where they are asked for; until then nothing is imported for them."""

import weakref
from typing import Any, Callable, Tuple

from .status import stats_of


def serve_metrics(pipeline: Any, port: int, host: str) -> Tuple[int, Callable[[], Any]]:
    """The port at which Prometheus may ask for the stats of `pipeline`, and what ends it; that also
    comes when the pipeline is forgotten. Raises as `prometheus.MetricsServer` does, or
    BackendUnavailable, and has closed the pipeline then."""
    try:
        from .prometheus import MetricsServer

        server = MetricsServer(stats_of(weakref.ref(pipeline)), port, host)
    except BaseException:
        pipeline.close(drain=False)
        raise
    return server.port, weakref.finalize(pipeline, server.close)
