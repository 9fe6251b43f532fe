"""The lives of sessions: how they begin, what becomes of them without their clients, and how they end (5.0, 4.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anylog.wire.mqtt_connect import last_words
from anylog.wire.mqtt_deliver import Delivery
from anylog.wire.mqtt_limits import FOREVER
from anylog.wire.mqtt_records import Left
from anylog.wire.mqtt_session import Session


class Lives:
    """Begins and ends sessions, and publishes their wills when these are due."""

    def __init__(
        self, delivery: Delivery, at: Callable[[float, str, Any], None], name: Callable[[], str] | None = None
    ) -> None:
        """`at(when, what, whom)` asks for a look at a time; `name` gives an id to a client that has none."""
        self.incarnation = 0  # the last one: each is larger than those before it
        self._delivery, self._at, self._name = delivery, at, name

    def begin(self, client_id: str) -> Session:
        """A new session; a client without an id is given one."""
        self.incarnation = max(self.incarnation + 1, int(self._delivery.now * 1000))
        sessions = self._delivery.sessions
        if not client_id:
            while not client_id or client_id in sessions:
                client_id = self._name() if self._name is not None else f"auto-{self.incarnation:x}-{len(client_id)}"
        session = sessions[client_id] = Session(client_id, self.incarnation)
        return session

    def gone(self, session: Session) -> None:
        """A session has no connection: its will, its end, and the record of both."""
        now, will = self._delivery.now, session.will
        gone = now if session.gone is None else session.gone
        if will is not None and session.will_due is None:
            session.will_due = gone + min(will.will_delay_interval or 0, 0 if session.ending else session.expiry)
        if session.will_due is not None and session.will_due <= now:
            self._publish_will(session)
        if session.ending or not session.expiry:
            self.end(session)
            return
        self._note_left(session, gone)
        if session.will_due is not None:
            self._at(session.will_due, "will", session)
        if session.expiry < FOREVER:
            self._at(gone + session.expiry, "session", session)

    def _note_left(self, session: Session, gone: float) -> None:
        sent = max((out.serial for out in session.out.values() if out.sent), default=0)
        self._delivery.keep.add(Left(session.client_id, gone, session.expiry, sent, session.will_due))

    def end(self, session: Session) -> None:
        """A session is over; a will that was delayed is sent with it."""
        self._delivery.end(session)
        self._publish_will(session)

    def ended(self, session: Session) -> None:
        """Its time without its client may be over."""
        if self.current(session) and session.gone is not None and session.expiry < FOREVER:
            end = session.gone + session.expiry
            if end <= self._delivery.now:
                self.end(session)

    def will_is_due(self, session: Session) -> None:
        """A will that was delayed may be."""
        if session.will_due is None or session.will_due > self._delivery.now:
            return
        self._publish_will(session)
        if session.expiry and session.gone is not None:
            self._note_left(session, session.gone)

    def _publish_will(self, session: Session) -> None:
        will, session.will, session.will_due = session.will, None, None
        if will is not None:
            self._delivery.publish(last_words(will), None, None)

    def current(self, session: Session) -> bool:
        """Whether it is the one of its client, and not one that was."""
        return self._delivery.sessions.get(session.client_id) is session
