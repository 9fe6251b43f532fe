"""A network of which each node is on a host of its own, with wires that can be cut: network namespaces of Linux.

A host that is cut is silent: nobody is told that a packet was dropped, as with a pulled cable and unlike a port where
nobody listens. The hosts see nothing but each other; this machine reaches them by sockets that are made inside.
"""

from __future__ import annotations

import ctypes
import http.client
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import Network
from node import NodeProcess

NAMESPACES = Path("/run/netns")
NEWNET = 0x40000000  # CLONE_NEWNET
_NUMBERS = itertools.count()
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def run(*words: str) -> None:
    """A tool of the system. Raises RuntimeError with what it said."""
    done = subprocess.run(words, capture_output=True, check=False, env={**os.environ, "PATH": _PATH})
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode().strip()}")


class Hosts:
    """Namespaces joined by a bridge that has a namespace of its own; nothing of them is seen outside.

    Raises RuntimeError if this system makes none; what was made of them is gone then.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._id = f"al{os.getpid()}x{next(_NUMBERS)}"
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        self._made: list[str] = []
        try:
            switch = self._namespace("switch")
            run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
            run("ip", "-n", switch, "link", "set", "bridge", "up")
            for name, address in self.addresses.items():
                host, port = self._namespace(name), f"to{address.rpartition('.')[2]}"
                run("ip", "-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
                run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
                run("ip", "-n", host, "address", "add", f"{address}/24", "dev", "eth0")
                run("ip", "-n", host, "link", "set", "eth0", "up")
                run("ip", "-n", host, "link", "set", "lo", "up")
                self._tables(name, "-L", "-n")
        except RuntimeError:
            self.remove()
            raise

    def _namespace(self, name: str) -> str:
        made = self.namespace(name)
        run("ip", "netns", "add", made)
        self._made.append(made)
        return made

    def namespace(self, name: str) -> str:
        """How the system calls that host."""
        return f"{self._id}-{name}"

    def _tables(self, name: str, *words: str) -> None:
        run("ip", "netns", "exec", self.namespace(name), "iptables", "-w", *words)

    def cut(self, name: str) -> None:
        """Nothing comes to that host or goes from it; nobody is told."""
        self._tables(name, "-I", "INPUT", "-i", "eth0", "-j", "DROP")
        self._tables(name, "-I", "OUTPUT", "-o", "eth0", "-j", "DROP")

    def lose(self, name: str, percent: float) -> None:
        """Of the packets that come to that host so many are lost, by chance."""
        part = ("-m", "statistic", "--mode", "random", "--probability", f"{percent / 100:g}")
        self._tables(name, "-I", "INPUT", "-i", "eth0", *part, "-j", "DROP")

    def heal(self, name: str = "") -> None:
        """All comes and goes again, of that host or of all."""
        for each in [name] if name else list(self.addresses):
            self._tables(each, "-F")

    def remove(self) -> None:
        """All of them; the links go with the namespaces."""
        while self._made:
            with suppress(RuntimeError):
                run("ip", "netns", "delete", self._made.pop())

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """What this thread opens meanwhile belongs to that host, also afterwards."""
        libc = ctypes.CDLL(None, use_errno=True)
        with (
            Path("/proc/thread-self/ns/net").open("rb") as here,
            (NAMESPACES / self.namespace(name)).open("rb") as there,
        ):
            if libc.setns(there.fileno(), NEWNET):
                raise OSError(ctypes.get_errno(), f"entering {name}")
            try:
                yield
            finally:
                if libc.setns(here.fileno(), NEWNET):
                    os.abort()  # this thread cannot come back


class _Connection(http.client.HTTPConnection):
    """From a host to itself: what happens to its wire does not matter."""

    def __init__(self, hosts: Hosts, name: str, port: int, seconds: float) -> None:
        super().__init__("127.0.0.1", port, timeout=seconds)
        self._hosts, self._name = hosts, name

    def connect(self) -> None:
        with self._hosts.inside(self._name):
            super().connect()


class HostProcess(NodeProcess):
    """A node on a host."""

    def __init__(self, hosts: Hosts, home: Path, *, port: int, dbms: str) -> None:
        super().__init__(home, port=port, dbms=dbms)
        self._hosts = hosts
        self.within = ("ip", "netns", "exec", hosts.namespace(home.name))
        self.environ = {"PATH": _PATH}

    def connection(self, seconds: float = 60.0) -> http.client.HTTPConnection:
        return _Connection(self._hosts, self.home.name, self.port, seconds)


class NetworkOfHosts(Network):
    """Master, operators and query node, each on a host."""

    def __init__(self, folder: Path, operators: int = 3, **options: Any) -> None:
        self.hosts = Hosts(["master", "query", *(f"operator{number}" for number in range(operators))])
        super().__init__(folder, operators, **options)

    def host(self, name: str) -> str:
        return self.hosts.addresses[name]

    def address(self, name: str) -> str:
        """Where other nodes find it."""
        return f"{self.host(name)}:{self.tcp[name]}"

    def _node(self, name: str, dbms: str) -> NodeProcess:
        return HostProcess(self.hosts, self.folder / name, port=self._port(), dbms=dbms)

    def remove(self) -> None:
        try:
            super().remove()
        finally:
            self.hosts.remove()


def hosts_or_skip() -> None:
    """Skip the test, saying what is missing, where there can be no such network."""
    if not sys.platform.startswith("linux"):
        pytest.skip("network namespaces are of Linux")
    for tool, package in (("ip", "iproute2"), ("iptables", "iptables")):
        if shutil.which(tool, path=_PATH) is None:
            pytest.skip(f"{tool} is missing: install {package}")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        probe = Hosts(["probe"])
        try:
            probe.lose("probe", 50)
        finally:
            probe.remove()
    except RuntimeError as why:
        pytest.skip(f"no network namespaces here: {why}")
