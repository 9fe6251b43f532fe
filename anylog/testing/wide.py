"""Storms in which administrators are at work, too.

Processes and databases come and go, nodes are stopped in good order, operators join and leave, a publisher sends beside
the direct ways, and some readings are large.

Which of these come follows from the seed. `python -m anylog.testing.wide --seeds 0:1000 --jobs 2` prints the seeds that
break a law.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from attrs import define, field
from twisted.python.failure import Failure

from anylog.errors import AnyLogError
from anylog.language.context import Result
from anylog.node import Node
from anylog.testing import laws
from anylog.testing.deliveries import hear
from anylog.testing.lasting import LastingFiles
from anylog.testing.load import POISON, Body, Load
from anylog.testing.storm import COPIES, DBMS, MASTER, SYNC, Storm, main
from anylog.testing.world import Place

PUBLISHER = "pub"
POLICY = "9" * 32  # of the publisher
CLUSTER = "00c1a57e000000000000000000000001"
# What comes in about every second storm -> its troubles, by weight.
GROUPS: dict[str, dict[str, int]] = {
    "processes": {"exit": 10, "suspend": 3},
    "stops": {"stop": 8},
    "databases": {"disconnect": 10},
    "large": {},
    "members": {"join": 4, "leave": 6},
    "publisher": {"publisher crash": 5, "publisher crash soon": 6, "publisher cut": 4},
    "two ways": {},
}
SHARE = 0.45  # of the storms in which each comes
OFTEN = 3  # as often as the others
# Readings that nobody else has are lost with these: where others pass readings on, nobody can tell which those are.
FORGETTING = {"wipe", "home older"}
LOSSES = {"town lost", "town older", "almgm lost", "wipe", "both older", "home older", "lost soon"}
SYSTEMD = 90.0  # seconds after which a node that is stopped is killed
ANSWER = 120.0  # seconds that a command may take
MOST_LARGE = 8
LARGE = (10_000, 60_000, 200_000, (1 << 18) - 300, 1 << 18, 300_000)
UNCONNECTED = 10
NOT_CONNECTED = f".err_{UNCONNECTED}."
REFUSED = "refused"  # instead of a member's name
LONG = "a_rather_long_name_of_a_table_such_as_programs_make_of_paths"


@define(eq=False, repr=False)
class WideLoad(Load):
    """Senders whose readings may be large."""

    large: bool = False
    refused: set[str] = field(factory=set)  # files that are aside as their database was not connected
    beside: list[str] = field(factory=list)  # who is relied on as the members are, without being one

    def new(self, members: Sequence[str], droppable: bool = False) -> Body:
        """See `Load`; some with long texts, or long names."""
        body, chance = super().new(members, droppable), self.chance
        if self.large:
            if chance.random() < 0.15 and sum("big" in row for each in self.bodies for row in each.rows) < MOST_LARGE:
                row = chance.choice(body.rows)
                row["big"] = f"{row['v']} " * (chance.choice(LARGE) // (len(str(row["v"])) + 1))
            if chance.random() < 0.1 and body.table != "t9":
                body.table = f"{LONG}_{chance.randint(1, 2)}"
            if chance.random() < 0.1:
                body.source = f"source_{chance.randint(1, 2)}_" + "of_a_device_" * chance.choice([1, 5, 20])
        return body

    def found(self, held: laws.Holding, names: Sequence[str], dropped: Sequence[str]) -> Iterator[str]:
        """See `Load`; but for files put somewhere by hand while the database was not connected: they are aside there,
        with the code that says so, and nobody said yes to them."""
        again = [body for body in self.bodies for file in body.files if file in self.refused]
        for body in again:
            body.heard[REFUSED] -= 1
        yield from super().found(held, [*names, *self.beside, REFUSED], dropped)
        for body in again:
            body.heard[REFUSED] += 1

    def wrong(self, held: laws.Holding) -> Iterator[str]:
        """See `Load`; long texts are there to the last letter."""
        yield from super().wrong(held)
        wanted = {(body.table, row["v"]): row["big"] for body in self.bodies for row in body.rows if "big" in row}
        for table, lines in held.rows.items():
            for row in lines:
                if (table, row["v"]) in wanted and row.get("big") != wanted[table, row["v"]]:
                    yield f"I-3 {held.name}: {table}, v = {row['v']} has another text than was sent"


@define(eq=False, repr=False)
class WideStorm(Storm):
    """One storm."""

    groups: set[str] = field(factory=set)
    known: list[str] = field(factory=list)  # operators of now, of before and of soon
    away: list[str] = field(factory=list)  # whose policies were removed, and come back
    gone: list[str] = field(factory=list)  # and do not come back
    moving: set[str] = field(factory=set)  # who is joining, leaving or coming back
    asked: dict[int, tuple[Node, str, float]] = field(factory=dict)  # commands that are not answered
    _count: int = 0

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.groups = {group for group in GROUPS if Random(f"{group} of {self.seed}").random() < SHARE}
        self.load = WideLoad(self.load.chance, large="large" in self.groups)

    # ------------------------------------------------------------------ the cluster

    def make(self) -> None:
        """See `Storm`."""
        self.note(f"with {', '.join(sorted(self.groups))}")
        super().make()
        self.known = list(self.names)
        if "publisher" in self.groups:
            self._make_publisher()

    def _make_publisher(self) -> None:
        world, chance = self.world, self.chance
        policy = {"name": PUBLISHER, "company": "acme", "ip": self._host(PUBLISHER), "port": 32248, "id": POLICY}
        self._tell_master(f"blockchain insert where policy = {json.dumps({'publisher': policy})} and master = {MASTER}")
        seconds, volume = chance.choice([2, 5, 10]), chance.choice([100, 1000, 10_000])
        options = chance.choice(
            ["delete_json = true", "delete_json = true and compress_json = true", "move_json = true"]
        )
        world.add(PUBLISHER, self._host(PUBLISHER), lasting=True)
        world.places[PUBLISHER].script = [
            f"run tcp server where external_ip = {self._host(PUBLISHER)} and external_port = 32248 and bind = true",
            SYNC,
            f"set buffer threshold where time = {seconds} seconds and volume = {volume}",
            "run streamer",
            f"run publisher where company = acme and {options}",
        ]
        world.run(world.nodes[PUBLISHER], *world.places[PUBLISHER].script)
        self.ready.add(PUBLISHER)
        self.load.beside.append(PUBLISHER)  # type: ignore[attr-defined]

    def _tell_master(self, command: str) -> None:
        self.world.run(self.world.nodes["master"], command)

    def _host(self, name: str) -> str:
        return "10.0.2.1" if name == PUBLISHER else super()._host(name)

    def _hear(self, node: Node) -> None:
        """Also those that join later are known by their hosts."""
        of = {f"10.0.1.{number}": str(11 * number) for number in range(1, 10)}
        hear(node, self.world.places[node.name].lives, self.pushed, of, self.broken)

    # ------------------------------------------------------------------ senders

    def send(self) -> None:
        """Some of it by the publisher, or to who was sent away, or by two ways at once."""
        chance = self.chance
        if self.away and chance.random() < 0.2:
            self.put(chance.choice(self.away), self.load.new(self.away))
        elif self.gone and chance.random() < 0.1:
            self.put(chance.choice(self.gone), self.load.new(self.gone))
        elif "publisher" in self.groups and chance.random() < 0.4:
            body = self.load.again(self._keys) if chance.random() < 0.15 else None
            if body is None or body.mode == "key":
                body = self.load.new([PUBLISHER], self.droppable)
            self.put(PUBLISHER, body)
        elif "two ways" in self.groups and chance.random() < 0.3:
            self._send_twice()
        else:
            super().send()

    def _send_twice(self) -> None:
        """The same content, whole, by two or three ways, at once or soon after each other."""
        chance, body = self.chance, self.load.new(self.names, self.droppable)
        body.mode = "whole"
        ways = [*self.names, *self.load.beside]  # type: ignore[attr-defined]
        for _ in range(chance.choice([2, 2, 3])):
            self.put(chance.choice(ways), body)
            self.world.advance(chance.choice([0.0, 0.0, 0.01, 0.3]))

    # ------------------------------------------------------------------ troubles

    def kinds(self) -> dict[str, int]:
        """See `Storm`; those of administrators come more often than the others."""
        weights = super().kinds()
        forbidden = set(FORGETTING) if {"publisher", "members"} & self.groups else set()
        if "members" in self.groups and self.seed % 2:
            forbidden |= LOSSES
        weights = {kind: weight for kind, weight in weights.items() if kind not in forbidden}
        for group in sorted(self.groups):
            weights |= {kind: OFTEN * weight for kind, weight in GROUPS[group].items()}
        return weights or {"crash soon": 1}

    def trouble(self, kind: str) -> None:
        """It comes."""
        if not any(kind in kinds for kinds in GROUPS.values()):
            super().trouble(kind)
            return
        chance, network = self.chance, self.world.network
        name, operator = chance.choice([*self.world.places]), chance.choice(self.names)
        self.note(f"trouble: {kind} {name} {operator}")
        match kind:
            case "exit":
                self._exit(name, chance.choice(["operator", "operator", "distributor", "consumer", "all"]))
            case "suspend" if operator in self.ready:
                node = self.world.nodes[operator]  # which may crash at the command
                self._ask(node, "set consumer mode = suspend")
                self._put_right_later(node, "mode")
            case "stop" if name in self.world.nodes:
                self._stop(self.world.nodes[name])
            case "disconnect" if operator in self.ready:
                node, database = self.world.nodes[operator], chance.choice([DBMS, DBMS, "almgm"])
                self._ask(node, f"disconnect dbms {database}")
                self._put_right_later(node, database)
            case "join" if len(self.known) < 5 and not self.moving:
                self._join(f"op{len(self.known) + 1}")
            case "leave" if not self.moving and len(self.names) > 1 and operator in self.ready and not self.lost:
                if self.world.nodes[operator].processes.find("operator") is not None:
                    self._leave(operator)
            case "publisher crash" if PUBLISHER in self.world.nodes:
                self.world.crash(PUBLISHER, power=chance.random() < 0.5, silent=chance.random() < 0.5)
            case "publisher crash soon":
                self.world.crash_after(PUBLISHER, chance.randint(1, chance.choice([10, 100])), chance.random() < 0.7)
            case "publisher cut":
                host = self._host(chance.choice(["master", *self.names]))
                getattr(network, chance.choice(["cut", "mute", "reset", "heal"]))(self._host(PUBLISHER), host)

    def _exit(self, name: str, process: str) -> None:
        if name not in self.ready or name == "master" or name in self.gone:  # it could not be run again
            return
        node = self.world.nodes[name]
        processes = ["operator", "distributor", "consumer"] if process == "all" else [process]
        for each in ["publisher"] if name == PUBLISHER else self.chance.sample(processes, len(processes)):
            self._ask(node, f"exit {each}")
            self._put_right_later(node, each)

    def _ask(self, node: Node, command: str, then: Callable[[], object] = lambda: None) -> None:
        """A command whose answer is noted; then something else is done, also if it was refused."""
        self._count += 1
        number = self._count
        self.asked[number] = node, command, self.world.clock.seconds()

        def answered(result: Result | Failure) -> None:
            if not self.world.lives(node):
                return
            self.asked.pop(number, None)
            self.note(f"{node.name}: {command}: {result.value if isinstance(result, Failure) else 'done'}")
            if isinstance(result, Failure) and not result.check(AnyLogError):
                self.broken.append(f"{node.name}: {command}: {result.getTraceback()[-600:]}")
            then()

        self.note(f"{node.name}: {command}")
        self.world.begin(node, command).addBoth(answered)

    def _put_right_later(self, node: Node, what: str) -> None:
        self.world.clock.callLater(self.chance.choice([0.0, 0.3, 2.0, 8.0, 25.0]), self._put_right, node, what)

    def _put_right(self, node: Node, what: str) -> None:
        """What was taken away comes back, however often that has to be tried; its script does so after a crash."""
        if self.world.lives(node) and node.name in self.ready and (command := self._lacks(node, what)):
            self._ask(node, command, lambda: self.world.clock.callLater(3.0, self._put_right, node, what))

    def _lacks(self, node: Node, what: str) -> str:
        """The command by which it has that again; none if it has it."""
        if what in (DBMS, "almgm"):
            return f"connect dbms {what} where type = sqlite" if node.databases.known(what) is None else ""
        if what == "mode":
            consumer: Any = node.processes.find("consumer")
            return "set consumer mode = active" if consumer is not None and consumer.mode != "active" else ""
        if node.processes.find(what) is not None:
            return ""
        words = {"distributor": COPIES[0], "consumer": COPIES[1]}.get(what, f"run {what}")
        (command,) = (line for line in self.world.places[node.name].script if line.startswith(words))
        return command

    def _stop(self, node: Node) -> None:
        """As the service manager does it; the box may be switched off right behind that."""
        self.ready.discard(node.name)
        power = self.chance.random() < 0.5

        def stopped(result: object) -> None:
            if self.world.lives(node):
                if isinstance(result, Failure):
                    self.broken.append(f"stop {node.name}: {result.getTraceback()[-600:]}")
                self.world.crash(node.name, "the end", power=power)

        def too_long() -> None:
            if self.world.lives(node):
                self.broken.append(f"stop {node.name}: it was not over within {SYSTEMD:g} seconds")
                self.world.crash(node.name, power=False)

        self.note(f"{node.name} is told to stop")
        self.world.clock.callLater(SYSTEMD, too_long)
        node.stop().addBoth(stopped)

    # ------------------------------------------------------------------ members that join and leave

    def _operator(self, name: str) -> dict[str, Any]:
        number = int(name[2:])
        body = {"name": name, "company": "acme", "cluster": CLUSTER, "id": self._policy(name), "ip": self._host(name)}
        return {"operator": {**body, "port": 32148, "member": 11 * number, "main": number == 1}}

    def _in_ledger(self, name: str, there: bool, then: Callable[[], None]) -> None:
        """Have its policy in the ledger, or not, however often the master has to be asked."""
        id = self._policy(name)
        master = self.world.nodes.get("master")
        if master is not None and "master" in self.ready:
            if (id in master.ledger.policies) is there:
                then()
                return
            insert = f"blockchain insert where policy = {json.dumps(self._operator(name))} and master = {MASTER}"
            delete = f"blockchain delete policy where id = {id} and master = {MASTER}"
            self._ask(master, f"{insert if there else delete} and local = true")
        self.world.clock.callLater(3.0, self._in_ledger, name, there, then)

    def _join(self, name: str) -> None:
        chance = self.chance
        self.known.append(name)
        self.moving.add(name)
        files = LastingFiles()
        place = Place(name=name, host=self._host(name), ahead=chance.choice([0.0, 0.0, 2.0, -40.0]), files=files)
        place.script = [*self._script(name), *COPIES]

        def joined() -> None:
            self.note(f"{name} joins")
            self.moving.discard(name)
            self.world.places[name] = place
            self.members[name] = 11 * int(name[2:])
            self.names.append(name)
            self._empty.add(name)  # what comes before its operator was run once is its own affair
            self._begin(name)

        self._in_ledger(name, True, joined)

    def _leave(self, name: str) -> None:
        """It comes back after a while, or goes on alone; those that stay keep what they have of it."""
        self.moving.add(name)
        self.names.remove(name)
        stays_away = self.chance.random() < 0.4 and "publisher" not in self.groups
        later = self.chance.choice([0.0, 1.0, 10.0, 40.0])
        (self.gone if stays_away else self.away).append(name)
        self.load.more.append(name)

        def left() -> None:
            self.note(f"{name} has left")
            if stays_away:
                self.moving.discard(name)
            else:
                self.world.clock.callLater(later, self._in_ledger, name, True, back)

        def back() -> None:
            self.note(f"{name} is back")
            self.moving.discard(name)
            self.away.remove(name)
            self.load.more.remove(name)
            self.names.append(name)

        self._in_ledger(name, False, left)

    def _begin(self, name: str) -> None:
        """Who left for good does not come again: without its policy it would not start."""
        if name not in self.gone:
            super()._begin(name)

    # ------------------------------------------------------------------ the end

    def unquiet(self) -> Iterator[str]:
        """See `Storm`."""
        yield from super().unquiet()
        yield from (f"quiet: {name} is on its way" for name in sorted(self.moving))
        now = self.world.clock.seconds()
        for node, command, began in self.asked.values():
            if self.world.lives(node) and now - began > ANSWER:
                yield f"quiet: {node.name} did not answer '{command}'"
        for name in self._going_on():
            node = self.world.nodes[name]
            if node.intake.tank.held or node.intake.filing.depth or node.intake._buffers:
                yield f"quiet: {name}, which left, holds {len(node.intake._buffers)} buffers"
            else:
                yield from (f"quiet: {told}" for told in laws.at_rest(self.holding(name)))
        for name in [*self.names, *self._going_on()]:
            if name in self.ready:
                for what in ("operator", "distributor", "consumer", "mode", DBMS, "almgm"):
                    if command := self._lacks(self.world.nodes[name], what):
                        yield f"quiet: {name}: '{command}' is still to be done"
        if "publisher" in self.groups:
            yield from self._unquiet_publisher()

    def _unquiet_publisher(self) -> Iterator[str]:
        node = self.world.nodes.get(PUBLISHER)
        if node is None or PUBLISHER not in self.ready:
            yield f"quiet: {PUBLISHER} is not up"
            return
        if command := self._lacks(node, "publisher"):
            yield f"quiet: {PUBLISHER}: '{command}' is still to be done"
        if node.intake._buffers or node.intake.filing.depth or node.intake.outgoing.depth:
            yield f"quiet: {PUBLISHER} holds {len(node.intake._buffers)} buffers"
        for name in self.world.places[PUBLISHER].disk.names(node.places.folder("watch_dir")):
            if ".json" in name:
                yield f"quiet: {PUBLISHER} has {name}"

    def breaches(self) -> list[str]:
        """See `Storm`; and who left has what it said yes to."""
        load: Any = self.load
        load.refused = _refused([self.holding(name) for name in self.names])
        for bad in load.bad.values():  # what nobody can load was not even looked at then
            bad.update({file: UNCONNECTED for file in bad if file.removesuffix(".json") in load.refused})
        told = super().breaches()
        for name in self._going_on():
            told += self._alone(name)
        return told

    def _going_on(self) -> list[str]:
        """Those that left and still run, alone."""
        return [name for name in self.gone if name in self.ready]

    def _alone(self, name: str) -> Iterator[str]:
        """What the one that left said yes to is with it, whoever else has it."""
        held = self.holding(name)
        yield from laws.ids_once(held, self.ids)
        rows = {(table, row["v"]) for table, lines in held.rows.items() for row in lines}
        rows |= {(table, row["v"]) for table, row in held.parked}
        refused = _refused([held])
        for body in self.load.bodies:
            if (
                body.heard[name] > sum(file in refused for file in body.files)
                and body.table not in self.dropped
                and body.number not in self.load.forgotten
            ):
                lacking = [row["v"] for row in body.rows if (body.table, row["v"]) not in rows and row["n"] != POISON]
                if lacking:
                    yield f"I-3 {name}: {body.table}, v = {lacking} is not with who said yes and left"


def _refused(members: Sequence[laws.Holding]) -> set[str]:
    """The short names of the files that are aside as their database was not connected."""
    names = [path.rpartition("/")[2].partition(NOT_CONNECTED) for held in members for path in held.files["err_dir"]]
    return {name for name, code, _ in names if code}


if __name__ == "__main__":
    sys.exit(main(WideStorm))
