"""Message clients on a table: the hub of a broker, and an intake on a disk that forgets what was not synced."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from attrs import define, field
from test_intake import IntakeCase
from twisted.internet.defer import Deferred

from anylog.language.dictionary import Dictionary, Scope
from anylog.language.logs import Logs
from anylog.mapping.topics import read_topic
from anylog.processes.msg_client import Client, ClientOptions, Door
from anylog.processes.msg_clients import MsgClients
from anylog.processes.msg_lines import LineFiles
from anylog.processes.msg_topics import Subscribed
from anylog.testing.lanes import InlineLane
from anylog.wire.mqtt_packets import Reason
from anylog.wire.topics import filter_fault

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
from hub_talk import Table

PLAIN = (
    "(name = plant/# and dbms = town and table = t and column.v.int = 'bring [v]'"
    " and column.at = (type = timestamp and value = 'bring [at]' and optional = true))"
)


@define(eq=False)
class HubBroker:
    """The node's own broker without sockets: a `Table` whose messages for local clients are handed over by `turn`."""

    table: Table
    delivers: dict[str, Any] = field(factory=dict)
    filters: dict[str, list[str]] = field(factory=dict)
    guarded: list[tuple[str, str, str, str]] = field(factory=list)

    def subscribe_local(self, name: str, filter: str, qos: int, deliver: Any) -> None:
        assert not filter_fault(filter)
        self.table.hub.subscribe_local(name, filter, qos)
        self.delivers[name] = deliver
        self.filters.setdefault(name, []).append(filter)

    def unsubscribe_local(self, name: str) -> bool:
        for filter in self.filters.pop(name, ()):
            self.table.hub.unsubscribe_local(name, filter)
        return self.delivers.pop(name, None) is not None

    def guard(self, name: str, filter: str, user: str, password: str) -> None:
        self.guarded.append((name, filter, user, password))

    def turn(self) -> list[Deferred[Any]]:
        """Hand over what came, and tell the hub when it is dealt with."""
        came, self.table.hub.delivery.local = self.table.hub.delivery.local, []
        waits = []
        for name, deliver in self.delivers.items():
            batch = [(ticket, packet) for ticket, packet, names in came if name in names]
            if batch:
                waits.append(deliver(batch).addCallback(self._done, batch))
        return waits

    def _done(self, reasons: Any, batch: Any) -> Any:
        for ticket, _ in batch:
            if ticket is not None:
                self.table.hub.done(ticket, Reason((reasons or {}).get(ticket, 0)))
        self.table.turn()
        return reasons


class MessagesCase(IntakeCase):
    """A node's own clients. `begin` makes an intake and message clients anew, as after a crash of the node."""

    def begin(self, *args: Any, **options: Any) -> None:
        super().begin(*args, **options)
        self.logs = Logs(self.clock)
        self.clients = MsgClients(
            door=Door(
                clock=self.clock,
                keep=self.intake.accepting.messages,
                declare=self.intake.declare,
                lines=LineFiles(disk=self.disk, lane=InlineLane()),
                lane=InlineLane(),
                logs=self.logs,
            )
        )

    def broke(self, table: Table | None = None) -> HubBroker:
        """A broker runs."""
        self.table = table or Table()
        self.broker = HubBroker(self.table)
        self.clients.use(self.broker)
        return self.broker

    def client(self, *topics: str, **options: Any) -> Client:
        """`run msg client`."""
        scope = Scope(Dictionary(), {})
        read = [read_topic(text, scope, only_log=options.get("only_log", False)) for text in topics or (PLAIN,)]
        folders = {name: Path(f"/{name}") for name in ("prep_dir", "watch_dir", "err_dir", "blobs_dir", "bwatch_dir")}
        settings = ClientOptions(**{"broker": "local", **folders, **options})
        return self.clients.add(settings, [Subscribed(each, each.qos or 0) for each in read])

    def errors(self) -> list[str]:
        """The error log."""
        return [row["Text"] for row in self.logs.error.rows()]
