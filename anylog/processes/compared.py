"""What the members of a cluster tell of one table, side by side: where they differ, file by file. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from anylog.disk.names import FileName
from anylog.interfaces import ILane
from anylog.processes.audit import Told
from anylog.processes.digests import NOTHING, Digest

FINE = "+"
TOGETHER = 1000  # contents that are compared in one piece


@frozen(kw_only=True)
class Finding:
    """A file that is not the same everywhere."""

    name: str
    hash: str
    day: str
    wrong: Sequence[str]  # in words, each naming its member
    noted: Sequence[str] = ()  # what is no difference, such as rows that were dropped on purpose
    kinds: Sequence[str] = ()  # of what is wrong: missing, rows, archive


@define
class Day:
    """What was registered on one day."""

    cells: dict[int, tuple[int, Digest]] = field(factory=dict)  # member -> files, and all of their rows
    kinds: dict[str, int] = field(factory=dict)  # what is wrong -> with how many files

    def verdict(self) -> str:
        """What stands in the last column."""
        return ", ".join(f"{times} {kind}" for kind, times in sorted(self.kinds.items())) or FINE


@define
class Comparison:
    """One table at all members that answered."""

    days: dict[str, Day] = field(factory=dict)
    findings: list[Finding] = field(factory=list)
    open: int = 0  # buffers that are no files yet


def compare(dbms: str, table: str, told: Mapping[int, Sequence[Told]]) -> Comparison:
    """Files are the same by their content, which may have another id at another member."""
    done, contents = _by_content(told)
    _add(done, dbms, table, sorted(told), contents)
    return done


async def compare_in(cpu: ILane, dbms: str, table: str, told: Mapping[int, Sequence[Told]]) -> Comparison:
    """The same in a lane, in pieces between which other work has its turn. Raises AnyLogError as lanes do."""
    done, contents = await cpu.run(_by_content, told)
    for at in range(0, len(contents), TOGETHER):
        await cpu.run(_add, done, dbms, table, sorted(told), contents[at : at + TOGETHER])
    return done


def _by_content(told: Mapping[int, Sequence[Told]]) -> tuple[Comparison, list[dict[int, list[Told]]]]:
    """Each content, the first first, with what each member tells of it."""
    done = Comparison()
    contents: dict[str, dict[int, list[Told]]] = {}
    for member in sorted(told):
        for each in told[member]:
            if each.hash:
                contents.setdefault(each.hash, {}).setdefault(member, []).append(each)
            elif each.state == "open":
                done.open += 1
    return done, sorted(contents.values(), key=_place)


def _add(
    done: Comparison, dbms: str, table: str, members: Sequence[int], contents: Iterable[Mapping[int, Sequence[Told]]]
) -> None:  # fmt: skip
    """Go on with these contents."""
    for content in contents:
        there = {member: best(content.get(member, ())) for member in members}
        holders = {member: each for member, each in there.items() if each is not None and each.held}
        if not holders:
            continue
        first = min(holders.values(), key=lambda each: (each.time, each.member, each.id))
        day = done.days.setdefault(first.time[:10], Day())
        for member, each in holders.items():
            if each.state == "loaded":
                files, digest = day.cells.get(member, (0, NOTHING))
                day.cells[member] = files + 1, digest.plus(each.digest)
        finding = _finding(dbms, table, first, there)
        if finding.wrong:
            for kind in dict.fromkeys(finding.kinds):
                day.kinds[kind] = day.kinds.get(kind, 0) + 1
        if finding.wrong or finding.noted:
            done.findings.append(finding)
    done.days = dict(sorted(done.days.items()))


def best(told: Iterable[Told]) -> Told | None:
    """Of several entries of one content at one member, the one that holds it."""
    order = ("loaded", "dropped", "lost", "pending", "double", "missing", "failed")
    return min(told, key=lambda each: order.index(each.state) if each.state in order else len(order), default=None)


def name_of(dbms: str, table: str, told: Told) -> FileName:
    """The full name of a file."""
    return FileName(
        dbms=dbms, table=table, source=told.source, hash=told.hash, instructions=told.instructions,
        member=str(told.member), id=told.id, date=told.date,
    )  # fmt: skip


def _place(there: Mapping[int, Sequence[Told]]) -> tuple[str, int, int]:
    return min((each.time, each.member, each.id) for files in there.values() for each in files)


def _finding(dbms: str, table: str, first: Told, there: Mapping[int, Told | None]) -> Finding:
    wrong: list[tuple[str, str]] = []
    noted: list[str] = []
    loaded = {member: each for member, each in there.items() if each is not None and each.state == "loaded"}
    for member, each in there.items():
        where = f"node_{member}"
        if each is None or not each.held:
            why = f" ({each.state}{': ' + each.note if each.note else ''})" if each is not None else ""
            wrong.append(("missing", f"missing at {where}{why}"))
            continue
        if each.state == "dropped":
            noted.append(f"dropped at {where}")
        elif each.rows != each.marked:
            wrong.append(("rows", f"{each.rows} of {each.marked} rows at {where}"))
        if each.archive in ("rotten", "missing"):
            wrong.append(("archive", f"archive {each.archive} at {where}"))
    groups: list[tuple[Digest, list[int]]] = []
    for member, each in loaded.items():
        for digest, members in groups:
            if digest.same(each.digest):
                members.append(member)
                break
        else:
            groups.append((each.digest, [member]))
    if len(groups) > 1:
        listed = "; ".join(
            f"{', '.join(f'node_{member}' for member in members)}: {digest.rows} rows {digest.value:016x}"
            for digest, members in groups
        )
        wrong.append(("rows", f"rows differ ({listed})"))
    return Finding(
        name=str(name_of(dbms, table, first)), hash=first.hash, day=first.time[:10],
        wrong=[text for _, text in wrong], noted=noted, kinds=[kind for kind, _ in wrong],
    )  # fmt: skip


def described(finding: Finding) -> dict[str, Any]:
    """As it is given in JSON."""
    return {"File": finding.name, "Day": finding.day, "Wrong": list(finding.wrong), "Noted": list(finding.noted)}
