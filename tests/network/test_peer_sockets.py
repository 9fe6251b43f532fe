"""Peers on real sockets of this machine: what the memory network stands for."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from anylog.errors import AnyLogError
from anylog.interfaces import Reply
from anylog.net import Net
from anylog.network.peers import Peers
from anylog.network.tcp import TcpOptions, TcpServer
from anylog.waiting import deferring, gather

PAGES = [bytes([n]) * 150_000 for n in range(40)]


class Body:
    """The pages, at once."""

    def __init__(self) -> None:
        self.left = list(PAGES)
        self.closed = False

    def next(self) -> Deferred[bytes | None]:
        """The next one."""
        return succeed(self.left.pop(0) if self.left else None)

    def close(self) -> None:
        self.closed = True


class SocketTests(TestCase):
    """Two nodes, each with a listener."""

    timeout = 30

    @deferring
    async def setUp(self) -> None:
        self.bodies: list[Body] = []
        self.servers = [await self.node(name) for name in ("a", "b")]

    @deferring
    async def tearDown(self) -> None:
        for server in self.servers:
            await server.stop()
            await server.peers.stop()

    @deferring
    async def node(self, name: str) -> TcpServer:
        clock: Any = reactor
        peers = Peers(
            net=Net(reactor),
            clock=clock,
            chance=Random(1),
            hello=lambda: {"name": name, "address": next(iter(sorted(peers.own)), "")},
        )

        @deferring
        async def echo(head: Any, body: bytes, asker: Any) -> Reply:
            if head.get("wrong"):
                raise AnyLogError(29, "no table")
            return Reply(head={"size": len(body), "asker": asker.name})

        @deferring
        async def select(head: Any, body: bytes, asker: Any) -> Reply:
            self.bodies.append(Body())
            return Reply(head={}, body=self.bodies[-1])

        peers.serve("echo", echo)
        peers.serve("select", select)
        options = TcpOptions(internal_ip="127.0.0.1", bind=True)
        server = TcpServer(peers=peers, net=Net(reactor), clock=clock, options=options)
        await server.start()
        return server

    @deferring
    async def test_all_at_once(self) -> None:
        """Questions both ways, bodies, pages, errors, pings, on one connection."""
        a, b = (server.peers for server in self.servers)
        there, back = self.servers[1].addresses()[0], self.servers[0].addresses()[0]
        reply = await a.ask(there, "echo", {}, b"x" * 5_000_000)
        self.assertEqual(reply.head, {"size": 5_000_000, "asker": "a"})
        self.assertLess(await a.ping(there, 5), 1)

        async def read(peers: Peers, address: str) -> list[bytes]:
            body = (await peers.ask(address, "select", {})).body
            assert body is not None
            pages = []
            while (page := await body.next()) is not None:
                pages.append(page)
            return pages

        for pages in await gather([read(*way) for way in [(a, there), (b, back)] * 4]):
            self.assertEqual(pages, PAGES)
        self.assertTrue(all(body.closed for body in self.bodies))
        answers = await gather([a.ask(there, "echo", {}) for _ in range(500)])
        self.assertEqual({answer.head["size"] for answer in answers}, {0})
        error = await self.assertFailure(a.ask(there, "echo", {"wrong": True}), AnyLogError)
        self.assertEqual((error.number, error.node), (29, there))
        self.assertEqual((len(a.carriers), len(b.carriers)), (1, 1))
        error = await self.assertFailure(a.ask("127.0.0.1:1", "echo", {}), AnyLogError)
        self.assertEqual((error.number, error.node), (208, "127.0.0.1:1"))

    @deferring
    async def test_closed_in_the_middle(self) -> None:
        """A body that is closed early ends the work there; a node that stops ends what waits here."""
        a, _ = (server.peers for server in self.servers)
        there = self.servers[1].addresses()[0]
        body = (await a.ask(there, "select", {})).body
        assert body is not None
        await body.next()
        body.close()
        await a.ping(there, 5)
        self.assertTrue(self.bodies[0].closed)
        self.assertGreater(len(self.bodies[0].left), 20)
        unread = (await a.ask(there, "select", {})).body
        assert unread is not None
        await self.servers[1].peers.stop()

        async def rest() -> None:
            while await unread.next() is not None:
                pass

        error = await self.assertFailure(Deferred.fromCoroutine(rest()), AnyLogError)
        self.assertEqual((error.number, error.node), (15, there))
        error = await self.assertFailure(a.ask(there, "echo", {}), AnyLogError)
        self.assertIn(error.number, (15, 208))
