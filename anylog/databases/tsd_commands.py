"""Words about the tables of files: which files came, and what became of them (operator-ha.md 10)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from anylog.databases.dates import stored_interval
from anylog.databases.tsd import DBMS, DUPLICATE, FAILED, MISSING, OWN, Asked, Entry, Tsd, Wanted, is_files
from anylog.databases.tsd_lists import Details, Form, Paths, Table, listed, summarised
from anylog.disk.file_commands import lane_of, path_of
from anylog.disk.folder_commands import archive_of
from anylog.disk.names import LARGEST_ID, FileName, century
from anylog.disk.renaming import name_in, renamed
from anylog.disk.steps import Steps
from anylog.disk.transfers import exists
from anylog.errors import AnyLogError
from anylog.interfaces import unix
from anylog.language.command import Command, Format, Option, Text, Whole
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed

if TYPE_CHECKING:
    from anylog.node import Node

LONGEST = 1000  # characters of a status
_HASH = re.compile(r"[0-9a-fA-F]{32}|open:[0-9A-Za-z._:-]{1,100}")


class Hash(Option):
    """32 hex digits, or what stands for them while a buffer of readings is open."""

    @property
    def shape(self) -> str:
        return "hash"

    def read(self, text: str) -> str:
        if not _HASH.fullmatch(text):
            raise ValueError("32 hex digits")
        return text if text.startswith("open:") else text.lower()


INTERVAL: Mapping[str, Option] = {
    "table": Text(default=OWN, help="tsd_info, tsd_ and a member id, or * for all"),
    "start_date": Text(help="registered then or later"),
    "end_date": Text(help="registered before"),
    "format": Format,
}
LISTED: Mapping[str, Option] = {
    **INTERVAL,
    "hash": Hash(help="the file with this hash, whatever its date"),
    "limit": Whole(default=100, least=0, help="entries of each table at most; 0 for all"),
}


# ------------------------------------------------------------------ what is asked for


def tsd_of(node: Node) -> Tsd:
    """The tables of files. AnyLogError 5 if their database is not connected."""
    return node.membership.tsd() or Tsd(database=node.databases.get(DBMS), clock=node.clock, chance=node.chance)


def own_member(node: Node) -> int:
    """The member that this node is in its cluster; 0 while no operator runs."""
    place = node.membership.place()
    return place.member if place is not None else 0


def _others(node: Node) -> set[int]:
    """The other members of the cluster of this node."""
    place = node.membership.place()
    share = node.clusters.share(place.cluster) if place is not None else None
    if place is None or share is None:
        return set()
    return {each.member for each in share.operators if each.member is not None} - {place.member}


def table_named(node: Node, text: str) -> str:
    """A table of files as it is called here. AnyLogError 28 if that is the name of none."""
    name = text.strip().lower()
    if not is_files(name):
        raise AnyLogError(28, f"'{text[:80]}' is not a table of files: tsd_info, or tsd_ and a member id from 0 to 255")
    member = own_member(node)
    return OWN if member and name == f"tsd_{member}" else name


async def _tables(node: Node, tsd: Tsd, text: str) -> list[Table]:
    """Those that `table = ...` means; AnyLogError 28, or 29 for one that is not there."""
    there = await tsd.tables()
    if text.strip() == "*":
        names = there
        if not names:
            raise AnyLogError(29, f"{tsd.database.name} holds no table of files")
    else:
        names = [table_named(node, text)]
        # Nothing came yet from a member that is known: that is an answer, too.
        if names[0] not in there and names[0] not in {f"tsd_{member}" for member in _others(node)}:
            hint = ": use 'create table tsd_info where dbms = almgm'" if names[0] == OWN else ""
            raise AnyLogError(29, f"there is no table of files '{names[0]}'{hint}")
    own = own_member(node)
    return [Table(name=name, member=own if name == OWN else int(name.removeprefix("tsd_"))) for name in names]


def _asked(node: Node, options: Mapping[str, Any], *, failed: bool = False) -> Asked:
    """AnyLogError 175 for what is no date, 40 for an interval that ends before it begins."""
    now = unix(node.clock)
    start, end = stored_interval(options["start_date"], options["end_date"], now)
    return Asked(start=start, end=end, hash=options.get("hash") or "", failed=failed)


# ------------------------------------------------------------------ asking


class TimeFileTables(Command):
    """List the tables of files: `tsd_info` for what came to this node, `tsd_<m>` for what came from member m."""

    words = "time file tables"
    also = ("get tsd list",)
    where = {"format": Format}
    examples = ("time file tables", "get tsd list", "get tsd list where format = json")
    index = ("high availability", "data", "dbms")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5."""
        names = await tsd_of(node).tables()
        text = "\r\n" + "".join(f"\r\n{name}" for name in names)
        return Result(text=text, data=names, format="json" if options["format"] == "json" else "text")


