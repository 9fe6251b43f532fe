"""Large packets that were begun and are not whole: what they take is bounded over all connections of a broker.

Each packet has a limit of its own, and one that is sent as fast as the network takes it is whole soon. Many that never
end would together take whatever there is: then those go first that hold the most for the longest.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from anylog.wire.mqtt_session import Link

LARGE = 16 << 10  # bytes of a packet from which it is counted: as many as connections may hold without it


@define(eq=False)
class Begun:
    """The connections with large packets that are not whole."""

    most: int  # bytes of all of them
    held: int = 0  # bytes
    _links: dict[Link, tuple[int, float]] = field(factory=dict)  # what each holds, and since when

    def note(self, link: Link, now: float, anew: bool) -> None:
        """Something came on a connection; `anew`: what was begun before is whole."""
        size = link.reader.held
        before, since = self._links.get(link, (0, now))
        if size > LARGE:
            self._links[link] = size, now if anew else since
        elif before:
            del self._links[link]
            size = 0
        else:
            return
        self.held += size - before

    def gone(self, link: Link) -> None:
        """A connection ends: what it began is never whole, and is let go."""
        self.held -= self._links.pop(link, (0, 0.0))[0]
        link.reader.forget()

    def too_much(self, now: float) -> Iterator[Link]:
        """Those to be closed, one after the other until there is room; they have to be said to be `gone`."""
        while self.held > self.most:
            yield max(self._links, key=lambda link: self._weight(link, now))

    def _weight(self, link: Link, now: float) -> tuple[float, int]:
        size, since = self._links[link]
        return size * (now - since), size
