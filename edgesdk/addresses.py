"""Where a worker is reached and where it listens: `tcp://HOST:PORT`, and a second lane behind it.

An address here has one form only: names in lower case, IPv6 shortened, ports without zeros in
front. So two that are equal are spelled alike.
"""

import random
import re
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import List, NamedTuple, Tuple, Union

from .errors import TransportError

PORT_MAX = 65534  # the data lane needs the port behind it
_ADDRESS = re.compile(r"tcp://(\[[^\[\]]*\]|[^\[\]:/]*):([0-9]{1,9})")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(r"{0}(?:\.{0})*".format(_LABEL))
_NUMBER = re.compile("[0-9]+|0x[0-9a-f]*")  # resolvers take a name that ends so for an IPv4 address
_NAME_MAX = 253
_LOCAL_PORTS = range(10000, 30000, 2)  # below those that the system gives to outgoing connections
_LOCALHOST = "127.0.0.1"  # what libzmq makes of "localhost" while IPv6 is off, its default


class Address(NamedTuple):
    """`host`: a name, an IPv4 address or an [IPv6 address]; `port` of the control lane."""

    host: str
    port: int

    @property
    def control(self) -> str:
        """The address of the control lane."""
        return "tcp://{}:{}".format(*self)

    @property
    def data(self) -> str:
        """The address of the data lane: the next port."""
        return "tcp://{}:{}".format(self.host, self.port + 1)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can be at the other end. Of names only "localhost" is sure."""
        return self.host == "localhost" or (is_numeric(self.host) and _ip(self.host).is_loopback)

    @property
    def lanes(self) -> Tuple[Tuple[str, int], ...]:
        """(host, port) of both lanes; what is equal here cannot be two programs' at once."""
        host = _LOCALHOST if self.host == "localhost" else self.host
        return (host, self.port), (host, self.port + 1)


def parse_address(text: str) -> Address:
    """An address that others connect to. Raises ValueError that says what was expected."""
    address = _parse(text)
    if is_numeric(address.host) and _ip(address.host).is_unspecified:
        raise ValueError(
            "the address of one machine, for neighbours connect to it; bind = {!r} "
            "beside it listens everywhere".format(address.control)
        )
    return address


def parse_bind(text: str) -> Address:
    """An address to listen at: numbers, which may be 0.0.0.0. Raises ValueError as above."""
    address = _parse(text)
    if address.host == "localhost":
        return address._replace(host=_LOCALHOST)
    if not is_numeric(address.host):
        raise ValueError("numbers, such as tcp://0.0.0.0:{}; {}".format(address.port, _NO_NAME))
    return address


# Seen: libzmq 4.3.4 refuses to bind to a name; 4.3.5 resolves it, which on machines that list their
# own name in /etc/hosts is 127.0.1.1, where no neighbour gets through.
_NO_NAME = "a name may lead somewhere else on the machine itself"


def default_bind(address: Address) -> Address:
    """Where a worker that is reached at `address` listens: there, or everywhere if it is a name."""
    if is_numeric(address.host):
        return address
    return address._replace(host=_LOCALHOST if address.host == "localhost" else "0.0.0.0")


def is_numeric(host: str) -> bool:
    """Whether `host` of an `Address` is an IP address rather than a name."""
    return host.startswith("[") or _ends_in_number(host)


def _parse(text: str) -> Address:
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise ValueError("tcp://HOST:PORT; HOST is a name, an IPv4 or an [IPv6] address")
    host, port = match.group(1), int(match.group(2))
    if not 1 <= port <= PORT_MAX:
        raise ValueError("a port from 1 to {}; the next one is used too".format(PORT_MAX))
    return Address(_host(host.lower()), port)


def _host(host: str) -> str:
    if host == "*":
        raise ValueError("an address of one machine, or 0.0.0.0 for bind")
    if not is_numeric(host):
        if len(host) > _NAME_MAX or not _NAME.fullmatch(host):
            raise ValueError("a host of letters, digits, hyphens and dots between the parts")
        return host
    try:
        address = _ip(host)
    except ValueError:
        raise ValueError("an IPv4 address of four numbers up to 255, or [IPv6]") from None
    if address.is_multicast:
        raise ValueError("the address of one machine, not of a group")
    return "[{}]".format(address) if isinstance(address, IPv6Address) else str(address)


def _ip(host: str) -> Union[IPv4Address, IPv6Address]:
    if host.startswith("["):
        if "%" in host:  # a zone is a name that only one machine knows
            raise ValueError(host)
        return IPv6Address(host[1:-1])
    address = IPv4Address(host)
    if str(address) != host:  # 010: eight to some, ten to others and to Python 3.6
        raise ValueError(host)
    return address


def _ends_in_number(host: str) -> bool:
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def free_port_pairs(count: int) -> List[int]:
    """`count` ports of 127.0.0.1 that nobody uses now, nor the ports behind them: for trials on one
    machine, a worker takes two. Raises TransportError if there are none."""
    found: List[int] = []
    for port in random.sample(_LOCAL_PORTS, len(_LOCAL_PORTS)):
        if len(found) == count:
            return found
        if _is_free(port) and _is_free(port + 1):
            found.append(port)
    raise TransportError(
        "found {} pairs of free ports at {}, expected {}; end other programs that hold many".format(
            len(found), _LOCALHOST, count
        )
    )


def _is_free(port: int) -> bool:
    with socket.socket() as end:
        try:
            end.bind((_LOCALHOST, port))
        except OSError:
            return False
    return True
