"""`run client (nodes) file copy` and `file get`: files from node to node (network.md 10).

A transfer whose connection broke goes on by itself where it ended, a few times; given again, the command does, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define
from twisted.internet.defer import Deferred, DeferredSemaphore

from anylog.disk.arrivals import Arrival, Departure
from anylog.disk.confined import Confines
from anylog.disk.file_commands import path_of
from anylog.errors import AnyLogError
from anylog.interfaces import Reply
from anylog.language.context import Context
from anylog.language.statements import scope_of
from anylog.language.tokens import Kind, tokens_of
from anylog.language.where import required_text
from anylog.network.transfers import KIND, Going
from anylog.pages import all_pages
from anylog.waiting import deadline, deferring, pause

if TYPE_CHECKING:
    from anylog.node import Node

SILENCE = 30.0  # seconds without a word, besides those that the disk needs ...
PACE = 20 << 20  # ... for so many bytes each
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before a transfer is tried again; anew after each that brought some bytes
BROKEN = (8, 15, 26, 208)  # errors after which it is
GONE = (12, 35, 40, 63)  # errors of a source that is not any more what it was: nobody goes on with its draft
AT_ONCE = 4  # nodes that a file is brought to
LISTED = 16 << 20  # bytes of the names of files
DIGEST = 32  # bytes behind the content of a file

Ask = Callable[[str], Deferred[tuple[str, Any]]]


def prepared(node: Node, context: Context, verb: str, rest: str, addresses: Sequence[str]) -> Ask:
    """What is to be done with each node, as `ask_nodes` wants it. Raises AnyLogError 2, 155 or 212."""
    words = f"file {verb}"
    tokens = tokens_of(rest)
    if len(tokens) != 2 or any(token.kind is Kind.GROUP for token in tokens):
        raise AnyLogError(
            2, f"{words}: source and target are needed; usage: run client (ip:port) {words} SOURCE TARGET"
        )
    if not node.access.allows(context):
        raise AnyLogError(212, f"{words}: this node copies files for others once it is told 'set authentication off'")

    def meant(number: int, here: bool) -> str:
        """A path for this node, or for the other one, which resolves a key of its own."""
        token = tokens[number]
        if not token.text.lstrip("\"'").startswith("!!"):
            return path_of(node, context, required_text(token, scope_of(node, context)))
        if here:
            raise AnyLogError(2, f"{words}: '{token.text}' is a key of the other node; of this node it is '!key'")
        return token.text[1:]

    confines = node.file_access.confines(local=context.local)
    if verb == "copy":
        source, target = meant(0, True), meant(1, False)
        work: _Transfers = _Copies(node, context, confines, source, target)
    else:
        if len(addresses) > 1:
            raise AnyLogError(155, f"{words}: a file is fetched from one node, here are {len(addresses)}")
        source, target = meant(0, False), meant(1, True)
        work = _Gets(node, context, confines, source, target)
    turns = DeferredSemaphore(AT_ONCE)
    return lambda address: turns.run(work.all, address)


@define
class _Told:
    """What came of one node's files."""

    files: int = 0
    there: int = 0  # in a watch directory, equal ones
    bytes: int = 0

    def text(self, verb: str) -> str:
        """For whoever asked."""
        more = f", {self.there} were there already" if self.there else ""
        return f"{self.files} file{'' if self.files == 1 else 's'} {verb}, {self.bytes:,} bytes{more}"


@define(eq=False)
class _Transfers:
    """All files of one command."""

    node: Node
    context: Context
    confines: Confines
    source: str
    target: str

    verb = ""

    @deferring
    async def all(self, address: str) -> tuple[str, Any]:
        """Do it with one node; what is said of it. Fails with AnyLogError."""
        told = _Told()
        for file in await self.files(address):
            try:
                outcome = await self._one(address, file)
            except AnyLogError as error:
                if not told.files:
                    raise
                done = f"; {told.files} were {self.verb} before"
                raise AnyLogError(error.number, f"{error}{done}", http=error.http, node=error.node) from error
            told.there += outcome == "there"
            told.files += outcome != "there"
            told.bytes += file.size if outcome != "there" else 0
        text = told.text(self.verb)
        return text, text

    async def files(self, address: str) -> Sequence[Departure]:
        """What the source means. Raises AnyLogError."""
        raise NotImplementedError  # pragma: no cover

    async def once(self, address: str, file: Departure, how_far: Callable[[int], None]) -> str:
        """One attempt to transfer one file; says how many bytes are there. Raises AnyLogError."""
        raise NotImplementedError  # pragma: no cover

    @property
    def several(self) -> bool:
        """Whether the target must be a directory."""
        return "*" in self.source

    async def _one(self, address: str, file: Departure) -> str:
        """One file, taken up again when the connection breaks. Raises AnyLogError."""
        at, best, tries, met = -1, 0, 0, False

        def how_far(there: int) -> None:
            nonlocal at
            at = there

        while True:
            at = -1  # nothing is agreed yet
            begun = -1

            def begins(there: int) -> None:
                nonlocal begun
                begun = there if begun < 0 else begun
                how_far(there)

            try:
                outcome = await self.once(address, file, begins)
                if outcome != "wrong":
                    return outcome
                why = f"{file.path}: what came is not what was sent, and was thrown away"
                # What an earlier attempt left may be to blame: without it, once more.
                raise AnyLogError(15 if begun > 0 else 35, why, node=address)
            except AnyLogError as error:
                met = met or begun >= 0
                if error.number not in BROKEN or (error.number == 208 and not met):
                    raise  # whoever connects has tried more than once
                tries = 0 if at > best else tries + 1
                best = max(best, at)
                if tries > len(PAUSES):
                    there = f"; {best:,} of {file.size:,} bytes are there, the same command goes on from there"
                    why = f"{file.path} was not transferred: {error}{there if best else ''}"
                    raise AnyLogError(35, why, http=error.http, node=address) from error
            await pause(self.node.clock, PAUSES[max(tries - 1, 0)])

    def ask(self, address: str, cost: int, body: bytes = b"", /, **head: Any) -> Deferred[Reply]:
        """A question about files; `cost` are the bytes that the other node may have to read for it."""
        until = self.node.clock.seconds() + SILENCE + cost / PACE
        return self.node.peers.ask(address, KIND, head, body, until=until, hops=self.context.hops)