class _Listing(Command):
    """Entries of tables of files."""

    where = LISTED
    index = ("high availability", "data", "dbms")
    http = ("GET",)
    failed: ClassVar[bool] = False

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5, 28, 29, 40 or 175."""
        tsd = tsd_of(node)
        asked = _asked(node, options, failed=self.failed)
        tables = await _tables(node, tsd, options["table"])
        return await listed(tsd, tables, asked, form=self.form(node), limit=options["limit"], format=options["format"])

    def form(self, node: Node) -> Form:
        """How they are shown."""
        raise NotImplementedError  # pragma: no cover


class TimeFileGet(_Listing):
    """Show the files that were registered, the newest first: where their rows are, how many, and their status.

    Rows 0 with an empty status 1: registered, not loaded yet. `01`: its member has lost it; `02`: its content is
    registered elsewhere on this node, too; `03`: it could not be loaded. Times are UTC, those of registration.
    `start_date` and `end_date` are `YYYY-MM-DD HH:MM:SS`, a day alone, or so long ago: `-10d`, `-2h`, `-30m`, `-5s`.
    """

    words = "time file get"
    also = ("time file query", "get tsd details")
    examples = (
        "time file get where table = * and start_date = -10d",
        "get tsd details where table = tsd_159 and limit = 20",
        "get tsd details where hash = bd617b6ddb873750d9db561814297f23 and format = json",
    )

    def form(self, node: Node) -> Form:
        return Details()


class TimeFileErrors(_Listing):
    """List the files that were not loaded, each as the place where it is archived.

    Those with status 1 `01` (its member has lost it) or `03` (it could not be loaded). A file that is packed lies there
    with `.gz` behind its name.
    """

    words = "time file errors"
    also = ("time file error", "get tsd errors", "get tsd error")
    examples = (
        "time file errors where table = tsd_159 and start_date = -10d",
        "get tsd errors where table = * and format = json",
    )
    failed = True

    def form(self, node: Node) -> Form:
        return Paths(archive=Path(archive_of(node)))


class TimeFileSummary(Command):
    """Show for each table of readings how many files and rows came in an interval, by table of files and in total."""

    words = "time file summary"
    also = ("get tsd summary",)
    where = INTERVAL
    examples = (
        "time file summary where table = * and start_date = -10d",
        "get tsd summary where start_date = 2026-11-01 and end_date = 2026-12-01 and format = json",
    )
    index = ("high availability", "data", "dbms")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5, 28, 29, 40 or 175."""
        tsd = tsd_of(node)
        asked = _asked(node, options)
        return await summarised(tsd, await _tables(node, tsd, options["table"]), asked, options["format"])


