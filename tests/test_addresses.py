"""Addresses: one spelling for each, two lanes, and a reason for everything that is refused."""

import socket

import pytest

from edgesdk.addresses import Address, default_bind, free_port_pairs, parse_address, parse_bind
from edgesdk.errors import TransportError


def refusal(parse, text):
    with pytest.raises(ValueError) as caught:
        parse(text)
    return str(caught.value)


class TestWhatIsRead:
    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [
            ("tcp://192.168.1.10:5600", "192.168.1.10", 5600),
            ("tcp://Robot-1.Local:5600", "robot-1.local", 5600),
            ("tcp://compose_worker_2:1", "compose_worker_2", 1),
            ("tcp://4wd:65534", "4wd", 65534),
            ("tcp://[FE80:0::1]:05600", "[fe80::1]", 5600),
            ("tcp://localhost:5600", "localhost", 5600),
        ],
    )
    def test_in_one_spelling(self, text, host, port):
        assert parse_address(text) == Address(host, port)

    def test_the_data_lane_is_the_next_port(self):
        address = parse_address("tcp://[::1]:65534")
        assert (address.control, address.data) == ("tcp://[::1]:65534", "tcp://[::1]:65535")


class TestWhatIsRefused:
    @pytest.mark.parametrize("parse", [parse_address, parse_bind])
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("192.168.1.10:5600", "tcp://HOST:PORT"),
            ("udp://192.168.1.10:5600", "tcp://HOST:PORT"),
            ("tcp://192.168.1.10", "tcp://HOST:PORT"),
            ("tcp://192.168.1.10:", "tcp://HOST:PORT"),
            ("tcp://192.168.1.10:5600/", "tcp://HOST:PORT"),
            ("tcp://192.168.1.10:5600\n", "tcp://HOST:PORT"),
            ("tcp://192.168.1.10:-1", "tcp://HOST:PORT"),
            ("tcp://192.168.1.10:٥٦", "tcp://HOST:PORT"),
            ("tcp://192.168.1.10:*", "tcp://HOST:PORT"),
            ("tcp://fe80::1:5600", "tcp://HOST:PORT"),
            ("tcp://10.0.0.1:0", "a port from 1 to 65534"),
            ("tcp://10.0.0.1:65535", "a port from 1 to 65534"),
            ("tcp://10.0.0.1:99999", "a port from 1 to 65534"),
            ("tcp://:5600", "a host of letters"),
            ("tcp://robot 1:5600", "a host of letters"),
            ("tcp://eth0;robot:5600", "a host of letters"),
            ("tcp://-robot:5600", "a host of letters"),
            ("tcp://robot..local:5600", "a host of letters"),
            ("tcp://röbot:5600", "a host of letters"),
            ("tcp://" + "a" * 64 + ":5600", "a host of letters"),
            ("tcp://" + ".".join(["abcd"] * 51) + ":5600", "a host of letters"),
            ("tcp://192.168.1:5600", "IPv4 address of four numbers"),
            ("tcp://192.168.1.256:5600", "IPv4 address of four numbers"),
            ("tcp://192.168.1.010:5600", "IPv4 address of four numbers"),
            ("tcp://0x7f000001:5600", "IPv4 address of four numbers"),
            ("tcp://[10.0.0.1]:5600", "IPv4 address of four numbers"),
            ("tcp://[fe80::1%eth0]:5600", "IPv4 address of four numbers"),
            ("tcp://224.0.0.1:5600", "not of a group"),
            ("tcp://[ff02::1]:5600", "not of a group"),
            ("tcp://*:5600", "0.0.0.0 for bind"),
        ],
    )
    def test_with_a_reason(self, parse, text, says):
        assert says in refusal(parse, text)

    @pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[0:0::0]"])
    def test_nobody_connects_to_everywhere(self, host):
        message = refusal(parse_address, "tcp://{}:5600".format(host))
        assert "neighbours connect to it" in message and "bind = 'tcp://" in message


class TestWhereAWorkerListens:
    @pytest.mark.parametrize(
        ("text", "listens"),
        [
            ("tcp://0.0.0.0:5700", "tcp://0.0.0.0:5700"),
            ("tcp://[0::0]:5700", "tcp://[::]:5700"),
            ("tcp://10.0.0.1:5700", "tcp://10.0.0.1:5700"),
            ("tcp://localhost:5700", "tcp://127.0.0.1:5700"),
        ],
    )
    def test_as_it_says(self, text, listens):
        assert parse_bind(text).control == listens

    def test_a_name_is_refused_for_it_may_be_another_address_at_home(self):
        message = refusal(parse_bind, "tcp://robot.local:5700")
        assert message.startswith("numbers, such as tcp://0.0.0.0:5700")

    @pytest.mark.parametrize(
        ("address", "listens"),
        [
            ("tcp://10.0.0.1:5600", "tcp://10.0.0.1:5600"),
            ("tcp://[fe80::1]:5600", "tcp://[fe80::1]:5600"),
            ("tcp://robot.local:5600", "tcp://0.0.0.0:5600"),
            ("tcp://localhost:5600", "tcp://127.0.0.1:5600"),
        ],
    )
    def test_by_default_where_it_is_reached_or_everywhere(self, address, listens):
        assert default_bind(parse_address(address)).control == listens


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("128.0.0.1", False),
        ("[::2]", False),
        ("localhost.example", False),
    ],
)
def test_who_is_on_this_machine_for_sure(host, is_loopback):
    assert parse_address("tcp://{}:5600".format(host)).is_loopback is is_loopback


def test_listening_everywhere_is_not_loopback():
    assert not parse_bind("tcp://0.0.0.0:5600").is_loopback
    assert not parse_bind("tcp://[::]:5600").is_loopback


def test_localhost_and_its_number_are_one_host():
    assert parse_address("tcp://localhost:1").lanes == (("127.0.0.1", 1), ("127.0.0.1", 2))


def test_free_ports_come_in_pairs_below_the_ephemeral_ones():
    ports = free_port_pairs(5)
    lanes = {port + lane for port in ports for lane in (0, 1)}
    assert len(lanes) == 10 and max(lanes) < 32768
    for lane in lanes:
        with socket.socket() as end:
            end.bind(("127.0.0.1", lane))


def test_a_machine_without_free_ports_is_an_error(monkeypatch):
    monkeypatch.setattr("edgesdk.addresses._is_free", lambda port: port % 2 == 0)
    with pytest.raises(TransportError, match="found 0 pairs of free ports"):
        free_port_pairs(1)
