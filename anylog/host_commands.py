"""Words about the machine: disk, memory, processors, processes, packages (monitoring.md 2 and 3)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from anylog import host
from anylog.checkout import checked_out
from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Format, Option, Text
from anylog.language.context import Context, Result
from anylog.language.statements import scope_of
from anylog.language.tables import bar_table, framed
from anylog.language.tokens import Token, tokens_of
from anylog.language.where import read_where, required_text
from anylog.mapping.body import normal_form
from anylog.mapping.names import normalise

if TYPE_CHECKING:
    from anylog.node import Node

COUNTERS = (
    "cpu_percent", "cpu_times", "cpu_times_percent", "getloadavg", "swap_memory", "virtual_memory",
    "disk_io_counters", "net_io_counters",
)  # fmt: skip
_DISK = ("usage", "free", "total", "used", "percentage")


def listed(titles: Sequence[str], rows: Sequence[Sequence[Any]], format: str | None) -> Result:
    """Rows as a table, and as a list of objects."""
    data = [dict(zip(titles, row, strict=True)) for row in rows]
    return Result(text=framed(bar_table(titles, rows)), data=data, format=format or "table")


def valued(values: Mapping[str, Any], format: str | None, default: str = "text") -> Result:
    """Names and values: lines of text, or a table; and an object."""
    if format == "table":
        return Result(text=framed(bar_table(("Property", "Details"), list(values.items()))), data=values, format=format)
    width = max(map(len, values), default=0) + 2
    lines = [f"{name + ':':<{width}}{_grouped(value)}" for name, value in values.items()]
    return Result(text="\r\n".join(lines), data=dict(values), format=format or default)


def _grouped(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


class _Fact(Command):
    """What these commands share."""

    where: ClassVar[Mapping[str, Option]] = {"format": Format}
    index = ("node info", "monitor")
    http = ("GET",)


class GetDisk(_Fact):
    """Show the size of the disk that a path is on, and what is used and free of it, in bytes.

    `usage` shows all of it. `total`, `used` and `free` are one number; `percentage` is how much of it is free, in
    percent with two decimals.
    """

    words = "get disk"
    operands = "[usage | free | total | used | percentage] [path]"
    least, most = 2, 2
    examples = ("get disk usage .", "get disk free !archive", "disk_space = get disk percentage .")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word, 12 for a path that is not there."""
        what, path = operands[0].lower(), operands[1].strip("\"'")
        if what not in _DISK:
            raise AnyLogError(2, f"get disk: '{operands[0]}' is not one of {', '.join(_DISK)}")
        found = await node.host.run(host.disk_usage, path)
        if what == "usage":
            return valued({"node": str(node.dictionary.get("ip")), **found}, options["format"], "json")
        if what == "percentage":
            share = 100 * found["free"] / found["total"] if found["total"] else 0.0
            return Result(text=f"{share:.2f}", data=round(share, 2), format=options["format"] or "text")
        return Result(text=str(found[what]), data=found[what], format=options["format"] or "text")


