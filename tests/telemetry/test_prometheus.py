"""Metrics over HTTP: what is served is what stats() says, and nothing that clients do matters."""

import gc
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import leftovers
import pytest
from clusters import CAMERA, HELPER, INSECURE, WAIT_S, Clustered, eventually, worker
from gated import dim
from known_stats import DOCUMENT, document, matches, numbers
from scrapes import connect, get, parsed, scrape

pytest.importorskip("prometheus_client")

from edgesdk import ConfigError, Pipeline, TransportError
from edgesdk.telemetry import prometheus
from edgesdk.telemetry.metric_table import METRICS, folded
from edgesdk.telemetry.prometheus import MetricsServer

ROOT = str(Path(__file__).resolve().parent.parent.parent)


@pytest.fixture
def serve():
    """A function that serves what `stats` returns; closed behind the test."""
    servers = []

    def one(stats=lambda: DOCUMENT, port=0, **options):
        servers.append(MetricsServer(stats, port, **options))
        return servers[-1]

    yield one
    for server in servers:
        server.close()


def assert_nothing_is_forgotten(found, stats):
    """Every number of the document is in a scrape, and equal."""
    for path, number in numbers(stats):
        if path == ("latency", "buckets"):
            for bound_s, count in folded(number):
                bound = "+Inf" if bound_s == float("inf") else str(bound_s)
                assert found["edgesdk_latency_seconds_bucket", (("le", bound),)] == count
            assert found["edgesdk_latency_seconds_count", ()] == sum(n for _, n in number)
        elif path == ("latency", "total_us"):
            assert found["edgesdk_latency_seconds_sum", ()] == pytest.approx(number / 1e6)
        elif path[0] != "latency" or path[1] == "max_us":
            assert_is_there(found, path, number)


def assert_is_there(found, path, number):
    (metric,) = [each for each in METRICS if matches(path, each.path) is not None]
    key = matches(path, metric.path)
    pairs = ("status", "reason"), ("part", "stage")
    values = key.split(".", 1) if metric.labels in pairs else [key]
    if metric.labels == ("queue",):
        values = [key.replace("_count", "")]
    labels = dict(zip(metric.labels, values))
    value = found[metric.name, tuple(sorted(labels.items()))]
    expected = number / 1e6 if "_seconds" in metric.name else float(number)
    assert value == pytest.approx(expected, nan_ok=True), (path, metric.name)


class TestAScrape:
    def test_has_every_number_of_the_document(self, serve):
        found = scrape(serve().url)
        assert_nothing_is_forgotten(found, DOCUMENT)
        assert found["edgesdk_stage_busy_seconds_total", (("part", "0"), ("stage", "2"))] == 0.077
        assert found["edgesdk_neighbour_up", (("neighbour", "nano.kitchen"),)] == 0

    def test_says_what_runs(self, serve):
        (labels,) = [dict(labels) for name, labels in scrape(serve().url) if name == "edgesdk_info"]
        assert labels["worker"] == "robot-1" and labels["backend"] == "onnxruntime"
        assert labels["version"] == prometheus.__version__

    def test_asks_each_time(self, serve):
        counts = iter([1, 2, 3])
        server = serve(lambda: document(admitted_count=next(counts)))
        found = [scrape(server.url)["edgesdk_admitted_items_total", ()] for _ in range(3)]
        assert found == [1, 2, 3]

    def test_in_the_newer_format_says_the_same(self, serve):
        from prometheus_client.openmetrics.parser import text_string_to_metric_families

        url = serve().url
        status, kind, text = get(url, "application/openmetrics-text; version=1.0.0")
        assert status == 200 and kind.startswith("application/openmetrics-text")
        newer = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert newer == scrape(url)

    def test_may_ask_for_some(self, serve):
        _, _, text = get(serve().url + "?name[]=edgesdk_admitted_items_total")
        assert parsed(text) == {("edgesdk_admitted_items_total", ()): 1200.0}

    def test_of_a_document_that_says_nothing_is_empty(self, serve):
        assert scrape(serve(dict).url) == {}

    def test_escapes_what_a_board_may_say(self, serve):
        zone = 'a"b\\c\nd}'
        stats = document(board={"temperature_c": {zone: 40.0}})
        found = scrape(serve(lambda: stats).url)
        assert found["edgesdk_board_temperature_celsius", (("zone", zone),)] == 40.0


