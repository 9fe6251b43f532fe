"""Senders for tests of files: each repeats what it sends until it hears yes, whatever happens to the node meanwhile."""

from __future__ import annotations

import errno
import gzip
import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import files_laws
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from member import Member

THRESHOLDS = "set buffer threshold where time = 1 second and volume = 4KB"
WAYS = ("watch", "put", "streaming")
MISFIT = "many"  # where a number belongs


class Sender(threading.Thread):
    """Sends one body of readings after another; each reading has a name of its own."""

    pause = 0.0  # seconds between bodies

    def __init__(self, node: Member, number: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.node, self.number, self.chance = node, number, random.Random(f"{seed}-{number}-{type(self).__name__}")
        self.prefix = f"{type(self).__name__[0]}{number}"
        self.sent: list[str] = []
        self.acknowledged: set[str] = set()
        self.misfits: set[str] = set()  # acknowledged, and to be found parked
        self.enough = threading.Event()
        self.problem = ""

    def run(self) -> None:
        body = 0
        try:
            while not self.enough.wait(self.pause):
                rows = self.rows(body)
                misfits = {row["name"] for row in rows if row["value"] == MISFIT}
                names = {row["name"] for row in rows} - misfits
                self.sent += names
                if not self.send(body, rows):
                    return
                self.acknowledged |= names
                self.misfits |= misfits
                body += 1
        except Exception as trouble:  # told by the test, which a thread's own trace does not reach
            self.problem = repr(trouble)

    def rows(self, body: int) -> list[dict[str, Any]]:
        """One body: few readings or many, which are converted as soon as they are read if nothing about them is odd."""
        count = self.chance.choice([1, 1, 3, 40, 50, 120])
        rows: list[dict[str, Any]] = [
            {"name": f"{self.prefix}-{body}-{n}", "timestamp": "2026-11-21T10:00:00Z", "value": n / 2}
            for n in range(count)
        ]
        odd = self.chance.random()
        if odd < 0.05:
            rows[0][f"extra{self.chance.randint(0, 3)}"] = "o'clock"
        elif odd < 0.15:
            del rows[-1]["timestamp"]
        elif odd < 0.2 and count > 1 and len(self.sent) > 300:  # not in the buffer from which its table is made
            rows[self.chance.randrange(1, count)]["value"] = MISFIT
        elif odd < 0.22 and count > 3:
            for row in rows:
                row["note"] = "x" * (300_000 // count)
        return rows

    def send(self, body: int, rows: list[dict[str, Any]]) -> bool:
        """True once it is promised that they are kept; False if it was told to stop before."""
        raise NotImplementedError


class Putter(Sender):
    """PUT in file mode: a body is one file, known by its content."""

    headers: dict[str, str] = {}
    _connection: http.client.HTTPConnection | None = None

    def send(self, body: int, rows: list[dict[str, Any]]) -> bool:
        headers = {"dbms": "town", "table": f"t{self.number % 2}", **self.headers_of(body)}
        while True:
            try:
                if self._connection is None:
                    self._connection = self.node.connection(15)
                self._connection.request("PUT", "/", json.dumps(rows), headers)
                answer = self._connection.getresponse()
                said = answer.read()
                if answer.status == 200:
                    return True
                if answer.status not in (503, 507):
                    raise AssertionError(f"{answer.status}: {said[:300]!r}")
            except (OSError, http.client.HTTPException):
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
            if self.enough.wait(0.01):
                return False

    def headers_of(self, body: int) -> dict[str, str]:
        """What a request says beside database and table."""
        return {}


class Streamer(Putter):
    """PUT in streaming mode, with a key by which a repeat is known."""

    def headers_of(self, body: int) -> dict[str, str]:
        return {"mode": "streaming", "Idempotency-Key": f"{self.prefix}-{body}"}


class Dropper(Sender):
    """Puts whole files into the watch directory by renaming; some packed, some twice under two names."""

    pause = 0.02

    def send(self, body: int, rows: list[dict[str, Any]]) -> bool:
        packed, again = self.chance.random() < 0.2, self.chance.random() < 0.1
        while True:
            try:
                drop(self.node, f"town.t{self.number % 2}.{self.prefix}x{body}", rows, packed=packed)
                if again:
                    drop(self.node, f"town.t{self.number % 2}.{self.prefix}x{body}again", rows)
                return True
            except OSError as full:
                if full.errno != errno.ENOSPC:
                    raise
            if self.enough.wait(0.05):
                return False


SENDERS: dict[str, type[Sender]] = {"watch": Dropper, "put": Putter, "streaming": Streamer}


def normal(rows: Sequence[dict[str, Any]]) -> bytes:
    """One object a line."""
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def drop(node: Member, name: str, rows: Sequence[dict[str, Any]] | bytes, *, packed: bool = False) -> Path:
    """A file that appears in the watch directory in one step; `name` without its type."""
    content = rows if isinstance(rows, bytes) else normal(rows)
    if packed:
        content, name = gzip.compress(content), f"{name}.json.gz"
    else:
        name += ".json"
    draft = node.folder("prep") / name
    draft.write_bytes(content)
    path = node.watch / name
    draft.rename(path)
    return path


@contextmanager
def stopped(senders: Sequence[Sender], longest: float = 20) -> Any:
    """Afterwards they have stopped, each within `longest` seconds."""
    try:
        yield senders
    finally:
        for sender in senders:
            sender.enough.set()
        for sender in senders:
            sender.join(longest)


@contextmanager
def sending(node: Member, ways: Sequence[str], seed: int, each: int = 2) -> Any:
    """Senders of all these ways at work; they have stopped afterwards. Gives their list."""
    senders = [SENDERS[way](node, number, seed) for way in ways for number in range(each)]
    for sender in senders:
        sender.start()
    with stopped(senders):
        yield senders


def member_of(node: Member) -> int:
    """The member id of this node."""
    rows = json.loads(node.command("blockchain get operator"))
    return int(rows[0]["operator"]["member"])


def wait_until_at_rest(node: Member, seconds: float = 60.0) -> None:
    """Until nothing waits to become a file. Fails, saying what is left, when the time is over."""
    until = time.monotonic() + seconds
    while left := files_laws.at_rest(node.home):
        if time.monotonic() > until:
            pytest.fail(f"not at rest after {seconds:g} seconds: {left}\n{told_by(node)}")
        time.sleep(0.05)


def flush(node: Member, seconds: float = 60.0) -> None:
    """Make files of what streamed in; refused while a new table waits for the ledger, so asked again."""
    until = time.monotonic() + seconds
    while True:
        try:
            node.command("flush buffers", "POST")
            return
        except RuntimeError:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)


def check(
    node: Member, senders: Sequence[Sender] = (), ids: dict[tuple[str, int], str] | None = None, least: int = 1
) -> Counter[str]:
    """All laws hold, once the node has come to rest. Gives the readings that are there."""
    problems = [sender.problem for sender in senders if sender.problem]
    assert not problems, problems
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    until = time.monotonic() + 60
    while not acknowledged <= set(files_laws.names(node.home)) and time.monotonic() < until:
        time.sleep(0.05)
    wait_until_at_rest(node)
    sent = [name for sender in senders for name in sender.sent] if senders else None
    member = member_of(node)
    told = files_laws.broken(node.home, member, acknowledged=acknowledged, sent=sent, ids=ids)
    aside = Counter(files_laws.parked(node.home))
    odd = sorted(name for sender in senders for name in sender.misfits if aside[name] != 1)
    told += [f"{len(odd)} misfits are not parked once, such as {odd[0]}: {aside[odd[0]]} times"] if odd else []
    found = files_laws.names(node.home)
    assert not told, f"{len(told)} breaches:\n" + "\n".join(told[:12]) + f"\n{told_by(node)}"
    assert len(found) >= least, f"{len(found)} readings arrived, the test means little"
    return found


def told_by(node: Member) -> str:
    """The end of the node's log."""
    lines = node.log.read_text().splitlines() if node.log.exists() else []
    return "\n".join(line for line in lines[-400:] if "#info" not in line)[-3000:]


def start(node: Member, kill_at: str = "") -> bool:
    """Start it; False if it was killed before it was seen to answer, as `kill_at` (`point:times`) asks."""
    try:
        node.start({"ANYLOG_KILL_AT": kill_at} if kill_at else None)
    except RuntimeError:
        assert node.process is not None
        if not kill_at or node.process.poll() != -9:
            raise
        return False
    return True


def killed(node: Member, point: str, times: int = 1, seconds: float = 60.0) -> None:
    """One life of the node that ends at a named moment. The node must not run."""
    start(node, f"{point}:{times}")
    assert node.process is not None
    try:
        status = node.process.wait(seconds)
    except Exception:
        node.kill()
        pytest.fail(f"'{point}' was not passed {times} times within {seconds:g} seconds\n{told_by(node)}")
    assert status == -9, f"ended with {status} instead of at '{point}'\n{told_by(node)}"