class GetMemoryInfo(_Fact):
    """Show the memory of the machine in MB (of 1,048,576 bytes)."""

    words = "get memory info"
    examples = ("get memory info", "get memory info where format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = await node.host.run(host.memory)
        return valued({name: size // host.MB for name, size in found.items()}, options["format"])


class GetCpuInfo(_Fact):
    """Show how many cores the machine has, and how fast they are."""

    words = "get cpu info"
    examples = ("get cpu info", "get cpu info where format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return valued(await node.host.run(host.processors), options["format"])


class GetCpuUsage(_Fact):
    """Show how busy each core was, in percent, since somebody asked before; at first over a tenth of a second."""

    words = "get cpu usage"
    examples = ("get cpu usage", "get cpu usage where format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        cores, average = await node.host.usage()
        values = {**{f"Core {place}": each for place, each in enumerate(cores, 1)}, "Average": average}
        text = framed(bar_table(tuple(values), [tuple(values.values())]))
        return Result(text=text, data=values, format=options["format"] or "table")


class GetCpuTemperature(_Fact):
    """Show the temperatures that the machine measures, in degrees Celsius; nothing if it measures none."""

    words = "get cpu temperature"
    examples = ("get cpu temperature",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = await node.host.run(host.temperatures)
        if options["format"] != "table":
            return Result(data=found, format="json")
        titles = ("Sensor", "Label", "Current", "High", "Critical")
        rows = [
            (name, place["label"], place["current"], place["high"] or "", place["critical"] or "")
            for name, places in found.items()
            for place in places
        ]
        return Result(text=framed(bar_table(titles, rows)), data=found, format="table")


class GetOsProcess(_Fact):
    """Show the process of the node: its memory, and how busy it is; or another one by its number, or all.

    The processor time is measured over a tenth of a second, in percent of one core. `list` shows names alone.
    """

    words = "get os process"
    operands = "[anylog | number of a process | all | list]"
    most = 1
    examples = ("get os process", "get os process 4711", "get os process all", "get os process list")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word, 40 for a process that is not there."""
        what = operands[0].lower() if operands else "anylog"
        if what == "list":
            return listed(("Name", "ID", "Status"), await node.host.run(host.process_names), options["format"])
        wanted: list[int] | None = None
        if what != "all":
            if what != "anylog" and not (what.isascii() and what.isdigit() and len(what) < 10):
                raise AnyLogError(2, f"get os process: '{operands[0]}'; usage: {self.usage_text()}")
            wanted = [os.getpid() if what == "anylog" else int(what)]
        rows = await node.host.processes(wanted)
        if wanted is not None and not rows:
            raise AnyLogError(40, f"get os process: there is no process {wanted[0]}, or it may not be looked at")
        return listed(("ID", "Name", "Memory(MB)", "CPU(%)", "Status"), rows, options["format"])


class _Given(Command):
    """The options of `get node info`; they stand behind the counter."""

    words = "get node info"
    where: ClassVar[Mapping[str, Option]] = {"dbms": Text(), "table": Text(), "format": Format}


class GetNodeInfo(_Fact):
    """Show a counter of the machine, or one number of it; or add what it shows to a table.

    The counters are cpu_percent, cpu_times, cpu_times_percent, getloadavg, swap_memory, virtual_memory,
    disk_io_counters and net_io_counters. The percentages are of the time since somebody asked before; at first over a
    tenth of a second. `into` adds a row with the time (UTC) as `timestamp` and the number as `value`, or with a column
    for each number.
    """

    words = "get node info"
    operands = "[counter] [number of it]"
    usage = "get node info [counter] [number of it] [into dbms = name and table = name | where format = table/json]"
    raw = literal = True
    examples = (
        "get node info cpu_percent",
        "get node info net_io_counters packets_recv",
        "get node info cpu_times_percent where format = json",
        "get node info cpu_percent into dbms = monitoring and table = cpu_percent",
    )

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for a counter or a number that is not known, 3 for one that this machine lacks."""
        scope, tokens = scope_of(node, context), tokens_of(operands[0] if operands else "")
        begin = next((at for at, token in enumerate(tokens) if token.is_word("into", "where")), len(tokens))
        asked = [required_text(token, scope).strip("\"'") for token in tokens[:begin]]
        given = _Given.read((), self._pairs(tokens[begin:], scope))
        if not 0 < len(asked) < 3:
            raise AnyLogError(2, f"get node info: name one counter; usage: {self.usage}")
        name = asked[0].lower()
        if name not in COUNTERS:
            raise AnyLogError(2, f"get node info: '{asked[0]}' is not one of {', '.join(COUNTERS)}")
        found = await node.host.measured(name)
        if len(asked) == 2:
            found = _part(found, name, asked[1])
        if given["dbms"] is None:
            return Result(text=found.text(), data=found.value, format=given["format"] or "text")
        moment = datetime.fromtimestamp(unix(node.clock), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        numbers = found.value if isinstance(found.value, Mapping) else {"value": found.value}
        rows = [{"timestamp": moment, **numbers}]
        dbms, table = normalise(given["dbms"], "database"), normalise(given["table"], "table")
        await node.intake.accept(dbms, table, normal_form(rows), rows)
        return None

    def _pairs(self, tokens: Sequence[Token], scope: Any) -> list[tuple[str, str]]:
        """`into dbms = d and table = t`, `where format = f`, or both."""
        pairs: list[tuple[str, str]] = []
        starts = [at for at, token in enumerate(tokens) if token.is_word("into", "where")] + [len(tokens)]
        for start, end in pairwise(starts):
            part = read_where(tokens[start + 1 : end], _Given.where, scope)
            keys = {"into": {"dbms", "table"}, "where": {"format"}}[tokens[start].text.lower()]
            if not part or (keys - {key for key, _ in part}) or len(part) != len(keys):
                raise AnyLogError(2, f"get node info: after '{tokens[start].text}': usage: {self.usage}")
            pairs += part
        return pairs


def _part(found: host.Measured, name: str, wanted: str) -> host.Measured:
    """One number. Raises AnyLogError 2 naming those that there are."""
    numbers = found.value if isinstance(found.value, Mapping) else {}
    if wanted.lower() not in numbers:
        known = f"one of {', '.join(numbers)}" if numbers else "it is a single number"
        raise AnyLogError(2, f"get node info {name}: '{wanted}' is no number of it: {known}")
    return host.Measured(wanted, numbers[wanted.lower()])


class GetNodeResources(_Fact):
    """Show the machine: its system, processors, memory and disk; sizes are in bytes."""

    words = "get node resources"
    examples = ("get node resources", "get node resources where format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        found = await node.host.run(host.resources, str(node.dictionary.get("ip")), str(node.places.home))
        return valued(found, options["format"] or "table")


class GetTimezoneInfo(_Fact):
    """Show the time zone of the machine, and what time it is there."""

    words = "get timezone info"
    examples = ("get timezone info",)
    where: ClassVar[Mapping[str, Option]] = {}

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        now = datetime.fromtimestamp(unix(node.clock), UTC).astimezone()
        zone = await node.host.run(host.zone_name) or now.tzname() or "UTC"
        return Result(text=f"{zone} : {now:%Y-%m-%d %H:%M:%S}")


class GetInstalledPackages(_Fact):
    """Show the Python packages that are installed, and their versions; or those that are named."""

    words = "get installed packages"
    where: ClassVar[Mapping[str, Option]] = {"pkg": Text(many=True, help="names, commas between"), "format": Format}
    examples = ("get installed packages", "get installed packages where pkg = twisted,attrs and format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """One that is named and not installed has an empty version."""
        found = await node.host.run(host.packages)
        wanted = [name.strip() for each in options["pkg"] for name in each.split(",") if name.strip()]
        if wanted:
            known = {name.lower().replace("_", "-"): (name, version) for name, version in found}
            found = [known.get(name.lower().replace("_", "-"), (name, "")) for name in wanted]
        return listed(("Package", "Version"), found, options["format"])


class GetGitVersion(_Fact):
    """Show which commit of the source the node runs, if it runs from a checkout; or that of another directory."""

    words = "get git version"
    operands = "[path]"
    most = 1
    examples = ("get git version", "get git version !a_path")
    where: ClassVar[Mapping[str, Option]] = {}

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12 where there is no checkout, 212 for a path that somebody elsewhere names."""
        return Result(text=(await _checkout(node, context, operands, self.words))["Commit"])


class GetGitInfo(_Fact):
    """Show the checkout that the node runs from, or another one: commit, branch, time and what the commit is about."""

    words = "get git info"
    operands = "[path]"
    most = 1
    examples = ("get git info", "get git info where format = json")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 12 where there is no checkout, 212 for a path that somebody elsewhere names."""
        return valued(await _checkout(node, context, operands, self.words), options["format"])


async def _checkout(node: Node, context: Context, operands: Sequence[str], words: str) -> dict[str, str]:
    if operands and not context.local:
        raise AnyLogError(212, f"{words}: a path is looked at for this machine only")
    found: dict[str, str] = await node.host.run(checked_out, operands[0].strip("\"'") if operands else "")
    return found


class GetNodeId(_Fact):
    """Show the public key of the node, by which others know it."""

    words = "get node id"
    examples = ("get node id",)
    where: ClassVar[Mapping[str, Option]] = {}

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 142: a node of this build has no keys."""
        raise AnyLogError(142, "this node has no key: 'id create keys' is not in this build")


class GetHardwareId(_Fact):
    """Show 32 hex digits that stay the same for this machine, and tell nothing else of it."""

    words = "get hardware id"
    examples = ("get hardware id",)
    where: ClassVar[Mapping[str, Option]] = {}

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text=await node.host.run(host.machine_id))


class SetLicense(Command):
    """Accepted, and ignored: no key is needed."""

    words = "set license"
    where: ClassVar[Mapping[str, Option]] = {"activation_key": Text(required=True)}
    examples = ("set license where activation_key = !license_key",)
    index = ("configuration",)
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return None


COMMANDS: tuple[type[Command], ...] = (
    GetDisk,
    GetMemoryInfo,
    GetCpuInfo,
    GetCpuUsage,
    GetCpuTemperature,
    GetOsProcess,
    GetNodeInfo,
    GetNodeResources,
    GetTimezoneInfo,
    GetInstalledPackages,
    GetGitVersion,
    GetGitInfo,
    GetNodeId,
    GetHardwareId,
    SetLicense,
)