class TestAddresses:
    def test_only_this_machine_by_default(self, serve):
        server = serve()
        assert server.host == "127.0.0.1"
        assert server.url == "http://127.0.0.1:{}/metrics".format(server.port)
        with pytest.raises(OSError):
            connect(server.port, "127.0.0.2").close()

    def test_all_of_them_if_asked(self, serve):
        server = serve(host="0.0.0.0")
        connect(server.port, "127.0.0.2").close()

    def test_of_the_newer_kind(self, serve):
        try:
            server = serve(host="::1")
        except TransportError:
            pytest.skip("this machine has no IPv6")
        assert server.url.startswith("http://[::1]:")
        assert scrape(server.url)

    def test_a_port_that_is_taken(self, serve):
        taken = serve().port
        with pytest.raises(TransportError) as caught:
            serve(port=taken)
        text = str(caught.value)
        assert "cannot listen at 127.0.0.1:{} (Address already in use)".format(taken) in text
        assert "or 0 for a free one" in text

    def test_an_address_of_another_machine(self, serve):
        with pytest.raises(TransportError, match=r"cannot listen at 192\.0\.2\.1:0"):
            serve(host="192.0.2.1")

    @pytest.mark.parametrize("host", ["no such host", "a" * 70, "nowhere.invalid"])
    def test_a_host_that_is_none(self, serve, host):
        with pytest.raises(ConfigError, match=r"metrics host: found '.*expected an address"):
            serve(host=host)

    @pytest.mark.parametrize("port", [-1, 65536, "9100", 1.5, True, None])
    def test_a_port_that_is_none(self, serve, port):
        with pytest.raises(ConfigError, match=r"metrics port: found .*, expected 1 to 65535, or 0"):
            serve(port=port)


