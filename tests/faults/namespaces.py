"""Hosts on a switch, each a network namespace of Linux, and what befalls their wires. Root only.

    with Network("a", "b") as network:
        worker = network.popen("a", [sys.executable, ...], ...)
        network.partition("a")
        ...

Every host has the address 10.99.0.N on its device `eth0` (N from 1, in the order of the names). The
switch is a bridge in a namespace of its own, so nothing is seen or changed outside. Names contain
the process id; everything is deleted at the end of the `with`, and the kernel deletes the devices
with their namespaces.
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
import threading
from typing import Any, Callable, List, Optional

import pytest

CLONE_NEWNET = 0x40000000
NAMESPACES = "/run/netns"
PREFIX = "edgesdk-"
DEVICE = "eth0"
COMMAND_TIMEOUT_S = 20
TOOLS = {"ip": "iproute2", "tc": "iproute2", "ss": "iproute2", "nft": "nftables"}

TO_HOST, FROM_HOST = "to host", "from host"
WAYS = {TO_HOST: "oifname", FROM_HOST: "iifname"}  # as the switch sees the host's plug

_numbers = itertools.count()


def missing() -> Optional[str]:
    """Why there can be no namespaces here, and what to do; None if there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root: run these tests as root (sudo)"
    absent = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if absent:
        return "tools are missing: apt-get install {}".format(" ".join(absent))
    name = "{}{}-probe".format(PREFIX, os.getpid())
    with contextlib.ExitStack() as stack:
        stack.callback(_try, "ip", "netns", "del", name)
        if _try("ip", "netns", "add", name):
            return "this machine allows no network namespaces: run on a host or as --privileged"
        if _try("ip", "-n", name, "link", "add", "br0", "type", "bridge"):
            return "this kernel has no bridge: load it (modprobe bridge veth)"
        rules = drop_rules("probe", 'iifname "nobody"', "drop")
        with contextlib.suppress(AssertionError):
            run("ip", "netns", "exec", name, "nft", "-f", "-", stdin=rules)
            return None
    return "nft cannot filter a bridge here: it needs a kernel with CONFIG_NF_TABLES_BRIDGE"


def need_namespaces() -> None:
    """Skip the test where `missing` says why."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)


def drop_rules(table: str, match: str, verdict: str) -> str:
    """For `nft -f`: a table of a switch with one rule for IPv4, or without any if no verdict."""
    lines = ["table bridge {} {{}}".format(table), "delete table bridge {}".format(table)]
    if verdict:
        lines += ["table bridge {} {{".format(table), "chain faults {"]
        lines += ["type filter hook forward priority 0; policy accept;"]
        lines += ["{} ether type ip counter {}".format(match, verdict), "}", "}"]
    return "\n".join(lines) + "\n"


def _try(*command: str) -> int:
    """The exit status of a command that may fail."""
    return subprocess.call(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=COMMAND_TIMEOUT_S,
    )


def run(*command: str, stdin: str = "") -> str:
    """Standard output of a command; AssertionError with what it said, where it fails."""
    done = subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    assert done.returncode == 0, "{}: {}".format(" ".join(command), done.stdout)
    return done.stdout


def enter(namespace: str) -> None:
    """Move this thread into `namespace` for good: sockets and devices that it opens belong there.

    For threads that do nothing else (`Network.call`); Python's other threads stay where they are.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    there = os.open(NAMESPACES + "/" + namespace, os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns: cannot enter " + namespace)
    finally:
        os.close(there)


def sweep() -> None:
    """Delete the namespaces of processes that were killed before they could do so."""
    for name in os.listdir(NAMESPACES) if os.path.isdir(NAMESPACES) else []:
        owner = name.split("-")[1] if name.startswith(PREFIX) else ""
        if owner.isdigit() and not os.path.exists("/proc/" + owner):
            _try("ip", "netns", "del", name)