class TimeFileInfo(Command):
    """Show what this node knows of the files of each member: how many, how many failed or wait, and the last one.

    Without a table all of them. What the other members know is shown by `get tsd sync status`.
    """

    words = "time file info"
    operands = "[table]"
    most = 1
    where = {"format": Format}
    examples = ("time file info", "time file info tsd_info", "time file info where format = json")
    index = ("high availability", "data", "monitor")
    http = ("GET",)
    titles: ClassVar[Sequence[str]] = ("Table", "Files", "Rows", "Not Loaded", "Errors", "Last ID", "Last Date")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5, 28 or 29."""
        tsd = tsd_of(node)
        keys = [title.lower().replace(" ", "_") for title in self.titles[1:]]
        tables = await _tables(node, tsd, operands[0] if operands else "*")
        data = {table.name: dict(zip(keys, await tsd.info(table.name), strict=True)) for table in tables}
        text = framed(bar_table(self.titles, [(name, *told.values()) for name, told in data.items()]))
        return Result(text=text, data=data, format="json" if options["format"] == "json" else "table")


# ------------------------------------------------------------------ changing


def _status(command: str, text: str) -> str:
    if len(text) > LONGEST or not (text.isprintable() or not text):
        raise AnyLogError(40, f"{command}: the status {text[:60]!r} is longer than {LONGEST}, or not plain text")
    return text


def _statuses(command: str, texts: Sequence[str]) -> list[str]:
    """Status 1 and the texts behind it. AnyLogError 40."""
    read = [_status(command, text) for text in texts]
    if read[0] not in ("", MISSING, DUPLICATE, FAILED):
        raise AnyLogError(40, f"{command}: status 1 is {MISSING}, {DUPLICATE} or {FAILED}, not '{read[0][:60]}'")
    return read


def _id(command: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 0 < int(text) <= LARGEST_ID:
        raise AnyLogError(40, f"{command}: '{text[:60]}' is not a row id, a whole number above 0")
    return int(text)


class TimeFileNew(Command):
    """Register a file by its name alone; gives the id of its entry.

    The name is `dbms.table.source.hash.instructions.json`, or a full one that says member, id and date: then the entry
    gets these, in `tsd_info` or, for another member, in `tsd_<m>`. `into` names table and id instead. Without a status
    1 the entry says of a file that it waits to be loaded.
    """

    words = "time file new"
    operands = "[file name] [optional status 1] [optional status 2] [into [table] [row id]]"
    least, most = 1, 6
    examples: ClassVar[tuple[str, ...]] = (
        "time file new town.weather.0.bd617b6ddb873750d9db561814297f23.0.json",
        'time file new !prep_dir/town.weather.0.bd617b6ddb873750d9db561814297f23.0.json 03 "no such column"',
        "time file new town.weather.0.bd617b6ddb873750d9db561814297f23.0.json 01 lost into tsd_159 210",
    )
    index = ("high availability", "data", "dbms")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 5, 12, 28, 29, 40, 119, 212, or 86 if the content or the id is registered."""
        path, rest, into, id = path_of(node, context, operands[0]), list(operands[1:]), "", 0
        words = [word.lower() for word in rest]
        if "into" in words:
            at = words.index("into")
            if len(rest) != at + 3:
                raise AnyLogError(2, f"{self.words}: after 'into' a table of files and a row id; {self.usage_text()}")
            into, id = table_named(node, rest[at + 1]), _id(self.words, rest[at + 2])
            rest = rest[:at]
        if len(rest) > 2:
            raise AnyLogError(2, f"{self.words}: unexpected '{rest[2][:60]}'; usage: {self.usage_text()}")
        status = _statuses(self.words, (*rest, "", ""))
        if ".." in Path(path).parts:
            raise AnyLogError(119, f"{self.words}: '{path[:200]}': a name or a path without '..' is needed")
        name = name_in(path)
        if name.hash == "0":
            raise AnyLogError(119, f"{self.words}: '{name}' has no hash: 'time file rename' gives it one")
        await self.check(node, context, path)
        if not into:
            into, id = self._place(node, name)
        tsd = tsd_of(node)
        wanted = Wanted(
            dbms=name.dbms,
            table=name.table,
            source=name.source,
            hash=name.hash,
            instructions=name.instructions,
            id=id,
            time=_time(name.date),
            into=into,
            status1=status[0],
            status2=status[1],
        )
        if OWN not in await tsd.tables():
            raise AnyLogError(29, "almgm.tsd_info is not there: use 'create table tsd_info where dbms = almgm'")
        for table, there in (await tsd.by_hash([name.hash])).get(name.hash, ()):
            if table == into:  # one that was not loaded would give way
                raise AnyLogError(86, f"{self._known(there)} already, as {table} {there.id}")
        (told,) = await tsd.register([wanted])
        if told.kind == "conflict":
            raise AnyLogError(86, f"TSD id conflict: {told.into} {told.entry.id} is the file {told.entry.hash}")
        if told.kind != "new":
            raise AnyLogError(86, f"{self._known(told.entry)} already, as {told.into} {told.entry.id}")
        return Result(text=str(told.entry.id), data=told.entry.id)

    def _known(self, entry: Entry) -> str:
        state = f"loaded in {entry.dbms}.{entry.table}" if entry.rows else f"registered for {entry.dbms}.{entry.table}"
        return f"the content {entry.hash} is {state}"

    async def check(self, node: Node, context: Context, path: str) -> None:
        """What must hold for the file itself."""

    def _place(self, node: Node, name: FileName) -> tuple[str, int]:
        """Table and id that a name says; id 0: the next."""
        if not name.id:
            return OWN, 0
        if name.member == "@":
            return OWN, name.id
        if name.member == "0":
            return OWN, name.id
        if not own_member(node):
            told = f"'{name}' is a file of member {name.member}, and no operator runs here: say 'into [table] [row id]'"
            raise AnyLogError(40, f"{self.words}: {told}")
        return table_named(node, f"tsd_{name.member}"), name.id


