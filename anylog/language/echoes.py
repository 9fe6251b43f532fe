"""The echo queue: what was said to the people of this node while nobody looked (cli-console.md 4, language.md 9.2)."""

from __future__ import annotations

from collections import deque

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, unix
from anylog.language.logs import LONGEST, masked

SIZE = 20  # messages, unless said otherwise
MOST = 100


@frozen
class Message:
    """One of them; `number` counts all that ever came, so a gap shows that some were overwritten."""

    number: int
    time: float  # unix seconds
    text: str


class EchoQueue:
    """The last messages of one node; off until it is turned on, and then nothing is written to consoles."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._messages: deque[Message] | None = None
        self.count = 0  # messages that ever came

    @property
    def on(self) -> bool:
        """Whether messages are kept rather than written at once."""
        return self._messages is not None

    @property
    def size(self) -> int:
        """How many are kept."""
        return SIZE if self._messages is None else self._messages.maxlen or SIZE

    def turn(self, on: bool) -> None:
        """Begin to keep messages, or stop it and drop those that are kept."""
        if not on:
            self._messages = None
        elif self._messages is None:
            self._messages = deque(maxlen=SIZE)

    def add(self, text: str) -> None:
        """Keep a message; the oldest gives way. Secrets are masked, and a long one is cut."""
        if self._messages is not None:
            self.count += 1
            self._messages.append(Message(self.count, unix(self._clock), masked(text[:LONGEST])))

    def messages(self) -> list[Message]:
        """Those that are kept, oldest first."""
        return list(self._messages or ())

    def reset(self, size: int) -> None:
        """Drop all, and keep so many from now on. Raises AnyLogError 3 if it is off."""
        if self._messages is None:
            raise AnyLogError(3, "the echo queue is off: 'set echo queue on' turns it on", http=400)
        self._messages = deque(maxlen=size)