class TestClosing:
    def test_frees_the_port_at_once(self, serve):
        before = threading.active_count()
        server = serve()
        begin_s = time.monotonic()
        server.close()
        assert time.monotonic() - begin_s < 0.4  # the library alone needs up to 0.5 s
        with pytest.raises(OSError):
            connect(server.port).close()
        assert scrape(serve(port=server.port).url)
        eventually(lambda: threading.active_count() == before + 1)

    def test_leaves_nothing_behind(self, serve):
        serve().close()
        before = leftovers.used()
        for _ in range(3):
            server = serve()
            assert scrape(server.url)
            server.close()
        eventually(lambda: leftovers.nothing_more_than(before))

    def test_twice_and_by_several_threads(self, serve):
        server = serve()
        threads = [threading.Thread(target=server.close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        server.close()

    def test_does_not_wait_for_an_answer_under_way(self, serve):
        asked, go_on, found = threading.Event(), threading.Event(), []

        def stats():
            asked.set()
            assert go_on.wait(WAIT_S)
            return DOCUMENT

        server = serve(stats)
        client = threading.Thread(target=lambda: found.append(scrape(server.url)))
        client.start()
        assert asked.wait(WAIT_S)
        server.close()
        go_on.set()
        client.join(WAIT_S)
        assert found[0]["edgesdk_admitted_items_total", ()] == 1200

    def test_in_a_fork_leaves_the_parent_alone(self, serve):
        server = serve()
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # it must not hang, but if it does, not for ever
            server.close()
            os._exit(7)
        assert os.waitpid(child, 0)[1] >> 8 == 7
        assert scrape(server.url)


class TestClients:
    def test_stats_that_raise_are_one_line(self, serve, capfd, caplog):
        answers = iter([RuntimeError("closing"), DOCUMENT])

        def stats():
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        server = serve(stats)
        status, _, text = get(server.url)
        assert (status, text) == (500, "no metrics: RuntimeError: closing\n")
        assert [r.getMessage() for r in caplog.records] == [text.strip()]
        assert scrape(server.url)  # the next one is answered
        assert capfd.readouterr().err == ""

    def test_who_goes_away_is_not_spoken_of(self, serve, capfd):
        server = serve()
        for request in (b"", b"GET", b"GET /metrics HTTP/1.0\r\n\r\n", b"\0" * 70000 + b"\n"):
            client = connect(server.port)
            client.sendall(request)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()  # a reset, whatever was on its way
        assert scrape(server.url)
        eventually(lambda: not handlers())
        assert capfd.readouterr().err == ""

    def test_who_says_nothing_is_let_go(self, serve, monkeypatch):
        assert prometheus._Request.timeout == prometheus.REQUEST_S > 0
        monkeypatch.setattr(prometheus._Request, "timeout", 0.05)
        client = connect(serve().port)
        client.settimeout(WAIT_S)
        assert client.recv(1) == b""
        client.close()

    def test_those_who_wait_do_not_keep_others_out(self, serve):
        server = serve()
        silent = [connect(server.port) for _ in range(prometheus.SCRAPES_MAX - 1)]
        assert scrape(server.url)
        for client in silent:
            client.close()

    def test_there_are_never_more_than_a_few(self, serve):
        server = serve()
        silent = [connect(server.port) for _ in range(prometheus.SCRAPES_MAX)]
        eventually(lambda: len(handlers()) == prometheus.SCRAPES_MAX)
        for _ in range(3):
            with connect(server.port) as refused:
                assert refused.recv(1) == b""
        assert len(handlers()) == prometheus.SCRAPES_MAX
        for client in silent:
            client.close()
        eventually(lambda: not handlers())
        assert scrape(server.url)  # there is room again


def handlers():
    """Threads that answer somebody."""
    targets = [getattr(thread, "_target", None) for thread in threading.enumerate()]
    return [each for each in targets if getattr(each, "__name__", "") == "process_request_thread"]


WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
import edgesdk
try:
    import edgesdk.telemetry.prometheus
except edgesdk.BackendUnavailable as error:
    print(error)
"""


def test_without_the_client_it_says_what_to_install():
    said = subprocess.check_output([sys.executable, "-c", WITHOUT], cwd=ROOT).decode("utf-8")
    assert said.startswith("metrics need prometheus_client")
    assert "pip install prometheus-client" in said and '"edgesdk[metrics]"' in said


WITH_AND_WITHOUT = """
import sys, threading
from edgesdk import Pipeline
assert threading.active_count() == 1
with Pipeline.open({bundle!r}) as pipe:
    without = threading.active_count()
    imported = [n for n in sys.modules if "prometheus" in n or n in ("http.server", "wsgiref")]
    print(pipe.metrics_port, without, imported)
with Pipeline.open({bundle!r}, metrics_port=0) as pipe:
    print(pipe.metrics_port > 0, threading.active_count() - without)
    assert "prometheus_client" in sys.modules
print(threading.active_count())
"""


class TestOfAPipeline:
    def test_off_there_is_no_thread_and_no_import_on_there_is_one(self, bundle):
        program = WITH_AND_WITHOUT.format(bundle=bundle.path)
        said = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT).decode("utf-8")
        assert said.splitlines() == ["None 1 []", "True 1", "1"]

    def test_says_what_it_does(self, bundle):
        with Pipeline.open(bundle.path, metrics_port=0) as pipe:
            pipe.infer(dim(5))
            url = "http://127.0.0.1:{}/metrics".format(pipe.metrics_port)
            found = scrape(url)
            assert found["edgesdk_items_total", (("reason", "final"), ("status", "result"))] == 5
            assert found["edgesdk_exits_total", (("exit", "2"),)] == 5
            assert found["edgesdk_stage_items_total", (("part", "0"), ("stage", "1"))] == 5
        with pytest.raises(OSError):
            connect(pipe.metrics_port).close()

    def test_a_forgotten_one_frees_its_port(self, bundle):
        pipe = Pipeline.open(bundle.path, metrics_port=0)
        port = pipe.metrics_port
        assert scrape("http://127.0.0.1:{}".format(port))
        eventually(lambda: not handlers())
        del pipe
        gc.collect()
        with pytest.raises(OSError):
            connect(port).close()

    def test_is_closed_at_once_where_the_port_is_taken(self, serve, tmp_path, bundle):
        pytest.importorskip("zmq")
        path = Clustered(tmp_path, bundle, "sockets").describe(worker("camera")).path
        taken = serve().port
        with pytest.raises(TransportError, match="cannot listen at 127") as caught:
            Pipeline.open(cluster=path, name="camera", metrics_port=taken)
        with Pipeline.open(cluster=path, name="camera") as pipe:  # its own ports are free again
            assert pipe.infer(dim()[0]).ok
        assert caught.tb is not None  # holds what failed: nobody has collected it

    def test_scrapes_and_images_at_once_until_it_closes(self, bundle):
        """Nobody gets a wrong answer, and who asks gets all numbers or none."""
        wrong, is_over = [], threading.Event()
        pipe = Pipeline.open(bundle.path, metrics_port=0)
        url = "http://127.0.0.1:{}/metrics".format(pipe.metrics_port)

        def ask():
            while not is_over.is_set():
                try:
                    found = scrape(url)
                except OSError:
                    continue  # it is closed, or closing
                if ("edgesdk_queue_tasks", (("queue", "waiting"),)) not in found:
                    wrong.append(found)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        futures = [pipe.submit(dim()[0]) for _ in range(500)]
        assert {future.result(WAIT_S).exit_index for future in futures} == {2}
        pipe.close()
        is_over.set()
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        assert wrong == []

    def test_in_a_cluster_by_its_file(self, tmp_path, bundle):
        pytest.importorskip("zmq")
        entry = worker("camera", metrics_port=0)
        path = Clustered(tmp_path, bundle, "sockets").describe(entry).path
        with Pipeline.open(cluster=path, name="camera") as pipe:
            found = scrape("http://127.0.0.1:{}".format(pipe.metrics_port))
            assert ("worker", "camera") in next(of for name, of in found if name == "edgesdk_info")


@pytest.mark.parametrize("over", ["memory", "sockets"])
def test_every_number_of_a_real_cluster_is_in_a_scrape(serve, tmp_path, bundle, over):
    if over == "sockets":
        pytest.importorskip("zmq")
    top = '[admission]\nkind = "rate"\n'
    clustered = Clustered(tmp_path, bundle, over).describe(CAMERA, HELPER, security=top + INSECURE)
    try:
        helper, camera = clustered.open("helper", admission="none"), clustered.open("camera")
        clustered.meet()
        for pipe, counted in ((camera, "tasks_sent"), (helper, "tasks_computed")):
            camera.infer(dim(20))
            documents = []
            server = serve(lambda pipe=pipe, to=documents: to.append(pipe.stats(True)) or to[-1])
            found = scrape(server.url)
            assert_nothing_is_forgotten(found, documents[0])
            assert found["edgesdk_events_total", (("event", counted),)] >= 20
        sent = found["edgesdk_sent_bytes_total", (("neighbour", "camera"),)]
        assert sent == documents[0]["neighbours"]["camera"]["sent_bytes"] > 0
    finally:
        clustered.close()