class _Copies(_Transfers):
    """Files of this node for others."""

    verb = "copied"

    async def files(self, address: str) -> Sequence[Departure]:
        return await self.node.transfers.look(self.confines, self.source)

    async def once(self, address: str, file: Departure, how_far: Callable[[int], None]) -> str:
        about: dict[str, Any] = {"path": file.path, "size": file.size, "stamp": file.stamp}
        begun = await self.ask(address, file.size, do="begin", target=self.target, several=self.several, **about)
        at, draft = _number(begun.head, "at", file.size), {name: begun.head.get(name) for name in ("draft", "token")}
        how_far(at)
        going, digest = self.node.transfers.read(self.confines, file, at), b""
        try:
            while (page := await self._next(going, address, draft)) is not None:
                if at == file.size and len(page) == DIGEST:
                    digest = page
                elif page:
                    wrote = _held(await self.ask(address, 0, page, do="write", at=at, **draft))
                    at = _number(wrote, "at", file.size)
                    how_far(at)
        finally:
            going.close()
        ended = _held(await self.ask(address, file.size, digest, do="end", **draft))
        return str(ended.get("outcome"))

    async def _next(self, going: Going, address: str, draft: Mapping[str, Any]) -> bytes | None:
        """More of the file of this node."""
        try:
            return await going.next()
        except AnyLogError as error:
            if error.number in GONE:
                dropped = self.ask(address, 0, do="drop", **draft)
                await dropped.addErrback(lambda failure: failure.trap(AnyLogError) and None)
            raise


class _Gets(_Transfers):
    """Files of another node for this one."""

    verb = "fetched"

    async def files(self, address: str) -> Sequence[Departure]:
        reply = await self.ask(address, 0, do="list", source=self.source)
        whole = await all_pages(reply.body, LISTED, "a list of files")
        try:
            found = [Departure(str(path), int(size), str(stamp)) for path, size, stamp in orjson.loads(whole)]
            if any(each.size < 0 for each in found):
                raise ValueError("a size below 0")
            return found
        except (ValueError, TypeError) as wrong:
            raise AnyLogError(21, f"a list of files that is none: {wrong}", node=address) from None

    async def once(self, address: str, file: Departure, how_far: Callable[[int], None]) -> str:
        transfers = self.node.transfers
        arrival = await transfers.begin(self.confines, address, file, self.target, self.several)
        try:
            how_far(arrival.at)
            try:
                digest = await self._fill(address, file, arrival, how_far)
            except AnyLogError as error:
                if error.number in GONE and error.node:  # of the other node, not of the disk here
                    await transfers.drop(arrival)
                raise
            return await transfers.finish(arrival, digest)
        finally:
            transfers.leave(arrival)

    async def _fill(self, address: str, file: Departure, arrival: Arrival, how_far: Callable[[int], None]) -> bytes:
        """Fetch what is missing; gives the sha256 of the whole, as the other node says."""
        about: dict[str, Any] = {"path": file.path, "size": file.size, "stamp": file.stamp}
        patience, at = SILENCE + arrival.at / PACE, arrival.at
        reply = await self.ask(address, 0, do="read", at=at, **about)
        digest = b""
        if reply.body is not None:
            try:
                while (page := await self._page(reply, patience, address)) is not None:
                    data, rest = page[: file.size - at], page[file.size - at :]
                    if data:
                        at = await self.node.transfers.write(arrival, at, data)
                        how_far(at)
                        patience = SILENCE
                    digest += rest
                    if len(digest) > DIGEST:
                        raise AnyLogError(21, f"{address} sends more than the file has", node=address)
            finally:
                reply.body.close()
        return digest

    def _page(self, reply: Reply, patience: float, address: str) -> Deferred[bytes | None]:
        assert reply.body is not None
        return deadline(self.node.clock, patience, reply.body.next(), f"{address}: waiting for the next bytes")


def _number(head: Mapping[str, Any], name: str, most: int) -> int:
    """How much is there, as the other node says. Raises AnyLogError 21."""
    value = head.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise AnyLogError(21, f"an answer about a transfer without '{name}'")
    return value


def _held(reply: Reply) -> Mapping[str, Any]:
    """What was answered. Raises AnyLogError 15 if the other node does not know of the transfer any more."""
    if reply.head.get("again"):
        raise AnyLogError(15, "the other node has given the transfer up")
    return reply.head
