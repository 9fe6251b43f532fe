"""A message broker without sockets, disks and time: bytes in, bytes out, and records to be kept (OASIS MQTT 5.0, 4).

Who carries it opens a link for each connection, feeds it what was read, and after each turn writes what `taken_dirty`
links have, syncs `taken_records`, and hands `local` to the node's own clients. Nothing is acknowledged before the
records that it depends on are said to be `kept` and the node's own clients are `done`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import evolve

from anylog.wire.mqtt_answers import ACKNOWLEDGEMENTS, Answers
from anylog.wire.mqtt_begun import LARGE, Begun
from anylog.wire.mqtt_connect import accepted, expiry_of, last_packet, settle
from anylog.wire.mqtt_deliver import Delivery
from anylog.wire.mqtt_due import Due
from anylog.wire.mqtt_keep import restored
from anylog.wire.mqtt_limits import Counts, Limits
from anylog.wire.mqtt_lives import Lives
from anylog.wire.mqtt_packets import (
    MQTT_5,
    REASONS,
    RETURN_CODES,
    Connack,
    Connect,
    Disconnect,
    Malformed,
    Packet,
    Pingreq,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
)
from anylog.wire.mqtt_read import Reader
from anylog.wire.mqtt_records import Batch, Ended, Opened, Record, pack_will
from anylog.wire.mqtt_session import Allow, Link, Session, Ticket
from anylog.wire.mqtt_subscribe import subscribe, take_back, unsubscribe
from anylog.wire.mqtt_sys import SelfReport
from anylog.wire.mqtt_write import encode


class Hub:
    """The broker. Each call with `now` is told unix seconds that never go back."""

    def __init__(
        self, limits: Limits | None = None, allow: Allow | None = None, name: Callable[[], str] | None = None
    ) -> None:
        """`name` gives an id to a client that has none; without it they are numbered."""
        self.limits = limits or Limits()
        self.delivery = Delivery(self.limits)
        self.counts: Counts = self.delivery.counts
        self.links: dict[Link, None] = {}
        self.begun = Begun(max(self.limits.begun, 2 * self.limits.packet))
        self.clients = 0  # those of them that are connected as MQTT says it
        self.paused = False
        self.started: float | None = None
        self._allow = allow
        self._report = SelfReport(self.delivery)
        self._answers = Answers(self.delivery, self._fault, self._mind)
        self._due = Due(self._counts_still)
        self._at = self._due.at
        self._lives = Lives(self.delivery, self._at, name)

    def judge(self, allow: Allow | None) -> None:
        """Who may do what is asked of `allow` from now on."""
        self._allow = allow

    # ------------------------------------------------------------------ connections

    def open(self, peer: Any, now: float) -> Link:
        """A new connection."""
        self._now(now)
        reader = Reader(most=self.limits.packet, first=self.limits.first)
        link = Link(peer, reader, now, now, self._taken)
        self.links[link] = None
        self._at(now + self.limits.connect_seconds, "connect", link)
        return link

    def feed(self, link: Link, data: bytes, now: float) -> None:
        """Bytes that came, cut wherever."""
        if link.closing or link.over:
            return
        self._now(now)
        link.heard = now
        self.counts.bytes_in += len(data)
        wrong: Malformed | None = None
        try:
            packets = link.reader.feed(data)
        except Malformed as why:
            packets, wrong = why.packets, why
        before = link.published
        self._packets(link, packets)
        if link.published != before:
            link.last = now
        if wrong is not None and not link.closing:
            if link.asked:  # what came before it is still to be answered
                link.fault = wrong
            else:
                self._broken(link, wrong)
        self._mind(link)
        if link.reader.held > LARGE or self.begun.held:
            self._limit(link, bool(packets))
        self._uncrowd()

    def _limit(self, link: Link, anew: bool) -> None:
        """What large packets take that are not whole."""
        begun = self.begun
        if not link.closing:
            begun.note(link, self.delivery.now, anew)
        for each in begun.too_much(self.delivery.now):
            self.counts.unfinished += 1
            self._leave(each, Reason.QUOTA_EXCEEDED, "too much of large packets that are not whole")

    def _packets(self, link: Link, packets: list[Packet]) -> None:
        for place, packet in enumerate(packets):
            if link.closing:
                return
            if link.asked:
                link.stash += packets[place:]
                return
            if type(packet) is Publish:
                self._publish(link, packet)
            else:
                self._packet(link, packet)

    def close(self, link: Link, now: float) -> None:
        """The connection is gone, whoever ended it."""
        self._now(now)
        link.over = True
        if not link.closing:
            self._leave(link, None)
        link.out, link.pending = [], 0
        self._uncrowd()

    def admit(self, link: Link, allowed: bool, now: float) -> None:
        """The answer to a question of `allow` that was left open."""
        self._now(now)
        if not link.asked or link.closing or link.over or link.connect is None:
            return
        link.asked = False
        self._admitted(link, link.connect, allowed)
        stash, link.stash = link.stash, []
        self._packets(link, stash)
        if link.fault is not None and not link.closing:
            self._broken(link, link.fault)
        self._mind(link)
        self._uncrowd()

    def taken_dirty(self) -> list[Link]:
        """Connections that have something to write, or whose `hold` or `closing` changed, in order."""
        dirty, self.delivery.dirty = self.delivery.dirty, []
        return dirty

    def pause_all(self) -> None:
        """Read from nobody: there is no room for what they send."""
        self.paused = True
        for link in self.links:
            self._mind(link)

    def resume(self) -> None:
        """Read again."""
        self.paused = False
        for link in self.links:
            self._mind(link)

    def stop(self, reason: Reason, now: float) -> None:
        """Close all connections; clients of 5.0 are told why. Wills are published, sessions that last are kept."""
        self._now(now)
        for link in list(self.links):
            self._leave(link, reason)

    # ------------------------------------------------------------------ records

    def taken_records(self) -> Batch:
        """The records that are to be synced, and the number by which to say that they are."""
        keep = self.delivery.keep
        records, keep.records = keep.records, []
        return Batch(keep.number, tuple(records))

    def kept(self, number: int) -> None:
        """Records up to that of a batch are safe: what waited for them is said."""
        keep = self.delivery.keep
        keep.kept = max(keep.kept, number)
        self.delivery.let_go()
        waiting, self.delivery.waiting = self.delivery.waiting, {}
        for link in waiting:
            self._answers.release(link)
            if link.session is not None:
                self.delivery.pump(link.session)
        self._uncrowd()

    def restore(self, records: Iterable[Record], now: float) -> None:
        """Go on from a log. To be called once, before anybody connects; all that were there are gone since `now`."""
        self._now(now)
        self._lives.incarnation = restored(self.delivery, records, now)
        for session in list(self.delivery.sessions.values()):
            self._lives.gone(session)
        self._uncrowd()

    # ------------------------------------------------------------------ the node itself

    @property
    def local(self) -> list[tuple[Ticket | None, Publish, tuple[str, ...]]]:
        """Messages for the node's own clients, with their names; the caller takes them out of the list."""
        return self.delivery.local

    def subscribe_local(self, name: str, filter: str, qos: int = 0) -> None:
        """The node's own client `name` wants messages that come from now on, none that are retained.

        Whatever the QoS, a publisher at QoS 1 or 2 is answered when `done` was said. Raises ValueError for a filter
        that is none, or is shared.
        """
        self.delivery.routes.add_local(name, filter, qos)

    def unsubscribe_local(self, name: str, filter: str) -> bool:
        """Whether it had such a subscription."""
        return self.delivery.routes.remove_local(name, filter)

    def done(self, ticket: Ticket, reason: Reason = Reason.SUCCESS) -> None:
        """The node's own clients have synced what they made of a message, or `reason` says why not.

        A publisher of 5.0 is told the reason. To one of 3.1.1 there is no word for it: where the message itself is at
        fault, so that to send it again would not help, it is acknowledged, else the connection is closed. So is that of
        one of 5.0 at QoS 2: the message comes again in the same exchange.
        """
        self.done_all((ticket,), reason)

    def done_all(self, tickets: Iterable[Ticket], reason: Reason = Reason.SUCCESS) -> None:
        """As `done` of each; what is said to a connection is put together once."""
        links: dict[Link, None] = {}
        for ticket in tickets:
            answer = ticket.answer
            if answer is not None and answer.open:
                answer.open = False
                if reason >= 0x80:
                    answer.reason = reason
                if answer.link is not None:
                    links[answer.link] = None
        for link in links:
            self._answers.release(link)
        self._uncrowd()

    def publish(self, packet: Publish, now: float) -> int:
        """A message of the node's own. It lasts once the number that is returned was `kept`; 0: at once.

        The node's own clients are among the receivers, without a ticket.
        """
        self._now(now)
        before = self.delivery.keep.number
        self.delivery.publish(packet, None, None)
        self._uncrowd()
        after = self.delivery.keep.number
        return after if after > before else 0

    # ------------------------------------------------------------------ time

    def next_time(self) -> float | None:
        """When `tick` has something to do; None: never, as it stands."""
        self._expire()
        return self._due.first()

    def tick(self, now: float) -> None:
        """What time brings: keep alive, deadlines, the ends of sessions and messages, wills, `$SYS`."""
        self._now(now)
        self._expire()
        for what, whom in self._due.taken(now):
            if what == "connect":
                if not whom.ready:
                    self._leave(whom, None)
            elif what == "alive":
                self._alive(whom)
            elif what == "session":
                self._lives.ended(whom)
            elif what == "will":
                self._lives.will_is_due(whom)
            elif what == "retained":
                self.delivery.shelf.expire(whom, now)
            else:
                self._at(now + self.limits.sys_seconds, "sys", None)
                self._report.publish(self.clients, now - (self.started or now))
            self._expire()
        self._uncrowd()

    def _now(self, now: float) -> None:
        self.delivery.now = now
        if self.started is None:
            self.started = now
            if self.limits.sys_seconds:
                self._at(now, "sys", None)

    def _counts_still(self, when: float, what: str, whom: Any) -> bool:
        """Whether what was to be looked at then is still to be looked at."""
        if what == "connect":
            return not whom.ready
        if what == "alive":
            return not (whom.closing or whom.over)
        if what == "session":
            return self._lives.current(whom) and whom.gone is not None and whom.gone + whom.expiry == when
        if what == "will":
            return bool(whom.will_due == when)
        return what != "retained" or self.delivery.shelf.end(whom) == when

    def _expire(self) -> None:
        expiring = self.delivery.shelf.expiring
        while expiring:
            topic, end = expiring.pop()
            self._at(end, "retained", topic)

    def _alive(self, link: Link) -> None:
        if link.closing or link.over:
            return
        end = link.heard + link.keep_alive * 1.5  # [MQTT-3.1.2-22]; 3.1.1: [MQTT-3.1.2-24]
        if link.hold and not self._unread(link):  # it may have said something: it is we who do not listen
            end = max(end, self.delivery.now + link.keep_alive)
        if end <= self.delivery.now:
            self._leave(link, Reason.KEEP_ALIVE_TIMEOUT)
        else:
            self._at(end, "alive", link)

    # ------------------------------------------------------------------ the beginning

    def _packet(self, link: Link, packet: Packet) -> None:
        self.counts.packets_in += 1
        if type(packet) in ACKNOWLEDGEMENTS and self._answers.heard(link, packet):
            return
        if isinstance(packet, Connect):
            self._connect(link, packet)
        elif isinstance(packet, Subscribe):
            subscribe(self.delivery, self._answers, self._allow, link, packet)
        elif isinstance(packet, Unsubscribe):
            unsubscribe(self.delivery, self._answers, link, packet)
        elif isinstance(packet, Pingreq):
            self.delivery.write(link, b"\xd0\0")
            self.counts.packets_out += 1
        elif isinstance(packet, Disconnect):
            self._disconnect(link, packet)
        else:
            self._fault(link, Reason.PROTOCOL_ERROR, f"{type(packet).__name__.upper()} is not expected")

    def _connect(self, link: Link, packet: Connect) -> None:
        link.version, link.connect = packet.version, packet
        link.problems = packet.request_problem_information is not False
        if packet.authentication_method is not None:
            self._refuse(link, Reason.BAD_AUTHENTICATION_METHOD)  # [MQTT-4.12.0-1]
            return
        link.client_id = packet.client_id
        allowed = True if self._allow is None else self._allow(link, "connect", "")
        if allowed is None:
            link.asked = True
            self._mind(link)
            return
        self._admitted(link, packet, allowed)

    def _refuse(self, link: Link, reason: Reason, text: str = "") -> None:
        self.counts.refused_connects += 1
        link.ended = reason, text
        if link.version == MQTT_5:
            if reason in REASONS[Connack]:
                said = text if text and link.problems else None
                most = link.connect.maximum_packet_size if link.connect is not None else None
                self.delivery.write(link, last_packet(Connack(reason, reason_string=said), most or 0))
        elif reason in RETURN_CODES:
            self.delivery.write(link, encode(Connack(reason), link.version or 4))
        self._leave(link, None)

    def _admitted(self, link: Link, packet: Connect, allowed: bool) -> None:
        if packet.password is not None:
            link.connect = evolve(packet, password=None)
        if not allowed:
            nobody = packet.user_name is None
            self._refuse(link, Reason.NOT_AUTHORIZED if nobody else Reason.BAD_USER_NAME_OR_PASSWORD)
            return
        will = packet.will
        if will is not None and not self._may(link, "publish", will.topic):
            self._refuse(link, Reason.NOT_AUTHORIZED, f"its will may not be published to {will.topic[:80]}")
            return
        delivery, keep = self.delivery, self.delivery.keep
        session = delivery.sessions.get(packet.client_id) if packet.client_id else None
        if self.clients >= self.limits.clients and (session is None or session.link is None):
            self._refuse(link, Reason.SERVER_BUSY)
            return
        known = len(delivery.sessions) - self.clients
        if session is None and known >= self.limits.sessions and expiry_of(self.limits, packet):
            self._refuse(link, Reason.QUOTA_EXCEEDED, f"{known:,} sessions wait for their clients")
            return
        before = keep.number
        if session is not None and session.link is not None:
            self.counts.taken_over += 1
            self._leave(session.link, Reason.SESSION_TAKEN_OVER)  # [MQTT-3.1.4-3]
            if not self._lives.current(session):
                session = None
        if session is not None and packet.clean:
            self._lives.end(session)  # [MQTT-3.1.2-4]
            session = None
        present = session is not None
        if session is None:
            session = self._lives.begin(packet.client_id)
        elif self._allow is not None:
            take_back(delivery, self._allow, link, session)
        link.client_id = session.client_id
        self._resume(link, session, packet)
        if keep.number > before:
            link.connack_needs = keep.number
        link.connack = encode(accepted(self.limits, link, session, packet, present), link.version)
        self.counts.connects += 1
        link.accepted = link.muted = True
        self._answers.release(link)
        delivery.pump(session)

    def _resume(self, link: Link, session: Session, packet: Connect) -> None:
        delivery, limits = self.delivery, self.limits
        was = session.expiry
        session.expiry = expiry_of(limits, packet)
        session.link, link.session = link, session
        session.gone, session.will_due = None, None  # [MQTT-3.1.3-9]: a will that was delayed is not sent
        session.will = packet.will
        if session.expiry:
            delivery.keep.add(Opened(session.client_id, session.incarnation, session.expiry, pack_will(packet.will)))
        elif was:
            delivery.keep.add(Ended(session.client_id))
        session.rewind()
        self.clients += 1
        settle(limits, link, packet)
        if link.keep_alive:
            self._at(link.heard + link.keep_alive * 1.5, "alive", link)

    def _may(self, link: Link, action: str, topic: str) -> bool:
        if action == "publish" and topic.startswith("$SYS/"):
            return False
        return self._allow is None or self._allow(link, action, topic) is True

    # ------------------------------------------------------------------ the middle

    def _publish(self, link: Link, packet: Publish) -> None:
        self.counts.messages_in += 1
        link.published += 1
        if packet.topic_alias is not None:
            alias = packet.topic_alias
            topic = packet.topic or link.aliases.get(alias, "")
            if alias > self.limits.aliases or not topic:  # the two of 5.0, 3.3.4
                reason = Reason.TOPIC_ALIAS_INVALID if alias > self.limits.aliases else Reason.PROTOCOL_ERROR
                self._fault(link, reason, f"topic alias {alias} is unknown")
                return
            link.aliases[alias] = topic
            packet = evolve(packet, topic=topic, topic_alias=None)
        topic = packet.topic
        allowed = True
        if self._allow is not None or topic[0] == "$":
            allowed = self._may(link, "publish", topic)
            if not allowed:
                self.counts.refused_messages += 1
                link.refused += 1
                link.ended = Reason.NOT_AUTHORIZED, f"may not publish to {topic[:80]}"
        if packet.qos:
            self._answers.publish(link, packet, allowed)
        elif allowed:
            self.delivery.publish(packet, link.session, None)

    def _disconnect(self, link: Link, packet: Disconnect) -> None:
        session = link.session
        if session is None:
            return
        expiry = packet.session_expiry_interval
        if expiry is not None:
            if expiry and not session.expiry:  # [MQTT-3.14.2-2] says who may not send it; 3.14.2.2.2 this
                self._fault(link, Reason.PROTOCOL_ERROR, "the session expiry interval was 0")
                return
            if expiry:
                session.expiry = min(expiry, self.limits.session_seconds)
            else:
                session.ending = True
        if packet.reason is Reason.NORMAL_DISCONNECTION:
            session.will = None  # [MQTT-3.1.2-10]
        self._leave(link, None)

    # ------------------------------------------------------------------ the end

    def _broken(self, link: Link, wrong: Malformed) -> None:
        if link.version:
            self._fault(link, wrong.reason, wrong.text)
            return
        self.counts.faults += 1
        link.ended = wrong.reason, wrong.text
        if wrong.version is not None:
            link.version = wrong.version
            self._refuse(link, wrong.reason, wrong.text)
        else:
            self._leave(link, None)

    def _fault(self, link: Link, reason: Reason, text: str) -> None:
        self.counts.faults += 1
        self._leave(link, reason, text)

    def _leave(self, link: Link, reason: Reason | None, text: str = "") -> None:
        """A connection ends; a client of 5.0 is told the reason, if there is one to tell."""
        if link.closing:
            return
        if reason is not None:
            link.ended = reason, text
        if link.muted:
            link.out, link.pending, link.muted = [], 0, False
        elif reason is not None and link.version == MQTT_5 and link.session is not None and not link.over:
            said = text[:200] if text and link.problems else None
            self.delivery.write(link, last_packet(Disconnect(reason, reason_string=said), link.largest))
        link.closing = True
        self.links.pop(link, None)
        self.begun.gone(link)
        self.delivery.waiting.pop(link, None)
        self.delivery.mark(link)
        session, link.session = link.session, None
        link.stash = []
        link.shown = None
        link.answers.clear()
        link.others.clear()
        if session is None:
            return
        self.clients -= 1
        session.link, session.gone = None, self.delivery.now
        if session.expiry and not session.ending:
            for filter in list(session.subscriptions):
                group = self.delivery.routes.groups.get(filter)
                if group is not None:
                    self.delivery.hand_over(session, group)
        self._lives.gone(session)

    def _uncrowd(self) -> None:
        """Clients that do not take what they are to have are closed: not in the middle of a message to many."""
        delivery = self.delivery
        while delivery.crowded:
            link = delivery.crowded.pop()
            if not link.closing:
                self._leave(link, Reason.QUOTA_EXCEEDED, "too much waits for this client")

    def _mind(self, link: Link) -> None:
        """Whether to read from a connection."""
        unanswered = len(link.answers) + len(link.others)
        hold = self.paused or link.asked or self._unread(link) or unanswered >= self.limits.receive
        if hold is not link.hold:
            link.hold = hold
            self.delivery.mark(link)

    def _unread(self, link: Link) -> bool:
        """Whether it asks and asks, and does not read what it is answered."""
        return link.pending > 2 * self.limits.pending

    def _taken(self, link: Link, size: int) -> None:
        self.counts.bytes_out += size
        if link.session is not None and link.session.unsent:
            self.delivery.pump(link.session)
        if link.shown:
            self.delivery.show_on(link)
        if link.hold:
            self._mind(link)
