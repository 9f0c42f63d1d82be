"""Metrics for Prometheus, over HTTP. The only module that imports prometheus_client.

Nothing is counted for it: whoever asks gets `stats(buckets=True)` of that moment, by the table of
`metric_table`. There is no authentication: who reaches the port can read the names of models and
workers, and how much they do.
"""

import contextlib
import io
import logging
import socket
from socketserver import TCPServer
from threading import BoundedSemaphore, Thread
from typing import Any, Callable, Dict, Iterable, Iterator, List
from wsgiref.simple_server import WSGIRequestHandler

from .. import __version__
from ..errors import BackendUnavailable, ConfigError, TransportError
from .metric_table import COUNTER, GAUGE, HISTOGRAM, INFO, METRICS, Metric, folded, info_values

try:
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
    )
    from prometheus_client.exposition import ThreadingWSGIServer
except ImportError as error:
    raise BackendUnavailable(
        "metrics need prometheus_client ({}); install it with: pip install prometheus-client, or "
        'pip install "edgesdk[metrics]"'.format(error)
    ) from None

LOOPBACK = "127.0.0.1"
PORT_MAX = 65535
REQUEST_S = 5.0  # who connects and says nothing, or does not read, is let go
SCRAPES_MAX = 8  # answered at a time; who comes beyond them is refused

Stats = Callable[[], Dict[str, Any]]
_logger = logging.getLogger("edgesdk.metrics")


class StatsCollector:
    """What a registry of the official client asks. `stats` returns a document with buckets; it may
    be called in any thread."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def describe(self) -> List[Any]:
        """All families, without samples: registering asks for no stats."""
        return list(_families({}))

    def collect(self) -> Iterator[Any]:
        """All families of the table; those of which the document says nothing are empty."""
        return _families(self._stats())


def _families(stats: Dict[str, Any]) -> Iterator[Any]:
    for metric in METRICS:
        if metric.kind == INFO:
            yield _info(metric, stats)
        elif metric.kind == HISTOGRAM:
            yield _histogram(metric, stats)
        else:
            yield _values(metric, stats)


def _values(metric: Metric, stats: Dict[str, Any]) -> Any:
    kind = {COUNTER: CounterMetricFamily, GAUGE: GaugeMetricFamily}[metric.kind]
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.samples(stats):
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, stats: Dict[str, Any]) -> Any:
    family = HistogramMetricFamily(metric.name, metric.help, labels=())
    found = stats.get(metric.path, {})
    if "buckets" in found:
        family.add_metric((), _bounded(found["buckets"]), metric.read(found["total_us"]))
    return family


def _bounded(buckets: Any) -> List[Any]:
    *finite, (_, count) = folded(buckets)
    return [(repr(bound_s), upto) for bound_s, upto in finite] + [("+Inf", count)]


def _info(metric: Metric, stats: Dict[str, Any]) -> Any:
    family = InfoMetricFamily(metric.name[: -len("_info")], metric.help, labels=())
    if stats:
        family.add_metric((), dict(zip(metric.labels, info_values(stats, __version__))))
    return family


class MetricsServer:
    """Answers HTTP GET, on any path, at `host`:`port`; each answer in a thread of its own.

    `stats` as for `StatsCollector`. Port 0 takes a free one, and `port` says which. By default only
    programs on this machine get in. Another `host`, such as "0.0.0.0" for all addresses of this
    machine, is for networks in which everybody may know: nobody is asked who they are, and nothing
    is encrypted.

    Raises ConfigError for a port that is none or a host that is not found, and TransportError if
    it cannot listen there.
    """

    def __init__(self, stats: Stats, port: int, host: str = LOOPBACK) -> None:
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= PORT_MAX:
            raise ConfigError(
                "metrics port: found {!r}, expected 1 to {}, or 0 for a free one".format(
                    port, PORT_MAX
                )
            )
        registry = CollectorRegistry()
        registry.register(StatsCollector(stats))
        self._server = _listen(host, port)
        self._server.set_app(_forgiving(make_wsgi_app(registry)))
        self._is_closing = False
        self.host = host
        self.port = int(self._server.server_address[1])
        serve = self._server.serve_forever
        self._thread = Thread(target=serve, name="edgesdk-metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host = "[{}]".format(self.host) if ":" in self.host else self.host
        return "http://{}:{}/metrics".format(host, self.port)

    def close(self) -> None:
        """Free the port; answers under way are still given. Idempotent, from any thread."""
        if self._is_closing:  # also where a signal has interrupted this
            return
        self._is_closing = True
        if self._thread.is_alive():  # not in a fork: the socket is also the parent's there
            with contextlib.suppress(OSError):
                self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread at once
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _listen(host: str, port: int) -> "_Server":
    """Raises as `MetricsServer` does."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            "metrics host: found {!r} ({}), expected an address or a name of this machine, such "
            "as {}".format(host, error, LOOPBACK)
        ) from None
    family, _, _, _, address = found[0]
    try:
        return _Server(family, address)
    except OSError as error:
        raise TransportError(
            "metrics: cannot listen at {}:{} ({}); another program or worker has the port, or it "
            "is not an address of this machine. Take another port, or 0 for a free one".format(
                host, port, error.strerror or error
            )
        ) from None


def _forgiving(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """`app`, which answers 500 in one line where it would raise: a pipeline may be closing."""

    def answer(environ: Dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except Exception as error:
            text = "no metrics: {}: {}".format(type(error).__name__, error)
            _logger.warning("%s", text)
            headers = [("Content-Type", "text/plain; charset=utf-8")]
            start_response("500 Internal Server Error", headers)
            return [text.encode("utf-8", "replace") + b"\n"]

    return answer


class _Request(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: standard error belongs to the application."""

    def get_stderr(self) -> Any:
        return io.StringIO()


class _Server(ThreadingWSGIServer):
    """The official client's server, for any family of addresses; clients cannot make it speak on
    standard error or take more than SCRAPES_MAX threads."""

    request_queue_size = 2 * SCRAPES_MAX  # a connection that finds no place comes again after 1 s

    def __init__(self, family: int, address: Any) -> None:
        self.address_family = family
        self._rooms = BoundedSemaphore(SCRAPES_MAX)
        super().__init__(address, _Request)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's asks the network for the name of this machine
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._rooms.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._rooms.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._rooms.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _logger.debug("the connection of %s ended early", client_address, exc_info=True)
