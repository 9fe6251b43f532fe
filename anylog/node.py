"""The node: builds the rooms, joins them, owns all state, starts and stops them by floor (architecture.md 4)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

import anylog.commands
import anylog.config_commands
import anylog.databases.commands
import anylog.databases.tsd_commands
import anylog.disk.file_commands
import anylog.disk.folder_commands
import anylog.host_commands
import anylog.language.commands
import anylog.language.later
import anylog.ledger.commands
import anylog.ledger.from_commands
import anylog.network.address_commands
import anylog.network.broker_commands
import anylog.network.broker_pool_commands
import anylog.network.client_commands
import anylog.network.commands
import anylog.network.pool_commands
import anylog.network.publish_commands
import anylog.network.rest_client_commands
import anylog.network.schema_commands
import anylog.network.switch_commands
import anylog.network.tcp_commands
import anylog.processes.aggregation_commands
import anylog.processes.audit_commands
import anylog.processes.cluster_commands
import anylog.processes.commands
import anylog.processes.consumer_commands
import anylog.processes.distributor_commands
import anylog.processes.msg_commands
import anylog.processes.msg_merging_commands
import anylog.processes.msg_pool_commands
import anylog.processes.msg_rule_commands
import anylog.processes.operator_commands
import anylog.processes.publisher_commands
import anylog.processes.scheduler_commands
import anylog.processes.stream_commands
import anylog.processes.streaming_commands
import anylog.processes.sync_commands
import anylog.query.commands
import anylog.southbound.commands
from anylog.access import Access
from anylog.config_commands import Configured
from anylog.copying import Copying
from anylog.counts import Counts
from anylog.databases.catalog import Catalog
from anylog.databases.library import STANDARD, Library
from anylog.databases.taken_out import TakenOut
from anylog.disk.confined import FileAccess
from anylog.disk.places import Places
from anylog.disk.script_files import ScriptFiles
from anylog.errors import AnyLogError
from anylog.host import Host, usable_name
from anylog.interfaces import Clock, Disk, DiskFile, Lanes
from anylog.jobs import Jobs
from anylog.language.command import Command
from anylog.language.context import Call, Context, Pages, Result
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.echoes import EchoQueue
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.runs import Runs
from anylog.language.words import Words
from anylog.ledger.cluster import Clusters
from anylog.ledger.ledger import Ledger
from anylog.ledger.master import Master
from anylog.membership import Membership
from anylog.net import INet
from anylog.network.broker import Broker
from anylog.network.client import CommandService
from anylog.network.lines import masked
from anylog.network.outside_access import Debug
from anylog.network.outside_client import OutsideClients
from anylog.network.peers import Peers
from anylog.network.rest_client import RestClient
from anylog.network.transfers import Transfers
from anylog.plugins import find
from anylog.process import Processes, Rhythm
from anylog.processes.file_policies import FilePolicies
from anylog.processes.intake import Intake
from anylog.processes.msg_client import Door
from anylog.processes.msg_clients import MsgClients
from anylog.processes.msg_lines import LineFiles
from anylog.processes.msg_rules import MsgRules
from anylog.processes.operator import Seen
from anylog.processes.receiving import Receiving
from anylog.processes.scheduler import Schedulers
from anylog.processes.sending import Sent
from anylog.processes.streaming import Stream
from anylog.programs import Programs
from anylog.query.serve import SelectService
from anylog.query.state import NetworkQueries
from anylog.query.watch import QueryTimes
from anylog.waiting import deferring

ALL_COMMANDS: tuple[type[Command], ...] = (
    *anylog.language.commands.COMMANDS,
    *anylog.commands.COMMANDS,
    *anylog.host_commands.COMMANDS,
    *anylog.config_commands.COMMANDS,
    *anylog.databases.commands.COMMANDS,
    *anylog.databases.tsd_commands.COMMANDS,
    *anylog.disk.file_commands.COMMANDS,
    *anylog.disk.folder_commands.COMMANDS,
    *anylog.ledger.commands.COMMANDS,
    *anylog.ledger.from_commands.COMMANDS,
    *anylog.query.commands.COMMANDS,
    *anylog.processes.commands.COMMANDS,
    *anylog.network.commands.COMMANDS,
    *anylog.network.tcp_commands.COMMANDS,
    *anylog.network.switch_commands.COMMANDS,
    *anylog.network.client_commands.COMMANDS,
    *anylog.network.publish_commands.COMMANDS,
    *anylog.network.rest_client_commands.COMMANDS,
    *anylog.network.address_commands.COMMANDS,
    *anylog.network.pool_commands.COMMANDS,
    *anylog.network.schema_commands.COMMANDS,
    *anylog.network.broker_commands.COMMANDS,
    *anylog.network.broker_pool_commands.COMMANDS,
    *anylog.processes.sync_commands.COMMANDS,
    *anylog.processes.operator_commands.COMMANDS,
    *anylog.processes.cluster_commands.COMMANDS,
    *anylog.processes.distributor_commands.COMMANDS,
    *anylog.processes.audit_commands.COMMANDS,
    *anylog.processes.consumer_commands.COMMANDS,
    *anylog.processes.msg_commands.COMMANDS,
    *anylog.processes.msg_pool_commands.COMMANDS,
    *anylog.processes.msg_merging_commands.COMMANDS,
    *anylog.processes.msg_rule_commands.COMMANDS,
    *anylog.southbound.commands.COMMANDS,
    *anylog.processes.stream_commands.COMMANDS,
    *anylog.processes.streaming_commands.COMMANDS,
    *anylog.processes.aggregation_commands.COMMANDS,
    *anylog.processes.publisher_commands.COMMANDS,
    *anylog.processes.scheduler_commands.COMMANDS,
    *anylog.language.later.COMMANDS,
)

GATHER = 0.05  # seconds: readings of that long share one transaction


class Node:
    """One node. Everything that can be asked of it goes through `execute`."""

    log = Logger()

    def __init__(
        self,
        *,
        home: Path,
        name: str = "",
        clock: Clock,
        net: INet,
        lanes: Lanes,
        disk: Disk,
        chance: Random,
        programs: Programs | None = None,
        name_of: Callable[[str], str] | None = None,
        environ: MutableMapping[str, str] | None = None,
        token: Callable[[int], bytes] = os.urandom,
        engine: Library = STANDARD,
        point: Callable[[str], None] = lambda name: None,
        segment_size: int = 16 << 20,
        journal_size: int = 512 << 20,
    ) -> None:
        self.name = name
        self.clock, self.net, self.lanes, self.disk, self.chance = clock, net, lanes, disk, chance
        self.environ: MutableMapping[str, str] = environ if environ is not None else {}
        self.places = Places.under(home)
        self.dictionary = Dictionary()
        self.access = Access()
        self.file_access = FileAccess(self.places, self.dictionary, self.access)
        self._programs, self._name_of = programs, name_of
        self.logs = Logs(clock)
        self.echoes = EchoQueue(clock)
        self.consoles = True  # their commands are taken (`set cli`)
        self.queries = QueryTimes(clock, self.logs)
        self.jobs, self.mqtt_debug = Jobs(clock), Debug()
        self.rest_client = RestClient(net=net, clock=clock)
        self.host = Host(clock, lambda: lanes.open("host"))
        self.configured = Configured()
        self.words = Words((*ALL_COMMANDS, *anylog.southbound.commands.commands(find().plugins.values())))
        self.processes = Processes(clock)
        self.exiting: Deferred[str] = Deferred()  # fires with the reason when the node has stopped
        self.started = 0.0
        self.home_id = ""
        self.databases: Catalog
        self.intake: Intake
        self.stream: Stream
        self.membership: Membership
        self.copying: Copying
        self.receiving: Receiving
        self.network_queries: NetworkQueries
        self.msg_clients: MsgClients
        self.msg_rules: MsgRules
        self._broker: Broker | None = None
        self.operator_seen, self.publisher_seen = Seen(), Seen()
        self.publisher_counts = Counts()
        self.publisher_sent: dict[tuple[str, str, str], Sent] = {}
        self.schedulers = Schedulers(
            clock=clock,
            logs=self.logs,
            execute=lambda text, who: self.execute(text, Context(origin="scheduler", who=who, write=self._print)),
        )
        self.distribution: dict[tuple[str, str], list[str]] = {}  # by `set data distribution`
        self.token, self.point, self._engine = token, point, engine
        self._sizes = (segment_size, journal_size)
        self._interpreter = Interpreter(
            words=self.words,
            dictionary=self.dictionary,
            environ=self.environ,
            clock=clock,
            node=self,
            logs=self.logs,
            read_file=ScriptFiles(self.places, disk, lambda: lanes.open("disk", 2)).read,
            allows=self.access.allows,
            aside=lambda work, *values: self.lanes.open("cpu").run(work, *values),
        )
        self._print: Callable[[str], None] = print
        self._held: DiskFile | None = None
        self._stopping: Deferred[None] | None = None
        self._relief = Rhythm(clock=clock, every=1.0, do=lambda: self.intake.relieve(), name="journal relief")

    async def start(self, commands: Sequence[str] = (), write: Callable[[str], None] = print) -> None:
        """Hold the home, read the journal, then run the commands. Raises AnyLogError if any of that fails.

        Each command is echoed through `write` before it runs, and what came of it after (cli-console.md 8).
        """
        self.started, self._print = self.clock.seconds(), write
        await self.lanes.open("disk", 2).run(self._hold_home)
        self.preset()
        if self._name_of is not None:
            name = await usable_name(self.net.local_ip(), self.clock, self.lanes.open("names"), self._name_of)
            for key in ("dns", "external_dns") if name else ():
                self.dictionary.set(key, name)
        self.databases = Catalog(
            places=self.places,
            lanes=self.lanes,
            clock=self.clock,
            home_id=self.home_id,
            library=self._engine,
            point=self.point,
        )
        self.membership = Membership(
            name=lambda: self.name,
            address=lambda: self.address,
            clock=self.clock,
            net=self.net,
            chance=self.chance,
            disk=self.disk,
            lanes=self.lanes,
            dictionary=self.dictionary,
            processes=self.processes,
            databases=self.databases,
        )
        out = TakenOut(self.clock)
        self.network_queries = NetworkQueries(self.clock, self.lanes, lambda: self.peers)
        self.transfers = Transfers(self.clock, self.disk, self.lanes, self.token, self.peers, self.file_access)
        self.peers.serve("command", CommandService(execute=self.execute, clock=self.clock, write=write))
        self.peers.serve(
            "select",
            SelectService(
                databases=lambda: self.databases,
                clock=self.clock,
                times=self.queries,
                ensure_table=self.ensure_table,
                complete=lambda: self.copying.complete,
                astray=lambda: self.membership.astray(),
                consensus=lambda: self.copying.agreed_ids(),
                out=out,
            ),
        )
        await self.membership.start()
        self.intake = Intake(
            clock=self.clock,
            disk=self.disk,
            lanes=self.lanes,
            folder=self.places.journal,
            databases=self.databases,
            agree=self.membership.agreement.agree,
            tsd=self.membership.tsd,
            token=self.token,
            point=self.point,
            soon=lambda call: self.clock.callLater(0, call),
            gather=GATHER,
            segment_size=self._sizes[0],
            most=self._sizes[1],
        )
        self.stream = Stream(
            clock=self.clock,
            scope=Scope(self.dictionary, self.environ),
            execute=lambda text: self.execute(text, Context(who="streaming condition")),
            assign=self.dictionary.set,
            store=self.intake.accepting.store,
            use=self._pass,
            disk=self.disk,
            lane=self.lanes.open("disk", 2),
            cpu=self.lanes.open("cpu"),
        )
        self.msg_clients = MsgClients(
            door=Door(
                clock=self.clock,
                keep=self.intake.accepting.messages,
                declare=self.intake.declare,
                lines=LineFiles(disk=self.disk, lane=self.lanes.open("message files")),
                lane=self.lanes.open("cpu"),
                logs=self.logs,
            ),
            outside=OutsideClients(
                clock=self.clock,
                net=self.net,
                disk=self.disk,
                chance=self.chance,
                token=self.token,
                lane=self.lanes.open,
                places=self.places,
                debug=self.mqtt_debug,
                home_id=lambda: self.home_id,
            ),
        )
        self.msg_rules = MsgRules(
            clock=self.clock,
            keep=self.intake.accepting.messages,
            declare=self.intake.declare,
            local=self.msg_clients.told,
            logs=self.logs,
        )
        self.intake.policies = FilePolicies(
            clock=self.clock,
            lane=self.lanes.open("cpu"),
            find=lambda ident: self.ledger.policies.get(ident),
            look=self.membership.look_for_all,
            scope=Scope(self.dictionary, self.environ),
            logs=self.logs,
        )
        self.ledger.watch(self.intake.policies.forget)
        self.copying = Copying(
            clock=self.clock,
            peers=self.peers,
            clusters=self.clusters,
            disk=self.disk,
            lanes=self.lanes,
            places=self.places,
            processes=self.processes,
            databases=self.databases,
            place=self.membership.place,
            tsd=self.membership.tsd,
            filing=lambda: self.intake.filing.options,
            bring=self.intake.bring,
            made=self.intake.policies.content,
            in_work=self.intake.in_work,
            agrees=lambda: self.intake.operating.agrees,
            compare_again=self.intake.operating.compare_again,
            settled=self.intake.operating.settled,
            out=out,
            returned=self.intake.registry.returned,
            conflicted=lambda: self.intake.registry.conflicts,
            point=self.point,
        )
        self.peers.serve("deliver", self.copying.delivery)
        self.receiving = Receiving(
            disk=self.disk,
            lane=self.lanes.open("disk", 2),
            operator=self.copying.operator,
            tsd=self.membership.tsd,
            coming=self.intake.coming,
            trusted=lambda asker: not asker.host or self.clusters.listed(asker.address),
            point=self.point,
        )
        self.peers.serve("publish", self.receiving)
        self.intake.filing.to_distribute = self.copying.distribute
        self.intake.recovery.known_by_members = self.copying.known_by_members
        self.intake.recovery.lacking = self.copying.lacking
        self.intake.recovery.waiting = self.copying.watched
        self.intake.recovery.others = self.intake.operating.earlier.others = self.copying.elsewhere()
        await self.intake.start()
        self._relief.start()
        context = Context(origin="start", who="start", write=write)
        for command in commands:
            shown = masked(command)
            write(f"AL {self.name} > {shown}" if self.name else f"AL > {shown}")
            result = await self.execute(command, context)
            if result.text:
                write(result.text)
            if result.pages is not None:
                await self._write_out(result.pages, write)

    def _pass(self, stream: Stream | None) -> None:
        """Rows pass conditions and aggregations from now on, or no more."""
        self.intake.accepting.stream = stream
        self.intake.passing = None if stream is None else stream.bring

    def execute(self, asked: str | Call, context: Context) -> Deferred[Result]:
        """One way to ask, for every door (architecture.md 5). Fails with AnyLogError."""
        return self._interpreter.execute(asked, context)

    async def _write_out(self, pages: Pages, write: Callable[[str], None]) -> None:
        """All pages of an answer, as they come."""
        try:
            while (page := await pages.next()) is not None:
                write(page.decode("utf-8", "replace").rstrip("\r\n"))
        finally:
            pages.close()

    def meaning(self, word: str) -> Any:
        """What a word with `!` or `$` stands for, None if undefined; other words are themselves."""
        return self._interpreter.meaning(word)

    @property
    def address(self) -> str:
        """ip:port by which the node is known: of its peer listener, else of REST, else its ip."""
        for name in ("tcp", "rest"):
            process: Any = self.processes.find(name)
            if process is not None:
                return str(process.addresses()[0])
        return str(self.dictionary.get("ip"))

    async def process(self, name: str, values: Sequence[str], context: Context) -> Result:
        """Run a script file."""
        return await self._interpreter.process(name, values, context)

    async def process_lines(self, title: str, commands: Sequence[str], context: Context) -> Result:
        """Run commands that were read from elsewhere as a script of that name."""
        return await self._interpreter.process_lines(title, commands, context)

    async def thread(self, name: str, values: Sequence[str], context: Context) -> int:
        """Begin a script file that nobody waits for; gives its number."""
        return await self._interpreter.thread(name, values, context)

    @property
    def programs(self) -> Programs:
        """What it starts of the operating system. Raises AnyLogError 237 for a node that starts nothing."""
        if self._programs is None:
            raise AnyLogError(237, "this node starts no programs")
        return self._programs

    @property
    def runs(self) -> Runs:
        """The scripts that run."""
        return self._interpreter.runs

    async def run_lines(self, title: str, lines: Sequence[str], context: Context, *, pardoned: int = 0) -> Result:
        """Run lines that no file holds, as a script of that title."""
        return await self._interpreter.run_lines(title, lines, context, pardoned=pardoned)

    def leave(self, name: str) -> None:
        """Stop one process, without waiting for it."""
        Deferred.fromCoroutine(self.processes.exit(name)).addErrback(
            lambda failure: self.log.failure("stopping {name}", failure, name=name)
        )

    # The network, as commands name it.

    @property
    def peers(self) -> Peers:
        """The other nodes."""
        return self.membership.peers

    @property
    def ledger(self) -> Ledger:
        """The local copy of the ledger."""
        return self.membership.ledger

    @property
    def broker(self) -> Broker | None:
        """The message broker of this node, if it runs. Whoever starts or stops it says so by assigning it."""
        return self._broker

    @broker.setter
    def broker(self, broker: Broker | None) -> None:
        self._broker = broker
        self.msg_clients.use(broker)

    @property
    def clusters(self) -> Clusters:
        """Who holds which table."""
        return self.membership.clusters

    @property
    def master(self) -> Master | None:
        """The global ledger, if this node keeps it."""
        return self.membership.master

    def refresh(self, fresh: bool = False) -> Deferred[None]:
        """Look at the ledger now, unless that was done a moment ago and is not to be `fresh`."""
        return self.membership.refresh(fresh)

    def follows(self, master: str) -> bool:
        """Whether this node's ledger comes from that master."""
        return self.membership.follows(master)

    def ensure_table(self, dbms: str, table: str, needed: Sequence[str] = ()) -> Deferred[bool]:
        """Make or grow a local table as the ledger knows it."""
        return self.membership.ensure_table(dbms, table, needed)

    def preset(self) -> None:
        """The dictionary keys that every node starts with (language.md 3)."""
        for key, path in self.places.keys().items():
            self.dictionary.set(key, path)
        ip = self.net.local_ip()
        for key, value in {
            "ip": ip,
            "external_ip": ip,  # nobody outside is asked; a script that knows better says so
            "anylog_server_port": 32148,
            "anylog_rest_port": 32149,
            "io_buff_size": 32000,
            "is_vm": "false",
            **({"node_name": self.name} if self.name else {}),
        }.items():
            self.dictionary.set(key, value)

    def exit(self, why: str = "exit node") -> None:
        """Stop soon, without waiting for it: the command that asked is answered first."""
        self.clock.callLater(0.05, self._exit, why)

    def _exit(self, why: str) -> None:
        def ended(result: object) -> None:
            if not self.exiting.called:
                self.exiting.callback(why)

        self.stop().addBoth(ended)

    def stop(self) -> Deferred[None]:
        """Stop floor by floor; asking twice waits for the same end."""
        if self._stopping is None:
            self._stopping = self._stop()
        ended: Deferred[None] = Deferred()
        self._stopping.addBoth(ended.callback)
        return ended

    @deferring
    async def _stop(self) -> None:
        self.runs.stop()
        if self._programs is not None:
            self._programs.stop()
        steps: list[Callable[[], Awaitable[None]]] = [self.processes.stop, self._relief.stop]
        if hasattr(self, "transfers"):
            steps.append(self.transfers.stop)
        if hasattr(self, "msg_rules"):  # its last rows pass the stream, too
            steps.append(self.msg_rules.stop)
        if hasattr(self, "stream"):
            steps.append(self.stream.stop)
        if hasattr(self, "intake"):
            steps += [self.intake.stop, self.membership.stop, self.databases.stop]
        # Threads of a lane that is left open would hold the process.
        for step in [*steps, lambda: self.lanes.open("disk", 2).run(self.disk.stop), self.lanes.stop]:
            try:
                await step()
            except Exception:  # nobody above us could do better: say it and go on
                self.log.failure("stopping {name}", name=self.name)
        if hasattr(self, "network_queries"):
            self.network_queries.scratches.close()
        if self._held is not None:
            self._held.close()

    def _hold_home(self) -> None:
        """In a lane: one node a home; and the id by which databases know it."""
        self.disk.make(self.places.home)
        path = self.places.home / "node.lock"
        try:
            self._held = self.disk.lock(path)
        except BlockingIOError:
            raise AnyLogError(136, f"another node uses {self.places.home}") from None
        self.places.make_all(self.disk)
        identity = self.places.home / "node.id"
        if identity.name in self.disk.names(self.places.home):
            self.home_id = self.disk.read(identity).decode().strip()
        if not self.home_id:
            self.home_id = self.token(16).hex()
            self.disk.publish(identity, self.home_id.encode() + b"\n")
