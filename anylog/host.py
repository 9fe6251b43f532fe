"""What the machine says of itself: disks, memory, processors, processes, interfaces (monitoring.md 3, network.md 2).

All functions here may take a while, so they are called in a lane. psutil is imported when the first of them needs it.
"""

from __future__ import annotations

import hashlib
import platform
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, ILane
from anylog.waiting import deadline, pause

SAMPLE = 0.1  # seconds between two looks at a counter, if there was no earlier look
NAMING = 1.0  # seconds that a start waits for the name of its address
MB = 1 << 20
_IDLE = ("idle", "iowait")
_WITHIN = ("guest", "guest_nice")  # is counted in `user` and `nice`, too
_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")

Numbers = Mapping[str, float]


def library() -> Any:
    """psutil. Raises AnyLogError 99 if it is not installed."""
    try:
        return import_module("psutil")
    except ImportError as why:
        raise AnyLogError(99, f"Failed to import library: psutil: {why}") from None


@frozen
class Measured:
    """What a counter shows: one number, or several by name."""

    name: str  # of the whole, as text shows it
    value: float | Numbers

    def text(self) -> str:
        """`name(field=number, ...)`, or the number."""
        if isinstance(self.value, Mapping):
            return f"{self.name}({', '.join(f'{key}={number}' for key, number in self.value.items())})"
        return str(self.value)


# ------------------------------------------------------------------ in a lane


def disk_usage(path: str) -> dict[str, int]:
    """Bytes: total, used, free (for who is not root). Raises AnyLogError 12 for a path that is not there."""
    try:
        found = library().disk_usage(path)
    except (OSError, ValueError) as why:
        raise AnyLogError(12, f"get disk: '{path[:200]}': {getattr(why, 'strerror', None) or why}") from None
    return {"total": found.total, "used": found.used, "free": found.free}


def memory() -> dict[str, int]:
    """Bytes: Total, Available, Used, Free."""
    found = library().virtual_memory()
    return {"Total": found.total, "Available": found.available, "Used": found.used, "Free": found.free}


def processors() -> dict[str, Any]:
    """Number of cores; MHz if the machine tells."""
    psutil = library()
    told: dict[str, Any] = {
        "Physical cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 0,
        "Logical cores": psutil.cpu_count() or 0,
    }
    try:
        frequency = psutil.cpu_freq()
    except (OSError, AttributeError, NotImplementedError):
        frequency = None
    if frequency is not None and frequency.current:
        told["Frequency (MHz)"] = round(frequency.current)
    return told


def temperatures() -> dict[str, list[dict[str, Any]]]:
    """Sensor -> its places with degrees Celsius; empty if the machine has none that are read here."""
    read = getattr(library(), "sensors_temperatures", None)  # not on all systems
    if read is None:
        return {}
    return {name: [each._asdict() for each in places] for name, places in read().items()}


def counted(name: str) -> Measured:
    """One of the counters that need a single look. Raises AnyLogError 3 if this machine does not have it."""
    psutil = library()
    if name == "getloadavg":
        return Measured(name, dict(zip(("load_1", "load_5", "load_15"), psutil.getloadavg(), strict=True)))
    found = getattr(psutil, name)()
    if found is None:
        raise AnyLogError(3, f"get node info {name}: this machine does not tell", http=400)
    return Measured(type(found).__name__, found._asdict())


def core_times() -> list[dict[str, float]]:
    """Seconds since the start of the machine that each core spent, by what it did."""
    return [each._asdict() for each in library().cpu_times(percpu=True)]


def process_times(wanted: Sequence[int] | None) -> dict[int, tuple[str, int, float, str]]:
    """PID -> name, bytes of memory, seconds of processor time, status; of all, or of those that are wanted.

    One that ends meanwhile, or may not be looked at, is left out.
    """
    psutil = library()
    found: dict[int, tuple[str, int, float, str]] = {}
    for pid in psutil.pids() if wanted is None else wanted:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                spent = process.cpu_times()
                found[pid] = (process.name(), process.memory_info().rss, spent.user + spent.system, process.status())
        except (psutil.Error, OSError, ValueError, OverflowError):
            continue
    return found


