"""A light HTTP load: one thread, plain sockets, each connection sends its next request when the answer is there."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What a load did: seconds from the first byte to the last answer, and how long each answer took."""

    seconds: float
    answers: int
    refused: int
    times: list[float] = field(default_factory=list)


def put(body: bytes, dbms: str, table: str, host: str = "127.0.0.1") -> bytes:
    """One streaming PUT."""
    return (
        f"PUT / HTTP/1.1\r\nHost: {host}\r\ntype: json\r\ndbms: {dbms}\r\ntable: {table}\r\nmode: streaming\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class _Visit:
    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""
        self.began = 0.0

    def send(self, request: bytes) -> None:
        self.got = b""
        self.began = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """True when a whole answer is there."""
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError(f"closed after {self.got[:200]!r}")
        self.got += part
        head, found, body = self.got.partition(b"\r\n\r\n")
        if not found:
            return False
        size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        return len(body) >= size


def run(address: tuple[str, int], requests: Iterator[bytes], connections: int, every: float = 0.0) -> Outcome:
    """Send all requests over so many connections; `every`: seconds between requests, 0 for as fast as answers come."""
    visits = [_Visit(address) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    idle, busy, refused, times = list(visits), 0, 0, []
    for visit in visits:
        selector.register(visit.socket, selectors.EVENT_READ, visit)
    begin = time.perf_counter()
    due, over = begin, False
    while True:
        while idle and not over and (not every or time.perf_counter() >= due):
            request = next(requests, None)
            if request is None:
                over = True
                break
            due += every
            idle.pop().send(request)
            busy += 1
        if over and not busy:
            break
        wait = max(0.0, due - time.perf_counter()) if every and idle and not over else None
        for key, _ in selector.select(wait):
            visit = key.data
            if visit.receive():
                times.append(time.perf_counter() - visit.began)
                refused += not visit.got.startswith(b"HTTP/1.1 200")
                idle.append(visit)
                busy -= 1
    end = time.perf_counter()
    for visit in visits:
        visit.socket.close()
    return Outcome(end - begin, len(times), refused, times)