class Network:
    """Namespaces for `hosts`, joined by a bridge (`is_joined`) or not at all (see tun_link)."""

    def __init__(self, *hosts: str, is_joined: bool = True) -> None:
        self.hosts = hosts
        self._prefix = "{}{}-{}-".format(PREFIX, os.getpid(), next(_numbers))
        self._namespaces = [self.namespace(host) for host in hosts]
        self._is_joined = is_joined
        if is_joined:
            self._namespaces.append(self._switch)
        self._children: List["subprocess.Popen[Any]"] = []

    @property
    def _switch(self) -> str:
        return self._prefix + "switch"

    def namespace(self, host: str) -> str:
        """The name of the host's namespace, as `ip netns` lists it."""
        return self._prefix + host

    def address(self, host: str) -> str:
        """The host's IPv4 address."""
        return "10.99.0.{}".format(1 + self.hosts.index(host))

    def __enter__(self) -> "Network":
        sweep()
        try:
            for name in self._namespaces:
                run("ip", "netns", "add", name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            if self._is_joined:
                self._join()
        except BaseException:
            self._delete()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            for child in self._children:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                child.wait()
        finally:
            self._delete()

    def _join(self) -> None:
        run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self._switch, "link", "set", "br0", "up")
        for host in self.hosts:
            name, port = self.namespace(host), self._port(host)
            device = ["link", "add", DEVICE, "netns", name, "type", "veth"]
            run("ip", "-n", self._switch, *(device + ["peer", "name", port]))
            run("ip", "-n", self._switch, "link", "set", port, "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", self.address(host) + "/24", "dev", DEVICE)
            run("ip", "-n", name, "link", "set", DEVICE, "addrgenmode", "none", "up")

    def _port(self, host: str) -> str:
        """The host's plug in the switch; 15 letters at most, as Linux wants."""
        return "port{}".format(1 + self.hosts.index(host))

    def _delete(self) -> None:
        for name in self._namespaces:
            _try("ip", "netns", "del", name)

    # Programs on hosts.

    def run(self, host: str, *command: str, stdin: str = "") -> str:
        """Standard output of a command that runs on `host`."""
        return run("ip", "netns", "exec", self.namespace(host), *command, stdin=stdin)

    def popen(self, host: str, command: List[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start a process on `host`; whatever still runs is killed at the end of the network."""
        prefix = ["ip", "netns", "exec", self.namespace(host)]
        child = subprocess.Popen(prefix + command, **options)  # ip execs: the pid is the command's
        self._children.append(child)
        return child

    def call(self, host: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(*arguments)` returns in a thread that is on `host`. Sockets that it
        makes stay there, whichever thread uses them later."""
        results: List[Any] = []
        errors: List[BaseException] = []

        def target() -> None:
            try:
                enter(self.namespace(host))
                results.append(function(*arguments))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    # What befalls the wires.

    def rate(self, host: str, bits_per_s: Optional[int]) -> None:
        """What `host` sends leaves at this rate, with at most 200 ms of queue; None: no limit."""
        if bits_per_s is None:
            self.run(host, "tc", "qdisc", "del", "dev", DEVICE, "root")
            return
        # A burst is at least what one timer tick of the kernel (4 ms) lets out, and one packet.
        burst_bytes = max(16 * 1024, bits_per_s // 8 // 250)
        shape = "rate {}bit burst {} latency 200ms".format(bits_per_s, burst_bytes).split()
        self.run(host, *("tc qdisc replace dev {} root tbf".format(DEVICE).split() + shape))

    def loss(self, host: str, percent: int, way: str = TO_HOST) -> None:
        """Drop that share of the packets to (or from) `host` at random; 0: none."""
        self._rules(host, way, "numgen random mod 100 < {} drop".format(percent) * (percent > 0))

    def partition(self, host: str, way: Optional[str] = None) -> None:
        """Let nothing through to and from `host`, or in one direction only; tell nobody."""
        for one in WAYS if way is None else [way]:
            self._rules(host, one, "drop")

    def heal(self, host: str) -> None:
        """Take back loss and partition."""
        for way in WAYS:
            self._rules(host, way, "")

    def link_down(self, host: str) -> None:
        """Unplug `host` from the switch: it sees no carrier."""
        run("ip", "-n", self._switch, "link", "set", self._port(host), "down")

    def link_up(self, host: str) -> None:
        """Plug it in again."""
        run("ip", "-n", self._switch, "link", "set", self._port(host), "up")

    def device_down(self, host: str) -> None:
        """Switch the host's own device off: it has no route, and its sends fail at once."""
        self.run(host, "ip", "link", "set", DEVICE, "down")

    def device_up(self, host: str) -> None:
        """Switch it on again."""
        self.run(host, "ip", "link", "set", DEVICE, "up")

    def reset(self, host: str) -> None:
        """Destroy the established TCP connections of `host`; both ends get a reset."""
        self.run(host, "ss", "-K", "-t", "state", "established")

    def _rules(self, host: str, way: str, verdict: str) -> None:
        """Replace the rule for packets to (or from) `host`. It stands in the switch, so that a
        sender does not notice; ARP passes, so that a partition of one direction is one."""
        plug, match = self._port(host), WAYS[way]
        rules = drop_rules("{}_{}".format(plug, match), '{} "{}"'.format(match, plug), verdict)
        run("ip", "netns", "exec", self._switch, "nft", "-f", "-", stdin=rules)