def process_names() -> list[tuple[str, int, str]]:
    """Name, PID, status of all processes."""
    found = [(each.info["name"], each.pid, each.info["status"]) for each in library().process_iter(["name", "status"])]
    return sorted((name or "", pid, status or "") for name, pid, status in found)


def interfaces() -> list[dict[str, Any]]:
    """Name, IP (the first address of IPv4, else of IPv6), speed in Mbit/s (0: unknown), whether it is up."""
    psutil = library()
    states = psutil.net_if_stats()
    rows = []
    for name, places in psutil.net_if_addrs().items():
        ips = [each.address for kind in (socket.AF_INET, socket.AF_INET6) for each in places if each.family == kind]
        state = states.get(name)
        rows.append(
            {
                "Name": name,
                "IP": ips[0] if ips else "",
                "Speed": state.speed if state else 0,
                "Is Up": bool(state and state.isup),
            }
        )
    return rows


def addresses() -> list[tuple[str, str, str]]:
    """Family (IPv4, IPv6), interface and address of each address of this machine, IPv4 first."""
    rows = []
    for kind, family in ((socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6")):
        for name, places in library().net_if_addrs().items():
            rows += [(family, name, each.address) for each in places if each.family == kind]
    return rows


def machine_connections(port: int | None) -> list[tuple[Any, ...]]:
    """FD, family, type, local address, remote address, status, PID; of all sockets or of those of a port.

    Raises AnyLogError 212 where the system does not tell this user.
    """
    psutil = library()
    try:
        found = psutil.net_connections(kind="inet")
    except psutil.AccessDenied:
        raise AnyLogError(212, "get machine connections: the system does not tell this user") from None
    rows = []
    for each in found:
        ends = [end for end in (each.laddr, each.raddr) if end]
        if port is not None and port not in [end.port for end in ends]:
            continue
        family = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}.get(each.family, str(each.family))
        kind = {socket.SOCK_STREAM: "TCP", socket.SOCK_DGRAM: "UDP"}.get(each.type, str(each.type))
        places = [_place(end) for end in (each.laddr, each.raddr)]
        rows.append((each.fd, family, kind, *places, each.status, "" if each.pid is None else each.pid))
    return sorted(rows, key=lambda row: (row[1], row[2], row[3], row[4]))


def _place(end: Any) -> str:
    if not end:
        return ""
    return f"[{end.ip}]:{end.port}" if ":" in end.ip else f"{end.ip}:{end.port}"


def name_of(ip: str) -> str:
    """The name that belongs to an address. Raises AnyLogError 15 if there is none."""
    try:
        return socket.gethostbyaddr(ip)[0]
    except (OSError, UnicodeError) as why:
        raise AnyLogError(15, f"get dns name: '{ip[:100]}': {getattr(why, 'strerror', None) or why}") from None


async def usable_name(ip: str, clock: Clock, lane: ILane, look: Callable[[str], str]) -> str:
    """The name by which others can use an address; empty if it has none, or if nobody tells within a moment."""
    if ip_address(ip).is_loopback:
        return ""
    try:
        name = await deadline(clock, NAMING, lane.run(look, ip), f"the name of {ip}")
    except AnyLogError:
        return ""
    return "" if name in (ip, "localhost") else name


def zone_name() -> str:
    """The time zone of the machine: its name in the tz database if the machine tells, else its short name."""
    try:
        parts = Path("/etc/localtime").resolve().parts
    except OSError:
        parts = ()
    if "zoneinfo" in parts:
        return "/".join(parts[parts.index("zoneinfo") + 1 :])
    return ""


def machine_id() -> str:
    """32 hex digits that stay the same for this machine, and tell nothing else of it."""
    for path in _MACHINE_IDS:
        try:
            told = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if told:
            break
    else:
        told = f"{uuid.getnode():012x}"
    return hashlib.sha256(f"anylog {told}".encode()).hexdigest()[:32]


def packages() -> list[tuple[str, str]]:
    """Name and version of each package that Python finds, sorted, each name once."""
    found: dict[str, tuple[str, str]] = {}
    for each in metadata.distributions():
        name = each.metadata["Name"] or ""
        found.setdefault(name.lower(), (name, each.version))
    return [found[name] for name in sorted(found) if name]


def resources(ip: str, path: str) -> dict[str, Any]:
    """What `get node resources` shows; sizes in bytes."""
    cores, room, held, system = processors(), disk_usage(path), memory(), platform.uname()
    return {
        "ip": ip,
        "system": system.system,
        "version": system.version,
        "node": system.node,
        "machine": system.machine,
        "processor": system.processor,
        "physical_cores": cores["Physical cores"],
        "logical_cores": cores["Logical cores"],
        **{f"memory_{name.lower()}": size for name, size in held.items()},
        **{f"disk_{name}": size for name, size in room.items()},
    }


# ------------------------------------------------------------------ over an interval


def spent(before: Sequence[Numbers], after: Sequence[Numbers]) -> list[dict[str, float]]:
    """Of each core, which percentage of the time between two looks it spent on what. Time cannot go back."""
    shares = []
    for earlier, later in zip(before, after, strict=False):
        took = {
            name: max(0.0, seconds - earlier.get(name, seconds))
            for name, seconds in later.items()
            if name not in _WITHIN
        }
        whole = sum(took.values())
        shares.append({name: 100 * seconds / whole if whole else 0.0 for name, seconds in took.items()})
    return shares


def busy(share: Numbers) -> float:
    """Percent of the time that a core worked."""
    return round(sum(share.values()) - sum(share.get(name, 0.0) for name in _IDLE), 1)


@define(eq=False)
class Host:
    """Counters that are looked at twice: whoever asks hears of the time since anybody asked before."""

    _clock: Clock
    _lane: Callable[[], ILane]
    _before: tuple[float, list[dict[str, float]]] | None = None
    _shares: list[dict[str, float]] = field(factory=list)

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """In the lane of the host."""
        return self._lane().run(work, *args)

    async def shares(self) -> list[dict[str, float]]:
        """Per core, percent of the time by what it was spent on, since the last call; of 0.1 s at the first call.

        Who asks sooner than that after another hears the same.
        """
        if self._before is None:
            times = await self.run(core_times)
            self._before = self._before or (self._clock.seconds(), times)
            await pause(self._clock, SAMPLE)
        since = self._clock.seconds() - self._before[0]
        if since < SAMPLE and self._shares:
            return self._shares
        times = await self.run(core_times)
        self._shares = spent(self._before[1], times)
        self._before = (self._clock.seconds(), times)
        return self._shares

    async def usage(self) -> tuple[list[float], float]:
        """Percent of each core, and of all together."""
        cores = [busy(share) for share in await self.shares()]
        return cores, round(sum(cores) / len(cores), 1) if cores else 0.0

    async def measured(self, name: str) -> Measured:
        """One of the counters of `get node info`."""
        if name == "cpu_percent":
            return Measured(name, (await self.usage())[1])
        if name == "cpu_times_percent":
            shares = await self.shares()
            names = shares[0] if shares else ()
            mean = {each: round(sum(share.get(each, 0.0) for share in shares) / len(shares), 1) for each in names}
            return Measured("scputimes", mean)
        found: Measured = await self.run(counted, name)
        return found

    async def processes(self, wanted: Sequence[int] | None) -> list[tuple[int, str, float, float, str]]:
        """PID, name, MB of memory, percent of one core over 0.1 s, status; sorted by PID."""
        before: dict[int, tuple[str, int, float, str]] = await self.run(process_times, wanted)
        started = self._clock.seconds()
        await pause(self._clock, SAMPLE)
        after: dict[int, tuple[str, int, float, str]] = await self.run(process_times, sorted(before))
        passed = max(self._clock.seconds() - started, SAMPLE)
        return [
            (pid, name, round(size / MB, 2), round(max(0.0, took - before[pid][2]) / passed * 100, 1), status)
            for pid, (name, size, took, status) in sorted(after.items())
        ]
