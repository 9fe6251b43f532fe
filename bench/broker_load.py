"""A light MQTT 3.1.1 load: plain sockets, packets made beforehand as large blocks, answers given in blocks.

In a process of its own, told what to do by JSON in its first argument; it prints as JSON what it saw. What comes is
counted by the fixed length of its packets and looked at where they begin, so that this costs little beside any broker.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PUBACK, PUBREC, PUBREL, PUBCOMP = b"\x40\x02", b"\x50\x02", b"\x62\x02", b"\x70\x02"
TOPIC = b"bench/a"
RING = 60_000  # packet ids that are used one after the other
READ = 4 << 20  # bytes at a time: more than a socket holds, so that a subscriber is never behind its broker
QUIET = 20.0  # seconds without a byte after which it is given up
_TICK = os.sysconf("SC_CLK_TCK")


def connect(name: str) -> bytes:
    """A CONNECT whose session ends with the connection."""
    identifier = name.encode()
    return b"\x10" + bytes([12 + len(identifier)]) + b"\0\4MQTT\4\2\0\0\0" + bytes([len(identifier)]) + identifier


def subscribe(topic: bytes, qos: int) -> bytes:
    """A SUBSCRIBE with one filter."""
    return b"\x82" + bytes([5 + len(topic)]) + b"\0\1\0" + bytes([len(topic)]) + topic + bytes([qos])


def message(qos: int, packet_id: int, payload: bytes) -> bytes:
    """A PUBLISH."""
    body = b"\0" + bytes([len(TOPIC)]) + TOPIC + (packet_id.to_bytes(2, "big") if qos else b"") + payload
    size, left = b"", len(body)
    while True:
        left, byte = left >> 7, left & 127
        size += bytes([byte | 128 if left else byte])
        if not left:
            return bytes([0x30 | qos << 1]) + size + body


def payload_of(number: int, size: int, text: bool) -> bytes:
    """So many bytes, JSON or not, which begin with eight digits of a number, in JSON after 12 others."""
    if not text:
        return b"%08d" % number + b"x" * (size - 8)
    head = b'{"number": "%08d", "device": "sensor", "value": 21.5, "text": "' % number
    return head + b"x" * (size - len(head) - 2) + b'"}'


def processor(pid: int) -> float:
    """Seconds that a process has had of processors, with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class Peer:
    """One client: connected when it is made, and not blocking from then on."""

    def __init__(self, port: int, name: str, topic: bytes = b"", qos: int = 0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(connect(name))
        self._expect(b"\x20\2\0\0")
        if topic:
            self.socket.sendall(subscribe(topic, qos))
            self._expect(b"\x90\3\0\1" + bytes([qos]))
        self.socket.setblocking(False)
        self.fileno = self.socket.fileno()
        self.out = b""  # what the socket did not take
        self.rest = b""  # of a packet that is not whole
        self.came = 0  # bytes
        self.done = 0  # messages, whatever that means for it
        self.sent = 0  # bytes of the block
        self.may = 0  # bytes of the block that it may have sent
        self.unanswered = 0

    def _expect(self, answer: bytes) -> None:
        got = b""
        while len(got) < len(answer):
            part = self.socket.recv(len(answer) - len(got))
            if not part:
                raise ConnectionError(f"closed after {got!r}")
            got += part
        if got != answer:
            raise ConnectionError(f"{got!r} instead of {answer!r}")

    def say(self, data: bytes | memoryview) -> None:
        """Now, or when the socket takes it."""
        self.out += data
        try:
            self.out = self.out[self.socket.send(self.out) :]
        except BlockingIOError:
            pass

    def push(self, block: memoryview) -> None:
        """Of a block that is sent again and again as much as it may and the socket takes."""
        size = len(block)
        try:
            while self.sent < self.may:
                at = self.sent % size
                self.sent += self.socket.send(block[at : min(size, at + self.may - self.sent)])
        except BlockingIOError:
            pass


class Turns:
    """Waits for sockets and calls what reads them."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._read: dict[int, Callable[[bytes], None]] = {}
        self._write: dict[int, Callable[[], None]] = {}
        self._peers: dict[int, Peer] = {}
        self._wanted: dict[int, int] = {}

    def add(self, peer: Peer, read: Callable[[bytes], None], write: Callable[[], None]) -> None:
        """`read` is given what came; `write` is called when the socket takes more."""
        self._read[peer.fileno], self._write[peer.fileno], self._peers[peer.fileno] = read, write, peer
        self._wanted[peer.fileno] = select.EPOLLIN
        self._poll.register(peer.fileno, select.EPOLLIN)

    def until(self, so: Callable[[], bool]) -> None:
        """Raises RuntimeError if nothing comes any more."""
        while not so():
            for number, peer in self._peers.items():
                wanted = select.EPOLLIN | (select.EPOLLOUT if peer.out or peer.sent < peer.may else 0)
                if wanted != self._wanted[number]:
                    self._wanted[number] = wanted
                    self._poll.modify(number, wanted)
            events = self._poll.poll(QUIET)
            if not events:
                raise RuntimeError(f"nothing for {QUIET} seconds")
            for number, event in events:
                peer = self._peers[number]
                if event & select.EPOLLIN:
                    data = peer.socket.recv(READ)
                    if not data:
                        raise ConnectionError("closed by the broker")
                    peer.came += len(data)
                    self._read[number](data)
                if event & select.EPOLLOUT:
                    if peer.out:
                        peer.say(b"")
                    self._write[number]()


class Stretch:
    """What it takes from here to `end`, of time, of the broker, and of this process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._broker, self._own = processor(pid), time.process_time()
        self._begin = time.perf_counter()

    def end(self, count: int, **more: object) -> dict[str, object]:
        seconds = time.perf_counter() - self._begin
        return {
            "count": count,
            "seconds": seconds,
            "broker": processor(self._pid) - self._broker,
            "own": time.process_time() - self._own,
            **more,
        }


def at_most_once(port: int, pid: int, messages: int, subscribers: int, size: int, window: int) -> dict[str, object]:
    """QoS 0 from one to many; the publisher is never further ahead than `window` of the slowest, so nothing is lost."""
    one = message(0, 0, payload_of(0, size, False))
    length = len(one)
    block = memoryview(one * 1000)
    turns, behind = Turns(), 0
    readers = [Peer(port, f"s{number}", TOPIC, 0) for number in range(subscribers)]
    writer = Peer(port, "p")
    slowest = 0

    def write() -> None:
        writer.may = min(slowest // length + window, messages) * length
        writer.push(block)

    def read_by(peer: Peer) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            at = -(peer.came - len(data)) % length  # where the first packet of this begins
            if data[at : at + 1] not in (b"0", b""):
                raise RuntimeError("that is no message")

        return read

    for peer in readers:
        turns.add(peer, read_by(peer), lambda: None)
    turns.add(writer, lambda data: None, write)

    def over() -> bool:
        nonlocal slowest, behind
        slowest = min(peer.came for peer in readers)
        if slowest > behind + window // 4 * length:  # not for each of many subscribers
            behind = slowest
            write()
        return slowest >= messages * length

    stretch = Stretch(pid)
    write()
    turns.until(over)
    found = stretch.end(messages * subscribers)
    if any(peer.came != messages * length for peer in readers):
        raise RuntimeError("more came than was sent")
    return found


def acknowledged(data: bytes, kind: bytes) -> int:
    """How many there are of an answer of four bytes, all of which must be of that kind."""
    count = len(data) // 4
    if data[0 : 4 * count : 4] != kind[:1] * count:
        raise RuntimeError(f"something else than {kind!r}")
    return count


def answered(data: bytes, at: int, count: int, length: int, place: int, kind: bytes) -> bytes:
    """Answers in one block to so many messages from `at` on, which have their packet id at `place`."""
    block = bytearray(kind + b"\0\0") * count
    block[2::4] = data[at + place : at + length * count : length]
    block[3::4] = data[at + place + 1 : at + length * count : length]
    return bytes(block)


def at_least_once(port: int, pid: int, messages: int, publishers: int, size: int, window: int) -> dict[str, object]:
    """QoS 1 from many to one, each publisher with at most `window` messages unanswered."""
    each = messages // publishers
    made = [message(1, number % RING + 1, payload_of(number, size, True)) for number in range(RING)]
    length, place = len(made[0]), made[0].index(TOPIC) + len(TOPIC)
    block = memoryview(b"".join(made))
    turns = Turns()
    reader = Peer(port, "s", TOPIC, 1)
    writers = [Peer(port, f"p{number}") for number in range(publishers)]

    def received(data: bytes) -> None:
        data = reader.rest + data
        count = len(data) // length
        if data[0 : count * length : length] != b"2" * count:
            raise RuntimeError("that is no message of QoS 1")
        reader.rest = data[count * length :]
        reader.done += count
        reader.say(answered(data, 0, count, length, place, PUBACK))

    def writing(peer: Peer) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        def heard(data: bytes) -> None:
            data = peer.rest + data
            count = acknowledged(data, PUBACK)
            peer.rest = data[4 * count :]
            peer.done += count
            write()

        def write() -> None:
            peer.may = min(peer.done + window, each) * length
            peer.push(block)

        return heard, write

    turns.add(reader, received, lambda: None)
    both = [(peer, *writing(peer)) for peer in writers]
    for peer, heard, write in both:
        turns.add(peer, heard, write)
    stretch = Stretch(pid)
    for _, _, write in both:
        write()
    turns.until(lambda: reader.done >= each * publishers and all(peer.done == each for peer in writers))
    found = stretch.end(each * publishers)
    if reader.done != each * publishers or reader.rest:
        raise RuntimeError(f"{reader.done} came of {each * publishers}")
    return found


def exactly_once(port: int, pid: int, messages: int, size: int, window: int) -> dict[str, object]:
    """QoS 2 from one to one with `window` exchanges at most; each message must come once and in order."""
    block = memoryview(
        b"".join(message(2, number % RING + 1, payload_of(number, size, False)) for number in range(messages))
    )
    first = message(2, 1, payload_of(0, size, False))
    length, place = len(first), first.index(TOPIC) + len(TOPIC)
    turns, seen, begun = Turns(), [], 0
    reader, writer = Peer(port, "s", TOPIC, 2), Peer(port, "p")

    def received(data: bytes) -> None:
        data = reader.rest + data
        at, end, out = 0, len(data), []
        while end - at >= 4:
            kind = data[at]
            if kind == 0x62:
                out.append(b"\x70\x02" + data[at + 2 : at + 4])
                reader.done += 1
                at += 4
            elif kind != 0x34:
                raise RuntimeError(f"a packet of type {kind >> 4}")
            elif end - at < length:
                break
            else:
                out.append(b"\x50\x02" + data[at + place : at + place + 2])
                seen.append(data[at + place + 2 : at + place + 10])
                at += length
        reader.rest = data[at:]
        reader.say(b"".join(out))

    def heard(data: bytes) -> None:
        data = writer.rest + data
        end = len(data) & ~3
        kinds = data[0:end:4]
        recs = kinds.count(b"P")
        if recs + kinds.count(b"p") != end >> 2:
            raise RuntimeError("neither PUBREC nor PUBCOMP")
        if recs == end >> 2:
            writer.say(answered(data, 0, recs, 4, 2, PUBREL))
        elif recs:
            writer.say(b"".join(PUBREL + data[at + 2 : at + 4] for at in range(0, end, 4) if data[at] == 0x50))
        writer.rest = data[end:]
        writer.done += (end >> 2) - recs
        write()

    def write() -> None:
        # Not by `push`, which would leave packets cut where answers are to follow.
        nonlocal begun
        last = min(writer.done + window, messages)
        writer.say(block[begun * length : last * length])
        begun = last

    turns.add(reader, received, lambda: None)
    turns.add(writer, heard, write)
    stretch = Stretch(pid)
    write()
    turns.until(lambda: writer.done >= messages and reader.done >= messages)
    found = stretch.end(messages)
    if seen != [b"%08d" % number for number in range(messages)]:
        raise RuntimeError(f"{len(seen)} came, {len(set(seen))} different ones, of {messages}")
    return found


def paced(port: int, pid: int, messages: int, every: float, size: int) -> dict[str, object]:
    """QoS 1, a message each `every` seconds: how long each is on its way."""
    reader, writer = Peer(port, "s", TOPIC, 1), Peer(port, "p")
    first = message(1, 1, payload_of(0, size, True))
    length, place = len(first), first.index(TOPIC) + len(TOPIC)
    times: list[float] = []
    sent: list[float] = []
    stretch = Stretch(pid)
    begin = time.perf_counter()
    while len(times) < messages or writer.done < messages:
        now = time.perf_counter()
        due = begin + len(sent) * every
        if len(sent) < messages and now >= due:
            sent.append(time.perf_counter())
            writer.say(message(1, len(sent), payload_of(len(sent) - 1, size, True)))
            continue
        wait = due - now if len(sent) < messages else QUIET
        ready = select.select([reader.fileno, writer.fileno], [], [], wait)[0]
        if not ready and len(sent) == messages:
            raise RuntimeError(f"{len(times)} of {messages} came")
        now = time.perf_counter()
        if reader.fileno in ready:
            data = reader.rest + reader.socket.recv(READ)
            count = len(data) // length
            times += [now - sent[len(times) + number] for number in range(count)]
            reader.rest = data[count * length :]
            reader.say(answered(data, 0, count, length, place, PUBACK))
        if writer.fileno in ready:
            writer.done += len(writer.socket.recv(READ)) // 4
    times.sort()
    return stretch.end(messages, p50=times[len(times) // 2], p99=times[len(times) * 99 // 100], worst=times[-1])


def storm(port: int, pid: int, clients: int, at_once: int) -> dict[str, object]:
    """So many connections, `at_once` of them on their way, until each has its CONNACK; then what they cost idle."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    poll, there = select.epoll(), {}
    names = [connect(f"client-{number:06d}") for number in range(clients)]
    before = resident(pid)
    stretch = Stretch(pid)
    begun = done = 0
    while done < clients:
        while begun < clients and begun - done < at_once:
            made = socket.socket()
            made.setblocking(False)
            made.connect_ex(("127.0.0.1", port))
            there[made.fileno()] = made, names[begun]
            poll.register(made.fileno(), select.EPOLLOUT)
            begun += 1
        events = poll.poll(QUIET)
        if not events:
            raise RuntimeError(f"{done} of {clients} have connected")
        for number, event in events:
            made, hello = there[number]
            if event & select.EPOLLOUT:
                made.send(hello)
                poll.modify(number, select.EPOLLIN)
            elif made.recv(16) != b"\x20\2\0\0":
                raise RuntimeError("not accepted")
            else:
                done += 1
                poll.unregister(number)
    found = stretch.end(clients)
    time.sleep(2.0)
    found["memory"] = resident(pid) - before
    for made, _ in there.values():
        made.close()
    return found


WORKS: dict[str, Callable[..., dict[str, object]]] = {
    work.__name__: work for work in (at_most_once, at_least_once, exactly_once, paced, storm)
}


if __name__ == "__main__":
    told: dict[str, Any] = json.loads(sys.argv[1])
    print(json.dumps(WORKS[told.pop("work")](**told)))
