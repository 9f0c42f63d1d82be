"""Keys on real sockets: who is let in, who is not, and that nobody else notices."""

import contextlib
import time

import pytest

zmq = pytest.importorskip("zmq")

from leftovers import nothing_more_than, used  # noqa: E402
from links import Bed, drain, eventually, exchange  # noqa: E402
from test_zeromq import id_of  # noqa: E402

from edgesdk.errors import BackendUnavailable  # noqa: E402
from edgesdk.runtime.zeromq_security import Curve, Doorkeeper  # noqa: E402


@pytest.fixture
def bed():
    bed = Bed("curve", count=4)
    yield bed
    bed.close()


@pytest.fixture
def pair(bed):
    return bed.pair()


@pytest.fixture
def outsider(bed):
    """A function that connects a raw client to the control lane of worker 1 and says something."""
    context = zmq.Context()
    opened = []

    def connect(routing_id, pair=None, server_key=None):
        client = context.socket(zmq.DEALER)
        opened.append(client)
        client.setsockopt(zmq.LINGER, 0)
        client.setsockopt(zmq.RECONNECT_IVL, 20)
        client.setsockopt(zmq.ROUTING_ID, routing_id)
        if pair is not None:
            client.setsockopt(zmq.CURVE_PUBLICKEY, as_bytes(pair[0]))
            client.setsockopt(zmq.CURVE_SECRETKEY, as_bytes(pair[1]))
            client.setsockopt(zmq.CURVE_SERVERKEY, as_bytes(server_key or bed.keys[1][0]))
        client.connect(bed.addresses[1].control)
        client.send(b"let me in")
        return client

    yield connect
    for client in opened:
        client.close(0)
    context.term()


def as_bytes(key):
    return key if isinstance(key, bytes) else key.encode("ascii")


def refused(name, one, two, least=1):
    """Wait until worker 1 has refused something; nothing of it was heard, and worker 2 was."""
    heard = []
    until_s = time.monotonic() + 20
    while one.counters.get(name, 0) < least:
        assert time.monotonic() < until_s, one.counters
        heard += drain(one)
        one.wait(0.05)
    heard += drain(one)
    assert heard == []
    assert set(one.counters) == {name}
    assert exchange(two, 1, one, "control", [b"undisturbed"]).peer == 2
    assert exchange(two, 1, one, "data", [b"undisturbed", bytes(200_000)]).peer == 2


class TestWhoIsNotLetIn:
    def test_a_key_that_is_not_in_the_list(self, pair, outsider, caplog):
        for _ in range(3):
            outsider(id_of(2), zmq.curve_keypair())
        refused("keys_refused", *pair, least=3)
        assert [record.getMessage() for record in caplog.records] == [
            "refused a key that is not in the cluster file"
        ]

    def test_a_client_without_keys(self, pair, outsider, caplog):
        for _ in range(3):
            outsider(id_of(2))
        refused("handshakes_failed", *pair, least=3)
        assert len(caplog.records) == 1
        assert "wrong or no keys" in caplog.records[0].getMessage()

    def test_one_that_takes_us_for_another(self, bed, pair, outsider):
        outsider(id_of(3), bed.keys[3], server_key=bed.keys[2][0])
        refused("handshakes_failed", *pair)

    def test_one_who_has_the_public_key_of_a_neighbour_but_not_the_secret(
        self, bed, pair, outsider
    ):
        outsider(id_of(3), (bed.keys[3][0], zmq.curve_keypair()[1]))
        refused("handshakes_failed", *pair)

    def test_a_key_that_was_taken_out(self, bed):
        one, two = bed.open(1, neighbours=[2]), bed.open(2)
        three = bed.open(3)
        exchange(two, 1, one, "control", [b"hello"])
        three.send(1, "control", [b"I was one of yours"])
        refused("keys_refused", one, two)

    def test_our_own_key(self, bed, pair, outsider):
        outsider(id_of(1), bed.keys[1])
        refused("keys_refused", *pair)

    def test_those_who_are_let_in_cannot_pass_for_another(self, bed, pair, outsider):
        client = outsider(id_of(2), bed.keys[3])
        client.send(b"I am number two")
        refused("impostors", *pair, least=2)

    def test_not_even_with_its_number_at_another_neighbour(self, bed):
        one, two, three = bed.open(1), bed.open(2), bed.open(3)
        ids = [routing_id_at(number, end, two) for number, end in ((1, one), (3, three))]
        assert ids[0][:9] == ids[1][:9] == id_of(2)[:9] and ids[0] != ids[1]

    def test_a_neighbour_without_keys_hears_nothing_of_one_that_has_some(self, bed):
        one = bed.open(1)
        bed.keys, keys = {}, bed.keys
        plain = bed.open(2)
        bed.keys = keys
        one.send(2, "control", [b"secret"])
        until_s = time.monotonic() + 0.4
        while time.monotonic() < until_s:
            plain.send(1, "control", [b"hello"])
            assert drain(plain) == drain(one) == []
            one.wait(0.05)
        assert "handshakes_failed" in one.counters and "handshakes_failed" in plain.counters


def routing_id_at(number, end, two):
    """What worker 2 calls itself at another worker."""
    seen = []
    sender = end._sender
    end._sender = lambda routing_id, frame: seen.append(routing_id) or sender(routing_id, frame)
    exchange(two, number, end, "control", [b"hello"])
    return seen[0]


class TestTheDoorkeeper:
    """Asked as libzmq asks: version, request, domain, address, routing id, mechanism, key."""

    @pytest.fixture
    def ask(self, bed):
        context = zmq.Context()
        keeper = Doorkeeper(context, bed.curve(1, [2, 3]))
        asking = context.socket(zmq.REQ)
        asking.connect("inproc://zeromq.zap.01")

        def ask_one(domain=b"edgesdk", mechanism=b"CURVE", key=None):
            from zmq.utils import z85

            raw_key = z85.decode(as_bytes(bed.keys[2][0])) if key is None else key
            request = [b"1.0", b"7", domain, b"192.0.2.1", b"", mechanism, raw_key]
            asking.send_multipart(request)
            refused_count = keeper.answer_all()
            version, request_id, status, _, user, metadata = asking.recv_multipart()
            assert (version, request_id, metadata) == (b"1.0", b"7", b"")
            return status, user, refused_count

        yield ask_one
        asking.close(0)
        keeper.socket.close(0)
        context.term()

    def test_lets_in_whose_key_is_in_the_list_under_its_own_name(self, ask):
        assert ask() == (b"200", b"2", 0)

    @pytest.mark.parametrize(
        "question",
        [
            {"key": bytes(32)},
            {"key": b""},
            {"mechanism": b"NULL"},
            {"mechanism": b"PLAIN"},
            {"domain": b""},
            {"domain": b"another"},
        ],
        ids=repr,
    )
    def test_nobody_else(self, ask, question):
        assert ask(**question) == (b"400", b"", 1)


class TestOpening:
    def test_without_curve_it_says_what_to_install(self, bed, monkeypatch):
        before = used()
        monkeypatch.setattr(zmq, "has", lambda name: False)
        with pytest.raises(BackendUnavailable, match=r"pip install pyzmq\), or set security"):
            bed.open(1)
        eventually(lambda: nothing_more_than(before))

    def test_what_is_no_key_is_an_error_and_leaves_nothing(self, bed):
        before = used()
        with pytest.raises((ValueError, zmq.ZMQError)), contextlib.suppress(KeyError):
            bed.open(1, curve=Curve("x" * 40, "~" * 40, {2: bed.keys[2][0]}))
        eventually(lambda: nothing_more_than(before))
