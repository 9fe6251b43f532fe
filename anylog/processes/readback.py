"""Records of readings, read back from the journal. What cannot be understood is put aside; all behind it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from attrs import evolve

from anylog.disk.journal import Journal
from anylog.disk.records import unpack_rows
from anylog.errors import AnyLogError
from anylog.interfaces import ILane, Load
from anylog.mapping.body import read_body
from anylog.processes.shares import Share


class Unreadable(Exception):
    """The checksum of a record is right, and what it says cannot be understood; the text says why."""


def described(packed: bytes) -> tuple[Mapping[str, Any], bytes]:
    """What a record says of its readings, and these as they came. Raises Unreadable."""
    meta, body = unpack_rows(packed)
    try:
        told = orjson.loads(meta) if meta else {}
        key, at, tokens = told.get("key", ""), told.get("at", 0.0), told.get("tokens", {})
        good = isinstance(key, str) and isinstance(at, float | int) and isinstance(tokens, dict)
        good &= isinstance(told.get("was", 0), int) and isinstance(told.get("rows", 0), int)
    except (ValueError, AttributeError) as why:
        raise Unreadable(f"its description cannot be read: {why}") from None
    if not good:
        raise Unreadable("its description makes no sense")
    return told, body


def understood(packed: bytes) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """What a record says of its readings, and their rows. Raises Unreadable."""
    told, body = described(packed)
    try:
        return told, read_body(body)
    except AnyLogError as why:
        raise Unreadable(f"its readings cannot be read: {why.detail}") from None


async def read_back(share: Share, journal: Journal, lane: ILane) -> list[Mapping[str, Any]]:
    """The rows of a share. Those that were let go come from the journal, or from the normal form of their file.

    Raises Unreadable; OSError as the disk does.
    """
    file, rows, sizes = share.buffer.file, list[Mapping[str, Any]](), list[int]()
    held = [pending.rows for pending in share.pendings]  # more may be let go while the journal is read
    if file is not None:
        held = [file.rows or await lane.run(read_body, file.normal)]
    absent = [
        pending.stored
        for pending, found in zip(share.pendings, held, strict=True)
        if found is None and pending.stored is not None
    ]
    bodies = iter(await journal.read(absent) if absent else ())
    for pending, found in zip(share.pendings, held, strict=True):
        if found is None:
            told, found = understood(next(bodies))
            pending.key = told.get("key", "")
        rows.extend(found)
        sizes.append(len(found))
    share.rows, share.sizes = rows, sizes
    return rows


async def put_aside(share: Share, journal: Journal, why: str, now: float, inserted: str) -> Load:
    """What keeps the one record of a share that cannot be read: a file beside the journal, named in the parked rows.

    Whoever sends it again is not told that it came before: neither its content nor its key counts as known.
    """
    (pending,) = share.pendings
    assert pending.stored is not None, "a file of the watch directory is no record"
    path = await journal.put_aside(pending.stored, why)
    share.begin_anew()
    share.unmapped = [({"record": str(path)}, f"a record of the journal was put aside: {why}")]
    load = share.aside({}, now, inserted)
    return evolve(load, marks=[evolve(mark, hash=None) for mark in load.marks], keys=[])
