"""Observers: they see what `stats()` sees, over real sockets, and can do nothing else."""

import gc
import weakref

import pytest

zmq = pytest.importorskip("zmq")

import tiny  # noqa: E402
from clusters import WAIT_S, Clustered, eventually, worker  # noqa: E402

from edgesdk.cluster import read_cluster  # noqa: E402
from edgesdk.errors import ConfigError  # noqa: E402
from edgesdk.keys import make_keys  # noqa: E402
from edgesdk.runtime.zeromq_observer import Observer  # noqa: E402
from edgesdk.telemetry.status import QUESTION, QUESTIONS_AT_ONCE  # noqa: E402

needs_curve = pytest.mark.skipif(not zmq.has("curve"), reason="this libzmq has no CURVE")
SECURE = ""


@pytest.fixture
def clustered(tmp_path, bundle):
    made = Clustered(tmp_path, bundle, "sockets")
    made.describe(worker("here"), worker("there"))
    yield made
    made.close()


@pytest.fixture
def secure(tmp_path, bundle):
    made = Clustered(tmp_path, bundle, "sockets")
    made.describe(worker("here"), worker("there"), security=SECURE)
    make_keys(read_cluster(made.path))
    yield made
    made.close()


def raw_observer(cluster, name, routing_id=b"o12345678"):
    """A socket to the control lane of a worker, without keys."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IDENTITY, routing_id)
    socket.setsockopt(zmq.RCVTIMEO, int(WAIT_S * 1000))
    socket.connect(cluster.worker(name).control_address)
    return context, socket


def without_times(stats):
    """What does not change while nothing happens."""
    left = {"counters", "neighbours", "uptime_us", "board"}
    return {name: value for name, value in stats.items() if name not in left}


class TestAsking:
    @needs_curve
    def test_what_stats_says_comes_back(self, secure):
        here, there = secure.open("here"), secure.open("there")
        secure.meet()
        here.infer(tiny.image(0.9))
        with Observer(read_cluster(secure.path)) as observer:
            found = observer.ask(WAIT_S)
        assert sorted(found) == ["here", "there"]
        for pipe in (here, there):
            own = without_times(pipe.stats(buckets=True))
            assert without_times(found[pipe.name])["ended"] == own["ended"]
            assert found[pipe.name]["model_id"] == own["model_id"]
            assert sorted(found[pipe.name]) == sorted(pipe.stats())
        assert found["here"]["admitted_count"] == 1
        assert found["here"]["neighbours"]["there"]["state"] == "up"
        assert sum(count for _, count in found["here"]["latency"]["buckets"]) == 1

    def test_who_is_not_there_gives_none_and_is_found_when_it_comes(self, clustered):
        clustered.open("here")
        with Observer(read_cluster(clustered.path)) as observer:
            found = observer.ask(0.5)
            assert found["there"] is None
            eventually(lambda: observer.ask(1.0)["here"] is not None)
            clustered.open("there")
            eventually(lambda: observer.ask(1.0)["there"] is not None)

    def test_only_those_who_are_named(self, clustered):
        clustered.open("there")
        with Observer(read_cluster(clustered.path), ["there"]) as observer:
            assert list(observer.ask(WAIT_S)) == ["there"]
        with pytest.raises(ConfigError, match="nobody"):
            Observer(read_cluster(clustered.path), ["nobody"])

    def test_it_is_answered_while_the_worker_computes(self, tmp_path, bundle):
        made = Clustered(tmp_path, bundle, "sockets").describe(worker("here"))
        pipe = made.open("here", gated=True)
        try:
            pipe.gated.gate.clear()
            future = pipe.submit(tiny.image(0.9))
            assert pipe.gated.entered.acquire(timeout=WAIT_S)
            with Observer(read_cluster(made.path)) as observer:
                found = observer.ask(WAIT_S)["here"]
            assert found is not None and found["queue"]["running_count"] == 1
            pipe.gated.gate.set()
            assert future.result(WAIT_S).ok
        finally:
            made.close()

    def test_a_pipeline_that_is_forgotten_is_not_kept_alive(self, clustered):
        pipe = clustered.open("here")
        alive = weakref.ref(pipe)
        clustered.pipes.clear()
        del pipe
        gc.collect()
        assert alive() is None


class TestWhoMayAsk:
    @needs_curve
    def test_without_the_key_nobody_is_answered(self, secure):
        pipe = secure.open("here")
        context, socket = raw_observer(read_cluster(secure.path), "here")
        socket.setsockopt(zmq.RCVTIMEO, 300)
        socket.send(QUESTION)
        with pytest.raises(zmq.Again):
            socket.recv_multipart()
        eventually(lambda: "handshakes_failed" in pipe.stats()["transport"])
        context.destroy(0)

    @needs_curve
    def test_a_worker_with_its_keys_is_no_observer(self, secure):
        """Neither gives the observer's letter a worker's rights, nor a worker's key an answer."""
        pipe = secure.open("here")
        cluster = read_cluster(secure.path)
        folder = tmp = cluster.security.keys
        for kind in (".secret", ".public"):
            with open("{}/there{}".format(folder, kind)) as file:
                content = file.read()
            with open("{}/observer{}".format(tmp, kind), "w") as file:
                file.write(content)
        with Observer(cluster) as observer:
            assert observer.ask(0.5)["here"] is None
        assert pipe.stats()["transport"]["impostors"] >= 1

    @needs_curve
    def test_the_observers_key_is_no_workers(self, secure):
        """Who has it and calls itself a worker is an impostor."""
        pipe = secure.open("here")
        cluster = read_cluster(secure.path)
        observer = Observer(cluster)
        (socket,) = [s for name, s in observer._outlets.items() if name == "here"]
        address = cluster.worker("here").control_address
        socket.disconnect(address)
        identity = b"w" + cluster.worker("there").worker_id.to_bytes(8, "little") + bytes(8)
        socket.setsockopt(zmq.IDENTITY, identity)
        socket.connect(address)
        socket.send_multipart([b"", b"anything"])
        eventually(lambda: pipe.stats()["transport"].get("impostors"))
        observer.close()

    @needs_curve
    def test_no_key_is_said_with_what_to_do(self, secure):
        cluster = read_cluster(secure.path)
        for kind in ("secret", "public"):
            (secure.folder / "keys" / ("observer." + kind)).unlink()
        with pytest.raises(ConfigError, match=r"observer.secret: found no such file.*edgesdk.keys"):
            Observer(cluster)
        secure.open("here")  # workers do without

    def test_nonsense_is_counted_and_the_worker_goes_on(self, clustered):
        pipe = clustered.open("here")
        context, socket = raw_observer(read_cluster(clustered.path), "here")
        socket.send(b"what?")
        socket.send_multipart([b"a", b"b", b"c"])
        eventually(lambda: pipe.stats()["transport"].get("malformed_questions") == 2)
        socket.send(QUESTION + b"1")
        assert socket.recv_multipart()[0] == QUESTION + b"1"
        assert pipe.infer(tiny.image(0.9)).ok
        context.destroy(0)

    def test_a_flood_is_not_answered(self, clustered):
        pipe = clustered.open("here")
        context, socket = raw_observer(read_cluster(clustered.path), "here")
        for _ in range(200):
            socket.send(QUESTION)
        eventually(lambda: pipe.stats()["transport"].get("questions_not_answered", 0) >= 100)
        assert pipe.stats()["transport"]["questions_not_answered"] <= 200 - QUESTIONS_AT_ONCE
        assert pipe.infer(tiny.image(0.9)).ok
        context.destroy(0)


def test_the_name_of_observers_is_no_workers(clustered):
    clustered.describe(worker("observer"))
    with pytest.raises(ConfigError, match=r"observer.*expected another name"):
        read_cluster(clustered.path)
