"""The exchanges of QoS 1 and 2, both ways, and when each answer may be given (OASIS MQTT 5.0, 4.3, 4.4 and 4.9)."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from anylog.wire.mqtt_deliver import Delivery
from anylog.wire.mqtt_packets import (
    BROKER_REASONS,
    MQTT_5,
    REASONS,
    Disconnect,
    Packet,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
)
from anylog.wire.mqtt_records import Received, Released
from anylog.wire.mqtt_session import Answer, Link, Session
from anylog.wire.mqtt_write import encode

# What is wrong with a message itself: to send it again would not help.
_OWN_FAULT = frozenset(
    {Reason.PAYLOAD_FORMAT_INVALID, Reason.TOPIC_NAME_INVALID, Reason.NOT_AUTHORIZED, Reason.PACKET_TOO_LARGE}
)
_NOT_TAKEN = "a message was not taken"
ACKNOWLEDGEMENTS = frozenset({Puback, Pubrec, Pubrel, Pubcomp})  # what `heard` is for


@define(eq=False)
class Answers:
    """What a client is told about messages, its own and ours, in the order and at the time that the standard asks for.

    `fault` closes a connection with a reason, `mind` looks at whether to read from it.
    """

    delivery: Delivery
    fault: Callable[[Link, Reason, str], None]
    mind: Callable[[Link], None]

    # ------------------------------------------------------------------ messages of a client

    def publish(self, link: Link, packet: Publish, allowed: bool) -> None:
        """A message of QoS 1 or 2. Answers are given in the order of the messages ([MQTT-4.6.0-2], [MQTT-4.6.0-3])."""
        session, number, delivery = link.session, packet.packet_id, self.delivery
        if session is None:
            return
        if packet.qos == 2 and number in session.received:
            self._again(link, session, packet, session.received[number])
            return
        if not self._counted(link, number):
            return
        answer = Answer(link, number, packet.qos)
        if not allowed:
            answer.reason = Reason.NOT_AUTHORIZED
        else:
            if packet.qos == 2:
                session.exchanges += 1
                answer.number = session.exchanges
                session.received[number] = answer
            if not delivery.publish(packet, session, answer):
                answer.reason = Reason.NO_MATCHING_SUBSCRIBERS
        if link.closing:  # it was itself too slow for what it sent
            return
        if answer.open or answer.reason or link.answers or link.muted or answer.needs > delivery.keep.kept:
            link.answers.append(answer)
            self.release(link)
        else:  # nothing has to be waited for
            self._say_taken(link, answer)

    def _counted(self, link: Link, number: int) -> bool:
        """Whether the client still has leave to send ([MQTT-3.3.4-9]). One of 3.1.1 is not read from for a while."""
        link.using.add(number)
        if link.version == MQTT_5 and len(link.using) > self.delivery.limits.receive:
            self.fault(link, Reason.RECEIVE_MAXIMUM_EXCEEDED, f"more than {self.delivery.limits.receive:,} unanswered")
            return False
        return True

    def _again(self, link: Link, session: Session, packet: Publish, answer: Answer) -> None:
        """A message of QoS 2 that was here before goes to nobody ([MQTT-4.3.3-10]; 3.1.1: [MQTT-4.3.3-2])."""
        if answer.link is link and not answer.said:
            return  # its answer comes
        if not self._counted(link, answer.packet_id):
            return
        answer.link, answer.said = link, False
        if not answer.open and _refused(answer):
            # It is not taken yet. Others have it, and so may some of the node's own: it stays the same exchange.
            answer.reason, answer.again = Reason.SUCCESS, True
        if answer.again:
            answer.again = False
            names = self.delivery.names_for(packet.topic)
            if names:
                self.delivery.tell(packet, names, session, answer)
        link.answers.append(answer)
        if link.answers[0] is answer:  # else it is said after those before it
            self.release(link)

    def release(self, link: Link) -> None:
        """Say all that may be said by now."""
        keep = self.delivery.keep
        if link.closing:
            return
        if link.muted:
            if link.connack_needs > keep.kept:
                self.delivery.waiting[link] = None
                return
            link.muted = False
            link.out.insert(0, link.connack)
            link.pending += len(link.connack)
            self.delivery.counts.packets_out += 1
            self.delivery.mark(link)
        answers, others = link.answers, link.others
        said = 0
        for answer in answers:
            if answer.open or link.closing:
                break
            if answer.needs > keep.kept:
                self.delivery.waiting[link] = None
                break
            said += 1
            if answer.reason:
                self._say(link, answer)
            else:
                self._say_taken(link, answer)
        del answers[:said]
        while others:
            needs, data, ended = others[0]
            if needs > keep.kept:
                self.delivery.waiting[link] = None
                break
            others.pop(0)
            self._say_other(link, data, ended)
        if link.hold:
            self.mind(link)

    def _say_taken(self, link: Link, answer: Answer) -> None:
        answer.said = True
        if answer.qos == 1:
            link.using.discard(answer.packet_id)
            self.delivery.write(link, b"\x40\x02" + answer.packet_id.to_bytes(2, "big"))
        else:
            self.delivery.write(link, b"\x50\x02" + answer.packet_id.to_bytes(2, "big"))
        self.delivery.counts.packets_out += 1

    def _say(self, link: Link, answer: Answer) -> None:
        """Something is to be said beside that it was taken."""
        reason, number = answer.reason, answer.packet_id
        answer.said = True
        if reason >= 0x80 and reason is not Reason.NOT_AUTHORIZED:
            link.refused += 1
            link.ended = reason, _NOT_TAKEN
        first = b"\x40\x02" if answer.qos == 1 else b"\x50\x02"
        if _refused(answer) and (answer.qos == 2 or link.version != MQTT_5):
            # To 3.1.1 there is no word for it. At QoS 2 there is, but if it is lost the same message is a new one
            # ([MQTT-4.3.3-11]), and other clients have had it: what comes again has to be known.
            self.delivery.counts.refused_messages += 1
            self.fault(link, reason if reason in BROKER_REASONS[Disconnect] else Reason.UNSPECIFIED_ERROR, _NOT_TAKEN)
            return
        if link.version == MQTT_5:
            kind = Puback if answer.qos == 1 else Pubrec
            reason = reason if reason in REASONS[kind] else Reason.UNSPECIFIED_ERROR
            data = encode(kind(number, reason), MQTT_5)
        else:
            if reason >= 0x80 and reason is not Reason.NOT_AUTHORIZED:
                self.delivery.counts.refused_messages += 1
            data = first + number.to_bytes(2, "big")
        if answer.qos == 1:
            link.using.discard(number)
        elif reason >= 0x80 and link.version == MQTT_5:
            link.using.discard(number)
            self._release(link.session, answer)
        self.delivery.write(link, data)
        self.delivery.counts.packets_out += 1

    def _release(self, session: Session | None, answer: Answer) -> int:
        """The packet id of an exchange is free; number of the record that says so."""
        if session is None or session.received.get(answer.packet_id) is not answer:
            return 0
        del session.received[answer.packet_id]
        return self.delivery.keep.add(Released(session.client_id, answer.packet_id)) if session.expiry else 0

    def later(self, link: Link, needs: int, data: bytes, ended: int = 0) -> None:
        """Say something as soon as a record is kept, after all that was to be said so before."""
        if link.others or link.muted or link.closing or needs > self.delivery.keep.kept:
            link.others.append((needs, data, ended))
            self.release(link)
        else:
            self._say_other(link, data, ended)

    def _say_other(self, link: Link, data: bytes, ended: int) -> None:
        link.using.discard(ended)
        self.delivery.write(link, data)
        self.delivery.counts.packets_out += 1

    # ------------------------------------------------------------------ acknowledgements

    def heard(self, link: Link, packet: Packet) -> bool:
        """A client says something about a message; False: it is something else."""
        session = link.session
        if session is None:
            return False
        if isinstance(packet, Puback):
            self._finished(session, packet.packet_id, 1)
        elif isinstance(packet, Pubrec):
            self._received(link, session, packet)
        elif isinstance(packet, Pubcomp):
            self._finished(session, packet.packet_id, 2)
        elif isinstance(packet, Pubrel):
            self._released(link, session, packet)
        else:
            return False
        return True

    def _finished(self, session: Session, number: int, qos: int) -> None:
        out = session.out.get(number)
        if out is None or not out.live or out.qos != qos or (qos == 2 and not out.received):
            self.delivery.counts.stray += 1
            return
        self.delivery.finish(session, out)
        if session.unsent:
            self.delivery.pump(session)

    def _received(self, link: Link, session: Session, packet: Pubrec) -> None:
        """PUBREL follows, once a crash would not forget it: a message must not come again after it."""
        number = packet.packet_id
        out = session.out.get(number)
        if out is None or not out.live or out.qos != 2:
            self.delivery.counts.stray += 1
            if packet.reason < 0x80:
                unknown = Pubrel(number, Reason.PACKET_IDENTIFIER_NOT_FOUND)
                self.later(link, 0, encode(unknown, link.version))
            return
        if packet.reason >= 0x80:  # it will not have it ([MQTT-4.3.3-4])
            self.delivery.finish(session, out)
            self.delivery.pump(session)
            return
        if out.received:
            if out.needs <= self.delivery.keep.kept:
                self.later(link, 0, b"\x62\x02" + number.to_bytes(2, "big"))
            return
        out.received, out.message = True, None
        session.size -= out.size
        out.size = 0
        out.needs = self.delivery.keep.add(Received(session.client_id, number)) if session.expiry else 0
        self.later(link, out.needs, b"\x62\x02" + number.to_bytes(2, "big"))

    def _released(self, link: Link, session: Session, packet: Pubrel) -> None:
        """PUBCOMP follows, once a crash would not take the next message with this packet id for the last one."""
        number = packet.packet_id
        answer = session.received.get(number)
        if answer is None:
            # If it was released before, that record is kept by the time this is said: the answer to the first PUBREL
            # goes before it, and on a new connection CONNACK, which has a later record.
            unknown = Pubcomp(number, Reason.PACKET_IDENTIFIER_NOT_FOUND)
            self.later(link, 0, encode(unknown, link.version), number)
            return
        self.later(link, self._release(session, answer), b"\x70\x02" + number.to_bytes(2, "big"), number)


def _refused(answer: Answer) -> bool:
    """Whether a message was not taken, for a reason that may pass."""
    return answer.reason >= 0x80 and answer.reason not in _OWN_FAULT
