"""The node's own copy of the ledger: in memory for who asks, in a file for the next start (metadata.md 1.3, 7.2)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from random import Random

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall, Disk, ILane, unix
from anylog.ledger.lines import Lines, read_lines, rendered, version_of
from anylog.ledger.merge import Merged, confirmed, differ, merged, overridden
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy, tombstone
from anylog.ledger.underway import Underway
from anylog.waiting import deferring

APART = 1.0  # seconds between two writings of the whole file because of what the master told
RATE = 500_000  # bytes a second that this may write in the long run


@define(kw_only=True, eq=False)
class Ledger:
    """All policies this node knows, its own that wait for the master among them.

    A change is in memory at once, and on disk when the call that made it fires; changes that come while the file is
    written share the next writing of it. What the master told may be on disk a second later, unless it took something
    away: it can be fetched again.
    """

    _disk: Disk
    _lane: ILane
    _path: Callable[[], Path]
    _clock: Clock
    chance: Random
    damaged: str = ""  # why the file is not what it should be; the ledger has to be fetched anew then
    faults: Sequence[tuple[int, str]] = ()  # lines of the file that were left out, and why
    drawn: set[str] = field(factory=set)  # operators whose member number this node drew and no master confirmed
    taken: dict[str, str] = field(factory=dict)  # ids that wait to be seen at the master, and which one took them
    underway: Underway = field(factory=Underway)  # what a master was sent and has not answered
    displaced: int = 0  # policies of ours that gave way to another one of the same id in the global ledger
    refusals: dict[str, str] = field(factory=dict)  # ids that wait, and why the master did not take them
    loaded: float | None = None  # unix seconds of the last load or merge
    log = Logger()

    _raw: Policies = field(factory=Policies)
    _tombstones: dict[str, Policy] = field(factory=dict)
    _buried: int = 0  # changes of the tombstones
    _shown: tuple[Policies, int, Policies] | None = None
    _text: tuple[Policies, int, int, str] | None = None  # the version, and of what
    _base: tuple[str, str] = ("", "")  # a master, and its version that is in memory here, but for what waits
    _size: int | None = None  # bytes of the file, if that is as it was last written here
    _added: list[Policy] = field(factory=list)  # lines that are to be appended
    _whole: bool = False  # or the file is to be written anew
    _written: float = -1e9  # when that was done last
    _later: DelayedCall | None = None
    _watchers: list[Callable[[], None]] = field(factory=list)
    _waiters: list[Deferred[None]] = field(factory=list)
    _saving: bool = False

    # ---------------------------------------------------------------- reading

    @property
    def path(self) -> Path:
        """The file."""
        return self._path()

    @property
    def policies(self) -> Policies:
        """As `blockchain get` sees them: `anmp` policies are applied."""
        if self._shown is None or self._shown[0] is not self._raw or self._shown[1] != self._raw.changes:
            self._shown = (self._raw, self._raw.changes, overridden(self._raw))
        return self._shown[2]

    @property
    def raw(self) -> Policies:
        """As they are in the file."""
        return self._raw

    @property
    def version(self) -> str:
        """The metadata version: MD5 of the file; empty if that is damaged, so that it equals no master's."""
        if self.damaged:
            return ""
        known = self._text
        if known is None or known[0] is not self._raw or known[1:3] != (self._raw.changes, self._buried):
            version = self._raw.version(self._tombstones.values())
            known = self._text = (self._raw, self._raw.changes, self._buried, version)
        return known[3]

    @property
    def data(self) -> bytes:
        """The file, as it is or is about to be."""
        return rendered(self._raw, self._tombstones.values())

    def base_of(self, master: str) -> str:
        """The version of that master from which it may tell the changes alone; empty if all is needed."""
        whole = bool(self.damaged or self._tombstones) or self._base[0] != master
        return "" if whole else self._base[1]

    def confirmed(self) -> bytes:
        """The text of all policies of the global ledger: what another node may begin with."""
        return rendered(policy for policy in self._raw if not policy.local)

    def waiting(self) -> list[Policy]:
        """What the master has still to be told: local policies and tombstones, oldest first."""
        return sorted([*self._raw.local(), *self._tombstones.values()], key=lambda policy: policy.date)

    def taken_by(self, master: str) -> set[str]:
        """Ids of local policies that this master has taken by now."""
        return {ident for ident, by in self.taken.items() if by == master}

    def tombstones(self) -> list[Policy]:
        """What was deleted here and may still be in the global ledger."""
        return list(self._tombstones.values())

    def settles(self) -> set[str]:
        """Ids of tombstones that are settled if a master that is asked now does not have them."""
        return self._tombstones.keys() - self.underway.ids(self._clock.seconds())

    def test(self) -> bool | None:
        """Whether the file was whole when it was read; None if there is no policy at all."""
        if self.damaged or self.faults:
            return False
        return True if len(self._raw) else None

    def watch(self, told: Callable[[], None]) -> Callable[[], None]:
        """Call `told` after each change in memory; gives what ends that."""
        self._watchers.append(told)
        return lambda: self._watchers.remove(told) if told in self._watchers else None

    # ---------------------------------------------------------------- the file

    @deferring
    async def load(self) -> None:
        """Read the file. What cannot be read is left out, named in `faults` and `damaged`, and kept as `.damaged`."""
        self._forget_later()
        lines, damaged, size = await self._lane.run(self._read)
        self.faults, self.damaged = lines.faults, damaged
        if damaged:
            self.log.warn("ledger {path}: {why}", path=str(self.path), why=damaged)
        self._take(lines.policies, lines.tombstones)
        self._size = size

    @deferring
    async def clear(self) -> None:
        """`blockchain delete local file`: no file and no policies."""
        self._forget_later()
        self._take((), ())
        self.damaged, self.faults = "", ()
        self._size = None
        await self._lane.run(self._disk.forget, self.path)

    def _read(self) -> tuple[Lines, str, int | None]:
        path = self.path
        try:
            data = self._disk.read(path)
        except FileNotFoundError:
            return Lines((), (), ()), "", None
        except OSError as fault:
            return Lines((), (), ()), f"cannot be read: {fault}", None
        lines = read_lines(data)
        if not lines.faults:
            return lines, "", len(data) if data[-1:] in (b"", b"\n") else None
        try:
            self._disk.publish(path.with_suffix(".damaged"), data)
        except OSError:
            pass  # it was to help people; the node goes on without
        number, why = lines.faults[0]
        more = f", and {len(lines.faults) - 1} more" if len(lines.faults) > 1 else ""
        return lines, f"line {number} is left out: {why}{more}", None

    # ---------------------------------------------------------------- changes

    @deferring
    async def add(self, *policies: Policy) -> None:
        """Take policies. AnyLogError 70 for an id that is there: then none is taken; 14 or 503 if the disk fails."""
        self.hold(*policies)
        await self.keep(*policies)

    def hold(self, *policies: Policy) -> None:
        """Take policies in memory alone, until `keep` or `keep_later`. AnyLogError 70 as `add`."""
        for policy in policies:
            if policy.id in self._raw:
                raise AnyLogError(70, f"{policy.summary}: the id {policy.id} is in the ledger")
        for policy in policies:
            self._raw.add(policy)
            self._dig_up(policy.id)
        self._tell()

    @property
    def may_wait(self) -> bool:
        """Whether what a master took may be written a moment later.

        Not while the file may hold a deletion: after a crash that would be done again, to what is new under that id.
        """
        known = self._size is not None and not self.damaged
        return known and not (self._tombstones or self._saving or self._whole)

    def keep_later(self) -> None:
        """What is held may be written a moment later: a master has it, from which it can be fetched again."""
        self._save_later(APART)

    @deferring
    async def keep(self, *policies: Policy) -> None:
        """Write what is held. AnyLogError 14 or 503 if the disk fails: they are taken out again then."""
        try:
            at_end = self._raw.last(len(policies)) == list(policies)  # else the file would have another order
            await self._save(*(policies if at_end else ()))
        except AnyLogError:
            for policy in policies:
                if self._raw.get(policy.id) is policy:
                    self._raw.remove(policy.id)
            self._tell()
            raise

    @deferring
    async def remove(self, ident: str, *, buried: bool = False) -> Policy:
        """Take one away; with `buried` it stays away when it comes from the master. AnyLogError 113 if unknown."""
        policy = self._raw.remove(ident)
        if policy is None:
            raise AnyLogError(113, f"no policy with the id '{ident}' is in the ledger")
        self.drawn.discard(ident)
        if not buried:
            self._tell()
            await self._save()
            return policy
        stone = self._tombstones[ident] = tombstone(ident, unix(self._clock))
        self._buried += 1
        self._tell()
        await self._save(stone)  # a line at the end until the file is written anew
        self._save_later(APART)
        return policy

    @deferring
    async def change(self, policy: Policy) -> None:
        """Put it where the one of its id is, or add it."""
        self._raw.replace(policy)
        self._tell()
        await self._save()

    @deferring
    async def take(
        self, downloaded: bytes, taken: Collection[str] = (), master: str = "", settles: Collection[str] | None = None
    ) -> Merged:
        """Make the global ledger ours, keeping what waits for the master (metadata.md 7.3).

        `taken` are ids that the master had taken before it was asked for its ledger, `settles` what `settles` was then.

        Nothing changes for a text that is not whole: AnyLogError 6 naming the line, 59 if it has no policies and we
        have some from there. The result says what has to be sent again.
        """
        lines = await self._lane.run(read_lines, downloaded)
        _no_faults(lines)
        if not lines.policies and any(not policy.local for policy in self._raw):
            raise AnyLogError(59, "the ledger that came is empty: the present one is kept")
        told = merged(lines.policies, self._raw, self._tombstones.values(), taken, settles)
        present = {policy.id for policy in told.policies}
        less = any(policy.id not in present for policy in self._raw)
        # A tombstone that is settled must not come back from the file: what is put under its id from now on is new.
        soon = bool(self.damaged) or less or len(told.tombstones) < len(self._tombstones)
        self._take(told.policies, told.tombstones)
        self._base = (master, version_of(downloaded))
        self._merged(told)
        await self._put(soon)
        return told

    @deferring
    async def follow(
        self, lines: bytes, dropped: Collection[str], version: str, taken: Collection[str] = ()
    ) -> Merged | None:
        """Do what changed at the master since `base_of` it; afterwards it has that version there.

        None if what came out is another one: all is to be taken then. AnyLogError 6 for a text that is not whole.
        """
        base, changed = self._base, read_lines(lines)
        _no_faults(changed)
        displaced, less = [], False
        for policy in map(confirmed, changed.policies):
            if policy.id in self._tombstones:
                continue  # it was deleted here since: the versions differ then, and all is taken
            ours = self._raw.get(policy.id)
            if ours is not None and ours.local:
                if differ(ours, policy):
                    displaced.append(ours)
                self._raw.remove(policy.id)
            self._raw.replace(policy)
        for ident in dropped:
            ours = self._raw.get(ident)
            if ours is not None and (not ours.local or ident in taken):
                self._raw.remove(ident)
                less = True
        self.loaded = self._clock.seconds()
        resend = self._raw.local()
        told = Merged((), (), resend, (), displaced)
        self._merged(told)
        self._base = (base[0], version)
        if self._raw.version_without(resend) != version:
            self._base = ("", "")
            self._tell()
            return None
        self._tell()
        await self._put(less, old=False)
        return told

    def _merged(self, told: Merged) -> None:
        """Forget what is settled."""
        for policy in told.displaced:
            self.displaced += 1
            why = "another one has its id in the global ledger"
            self.log.error("{what}: {why}: {text}", what=policy.summary, why=why, text=policy.text)
        waiting = {policy.id for policy in told.resend}
        self.drawn &= waiting
        self.taken = {ident: master for ident, master in self.taken.items() if ident in waiting}
        self.refusals = {ident: why for ident, why in self.refusals.items() if ident in waiting}

    async def _put(self, soon: bool, old: bool = True) -> None:
        """Write what came from the master: at once if it is less, else a little later is as good, it can be fetched.

        The larger the file, the rarer: that it is written must not hold up what is appended to it.
        """
        if soon or self._rest <= 0:
            self._whole = True
            try:
                if old:
                    await self._lane.run(self._keep_old)
                await self._save()
            except AnyLogError as error:
                self.damaged = f"could not be written: {error}"  # so that the next synchronisation tries again
                raise
            self.damaged, self.faults = "", ()
        else:
            self._save_later()

    @property
    def _rest(self) -> float:
        """Seconds until it may be written whole again because of what can wait."""
        return self._written + APART + (self._size or 0) / RATE - self._clock.seconds()

    def _save_later(self, least: float = 0.0) -> None:
        if self._later is None:
            self._later = self._clock.callLater(max(self._rest, least), self._put_now)

    def _put_now(self) -> None:
        self._later = None
        self._save().addErrback(lambda failure: self.log.warn("{why}", why=failure.getErrorMessage()))

    async def stop(self) -> None:
        """Write what was to be written a little later."""
        if self._forget_later():
            await self._save()

    def _forget_later(self) -> bool:
        """What was to be written a little later is not; whether there was anything."""
        later, self._later = self._later, None
        if later is not None:
            later.cancel()
        return later is not None

    @deferring
    async def replace(self, policies: Iterable[Policy], tombstones: Iterable[Policy] = ()) -> None:
        """These and no others; the file as it was is kept as `.old`."""
        self._take(policies, tombstones)
        self.damaged, self.faults, self._whole = "", (), True
        try:
            await self._lane.run(self._keep_old)
            await self._save()
        except AnyLogError as error:
            self.damaged = f"could not be written: {error}"  # so that the next synchronisation tries again
            raise

    def _take(self, policies: Iterable[Policy], tombstones: Iterable[Policy]) -> None:
        self._raw = Policies(policies)
        self._tombstones = {stone.id: stone for stone in tombstones}
        self._base = ("", "")
        self._buried += 1
        self.loaded = self._clock.seconds()
        self._tell()

    def _dig_up(self, ident: str) -> None:
        if self._tombstones.pop(ident, None) is not None:
            self._buried += 1

    def _tell(self) -> None:
        for told in list(self._watchers):
            try:
                told()
            except Exception:  # one listener's fault is not the ledger's
                self.log.failure("a change of the ledger could not be told")

    # ---------------------------------------------------------------- writing

    def _keep_old(self) -> None:
        path = self.path
        try:
            self._disk.publish(path.with_suffix(".old"), self._disk.read(path))
        except OSError:
            pass  # there is none yet, or the disk is full, which the new file will meet and tell

    def _write(self, data: bytes) -> None:
        path = self.path
        try:
            self._disk.publish(path, data)
        except OSError as fault:
            number = 503 if fault.errno in (errno.ENOSPC, errno.EDQUOT) else 14
            raise AnyLogError(number, f"ledger {path}: {fault}") from fault

    def _append(self, size: int, data: bytes) -> bool:
        """Add lines to the file, if that has so many bytes."""
        path = self.path
        try:
            if self._disk.stat(path)[0] != size:
                return False
            file = self._disk.open(path)
        except OSError:
            return False
        try:
            file.write(size, data)
            file.sync()
        except OSError:
            return False  # it is written whole then, and if that fails, too, it says why
        finally:
            file.close()
        return True

    def _save(self, *added: Policy) -> Deferred[None]:
        """Fires when the memory of now is in the file; `added` if nothing else changed but these, at the end."""
        if added:
            self._added += added
        else:
            self._whole = True
        saved: Deferred[None] = Deferred(lambda _: None)
        self._waiters.append(saved)
        if not self._saving:
            self._saving = True
            self._save_all().addErrback(lambda failure: self.log.failure("writing the ledger", failure))
        return saved

    @deferring
    async def _save_all(self) -> None:
        try:
            while self._waiters:
                waiters, self._waiters = self._waiters, []
                lines, self._added = rendered(self._added), []
                size, self._size = None if self._whole else self._size, None
                self._whole = False
                fault: AnyLogError | None = None
                try:
                    if size is not None and await self._lane.run(self._append, size, lines):
                        self._size = size + len(lines)
                    else:
                        data = self.data
                        await self._lane.run(self._write, data)
                        self._size, self._written = len(data), self._clock.seconds()
                except AnyLogError as error:
                    fault = error
                for waiter in waiters:
                    if not waiter.called:
                        waiter.callback(None) if fault is None else waiter.errback(fault)
        finally:
            self._saving = False


def _no_faults(lines: Lines) -> None:
    if lines.faults:
        number, why = lines.faults[0]
        raise AnyLogError(6, f"line {number} of the ledger that came: {why}", http=502)