class TimeFileAdd(TimeFileNew):
    """Register a file that is there, by its name; gives the id of its entry. Otherwise as `time file new`."""

    words = "time file add"
    examples = (
        "time file add !prep_dir/town.weather.0.bd617b6ddb873750d9db561814297f23.0.json",
        "time file add !prep_dir/town.weather.0.bd617b6ddb873750d9db561814297f23.0.json 03",
    )

    async def check(self, node: Node, context: Context, path: str) -> None:
        """AnyLogError 12 if it is not there, 119 or 212."""
        confines = node.file_access.confines(local=context.local)
        if not await lane_of(node).run(exists, confines, path):
            raise AnyLogError(12, f"{self.words}: no file '{path[:200]}'")


def _time(date: str) -> str:
    """12 digits of a name as a time; they are valid."""
    if not date:
        return ""
    parts = [date[at : at + 2] for at in range(0, 12, 2)]
    return f"{century(date)}{'-'.join(parts[:3])} {':'.join(parts[3:])}"


class TimeFileUpdate(Command):
    """Set the status of the file with that hash in `tsd_info`; without a status 2 it keeps the one it has.

    A status 1 of `01` or `03` puts it on the list of `time file errors`.
    """

    words = "time file update"
    operands = "[hash] [status 1] [optional status 2]"
    least, most = 2, 3
    examples = (
        "time file update bd617b6ddb873750d9db561814297f23 03",
        'time file update bd617b6ddb873750d9db561814297f23 01 "lost with its disk"',
    )
    index = ("high availability", "data", "dbms")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5, 29 if there is no such entry, 40, or 175."""
        try:
            hash = Hash().read(operands[0])
        except ValueError as wanted:
            raise AnyLogError(175, f"{self.words}: '{operands[0][:60]}' is not a hash: {wanted}") from None
        status = _statuses(self.words, operands[1:])
        id = await tsd_of(node).note(hash, status[0], status[1] if len(status) > 1 else None)
        if not id:
            raise AnyLogError(29, f"{self.words}: no file with the hash {hash} is in {OWN}")
        return None


class TimeFileRename(Command):
    """Give a file the name of a file of readings: where it goes, and the hash of what it holds; gives the new name.

    Database and table are those of its name if they are not given, source and instructions are 0. The file stays in its
    directory. The hash is the MD5 of `<dbms>.<table>` and the content, unpacked; it may be given instead.
    """

    words = "time file rename"
    operands = "[path] to"
    usage: ClassVar[str] = (
        "time file rename [path] to [dbms = name] and [table = name] and [source = id] and [hash = hash]"
        " and [instructions = policy id]"
    )
    least, most = 1, None
    where = {
        "dbms": Text(help="that of its name if not given"),
        "table": Text(help="that of its name if not given"),
        "source": Text(default="0"),
        "hash": Text(default="0", help="computed if not given"),
        "instructions": Text(default="0", help="id of a mapping policy"),
    }
    examples: ClassVar[tuple[str, ...]] = (
        "time file rename !prep_dir/readings.json to dbms = town and table = weather",
        "time file rename !prep_dir/town.weather.json to source = station7 and instructions = 0",
        "time file rename !prep_dir/town.weather.json",
    )
    index = ("high availability", "data", "file")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 12, 40, 63, 86, 119, 175 or 212."""
        if len(operands) > 1:
            options = self.read(operands[:1], self._pairs(operands[1:], options))
        given = {key: value.strip() for key, value in options.items() if value is not None}
        confines = node.file_access.confines(local=context.local)
        work = renamed(node.disk, confines, path_of(node, context, operands[0]), given)
        name = await Steps(lane_of(node), work).result()
        return Result(text=name, data=name)

    def _pairs(self, words: Sequence[str], options: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Of `to key = value and key = value`. AnyLogError 2 naming what is not."""
        if words[0].lower() != "to":
            raise AnyLogError(2, f"{self.words}: unexpected '{words[0][:60]}'; usage: {self.usage_text()}")
        parts: list[str] = [""]
        for word in words[1:]:
            if word.lower() == "and":
                parts.append("")
            else:
                parts[-1] += word
        pairs = []
        for part in parts:
            key, sign, value = part.partition("=")
            if not sign or not key:
                raise AnyLogError(2, f"{self.words}: '{part[:60]}' is not 'key = value'; usage: {self.usage_text()}")
            pairs.append((key, value))
        return pairs


class TimeFileDelete(Command):
    """Remove one entry from a table of files.

    Rows and file stay. Where other members of the cluster have the file it is fetched again and gets its entry back.
    Content whose rows are in their table still is not loaded a second time, whoever brings it.
    """

    words = "time file delete"
    operands = "[row id] from [table]"
    least = most = 3
    examples = ("time file delete 16 from tsd_info", "time file delete 210 from tsd_159")
    index = ("high availability", "data", "dbms")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2, 5, 28, 29 if there is no such entry, or 40."""
        if operands[1].lower() != "from":
            raise AnyLogError(2, f"{self.words}: '{operands[1][:60]}' instead of 'from'; usage: {self.usage_text()}")
        id, into = _id(self.words, operands[0]), table_named(node, operands[2])
        tsd = tsd_of(node)
        if into not in await tsd.tables():
            raise AnyLogError(29, f"{self.words}: there is no table of files '{into}'")
        if not await tsd.remove([(into, id)]):
            raise AnyLogError(29, f"{self.words}: {into} has no entry {id}")
        return None


class TimeFileDrop(Command):
    """Drop a table of files, or all of them.

    Rows and archive stay, and content whose rows are in their table still is not loaded a second time. `create table
    tsd_info where dbms = almgm` makes it anew, and its ids go on where they were.
    """

    words = "time file drop"
    operands = "[table | all]"
    least = most = 1
    examples = ("time file drop tsd_159", "time file drop all")
    index = ("high availability", "data", "dbms")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 5, 28 or 29."""
        tsd, every = tsd_of(node), operands[0].lower() == "all"
        names = await tsd.tables() if every else [table_named(node, operands[0])]
        if not names:
            raise AnyLogError(29, f"{self.words}: {tsd.database.name} holds no table of files")
        await tsd.drop(names)
        node.membership.tsd()  # those that are made anew are others, and known to be
        return None


COMMANDS: tuple[type[Command], ...] = (
    TimeFileTables,
    TimeFileGet,
    TimeFileErrors,
    TimeFileSummary,
    TimeFileInfo,
    TimeFileNew,
    TimeFileAdd,
    TimeFileUpdate,
    TimeFileRename,
    TimeFileDelete,
    TimeFileDrop,
)
