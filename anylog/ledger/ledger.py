"""The local copy of the ledger: in memory, and in a file of one policy a line (metadata.md 1.3, 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import md5
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Disk, ILane
from anylog.ledger.merge import Merged, merged
from anylog.ledger.policies import Policies
from anylog.ledger.policy import GLOBAL, LOCAL, TOMBSTONE, Policy, read_lines, stamp
from anylog.waiting import deferring


def version_of(text: bytes) -> str:
    """The metadata version: a hash of the file."""
    return md5(text, usedforsecurity=False).hexdigest()


def written(policies: Iterable[Policy]) -> bytes:
    """The text of a ledger file."""
    lines = [policy.line for policy in policies]
    return b"\n".join(lines) + b"\n" if lines else b""


@define(kw_only=True, eq=False)
class Ledger:
    """What this node knows of the network. All questions are answered from memory."""

    _disk: Disk
    _lane: ILane
    _path: Callable[[], Path]
    policies: Policies = field(factory=Policies)
    tombstones: dict[str, Policy] = field(factory=dict)  # by the id of the policy that was deleted
    version: str = ""  # of the file; empty while it is damaged, so that the ledger is fetched anew
    damaged: list[str] = field(factory=list)  # what is wrong with the file that was loaded
    there: bool = False  # whether there is a file
    text: bytes = b""  # of the file of `version`
    lines: dict[bytes, Policy] = field(factory=dict)  # of the ledger as it was last fetched
    _watchers: list[Callable[[], None]] = field(factory=list)
    _waiting: list[Deferred[None]] = field(factory=list)  # for the next write
    _writing: bool = False
    log = Logger()

    # ------------------------------------------------------------------ reading

    @deferring
    async def load(self) -> None:
        """Read the file. What of it cannot be read is said and left out; it will be fetched anew."""
        path = self._path()
        text = await self._lane.run(self._read, path)
        self.there = text is not None
        policies, self.damaged = read_lines(text or b"")
        for wrong in self.damaged:
            self.log.error("{path}: {wrong}", path=str(path), wrong=wrong)
        self._take(policies)
        self.text = text or b""
        self.version = "" if self.damaged else version_of(self.text)
        self._changed()

    def _read(self, path: Path) -> bytes | None:
        if path.name not in self._disk.names(path.parent):
            return None
        try:
            return self._disk.read(path)
        except OSError as fault:
            raise AnyLogError(63, f"{path}: {fault}") from fault

    def _take(self, policies: Iterable[Policy]) -> None:
        known: list[Policy] = []
        stones: dict[str, Policy] = {}
        for policy in policies:
            if policy.type == TOMBSTONE:
                stones[str(policy.get("id"))] = policy
            else:
                known.append(policy)
        self.policies.replace(known)
        self.tombstones = stones

    def waiting(self) -> list[Policy]:
        """Policies that the ledger has not confirmed, and deletes it has not heard of."""
        return [policy for policy in self.policies if policy.ledger == LOCAL] + list(self.tombstones.values())

    def watch(self, told: Callable[[], None]) -> None:
        """Call `told()` after each change."""
        self._watchers.append(told)

    # ------------------------------------------------------------------ changing

    def add(self, policy: Policy) -> Deferred[None]:
        """Keep a policy that only this node knows; fires when it is on disk. AnyLogError 70 for an id that is known."""
        known = self.policies.get(policy.id)
        if known is not None:
            raise AnyLogError(70, f"{policy.type}: a policy with the id {policy.id} is in the local ledger")
        self.policies.add(policy.with_(ledger=LOCAL))
        self.tombstones.pop(policy.id, None)
        return self._write()

    def show(self, policy: Policy) -> None:
        """Know a policy, without a promise: `keep` or `remove` follows. AnyLogError 70 for an id that is known."""
        if policy.id in self.policies:
            raise AnyLogError(70, f"{policy.type}: a policy with the id {policy.id} is in the local ledger")
        self.policies.add(policy.with_(ledger=LOCAL))
        self._changed()

    def keep(self, policies: Sequence[Policy], *, confirmed: bool) -> Deferred[None]:
        """Keep policies, those of known ids in place of what is known; `confirmed` by the ledger or not."""
        for policy in policies:
            self.policies.add(policy.with_(ledger=GLOBAL if confirmed else LOCAL))
            self.tombstones.pop(policy.id, None)
        return self._write()

    def remove(self, id: str, now: float, *, forget: bool = False) -> Deferred[None]:
        """Delete one; it stays deleted when the ledger is fetched, unless `forget`. AnyLogError 113 if unknown."""
        policy = self.policies.remove(id)
        if policy is None:
            raise AnyLogError(113, f"no policy with the id {id} is in the local ledger")
        if policy.ledger != LOCAL and not forget:
            self.tombstones[id] = Policy(TOMBSTONE, {"id": id, "ledger": LOCAL, "date": stamp(now)})
        return self._write()

    def read(self, text: bytes) -> list[Policy]:
        """The policies of a ledger that was fetched; lines that came before are not read again. AnyLogError 21."""
        policies, wrong = read_lines(text, self.lines)
        if wrong:
            raise AnyLogError(21, f"the ledger that came is damaged: {wrong[0]}")
        lines = text.split(b"\n")
        if lines and not lines[-1]:
            lines.pop()
        self.lines = dict(zip(lines, policies, strict=True)) if len(lines) == len(policies) else {}
        return policies

    @deferring
    async def merge(self, downloaded: Sequence[Policy]) -> Merged:
        """Take what was fetched, keep what waits (metadata.md 7.3); gives what must be sent."""
        made = merged(downloaded, self.policies, self.tombstones.values())
        self.policies.replace(made.policies)
        self.tombstones = {str(stone.get("id")): stone for stone in made.tombstones}
        await self._write()
        return made

    @deferring
    async def clear(self) -> None:
        """Forget all, and the file."""
        self.policies.replace(())
        self.tombstones.clear()
        await self._lane.run(self._disk.forget, self._path())
        self.version, self.text, self.damaged, self.there = "", b"", [], False
        self._changed()

    def _write(self) -> Deferred[None]:
        """Write the file soon: what changes while one write is under way shares the next."""
        self._changed()
        told: Deferred[None] = Deferred(lambda _: None)
        self._waiting.append(told)
        if not self._writing:
            self._writing = True
            self._go_on()
        return told

    @deferring
    async def _go_on(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                policies = [*self.policies, *self.tombstones.values()]
                outcome: AnyLogError | None = None
                try:
                    self.text = await self._lane.run(self._publish, self._path(), policies)
                    self.version = version_of(self.text)
                    self.there, self.damaged = True, []
                except OSError as fault:
                    outcome = AnyLogError(14, f"the local ledger cannot be written: {fault}")
                for told in waiting:
                    if not told.called:
                        told.callback(None) if outcome is None else told.errback(outcome)
        finally:
            self._writing = False

    def _publish(self, path: Path, policies: Sequence[Policy]) -> bytes:
        """In the lane: the whole file, or the one that was there."""
        text = written(policies)
        self._disk.make(path.parent)
        self._disk.publish(path, text)
        return text

    def _changed(self) -> None:
        for told in self._watchers:
            told()
