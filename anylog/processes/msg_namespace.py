"""The unified namespace: a policy for each level of the topics of dynamic clients, parents first (ingest.md 7.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.waiting import deferring

MOST = 10_000  # levels of one client; a stranger must not be able to fill the ledger

Find = Callable[[str], str]  # of a namespace: the id of its policy, empty if there is none
Write = Callable[[dict[str, Any]], Deferred[None]]  # a policy, to where the client was told to


@define(eq=False)
class Namespace:
    """Writes what is missing, one after the other; messages do not wait for it."""

    _find: Find
    _write: Write
    _tell: Callable[[str], None]  # what went wrong
    _known: set[str] = field(factory=set)
    _waiting: list[tuple[str, str, str]] = field(factory=list)
    _going: bool = False
    _full: bool = False
    log = Logger()

    def seen(self, topic: str, dbms: str, table: str) -> None:
        """A message came whose rows go there."""
        name = topic.strip("/")
        if not name or name in self._known or self._full:
            return
        if len(self._known) >= MOST:
            self._full = True
            self._tell(f"more than {MOST:,} topics: no policy is written for '{name[:200]}' and those after it")
            return
        self._known.add(name)
        self._waiting.append((name, dbms, table))
        if not self._going:
            self._going = True
            self._work().addErrback(lambda failure: self.log.failure("writing policies of a namespace", failure))

    @deferring
    async def _work(self) -> None:
        try:
            while self._waiting:
                name, dbms, table = self._waiting.pop(0)
                try:
                    await self._chain(name, dbms, table)
                except AnyLogError as why:
                    self._known.discard(name)  # the next message of that topic tries again
                    self._tell(f"no policy for the namespace '{name[:200]}': {why}")
        finally:
            self._going = False

    async def _chain(self, name: str, dbms: str, table: str) -> None:
        parent, so_far = "", ""
        levels = name.split("/")
        for place, level in enumerate(levels, 1):
            so_far = f"{so_far}/{level}" if so_far else level
            ident = self._find(so_far)
            if not ident:
                body: dict[str, Any] = {"name": level, "namespace": so_far}
                if parent:
                    body["parent"] = parent
                if place == len(levels):
                    body |= {"dbms": dbms, "table": table}
                await self._write({"uns": body})
                ident = self._find(so_far)
            parent = ident
