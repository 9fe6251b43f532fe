"""From a message to everybody it concerns: subscribers, groups, the node's own clients, and what is retained.

It owns the sessions and what they subscribed to; who may do what is decided in `mqtt_hub`.
"""

from __future__ import annotations

from collections import deque

from attrs import define, evolve, field

from anylog.wire.mqtt_fields import variable
from anylog.wire.mqtt_limits import IDENTIFIERS, Counts, Limits
from anylog.wire.mqtt_packets import MQTT_3_1_1, MQTT_5, Publish
from anylog.wire.mqtt_records import Came, Ended, Finished, Keeping, Moved, Receiver, pack_message
from anylog.wire.mqtt_retained import Shelf, aged
from anylog.wire.mqtt_routes import Route, Routes, bare
from anylog.wire.mqtt_session import Answer, Group, Link, Message, Out, Session, Subscription, Ticket
from anylog.wire.mqtt_write import PublishBytes, encode, publish_bytes

_SHARED = 1 << 10  # bytes of a payload from which it is written beside its header instead of behind it
_SHORT = 8  # characters of a topic for which an alias saves nothing worth having


@define(eq=False)
class Delivery:
    """Sessions, subscriptions, what is retained, and the way of a message to them."""

    limits: Limits
    counts: Counts = field(factory=Counts)
    keep: Keeping = field(factory=Keeping)
    now: float = 0.0  # unix seconds; the caller's last word
    sessions: dict[str, Session] = field(factory=dict)
    dirty: list[Link] = field(factory=list)
    crowded: list[Link] = field(factory=list)  # whose queue is full
    waiting: dict[Link, None] = field(factory=dict)  # for a record
    local: list[tuple[Ticket | None, Publish, tuple[str, ...]]] = field(factory=list)
    held: deque[tuple[int, Ticket, Publish, tuple[str, ...]]] = field(factory=deque)  # for the node's own, too early
    tickets: int = 0
    serial: int = 0
    shelf: Shelf = field(init=False)
    routes: Routes = field(init=False)
    _known: dict[str, Route] = field(init=False)  # by topic: those that are remembered

    def __attrs_post_init__(self) -> None:
        self.shelf = Shelf(self.limits, self.counts)
        self.routes = Routes(self.limits.topics)
        self._known = self.routes.known

    # ------------------------------------------------------------------ subscriptions

    def subscribe(self, session: Session, each: Subscription) -> bool:
        """Whether it is new. Raises ValueError for a filter that cannot be kept."""
        self.routes.add(session, each)
        new = each.filter not in session.subscriptions
        session.subscriptions[each.filter] = each
        return new

    def unsubscribe(self, session: Session, filter: str) -> bool:
        """Whether there was such a subscription. What it brought and is not sent goes to another of its group."""
        if session.subscriptions.pop(filter, None) is None:
            return False
        group = self.routes.remove(session, filter)
        if group is not None:
            self.hand_over(session, group)
        return True

    # ------------------------------------------------------------------ a message

    def publish(self, packet: Publish, sender: Session | None, answer: Answer | None) -> bool:
        """Give a message to everybody it concerns; whether there was anybody.

        `packet` has its topic, no alias, and no identifiers. Where somebody waits for the outcome `answer` says after
        this what it depends on.
        """
        topic = packet.topic
        route = self._known.get(topic)
        if route is None:
            route = self.routes.of(topic)
        recorded = packet.retain and self.shelf.retain(self._message(packet))
        if not packet.qos:
            self._at_once(packet, route, sender)
            if recorded:
                self.keep.add(Came(pack_message(self._message(packet)), (), True))
        else:
            self._queued(packet, route, sender, recorded, answer)
        if route.locals:
            self.tell(packet, route.locals, sender, answer)
        return bool(route.targets or route.groups or route.locals)

    def tell(self, packet: Publish, names: tuple[str, ...], sender: Session | None, answer: Answer | None) -> None:
        """Give a message to the node's own clients. Only at QoS 1 and 2 there is an answer that waits for them.

        At QoS 2 they get it once its record is kept: they sync what they make of it under the number of the exchange,
        and a crash must not forget which number that was. After one the client may say new things before old ones.
        """
        ticket = None
        if answer is not None:
            self.tickets += 1
            answer.open = True
            ticket = Ticket(
                self.tickets,
                sender.client_id if sender else "",
                sender.incarnation if sender else 0,
                answer.packet_id,
                answer.number,
                answer.qos,
                packet.dup,
                answer,
                sender is not None and sender.lasting,
            )
            if ticket.lasts and ticket.qos == 2 and answer.needs > self.keep.kept:
                self.held.append((answer.needs, ticket, packet, names))
                return
        self.local.append((ticket, packet, names))

    def let_go(self) -> None:
        """Records were kept: the node's own clients get what waited for that."""
        held, kept = self.held, self.keep.kept
        while held and held[0][0] <= kept:
            self.local.append(held.popleft()[1:])

    def names_for(self, topic: str) -> tuple[str, ...]:
        """The node's own clients that want messages of a topic."""
        return self.routes.of(topic).locals

    def _message(self, packet: Publish) -> Message:
        interval = packet.message_expiry_interval
        return Message(packet, None if interval is None else self.now + interval)

    def _at_once(self, packet: Publish, route: Route, sender: Session | None) -> None:
        """At QoS 0: to those who are there, and read."""
        most, plain = self.limits.pending, bare(packet)
        four: bytes | None = None
        five: bytes | None = None
        for target in route.targets:
            session = target.session
            if session is sender:
                if target.own is None:
                    continue
                target = target.own
            link = session.link
            if link is None:
                continue
            if link.pending > most:
                self.counts.dropped_slow += 1
                continue
            if target.identifiers or link.given_most or (packet.retain and target.retain_as_published):
                self._send_bare(link, packet, packet.retain and target.retain_as_published, target.identifiers)
                continue
            if link.version == MQTT_3_1_1:
                if four is None:
                    size = len(route.topic) + len(packet.payload)
                    four = b"".join((b"\x30", variable(size), route.topic, packet.payload))
                data = four
            else:
                if five is None:
                    if plain:
                        size = len(route.topic) + len(packet.payload) + 1
                        five = b"".join((b"\x30", variable(size), route.topic, b"\0", packet.payload))
                    else:
                        five = PublishBytes.of(packet, MQTT_5, qos=0, retain=False).bytes_for()
                data = five
                if 0 < link.largest < len(data):
                    self.counts.dropped_large += 1
                    continue
            link.out.append(data)
            link.pending += len(data)
            if not link.listed:
                link.listed = True
                self.dirty.append(link)
            self.counts.messages_out += 1
        for group in route.groups:
            chosen = self._choose(group, 0)
            if chosen is None or chosen[0].link is None:
                self.counts.dropped_shared += 1
                continue
            session, each = chosen
            if session.link is not None and session.link.pending > most:
                self.counts.dropped_slow += 1
                continue
            ids = (each.identifier,) if each.identifier else ()
            self._send_bare(session.link, packet, packet.retain and each.retain_as_published, ids)

    def _send_bare(self, link: Link | None, packet: Publish, retain: bool, ids: tuple[int, ...]) -> None:
        """One message at QoS 0."""
        if link is None:
            return
        changed = evolve(packet, qos=0, dup=False, packet_id=0, retain=retain)
        if ids:
            changed = evolve(changed, subscription_identifiers=ids)
        self._write_message(link, encode(self._aliased(link, changed), link.version))

    def _write_message(self, link: Link, data: bytes) -> bool:
        if 0 < link.largest < len(data):
            self.counts.dropped_large += 1  # [MQTT-3.1.2-24], [MQTT-3.1.2-25]
            return False
        link.out.append(data)
        link.pending += len(data)
        if not link.listed:
            link.listed = True
            self.dirty.append(link)
        self.counts.messages_out += 1
        return True

    def _aliased(self, link: Link, packet: Publish) -> Publish:
        """With an alias, if the client takes them and there is one for the topic."""
        if not link.given_most or len(packet.topic) < _SHORT:
            return packet
        alias = link.given.get(packet.topic)
        if alias is not None:
            return evolve(packet, topic="", topic_alias=alias)
        if len(link.given) >= link.given_most:
            return packet
        changed = evolve(packet, topic_alias=len(link.given) + 1)
        if 0 < link.largest < len(encode(changed, MQTT_5)):
            return packet  # what is not sent must not use up an alias that then is unknown
        link.given[packet.topic] = len(link.given) + 1
        return changed

    def _queued(
        self, packet: Publish, route: Route, sender: Session | None, recorded: bool, answer: Answer | None
    ) -> None:
        """At QoS 1 and 2: one record of all that has to last, then on its way."""
        exchange = packet.qos == 2 and sender is not None and sender.expiry > 0
        if not (route.targets or route.groups or recorded or exchange):
            return  # it is for the node's own clients alone, or for nobody
        message = self._message(packet)
        if len(route.targets) > 1:
            message.made = {}
        queued: list[tuple[Session, Out]] = []
        for target in route.targets:
            session = target.session
            if session is sender:
                if target.own is None:
                    continue
                target = target.own
            retain = packet.retain and target.retain_as_published
            out = self._offer(session, message, target.qos, retain, target.identifiers, "")
            if out is not None:
                queued.append((session, out))
        for group in route.groups:
            chosen = self._choose(group, packet.qos)
            if chosen is None:
                self.counts.dropped_shared += 1
                continue
            session, each = chosen
            ids = (each.identifier,) if each.identifier else ()
            retain = packet.retain and each.retain_as_published
            out = self._offer(session, message, each.qos, retain, ids, group.name)
            if out is not None:
                queued.append((session, out))
        to = [_receiver(session, out) for session, out in queued if session.expiry]
        if to or recorded or exchange:
            came = Came(pack_message(message), tuple(to), recorded)
            if exchange and sender is not None and answer is not None:
                came = evolve(
                    came,
                    client_id=sender.client_id,
                    packet_id=answer.packet_id,
                    exchange=answer.number,
                    local=bool(route.locals),
                )
            number = self.keep.add(came)
            if answer is not None:
                answer.needs = number
            for _, out in queued:
                out.needs = number
        for session, _ in queued:
            if session.link is not None:
                self.pump(session)
        message.made = None

    def _offer(
        self, session: Session, message: Message, qos: int, retain: bool, ids: tuple[int, ...], group: str
    ) -> Out | None:
        """One subscriber: at QoS 0 at once, else what was queued for it, if there was room."""
        qos = min(qos, message.packet.qos)
        link = session.link
        if not qos:
            if link is not None and link.pending > self.limits.pending:
                self.counts.dropped_slow += 1
            else:
                self._send_bare(link, message.packet, retain, ids)
            return None
        if self._full(session, message.size) and not self._swept(session, message.size):
            self.counts.dropped_full += 1
            if link is not None and not link.closing:
                self.crowded.append(link)
            return None
        return self._queue(session, message, qos, retain, ids, group)

    def _full(self, session: Session, size: int) -> bool:
        """Whether a session has no room for so many bytes; what was retained when it subscribed takes none."""
        waiting = len(session.out) - session.shown  # if it is none, one message of any size has room
        too_much = waiting and session.size + size > self.limits.queue_bytes
        return bool(too_much) or waiting >= self.limits.queue_messages or len(session.out) > IDENTIFIERS

    def _swept(self, session: Session, size: int) -> bool:
        """Whether there is room without what is too old ([MQTT-3.3.2-5]). All is looked at: once a second at most."""
        if self.now < session.swept + 1:
            return False
        session.swept = self.now
        for out in list(session.unsent):
            end = out.message.expires if out.message is not None and not out.sent else None
            if end is not None and end <= self.now:
                self.counts.expired += 1
                self.finish(session, out)
        session.tidy()
        return not self._full(session, size)

    def _queue(
        self,
        session: Session,
        message: Message,
        qos: int,
        retain: bool,
        ids: tuple[int, ...],
        group: str,
        shown: bool = False,
    ) -> Out:
        self.serial += 1
        size = 0 if shown else message.size
        number = session.identifier()
        out = Out(number, message, qos, retain, ids, self.serial, group=group, shown=shown, size=size)
        session.add(out)
        return out

    # ------------------------------------------------------------------ to one client

    def write(self, link: Link, data: bytes) -> None:
        """Bytes that are to be written, in this order."""
        link.out.append(data)
        link.pending += len(data)
        if not link.listed:
            link.listed = True
            self.dirty.append(link)

    def mark(self, link: Link) -> None:
        """Something about a connection changed that its caller wants to know."""
        if not link.listed:
            link.listed = True
            self.dirty.append(link)

    def pump(self, session: Session) -> None:
        """Send what waits, as far as the client takes it and the records allow."""
        link, unsent, keep = session.link, session.unsent, self.keep
        if link is None:
            return
        while unsent and link.pending <= self.limits.pending:
            out = unsent[0]
            if out.qos == 2 and out.needs > keep.kept and session.expiry:
                # What a crash would forget may not be told: it would come again under another packet id.
                self.waiting[link] = None
                return
            if not out.received and session.inflight >= link.window:
                return
            unsent.popleft()
            if out.received or out.message is None:
                self.write(link, b"\x62\x02" + out.packet_id.to_bytes(2, "big"))
                self.counts.packets_out += 1
            elif not out.sent and out.message.expires is not None and out.message.expires <= self.now:
                self.counts.expired += 1
                self.finish(session, out)
                continue
            elif not self._send(link, out, out.message):
                self.finish(session, out)
                continue
            out.live = out.sent = True
            session.inflight += 1

    def _send(self, link: Link, out: Out, message: Message) -> bool:
        packet = message.packet
        current = packet if message.expires is None else aged(message, self.now)
        ids = out.identifiers if link.version == MQTT_5 else ()
        small = len(packet.payload) < _SHARED or link.largest
        if link.given_most or current.message_expiry_interval != packet.message_expiry_interval:
            changed = evolve(
                current,
                qos=out.qos,
                retain=out.retain,
                dup=out.sent,
                packet_id=out.packet_id,
                subscription_identifiers=ids,
            )
            return self._write_message(link, encode(self._aliased(link, changed), link.version))
        if message.made is None and small and not ids:
            data = publish_bytes(packet, link.version, out.qos, out.retain, out.packet_id, out.sent)
            return self._write_message(link, data)
        key = (link.version, out.qos, out.retain, ids)
        made = message.made.get(key) if message.made is not None else None
        if made is None:
            if ids:
                packet = evolve(packet, subscription_identifiers=ids)
            made = PublishBytes.of(packet, link.version, qos=out.qos, retain=out.retain)
            if message.made is not None:
                message.made[key] = made
        if small:
            return self._write_message(link, made.bytes_for(out.packet_id, out.sent))
        for part in made.parts(out.packet_id, out.sent):
            self.write(link, part)
        self.counts.messages_out += 1
        return True

    def finish(self, session: Session, out: Out) -> None:
        """A message needs nothing more."""
        session.finish(out)
        if session.expiry:
            self.keep.add(Finished(session.client_id, out.packet_id))

    # ------------------------------------------------------------------ groups

    def _choose(self, group: Group, qos: int, without: Session | None = None) -> tuple[Session, Subscription] | None:
        """Whose turn it is: of those who are there and not behind, else of those who are there, else of the others, and
        of those who have no room last."""
        order, best, place = group.order, 4, -1
        for step in range(len(order)):
            at = (group.turn + step) % len(order)
            session, each = order[at]
            link = session.link
            if session is without:
                continue
            if link is not None:
                rank = 1 if session.unsent or link.pending > self.limits.pending else 0
            elif min(qos, each.qos):
                rank = 2
            else:
                continue
            if rank and qos and self._full(session, 0):
                rank = 3
            if rank < best:
                best, place = rank, at
                if not rank:
                    break
        if place < 0:
            return None
        group.turn = (place + 1) % len(order)
        return order[place]

    def hand_over(self, session: Session, group: Group, ended: bool = False) -> None:
        """One of a group left: what it was not sent goes to another who is there; if it is gone for good whoever.

        Then also what it was sent at QoS 1 and did not acknowledge; never what it was sent at QoS 2, of which it may
        have one half ([MQTT-4.8.2-4], [MQTT-4.8.2-5]).
        """
        for out in list(session.out.values()):
            message = out.message
            if (
                out.group != group.name
                or out.received
                or message is None
                or (out.sent and not (ended and out.qos == 1))
            ):
                continue
            chosen = self._choose(group, out.qos, session)
            if chosen is None or (chosen[0].link is None and not ended):
                break  # nobody is better off
            other, each = chosen
            qos = min(message.packet.qos, each.qos)
            full = qos > 0 and len(other.out) >= self.limits.queue_messages
            if full and not ended:
                break  # it is better off where it is
            session.finish(out)
            if full or not qos:
                if session.expiry:
                    self.keep.add(Finished(session.client_id, out.packet_id))
                if qos:
                    self.counts.dropped_full += 1
                elif message.expires is not None and message.expires <= self.now:
                    self.counts.expired += 1
                else:
                    self._send_bare(other.link, aged(message, self.now), out.retain, ())
                continue
            ids = (each.identifier,) if each.identifier else ()
            new = self._queue(other, message, qos, out.retain, ids, group.name)
            if other.expiry and session.expiry:
                new.needs = self.keep.add(Moved(session.client_id, out.packet_id, _receiver(other, new)))
            elif other.expiry:
                new.needs = self.keep.add(Came(pack_message(message), (_receiver(other, new),)))
            elif session.expiry:
                self.keep.add(Finished(session.client_id, out.packet_id))
            self.pump(other)
        session.tidy()

    def end(self, session: Session) -> None:
        """A session is over, with all it had."""
        for filter in list(session.subscriptions):
            del session.subscriptions[filter]
            group = self.routes.remove(session, filter)
            if group is not None:
                self.hand_over(session, group, ended=True)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
        if session.expiry:
            self.keep.add(Ended(session.client_id))

    # ------------------------------------------------------------------ retained

    def show_retained(self, session: Session, each: Subscription) -> None:
        """What is retained goes to a new subscriber: at QoS 0 as it reads, in a queue that holds no bytes."""
        ids, link = (each.identifier,) if each.identifier else (), session.link
        if link is None:
            return
        for message in self.shelf.found(each.filter, self.now):
            qos = min(message.packet.qos, each.qos)
            if not qos and (link.shown is None or len(link.shown) <= self.limits.retained_messages):
                link.shown = deque() if link.shown is None else link.shown
                link.shown.append((message.packet.topic, ids))
            elif not qos:  # it asked for all of it again and again
                self.counts.dropped_slow += 1
            elif len(session.out) >= IDENTIFIERS:
                self.counts.dropped_full += 1
            else:
                out = self._queue(session, message, qos, True, ids, "", shown=True)
                if session.expiry:
                    out.needs = self.keep.add(Came(pack_message(message), (_receiver(session, out),)))
        self.pump(session)
        self.show_on(link)

    def show_on(self, link: Link) -> None:
        """Go on with what is retained, as it is by now: what replaced it may have been dropped for this client."""
        shown = link.shown
        while shown and link.pending <= self.limits.pending:
            topic, ids = shown.popleft()
            message = self.shelf.fresh(topic, self.now)
            if message is not None:
                self._send_bare(link, aged(message, self.now), True, ids)
        if not shown:
            link.shown = None


def _receiver(session: Session, out: Out) -> Receiver:
    return session.client_id, out.packet_id, out.qos, out.retain, out.identifiers, out.serial, out.group
