"""A cluster of operators in bad weather: they crash, links fail, clocks jump, databases are lost, while readings come.

Then the weather clears, and the laws must hold. All of it follows from the seed:
`python -m anylog.testing.storm --seeds 0:1000 --jobs 2` prints the seeds that break one.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field
from twisted.logger import globalLogBeginner, globalLogPublisher
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.testing import laws
from anylog.testing.deliveries import hear
from anylog.testing.disk import MemoryDisk
from anylog.testing.lanes import ClockLanes, InlineLanes
from anylog.testing.lasting import LastingFiles
from anylog.testing.load import DROPPABLE, Body, Load
from anylog.testing.snapshot import Snapshot, forget_ids
from anylog.testing.world import World

MASTER = "10.0.0.1:32048"
SYNC = f"run blockchain sync where source = master and time = 30 seconds and dest = file and connection = {MASTER}"
COPIES = ("run data distributor", "run data consumer where start_date = -30d")
DBMS = "town"
PATIENCE = 400.0  # seconds until all is quiet and all laws hold
TROUBLES: dict[str, int] = {  # by weight
    "crash": 10, "kill": 6, "crash soon": 12, "all crash": 1, "cut": 4, "mute": 3, "slow": 3, "partition": 2,
    "reset": 3, "heal": 6, "clock": 2, "town lost": 1, "town older": 1, "almgm lost": 1, "wipe": 1, "drop table": 1,
    "flush": 2, "bad file": 2,
}  # fmt: skip
NEED_COPIES = {"wipe"}
# Troubles for which others have what is lacking then -> in which seeds they come: by what divided, and with which rest.
RARE = {"both older": (8, 3), "home older": (16, 10), "lost soon": (16, 15)}
OFTEN = 20  # their weight there


@define(eq=False, repr=False)
class Storm:
    """One storm."""

    seed: int
    world: World = field(init=False)
    chance: Random = field(init=False)
    load: Load = field(init=False)
    names: list[str] = field(factory=list)  # of the operators
    members: dict[str, int] = field(factory=dict)
    copies: bool = False  # the processes that copy files are in this build
    story: list[str] = field(factory=list)
    broken: list[str] = field(factory=list)
    dropped: set[str] = field(factory=set)  # tables
    older: dict[str, dict[str, dict[str, bytes]]] = field(factory=dict)  # whose -> database -> a copy of it
    ids: dict[tuple[int, int], tuple[str, str]] = field(factory=dict)
    ready: set[str] = field(factory=set)  # whose script is done
    pushed: Counter[tuple[str, int, str, str]] = field(factory=Counter)  # name, life, to which address, file
    # Which of its databases a member loses: one, or has both put back, or all of its home.
    lost: dict[str, str] = field(factory=dict)
    homes: dict[str, Snapshot] = field(factory=dict)  # whose whole home was copied
    _after: dict[str, Callable[[str], None]] = field(factory=dict)  # what is done to a place while it is down
    _empty: set[str] = field(factory=set)  # who lost everything and has not found its place again
    _keys: bool = True  # whether keys of before are known still
    _calm: bool = False
    _hash: Any = field(factory=sha256)

    def __attrs_post_init__(self) -> None:
        self.world = World(self.seed)
        self.chance = Random(self.world.chance.random())
        self.load = Load(Random(self.world.chance.random()))
        self.world.crashed = self._crashed
        self.world.network.told = self._told
        if self.chance.random() < 0.5:
            seconds = self.chance.choice([0.0005, 0.003, 0.02])
            self.world.lanes = lambda clock: ClockLanes(clock, seconds)
        else:
            self.world.lanes = lambda clock: InlineLanes()

    # ------------------------------------------------------------------ the cluster

    def make(self) -> None:
        """A master and one to three operators of one cluster."""
        world, chance = self.world, self.chance
        script = [
            "run tcp server where external_ip = 10.0.0.1 and external_port = 32048 and bind = true",
            "connect dbms blockchain where type = sqlite", "create table ledger where dbms = blockchain", SYNC,
        ]  # fmt: skip
        world.add("master", "10.0.0.1", script=script, lasting=True)
        count = chance.choice([1, 2, 3, 3, 3])
        self.names = [f"op{number}" for number in range(1, count + 1)]
        cluster = "00c1a57e000000000000000000000001"
        policies: list[Any] = [{"cluster": {"name": "c", "company": "acme", "id": cluster}}]
        for number, name in enumerate(self.names):
            operator: dict[str, Any] = {"name": name, "company": "acme", "cluster": cluster, "id": self._policy(name)}
            operator |= {"ip": self._host(name), "port": 32148, "member": 11 * (number + 1), "main": number == 0}
            policies.append({"operator": operator})
        for policy in policies:
            world.run(
                world.nodes["master"], f"blockchain insert where policy = {json.dumps(policy)} and master = {MASTER}"
            )
        for name in self.names:
            world.add(name, self._host(name), chance.choice([0.0, 0.0, 2.0, -40.0]), lasting=True)
            place = world.places[name]
            place.script = self._script(name)
            world.run(world.nodes[name], *place.script)
            self.members[name] = world.nodes[name].membership.place().member  # type: ignore[union-attr]
        try:
            for name in self.names:
                world.run(world.nodes[name], *COPIES)
                world.places[name].script = [*world.places[name].script, *COPIES]
            self.copies = True
        except AnyLogError as later:
            if later.number != 237:
                raise
        self.ready = {"master", *self.names}
        for name in self.names:
            self._hear(world.nodes[name])

    def _host(self, name: str) -> str:
        return "10.0.0.1" if name == "master" else f"10.0.1.{name[2:]}"

    def _policy(self, name: str) -> str:
        return f"0be7a702{int(name[2:]):024}"

    def _script(self, name: str) -> list[str]:
        chance = self.chance
        run = f"run operator where policy = {self._policy(name)} and master_node = {MASTER} and update_tsd_info = true"
        seconds, volume = chance.choice([2, 5, 10]), chance.choice([100, 1000, 10_000])
        return [
            f"run tcp server where external_ip = {self._host(name)} and external_port = 32148 and bind = true",
            SYNC,
            "connect dbms almgm where type = sqlite",
            "create table tsd_info where dbms = almgm",
            f"connect dbms {DBMS} where type = sqlite",
            f"set buffer threshold where time = {seconds} seconds and volume = {volume}",
            "run streamer",
            f"{run} and compress_json = {chance.choice(['true', 'false'])} and threads = {chance.choice([1, 4])}",
        ]

    # ------------------------------------------------------------------ crashes

    def _told(self, one: str, other: str, data: bytes) -> None:
        self._hash.update(f"{self.world.clock.seconds():.6f} {one} {other} {len(data)}".encode())
        self._hash.update(data)

    def note(self, text: str) -> None:
        """Something happened."""
        self.story.append(f"{self.world.clock.seconds() - 1.8e9:.6f} {text}")

    def trace(self) -> str:
        """Two storms of one seed give the same."""
        return sha256("\n".join(self.story).encode() + self._hash.digest()).hexdigest()

    def _crashed(self, name: str, at: str) -> None:
        self.note(f"{name} crashes at {at or 'rest'}")
        self.ready.discard(name)
        self.world.clock.callLater(self.chance.choice([0.1, 1.0, 5.0, 15.0]), self._begin, name)

    def _begin(self, name: str) -> None:
        """Whoever looks after the process starts it again."""
        if name in self.world.nodes:
            return
        place = self.world.places[name]
        if self.members.get(name):
            self._see_ids(name)
        if name in self._after:
            self._after.pop(name)(name)
        self.note(f"{name} begins")
        if not self._calm and self.chance.random() < 0.2:
            place.moments, place.power = self.chance.randint(1, 300), self.chance.random() < 0.5
        begun = self.world.restart(name)
        node = self.world.nodes.get(name)
        begun.addCallbacks(self._up, self._not_up, callbackArgs=(node,), errbackArgs=(node,))

    def _hear(self, node: Node) -> None:
        """What it delivers is counted, and what is delivered to it is of the one that delivers it."""
        of = {self._host(name): str(member) for name, member in self.members.items()}
        hear(node, self.world.places[node.name].lives, self.pushed, of, self.broken)

    def _up(self, _: object, node: Node | None) -> None:
        if node is not None and self.world.lives(node):
            self._hear(node)
            self.note(f"{node.name} is ready")
            self.ready.add(node.name)
            self._empty.discard(node.name)

    def _not_up(self, failure: Failure, node: Node | None) -> None:
        if node is None or not self.world.lives(node):
            return
        if not failure.check(AnyLogError):
            self.broken.append(f"start {node.name}: {failure.getTraceback()[-600:]}")
        self.note(f"{node.name} does not start: {failure.value}")
        self.world.crash(node.name, power=False)

    def _see_ids(self, name: str) -> None:
        held = laws.read(self.world.places[name], self.members[name], DBMS)
        self.broken += laws.ids_once(held, self.ids)

    # ------------------------------------------------------------------ senders

    def put(self, name: str, body: Body) -> None:
        """Send it to a member, by one of the doors; a node that is down, or begins, hears nothing."""
        node = self.world.nodes.get(name)
        if body.mode == "whole" and self.chance.random() < 0.4:
            place = self.world.places[name]
            body.sent[name] += 1
            body.heard[name] += 1
            self.note(f"{name} has a file of {body.number}")
            body.files.append(f"{DBMS}.{body.table}.f{len(self.story)}")
            place.disk.put(Path("/") / name / "AnyLog-Network/data/watch" / f"{body.files[-1]}.json", body.data)
            return
        if node is None or not hasattr(node, "intake") or name in self._empty:
            return
        body.sent[name] += 1
        how: dict[str, Any] = {"source": body.source, "whole": body.mode == "whole", "key": body.key}
        asked = node.intake.accept(DBMS, body.table, body.data, body.rows, **how)
        asked.addCallbacks(self._heard, self._refused, (node, body), {}, (node, body), {})

    def _heard(self, _: object, node: Node, body: Body) -> None:
        if self.world.lives(node):
            body.heard[node.name] += 1
            self.note(f"{node.name} took {body.number}")

    def _refused(self, failure: Failure, node: Node, body: Body) -> None:
        if self.world.lives(node):
            self.note(f"{node.name} refused {body.number}: {failure.value}")
            if not failure.check(AnyLogError):
                self.broken.append(f"accept {node.name}: {failure.getTraceback()[-600:]}")

    def send(self) -> None:
        """Something new or known, to one or several members."""
        body = self.load.again(self._keys) if self.chance.random() < 0.15 else None
        body = body or self.load.new(self.names, self.droppable)
        if body.mode == "key":
            self.put(body.home, body)
        elif body.mode == "whole" and self.chance.random() < 0.3:
            for name in self.names:
                self.put(name, body)
        else:
            self.put(self.chance.choice(self.names), body)

    # ------------------------------------------------------------------ troubles

    @property
    def droppable(self) -> bool:
        """Whether a table may be dropped in this storm."""
        return self.seed % 4 == 0

    def trouble(self, kind: str) -> None:
        """It comes."""
        chance, network = self.chance, self.world.network
        name = chance.choice([*self.names, *self.names, "master"])
        operator, node = chance.choice(self.names), self.world.nodes.get(name)
        hosts = [self._host(each) for each in ("master", *self.names)]
        one, other = chance.sample(hosts, 2)
        self.note(f"trouble: {kind} {name} {operator} {one} {other}")
        match kind:
            case "crash" | "kill" if node is not None:
                self.world.crash(name, power=kind == "crash", silent=chance.random() < 0.5)
            case "crash soon":
                most = chance.choice([10, 100, 1000])
                self.world.crash_after(name, chance.randint(1, most), chance.random() < 0.7)
            case "all crash":
                for each in list(self.world.nodes):
                    if each in self.world.nodes:  # its turn to crash may have come with the end of one before it
                        self.world.crash(each, power=chance.random() < 0.5)
            case "cut" | "mute" | "reset" | "heal":
                getattr(network, kind)(one, other)
            case "slow":
                network.slow(one, other, 0.05, chance.choice([0.2, 2.0]))
            case "partition":
                chance.shuffle(hosts)
                place = chance.randint(1, len(hosts) - 1)
                network.partition(hosts[:place], hosts[place:])
            case "clock":
                self.world.set_ahead(operator, self.world.places[operator].ahead + chance.uniform(-50, 50))
            case "flush" if operator in self.ready:
                self.world.begin(self.world.nodes[operator], "flush buffers").addErrback(lambda _: None)
            case "bad file":
                file, code = chance.choice([(f"{DBMS}.t0.bad{{}}", 6), ("nowhere.t0.bad{}", 10), ("bad{}", 119)])
                file = file.format(len(self.story))
                self.load.bad[operator][f"{file}.json"] = code
                watch = Path("/") / operator / "AnyLog-Network/data/watch"
                self.world.places[operator].disk.put(watch / f"{file}.json", b"not json" if code == 6 else b'{"v": 0}')
            case "town lost" | "town older" | "almgm lost" | "wipe" if operator in self.world.nodes:
                what, others = kind.partition(" ")[0], not {"both", "home"} & set(self.lost.values())
                if others and operator not in self._after and self.lost.setdefault(operator, what) == what:
                    self._after[operator] = {
                        "town lost": self._lose_town, "town older": self._older_town, "almgm lost": self._lose_almgm,
                        "wipe": self._wipe,
                    }[kind]  # fmt: skip
                    self.world.crash(operator, power=chance.random() < 0.5)
            case "both older" if "both" in self.lost.values():
                (operator,) = (name for name, what in self.lost.items() if what == "both")
                if operator in self.ready and operator not in self._after:
                    self._after[operator] = self._older_both
                    self.world.crash(operator, power=chance.random() < 0.5)
            case "both older" if operator in self.ready and not self.lost:
                buffers = self.world.nodes[operator].intake._buffers.values()
                if any(not buffer.whole and buffer.stored for buffer in buffers):
                    self.note(f"{operator} is copied while buffers are open")
                    self.lost[operator], self.older[operator] = "both", self._copy(operator, DBMS, "almgm")
            case "home older" if self.homes:
                (operator,) = self.homes
                if operator in self.ready and operator not in self._after:
                    self._after[operator] = self._older_home
                    self.world.crash(operator, power=chance.random() < 0.5)
            case "home older" if operator in self.ready and not self.lost:
                buffers = self.world.nodes[operator].intake._buffers.values()
                if any(not buffer.whole and buffer.volume for buffer in buffers):
                    self.note(f"{operator} is copied with its home while buffers are open")
                    self.lost[operator] = "home"
                    self.homes[operator] = Snapshot.of(
                        self.world.places[operator], self.load, chance, self.holding(operator)
                    )  # fmt: skip
            case "lost soon" if operator in self.ready and operator not in self._after:
                if not self.lost or self.lost.get(operator) == "both":
                    if operator not in self.older:
                        self.lost[operator], self.older[operator] = "both", self._copy(operator, DBMS)
                    self._after[operator] = self._lose_soon
                    self.world.crash_after(operator, chance.randint(1, 60), chance.random() < 0.5)
                    self.world.begin(self.world.nodes[operator], "flush buffers").addErrback(lambda _: None)
            case "drop table" if operator in self.ready and self.droppable:
                self.dropped.add(DROPPABLE)
                asked = self.world.begin(self.world.nodes[operator], f"drop table {DROPPABLE} where dbms = {DBMS}")
                asked.addErrback(lambda _: None)

    def _file(self, name: str, database: str) -> Path:
        return Path("/") / name / "AnyLog-Network/data/dbms" / f"{database}.dbms"

    def _files(self, name: str) -> LastingFiles:
        files = self.world.places[name].files
        assert files is not None
        return files

    def _lose_town(self, name: str) -> None:
        self.note(f"{name} loses its readings")
        self.load.parked_lost()
        self._keys = False
        self._files(name).remove(self._file(name, DBMS))

    def _older_town(self, name: str) -> None:
        """A copy is taken the first time, and put back the next."""
        if name not in self.older:
            self.older[name] = self._copy(name, DBMS)
            return
        self.note(f"{name} gets a copy of its readings")
        self.load.parked_lost()
        self._keys = False
        self._put_back(name)

    def _older_both(self, name: str) -> None:
        """The copies that were taken while it ran are put back; what came after that has its files and journal."""
        self.note(f"{name} gets copies of its databases")
        # An id that was given and stands in no name yet is known to nobody then: it may be given again.
        held = laws.read(self.world.places[name], self.members[name], DBMS)
        names = "".join(path for files in held.files.values() for path in files)
        for entry in held.of(held.member):
            if entry.pending and f".{held.member}.{entry.id}." not in names:
                self.ids.pop((held.member, entry.id), None)
        self.load.parked_lost()
        self._keys = False
        self._put_back(name)

    def _older_home(self, name: str) -> None:
        """All of it is as it was when it was copied; what came after that others may have."""
        self.note(f"{name} gets its home of before")
        self.load.parked_lost()
        self._keys = False
        others = [self.holding(each) for each in self.names if each != name]
        self.homes[name].put_back(self.world.places[name], self.load, self.chance, others, self.members[name])
        forget_ids(self.ids, others, self.members[name])

    def _lose_soon(self, name: str) -> None:
        """The tables of files are lost, and the readings are those of a copy: the journal alone knows ids."""
        self._lose_almgm(name)
        self._older_both(name)

    def _copy(self, name: str, *databases: str) -> dict[str, dict[str, bytes]]:
        return {each: self._files(name).copy(self._file(name, each)) for each in databases}

    def _put_back(self, name: str) -> None:
        for database, copy in self.older[name].items():
            self._files(name).put_back(self._file(name, database), copy)

    def _lose_almgm(self, name: str) -> None:
        self.note(f"{name} loses its tables of files")
        self._files(name).remove(self._file(name, "almgm"))

    def _wipe(self, name: str) -> None:
        self.note(f"{name} loses everything")
        # Nobody gives it readings before it knows again who it is: until then they would be its own affair.
        self._empty.add(name)
        if len(self.names) == 1:
            self.ids.clear()  # nobody is left who could know them
        self.load.lost(name)
        self.load.bad.pop(name, None)
        self._keys = False
        self.older.pop(name, None)
        place = self.world.places[name]
        self._files(name).end()
        place.disk, place.files = MemoryDisk(), LastingFiles()

    # ------------------------------------------------------------------ the whole of it

    def rage(self) -> list[str]:
        """Make it, let it blow, let it clear; gives every law that is broken."""
        # Who collects what, and when, must not be seen: dead nodes have last words, which nobody is to hear.
        collects, hook = gc.isenabled(), sys.unraisablehook
        gc.disable()
        observer: Any = self._logged
        globalLogPublisher.addObserver(observer)
        try:
            self.make()
            self.blow()
            self.clear()
        except Exception as fault:
            self.broken.append(f"the storm itself: {type(fault).__name__}: {fault}; {Failure().getTraceback()[-900:]}")
        finally:
            globalLogPublisher.removeObserver(observer)
            sys.unraisablehook = lambda _: None
            try:
                self.world.end()
                for copy in self.homes.values():
                    copy.end()
                if collects:
                    gc.collect()
                    gc.enable()
            finally:
                sys.unraisablehook = hook
        return [f"seed {self.seed}: {each}" for each in self.broken]

    def _logged(self, event: Any) -> None:
        failure = event.get("log_failure")
        if failure is not None:
            self.broken.append(f"unexpected: {failure.type.__name__}: {failure.value} {failure.getTraceback()[-900:]}")

    def kinds(self) -> dict[str, int]:
        """The troubles of this storm, by weight."""
        kinds = [kind for kind in TROUBLES if self.copies or kind not in NEED_COPIES]
        kinds = [kind for kind in kinds if self.chance.random() < 0.6] or ["crash soon"]
        rare = [kind for kind, (parts, rest) in RARE.items() if self.seed % parts == rest and len(self.names) > 1]
        return {kind: TROUBLES[kind] for kind in kinds} | dict.fromkeys(rare, OFTEN)

    def blow(self) -> None:
        """Readings and troubles for about a minute."""
        chance, weights = self.chance, self.kinds()
        often = chance.choice([0.03, 0.1, 0.3])
        for _ in range(chance.randint(20, 120)):
            for _ in range(chance.choice([0, 1, 1, 2])):
                self.send()
            if chance.random() < often:
                # Who lost a database lacks what it once had, until it has it again.
                self.broken += laws.settled([self.holding(name) for name in self.names if name not in self.lost])
                self.trouble(chance.choices(list(weights), list(weights.values()))[0])
            self.world.advance(chance.choice([0.0, 0.01, 0.1, 0.5, 1.0, 2.0]))

    def clear(self) -> None:
        """The sun comes out: in the end all is quiet, and the laws hold."""
        self.note("the sun comes out")
        self._calm = True
        for place in self.world.places.values():
            place.moments = 0
        self.world.network.heal()
        end = self.world.clock.seconds() + PATIENCE
        while True:
            self.world.advance(5.0)
            told = list(islice(self.unquiet(), 1 if self.world.clock.seconds() <= end else None))
            quiet = not told
            if quiet:
                told = self.breaches()
            if not told or self.world.clock.seconds() > end:
                break
            if quiet and not self.copies:
                break  # nobody else is going to mend it
        self.broken += told

    def unquiet(self) -> Iterator[str]:
        """What is still going on."""
        for name in ("master", *self.names):
            if name not in self.ready:
                yield f"quiet: {name} is not up: {[each for each in self.story if name in each][-1]}"
        for name in self.names:
            node = self.world.nodes.get(name)
            if node is None or name not in self.ready:
                continue
            if node.intake.tank.held or node.intake.filing.depth or node.intake._buffers:
                yield f"quiet: {name} holds {node.intake.tank.held} bytes, {len(node.intake._buffers)} buffers"
            for told in laws.at_rest(self.holding(name)):
                yield f"quiet: {told}"

    def holding(self, name: str) -> laws.Holding:
        """What a member holds."""
        held = laws.read(self.world.places[name], self.members[name], DBMS)
        lost = self.lost.get(name)
        held.forgetful, held.older = lost in ("almgm", "both"), lost == "both"
        return held

    def breaches(self) -> list[str]:
        """Every law that does not hold now."""
        found = [self.holding(name) for name in self.names]
        dropped = sorted(self.dropped)
        told: list[str] = [*laws.pushed_once(self.pushed)]
        for held in found:
            told += self.load.found(held, self.names if self.copies else [held.name], dropped)
            told += self.load.wrong(held)
            told += laws.loaded_once(held, dropped)
            for law in laws.ALONE:
                told += law(held)
            told += laws.ids_once(held, self.ids)
            told += laws.failed(held, self.load.bad[held.name])
        if self.copies:
            for each in laws.CLUSTER:
                told += each(found)
            told += laws.same_rows(found, dropped)
            told += () if told else self._answers(dropped)
        return told

    def _answers(self, dropped: Sequence[str]) -> Iterator[str]:
        """I-12: whichever member is asked, the answer is the same."""
        tables = sorted({body.table for body in self.load.bodies} - set(dropped))
        for table in tables:
            told: dict[str, str] = {}
            for nodes in ("main", *["all"] * len(self.names)):
                select = f'"select count(*) as n, sum(v) as s from {table}"'
                asked = f"run client () sql {DBMS} format = json and stat = false and nodes = {nodes} {select}"
                try:
                    told[f"{nodes} {len(told)}"] = self._read(asked)
                except (AnyLogError, TimeoutError) as why:
                    told[f"{nodes} {len(told)}"] = f"error: {why}"
            if len(set(told.values())) > 1:
                yield f"I-12: of {table} the answers are {told}"

    def _read(self, asked: str) -> str:
        """The whole answer to a question of the master."""
        result = self.world.run(self.world.nodes["master"], asked)
        text = b""
        if result.pages is not None:
            while (page := self.world.wait(result.pages.next())) is not None:
                text += page
        return text.decode()


def once(seed: int, storm: Callable[[int], Storm] = Storm) -> tuple[int, list[str], float]:
    """One storm: its seed, what it broke, the seconds of the processor that it took."""
    begin = time.process_time()
    return seed, storm(seed).rage(), time.process_time() - begin


def _alone() -> None:
    """A process of its own: what nodes say is heard by the storms alone, and what lasts is not looked at again."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    gc.freeze()


def main(storm: Callable[[int], Storm] = Storm) -> int:
    """Many storms; prints the seeds that break a law."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", default="0:100", help="from:to, from:to:step, or one seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--story", action="store_true", help="print what happened in each")
    asked = parser.parse_args()
    first, _, end = asked.seeds.partition(":")
    end, _, step = end.partition(":")
    seeds = range(int(first), int(end or int(first) + 1), int(step or 1))
    if asked.story:
        _alone()
        for seed in seeds:
            made = storm(seed)
            told = made.rage()
            print("\n".join([*made.story, *told, f"seed {seed}: trace {made.trace()}"]))
        return 0
    failed, took = 0, 0.0
    with get_context("spawn").Pool(asked.jobs, _alone) as pool:
        for _, told, seconds in pool.imap_unordered(partial(once, storm=storm), seeds, chunksize=4):
            took += seconds
            failed += bool(told)
            for each in told[:3]:
                print(each, flush=True)
    print(f"{len(seeds)} storms, {failed} broke a law; {took / max(1, len(seeds)):.3f} s of the processor each")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
