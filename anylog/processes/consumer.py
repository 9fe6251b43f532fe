"""The consumer: finds what other members hold and this one lacks, and pulls it (operator-ha.md 7).

Each member is asked on its own, so that a slow one holds nobody up. A pass over a member looks at one page of entries
at a time, and asks for the files of a page before it looks at the next, so what is held here is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog.counts import Counts
from anylog.databases.tsd import DUPLICATE, Entry, Tsd
from anylog.databases.tsd_ranges import Line, Totals, give_way, holders, part, record, state_of, totals
from anylog.errors import AnyLogError
from anylog.interfaces import Clock, unix
from anylog.process import WORKERS, Process, Rhythm
from anylog.processes.absent import Absent
from anylog.processes.agreement import Place
from anylog.processes.exchange import name_of, table_of
from anylog.processes.files import retried
from anylog.processes.missing import AGAIN, SELDOM, SETTLED, Tried, clashes, held, plan, validated
from anylog.processes.pulled import Arrival, Arrivals, ConsumerOptions, Link, Look, Rate, Tries, over_or_late
from anylog.processes.pulling import TOO_LARGE, Peer, Puller, no_room
from anylog.processes.registry import CONFLICTS, Conflict
from anylog.processes.standing import Standing
from anylog.waiting import deferring, pause

BEAT = 1.0  # seconds between two looks whether something changed
EVERY = 60.0  # seconds between two cycles
SOON = 5.0  # and while files are pushed here that cannot be taken
TOGETHER = 100  # files in one question
ARRIVED, BYTES = 1000, 64 << 20  # files that came and wait to be loaded, beyond which no more are asked for
STUCK = 10.0  # seconds that a pass waits for one of them to be loaded, before it goes on without asking for more
OWNER = 10.0  # seconds that others wait for the owner of files, before they are asked for them, too
PATIENCE = 60.0  # seconds after which a file that came and was not loaded is no longer waited for
KNOWN = 50_000  # files of which it is remembered when they were asked for
ENTRIES = 1_000_000  # entries of a member that are looked at in one pass, beyond twice what it says it has

Mode = Literal["active", "suspend"]
NOBODY = "No peer Operators supporting the cluster"


class Consumer(Process):
    """Pulls what is missing here."""

    name = "consumer"
    floor = WORKERS
    log = Logger()

    def __init__(
        self,
        *,
        clock: Clock,
        options: ConsumerOptions,
        puller: Puller,
        place: Callable[[], Place | None],
        peers: Callable[[], Sequence[Peer]],
        active: Callable[[str], bool],
        tsd: Callable[[], Tsd | None],
        standing: Standing,
        refuses: Callable[[], str] = lambda: "",
        connected: Callable[[str], bool] = lambda dbms: True,
        mode: Mode = "active",
    ) -> None:
        """`peers` are the other members of the cluster by the ledger of now, `active` tells of an address whether its
        node is thought to be there, `refuses` why no files may be put into the watch directory (empty: they may),
        `connected` whether a database is here to load files into."""
        self.options, self.mode, self.standing, self.puller = options, mode, standing, puller
        self.counts = Counts()
        self.links: dict[int, Link] = {}
        self.range = options.range(unix(clock))
        self.missed = False  # files were pushed that are not here
        self.arrived = Arrivals()
        self.ours: dict[str, Totals] = {}
        self._clock, self._place, self._peers, self._active, self._tsd = clock, place, peers, active, tsd
        self._refuses, self._connected, self._settling = refuses, connected, False
        self._tried = Tries(KNOWN)
        self._hashes: dict[str, float] = {}  # of files that were asked for -> when
        self._absent = Absent(counts=self.counts)
        self._rate = Rate()
        self._since: dict[str, float] = {}  # database -> when it was connected, of those that were meanwhile
        self._losses, self._lost = standing.losses, -1.0  # how many were seen here, and when the last one was
        self._situation: Any = None
        self._next = self._began = 0.0
        self._over = False
        self._going: set[Deferred[Any]] = set()
        self._beats = Rhythm(clock=clock, every=BEAT, do=self._beat, name="consumer")

    # ------------------------------------------------------------------ what can be seen

    def describe(self) -> str:
        """As `get processes` shows it."""
        if self._place() is not None and not self._peers():
            return NOBODY
        return self.state if self._place() is None else f"Mode: {self.mode}, {self.state}"

    @property
    def state(self) -> str:
        """In a word or two: whether this member is complete, if it is one."""
        told = "complete" if self.complete else "syncing"
        return told if self._place() is not None else "Waits for 'run operator'"

    @property
    def complete(self) -> bool:
        """Whether this member once had all that the others hold within the range."""
        return self.standing.own_complete or not self._peers()

    def missing(self) -> int:
        """About how many files are not here yet: of each member's as many as the best of the others has more."""
        lacking: dict[int, int] = {}
        for link in self.links.values():
            for whose, look in link.looks.items():
                lacking[whose] = max(lacking.get(whose, 0), look.lacking, look.theirs.files - look.ours.files)
        return max(0, sum(lacking.values()))

    def conflicts(self) -> list[Conflict]:
        """Ids that have another content at another member than here, as the last looks found them."""
        looks = [look for _, link in sorted(self.links.items()) for _, look in sorted(link.looks.items())]
        return [each for look in looks for each in look.conflicts]

    def _clash(self, whose: int) -> int:
        """The lowest id of a member's files that has two contents; 0: none."""
        looks = [link.looks[whose] for link in self.links.values() if whose in link.looks]
        return min((look.clash for look in looks if look.clash), default=0)

    def progress(self) -> dict[str, Any]:
        """Files and bytes missing, files a second, seconds left; bytes and time as far as they can be reckoned."""
        missing, pulled = self.missing(), self.counts["files"]
        rate, size = self._rate.now(self._clock.seconds())
        return {
            "complete": self.complete,
            "files": missing,
            "bytes": int(missing * self.counts["bytes"] / pulled) if pulled else 0,
            "rate": round(rate, 1),
            "bytes a second": int(size),
            "seconds left": int(missing / rate) if rate else None,
        }

    # ------------------------------------------------------------------ starting and stopping

    def start(self) -> None:
        """Look at once, and then at a rhythm."""
        self._beats.start()
        self._clock.callLater(0, self._first)

    def _first(self) -> None:
        if not self._over:
            self._hold(self._beat())

    @deferring
    async def stop(self) -> None:
        """Ask for nothing more; files that came are in the watch directory."""
        self._over = True
        for going in list(self._going):
            going.cancel()
        await self._beats.stop()

    def set_mode(self, mode: Mode) -> None:
        """Pull, or only tell and hear how far everybody is."""
        if mode != self.mode:
            self.mode = mode
            self.nudge()

    def _hold(self, work: Deferred[None]) -> Deferred[None]:
        """Work that ends with this process; its failures are told."""
        self._going.add(work)

        def ended(failure: Any) -> None:
            self._going.discard(work)
            if getattr(failure, "check", None) and not failure.check(CancelledError):
                if failure.check(AnyLogError):
                    self.log.warn("consumer: {why}", why=str(failure.value))
                else:
                    self.log.failure("consumer", failure)

        return work.addBoth(ended)

    # ------------------------------------------------------------------ the rhythm

    @deferring
    async def _beat(self) -> None:
        place, tsd = self._place(), self._tsd()
        if place is None or not place.member or tsd is None or self._over:
            self._situation = None
            return
        await self.standing.recall(tsd, place.member)
        range, words = self.options.range(unix(self._clock)), self.options.words
        await self.standing.reach(tsd, place.member, range, words)
        if self.arrived:
            await self._settle(tsd, place.member)
        peers = list(self._peers())
        now = self._clock.seconds()
        situation = (place, tsd, tuple(peers), tuple(self._active(each.address) for each in peers))
        # What was held back, and what was pushed while there was no room.
        room = any(link.held and link.working is None for link in self.links.values())
        room |= self.missed and now - self._began >= SOON
        if situation != self._situation or now >= self._next or (room and not self._full()):
            self._situation = situation
            self.nudge()

    def nudge(self) -> None:
        """A cycle begins now with every member that is there; with one that is being asked, as soon as that is over."""
        place, tsd, now = self._place(), self._tsd(), self._clock.seconds()
        if place is None or not place.member or tsd is None or self._over:
            return
        self._next, self._began, self.missed = now + EVERY, now, False
        self.range = self.options.range(unix(self._clock))
        self._forget(now)
        peers = {each.member: each for each in self._peers()}
        for member in [member for member in self.links if member not in peers]:
            link = self.links.pop(member)
            if link.working is not None:
                link.working.cancel()
        for member, peer in peers.items():
            link = self.links.setdefault(member, Link(peer))
            link.peer = peer
            if not self._active(peer.address):
                link.fine = False
                link.error = link.error or "not active"
            elif link.working is not None:
                link.again = True
            else:
                self._begin(link, place, tsd)
        if not any(link.working for link in self.links.values()):
            self._hold(self._round_over(place, tsd))

    def heard(self, member: int) -> None:
        """That member asked this one: if it is the first time, there is something to be told."""
        link = self.links.get(member)
        if link is None or not link.fine:
            self._next = min(self._next, self._clock.seconds() + BEAT)

    def connected(self, dbms: str) -> None:
        """A database is here from now on: what was left for want of it is asked for."""
        self._since[dbms] = self._clock.seconds()
        for link in self.links.values():
            for look in link.looks.values():
                look.until = 0.0
        self.nudge()

    def hasten(self) -> None:
        """Files were pushed here that could not be taken, or a member is connected anew, which may have pushed some:
        they are pulled soon, and not when the next cycle is due."""
        self.missed = True

    def _begin(self, link: Link, place: Place, tsd: Tsd) -> None:
        link.again = False
        link.own = Deferred()
        link.working = working = self._pass(link, place, tsd)

        def ended(result: object) -> None:
            link.working = None
            link.in_flight = 0
            self._own_over(link)
            if self._over or self.links.get(link.peer.member) is not link:
                return
            if link.again and self._active(link.peer.address):
                self._begin(link, place, tsd)
            elif not any(each.working for each in self.links.values()):
                self._hold(self._round_over(place, tsd))

        self._hold(working).addBoth(ended)

    def _own_over(self, link: Link) -> None:
        own, link.own = link.own, None
        if own is not None:
            own.callback(None)

    def _forget(self, now: float) -> None:
        """Keep in mind what is still of use."""
        self._tried.forget(now - 2 * SELDOM)
        self._hashes = {hash: at for hash, at in self._hashes.items() if now - at < AGAIN}

    # ------------------------------------------------------------------ one member

    @deferring
    async def _pass(self, link: Link, place: Place, tsd: Tsd) -> None:
        """All that this member has."""
        await pause(self._clock, 0)  # so that all who are there are being asked before the first is done with
        link.held = ""
        try:
            await self._states(link, place, tsd)
            link.fine, link.error = True, link.held or link.unconnected() or link.large.told()
        except CancelledError:
            raise
        except AnyLogError as why:
            self._failed(link, str(why))
            if no_room(why):
                self.hasten()
        except Exception as fault:  # nobody above us could do better, and what it found is not known
            self.log.failure("member {member} at {address}", member=link.peer.member, address=link.peer.address)
            self._failed(link, f"{type(fault).__name__} of this node")

    def _still(self, place: Place) -> None:
        """Raises AnyLogError 203 unless this node is the member that it was: its tables of files are others then."""
        now = self._place()
        if now is None or now.member != place.member:
            raise AnyLogError(203, f"this node is not member {place.member} now")

    def _failed(self, link: Link, why: str) -> None:
        link.fine = False
        link.errors += 1
        if why != link.error:
            self.log.warn("member {member} at {address}: {why}", member=link.peer.member,
                          address=link.peer.address, why=why)  # fmt: skip
        link.error = why
        self.counts.add("failed", last=f"member {link.peer.member}: {why}")

    async def _states(self, link: Link, place: Place, tsd: Tsd) -> None:
        own, peer, range = place.member, link.peer, self.range
        link.losses, link.range = self.standing.losses, range  # what leaves it during this pass is not lacking
        if link.losses != self._losses:  # what is said to be missing may be had by others
            self._losses, self._lost = link.losses, self._clock.seconds()
        ours = self.ours = link.ours = await totals(tsd, range.start, range.end)
        mine = self.standing.of(own)
        upto = {whose: id for whose, id in mine.items() if id}
        told = await self.puller.members(
            peer, place, range, safe=mine, complete=self.complete, upto=upto
        )  # fmt: skip
        now = self._clock.seconds()
        link.contact, link.complete = now, told.complete
        self.standing.hear(peer.member, told.safe, told.complete, now)
        safe = self.standing.of(peer.member)  # as of now: it may tell more while its files are looked at
        for whose in sorted(told.tables, key=lambda each: (each != peer.member, each)):
            into = table_of(whose, own)
            theirs, here = told.tables[whose], ours.get(into, Totals())
            if whose not in (peer.member, own):
                await self._owner_first(whose)
                ours = self.ours = await totals(tsd, range.start, range.end)
                here = ours.get(into, Totals())
            after = same = 0
            if whose in told.parts and told.parts[whose] == await part(tsd, into, range.start, range.end, upto[whose]):
                after, same = upto[whose], told.parts[whose][0]
            await self._files(link, place, tsd, whose, theirs, here, after, theirs.files - same)
            if whose == peer.member:
                self._own_over(link)
            look = link.looks[whose]
            if whose != own:
                bound = safe.get(whose, 0)
                mine[whose] = validated(
                    mine.get(whose, 0), bound, look.first, look.ours.pending, self._clash(whose)
                )  # fmt: skip

    async def _owner_first(self, whose: int) -> None:
        """Files come from their owner, unless that takes long; then both are asked, each for what the other is not."""
        owner = self.links.get(whose)
        if owner is not None and owner.own is not None:
            await over_or_late(self._clock, owner.own, OWNER)

    async def _files(
        self, link: Link, place: Place, tsd: Tsd, whose: int, theirs: Totals, ours: Totals, after: int, behind: int
    ) -> None:
        """The files of one member, as another one has them; `behind`: how many of them behind the id `after`."""
        before, now = link.looks.get(whose), self._clock.seconds()
        look = link.looks[whose] = Look(theirs, ours)
        if (theirs.files, theirs.sum) == (ours.files, ours.sum) and theirs.absent <= ours.absent:
            return
        if before is not None and (before.theirs, before.ours) == (theirs, ours) and now < before.until:
            link.looks[whose] = before
            return
        if self.mode == "suspend":
            look.open = max(1, theirs.files - ours.files)
            look.first = after + 1
            return
        if before is not None:
            look.conflicts, look.clash = before.conflicts, before.clash  # until all entries are looked at
        conflicts: list[Conflict] = []
        rest = now - link.seldom.get(whose, -SELDOM) < SELDOM and link.seldom[whose] > self._lost
        resting = (("missing", "failed") if self._tried.crowded else ("missing",)) if rest else ()
        left = 2 * (theirs.files + theirs.absent) + ENTRIES
        more, fetched, upto = True, False, after
        while more and left > 0:
            page, more = await self.puller.entries(link.peer, place, whose, link.range, upto)
            if not page:
                break  # `more` is false then, too
            fetched |= await self._page(link, place, tsd, whose, page, look, resting, conflicts)
            upto, left, behind = page[-1].id, left - len(page), behind - held(page, theirs.last)
        # Nothing is known of what was not looked at, nor of what was told of and not listed: by a later life, perhaps.
        if more or behind > 0:
            first = (upto if behind <= 0 else after) + 1
            look.open, look.first = look.open + 1, min(look.first or first, first)
        look.conflicts, look.clash = conflicts, conflicts[0].id if conflicts else 0
        if not look.lacking and not fetched:
            look.until = now + SELDOM

    async def _page(
        self, link: Link, place: Place, tsd: Tsd, whose: int, page: Sequence[Line], look: Look,
        resting: Collection[str], conflicts: list[Conflict],
    ) -> bool:  # fmt: skip
        """Entries of one page: note what is here already, pull what is not. Whether something was done."""
        own, now, peer = place.member, self._clock.seconds(), link.peer.member
        into = table_of(whose, own)
        known = await tsd.by_ids(into, [line.id for line in page])
        states = {id: state_of(entry) for id, entry in known.items()}
        odd = [line for line in page if line.id in known and clashes(line, known[line.id].hash, states[line.id])]
        conflicts += [
            Conflict(at=now, into=into, id=line.id, hash=known[line.id].hash, other=line.hash,
                     name=f"{name_of(line, whose)[0]} of member {peer}", dbms=line.dbms, table=line.table)
            for line in odd[: max(0, CONFLICTS - len(conflicts))]
        ]  # fmt: skip
        clashing = {line.id for line in odd}
        lacking = [line for line in page if states.get(line.id) not in SETTLED and line.id not in clashing]
        there = await holders(tsd, [line.hash for line in lacking]) if lacking else {}
        away = {dbms for dbms in {line.dbms for line in lacking} if not self._connected(dbms)}
        for line in lacking:  # what failed for want of its database is tried anew when that is here
            before = self._tried.get(whose, line.id)
            since = self._since.get(line.dbms, -1.0)
            if before and before.at <= since and states.get(line.id) == "failed" and retried(known[line.id]):
                self._tried.pop(whose, line.id)
            if before and before.at <= self._lost and states.get(line.id) == "missing":
                self._tried.pop(whose, line.id)
        tried = {line.id: each for line in lacking if (each := self._tried.get(whose, line.id)) is not None}
        found = plan(
            lacking, states, there, tried, self._hashes, peer=peer, into=into, now=now, resting=resting, away=away
        )  # fmt: skip
        look.open += found.open
        for dbms in found.apart:
            look.apart[dbms] = look.apart.get(dbms, 0) + 1
        look.first = look.first or found.first
        for line in found.pending:
            self._tried.put(whose, line.id, Tried(now, 0))
        self._absent.busy(whose, found.busy)
        for line in found.absent:
            self._absent.add(whose, line)
        if found.doubles:
            self._still(place)
            left = await record(
                tsd, into,
                [(line, DUPLICATE, f"its content is loaded as {where} {id}") for line, (where, id) in found.doubles],
            )  # fmt: skip
            if left:  # their content was lost meanwhile: the next pass asks for them
                look.open, look.first = look.open + len(left), min(filter(None, (look.first, *left)))
            self.counts.add("known without a transfer", len(found.doubles) - len(left))
        wanted = list(found.fetch)
        if wanted and whose != own:
            await tsd.make_of(whose)  # by that the files of a member that left are taken
        failed = {line.id for line in wanted if states.get(line.id) == "failed"}
        lost = {line.id for line in wanted if states.get(line.id) in ("missing", "failed")} - tried.keys()
        while wanted and await self._room(link, tsd, own) and self.mode == "active":
            asked, wanted = wanted[:TOGETHER], wanted[TOGETHER:]
            if any(line.id in lost for line in asked):
                link.seldom[whose] = now
            later, came = await self._pull(link, place, tsd, whose, asked, failed, known)
            wanted += later
            if not came:
                break  # asking at once again would change nothing
        return bool(found.fetch or found.doubles or found.pending)

    def _full(self) -> str:
        """Why no more files may come now."""
        if len(self.arrived) >= ARRIVED or self.arrived.bytes >= BYTES:
            return f"{len(self.arrived):,} files that came, {self.arrived.bytes:,} bytes, wait to be loaded"
        return self._refuses()

    async def _room(self, link: Link, tsd: Tsd, own: int) -> bool:
        """Wait until files may come, while that goes on; else this pass only looks at what is missing."""
        if self.mode != "active" or link.held:
            return False
        least, until = len(self.arrived), self._clock.seconds() + STUCK
        while why := self._full():
            if self._clock.seconds() >= until:
                link.held = why
                self.counts.add("held back", last=why)
                return False
            await pause(self._clock, 0.1)
            await self._settle(tsd, own)
            if len(self.arrived) < least:
                least, until = len(self.arrived), self._clock.seconds() + STUCK
        return True

    async def _pull(
        self, link: Link, place: Place, tsd: Tsd, whose: int, asked: Sequence[Line], failed: set[int],
        known: Mapping[int, Entry],
    ) -> tuple[list[Line], bool]:  # fmt: skip
        """Files of one question, into the watch directory. Gives those that are still to be asked for, and whether
        anything became of the others."""
        now, peer = self._clock.seconds(), link.peer.member
        hashes = {line.id: line.hash for line in asked}
        earlier = self._tried.ask(whose, list(hashes), now)
        self._hashes.update((hash, now) for hash in hashes.values())
        link.in_flight = len(asked)
        try:
            got = await self.puller.fetch(link.peer, place, whose, asked)
        except AnyLogError as why:
            if no_room(why):
                self._tried.restore(whose, list(hashes), earlier)
                self._hashes = {hash: at for hash, at in self._hashes.items() if hash not in hashes.values()}
            raise
        finally:
            link.in_flight = 0
        if got.full:
            self._tried.restore(whose, got.full, earlier)
            self.hasten()
        # What is known of them under a hash that was none, or of a content that nobody has, stands in their way.
        here = {id: known[id] for id in got.published if id in known and not known[id].rows}
        odd = [entry for id, entry in here.items() if entry.hash != hashes[id]]
        if odd:
            self._still(place)
            await give_way(tsd, table_of(whose, place.member), odd)  # unless they were counted meanwhile
        later = [line for line in asked if line.id in got.later]
        link.large.note(whose, asked, got.large)
        for line in asked:
            if line.id in got.without:
                before = self._tried.get(whose, line.id) or Tried(now)
                self._tried.put(whose, line.id, Tried(now, before.times, before.without | {peer}))
                self._absent.add(whose, line, f"It {TOO_LARGE}" if line.id in got.large else "")
            if line.id not in got.published:
                self._hashes.pop(line.hash, None)
        for line in later:
            self._tried.pop(whose, line.id)
        arrival = self._clock.seconds()
        for id, (name, size) in zip(got.published, got.names, strict=True):
            self.arrived.add(whose, id, Arrival(arrival, hashes[id], name, size))
            self._absent.came(whose, id)
        self.counts.add("files", len(got.published))
        self.counts.add("bytes", got.size)
        self._rate.add(arrival, len(got.published), got.size)
        await self.puller.deliver(whose, got.names, {id for id in got.published if id in failed})
        return later, bool(got.published or got.without)

    # ------------------------------------------------------------------ what came of it

    async def _settle(self, tsd: Tsd, own: int) -> None:
        """Which files that came are loaded, or were refused, and have left the watch directory; when none is left to
        be waited for, look again."""
        if not self.arrived or self._settling:
            return
        self._settling = True
        try:
            over = await self._arrived_over(tsd, own)
            lying = await self.puller.lying(self.arrived.names(over)) if over else set()
        finally:
            self._settling = False
        for whose, id in over:
            arrival = self.arrived.find(whose, id)
            if arrival is not None and arrival.name not in lying:
                self.arrived.remove(whose, id)
                self._hashes.pop(arrival.hash, None)
        if not self.arrived:
            self._next = min(self._next, self._clock.seconds())

    async def _arrived_over(self, tsd: Tsd, own: int) -> list[tuple[int, int]]:
        """Files that came and need not be waited for any more."""
        now, over = self._clock.seconds(), []
        for whose, ids in self.arrived.by_member().items():
            found = await tsd.by_ids(table_of(whose, own), ids)
            for id in ids:
                arrival, entry, tried = self.arrived.find(whose, id), found.get(id), self._tried.get(whose, id)
                if arrival is None:
                    continue
                state, waited = state_of(entry) if entry is not None else "", now - arrival.at
                if state in SETTLED:
                    self._tried.pop(whose, id)
                elif waited < PATIENCE and (state != "failed" or tried is None or waited < 2.0):
                    continue  # an entry that failed before may still be there while it is tried again
                over.append((whose, id))
        return over

    @deferring
    async def _round_over(self, place: Place, tsd: Tsd) -> None:
        """Nobody is asked at the moment: files that no member has are noted, and it is seen whether all is here."""
        own, standing = place.member, self.standing
        if await self._absent.give_up(tsd, own, self.arrived, lambda: self._still(place)):
            self._next = min(self._next, self._clock.seconds() + BEAT)
        ours = self.ours = await totals(tsd, self.range.start, self.range.end)
        links = list(self.links.values())
        if any(link.working for link in links):
            return  # what is known of them is being looked at anew, and the end of that comes here again
        self._still(place)
        there = [link for link in links if link.fine]
        asked = [link for link in links if self._active(link.peer.address)]
        open = sum(look.open for link in there for look in link.looks.values())
        # The owner's word for what is missing of its own files, too: it may have lost some.
        firsts = [look.first for link in there for whose, look in link.looks.items() if whose == own]
        firsts.append(self._clash(own))
        fine = bool(there) and all(link.fine for link in asked)
        # Members that are all new have nothing to be complete with, as long as an older one may come back.
        trusted = len(there) == len(self._peers()) or any(link.complete for link in there)
        # What they were found to be equal to is lost by now, or is about to go.
        lost = any(link.losses != standing.losses for link in there) or any(
            ours.get(into, Totals()).files < each.files for link in there for into, each in link.ours.items()
        )
        if lost:
            self._next = min(self._next, self._clock.seconds() + BEAT)
        here = fine and trusted and not open and not lost and not self.arrived and not self._absent
        if self.mode == "active" and here and not standing.own_complete:
            self.log.info("this member has all that the others have")
            standing.own_complete = True
            self._next = min(self._next, self._clock.seconds() + BEAT)  # the others are to hear of it
        if standing.own_complete:
            standing.covers(self.range, self.options.words)
        if self.complete:
            mine = standing.of(own)
            last = ours.get("tsd_info", Totals()).last
            mine[own] = validated(mine.get(own, 0), last, ours.get("tsd_info", Totals()).pending, *firsts)
        await standing.keep(tsd, own, {own, *(each.member for each in self._peers())})
