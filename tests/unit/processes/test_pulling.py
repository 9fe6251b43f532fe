"""Files of another member: what is asked for comes whole, late ones are waited for, and odd ones are not counted."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from filing_case import MEMBER
from pull_case import FOLDERS, OTHER, Body, PullCase
from twisted.internet.defer import Deferred, succeed

from anylog.databases.tsd_ranges import Range
from anylog.disk.archive import folder_of
from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.interfaces import Asker, Read, Reply
from anylog.processes.pulling import IDS, SILENCE, Got


class FetchTests(PullCase):
    def fetch(self, *names: FileName) -> Deferred[Got]:
        asked = [self.line(name) for name in names]
        return Deferred.fromCoroutine(self.puller.fetch(self.peer, self.place, OTHER, asked))

    def test_another_file_of_that_name(self) -> None:
        """It is left as it is, and what came is not counted as published."""
        one, two = self.give(1), self.give(2)
        self.disk.put(FOLDERS.watch / str(one), b"something else")
        got = self.get(self.fetch(one, two))
        self.assertEqual((got.published, got.names), ([2], [(str(two), 8)]))
        self.assertEqual(self.puller.counts["not kept"], 1)

    def test_a_full_disk(self) -> None:
        """What is published counts; if nothing is, the reason is told."""
        one, two = self.give(1), self.give(2)
        outcomes: list[Any] = ["new", OSError(errno.ENOSPC, "No space left on device")]
        self.disk.batch = lambda steps: outcomes  # type: ignore[method-assign]
        self.assertEqual(self.get(self.fetch(one, two)).published, [1])
        outcomes[0] = outcomes[1]
        self.assertEqual(self.failureResultOf(self.fetch(one, two), AnyLogError).value.number, 503)

    def slow(self, name: FileName, body: Body, size: int) -> None:
        self.odd["fetch"] = lambda head: succeed(
            Reply(head={"files": [[name.id, str(name), size]], "missing": [], "later": []}, body=body)
        )

    def test_slow_bytes(self) -> None:
        """A file takes as long as bytes come, however long; silence ends it, and the body is closed."""
        data = b'{"v":1}\n'
        name = self.give(1, data)
        body = Body([None] * len(data))
        self.slow(name, body, len(data))
        waited = self.fetch(name)
        for place in range(len(data)):
            self.clock.advance(SILENCE - 1)
            body.waited.callback(data[place : place + 1])
        self.assertEqual(self.get(waited).published, [1])
        body = Body([data[:3], None])
        self.slow(name, body, len(data))
        waited = self.fetch(name)
        self.clock.advance(SILENCE + 1)
        self.assertEqual(self.failureResultOf(waited, AnyLogError).value.number, 26)
        self.assertGreater(body.closed, 0)

    def test_no_answer_begins(self) -> None:
        """A member that says nothing is not waited for as long as one that sends."""
        self.odd["fetch"] = lambda head: Deferred()
        waited = self.fetch(self.give(1))
        self.clock.advance(SILENCE + 1)
        self.assertEqual(self.failureResultOf(waited, AnyLogError).value.number, 26)

    def test_nonsense(self) -> None:
        """It is refused with the node's address, and the body is closed."""
        name = self.give(1)
        for head in ({"files": [], "missing": [[]], "later": []}, {"files": [[1, str(name), float("inf")]]}, {}):
            body = Body([b"x"])
            self.odd["fetch"] = lambda _, head=head, body=body: succeed(Reply(head=head, body=body))  # type: ignore[misc]
            refused = self.failureResultOf(self.fetch(name), AnyLogError).value
            self.assertEqual((refused.number, refused.node), (21, self.peer.address))
            self.assertGreater(body.closed, 0, head)
        self.odd["members"] = lambda head: succeed(Reply(head={"member": OTHER, "tables": {"7": ["x"] * 7},
                                                               "parts": {}, "yours": float("inf")}))  # fmt: skip
        asked = self.puller.members(self.peer, self.place, Range(""), safe={}, complete=False)
        refused = self.failureResultOf(Deferred.fromCoroutine(asked), AnyLogError).value
        self.assertEqual((refused.number, refused.node), (21, self.peer.address))

    def test_what_lies_there_still(self) -> None:
        """Of some names those in the watch directory; all of them while that cannot be read."""
        self.disk.put(FOLDERS.watch / "a", b"x")
        self.assertEqual(self.get(Deferred.fromCoroutine(self.puller.lying(["a", "b"]))), {"a"})

        def broken(folder: Path) -> list[str]:
            raise OSError(errno.EIO, "broken")

        self.disk.names = broken  # type: ignore[method-assign]
        self.assertEqual(self.get(Deferred.fromCoroutine(self.puller.lying(["a", "b"]))), {"a", "b"})


class GiveTests(PullCase):
    """The member that is asked."""

    def told(self, *ids: int) -> tuple[list[int], list[int], list[int]]:
        """Ids of files that come, that are missing, and that come later."""
        head = {"cluster": "c", "asker": 3, "member": OTHER, "ids": list(ids)}
        reply = self.get(self.ask("", "fetch", head, 0.0))
        return (
            [each[0] for each in reply.head["files"]],
            [each[0] for each in reply.head["missing"]],
            reply.head["later"],
        )

    def test_a_file_that_moves_while_it_is_read(self) -> None:
        """It is found at its new place, or told to come later; it is not told to be missing."""
        name, stays = self.give(1, archived=False), self.give(2)
        here, there = FOLDERS.distr / str(name), folder_of(FOLDERS.archive, str(name.date)) / str(name)
        self.other_disk.put(here, b'{"v":1}\n')
        inner = self.other_disk.batch
        for moves, expected in [([there], ([1, 2], [], [])), ([here, there], ([2], [], [1]))]:
            left = list(moves)

            def batch(steps: Any, left: list[Path] = left) -> list[Any]:
                if left and any(isinstance(step, Read) and str(name) in str(step.path) for step in steps):
                    target = left.pop(0)
                    self.other_disk.forget(there if target == here else here)
                    self.other_disk.put(target, b'{"v":1}\n')
                return inner(steps)

            self.other_disk.batch = batch  # type: ignore[method-assign]
            self.assertEqual(self.told(1, 2), expected)
        self.assertEqual(stays.id, 2)

    def test_a_file_on_its_way(self) -> None:
        """What is loaded and not in the archive yet comes later; what is in nobody's hands is missing."""
        on_way, gone = self.give(1, archived=False), self.give(2, archived=False)
        self.busy.add(on_way.hash)
        self.assertEqual(self.told(1, 2), ([], [gone.id], [on_way.id]))

    def test_a_file_that_is_loaded_again(self) -> None:
        """Its rows were lost and are read from the archive at this moment: it is not told to be missing."""
        again, gone = self.give(1, rows=0), self.give(2, archived=False)
        self.assertEqual(self.told(1, 2, 3), ([], [gone.id, 3], [again.id]))


class KnownTests(PullCase):
    """What a member has under ids of another one's files."""

    def known(self, *ids: int, first: int = 0) -> Any:
        return self.get(Deferred.fromCoroutine(self.puller.known(self.peer, self.place, MEMBER, ids, first)))

    def mine(self, id: int, rows: int = 1) -> str:
        """A file of this node that the other one has; without rows it is on its way there."""
        name = self.name(id, b'{"v":%d}\n' % id, MEMBER)
        self.hold(self.other, f"tsd_{MEMBER}", name, rows)
        return name.hash

    def lies(self, id: int) -> str:
        """One that waits to be registered there."""
        name = self.name(id, b'{"v":%d}\n' % id, MEMBER)
        self.other_disk.put(FOLDERS.watch / str(name), b'{"v":%d}\n' % id)
        return name.hash

    def test_loaded_and_on_their_way(self) -> None:
        """What is loaded, what waits, and what nobody knows."""
        self.get(self.other.make_of(MEMBER))
        loaded, begun, lying = self.mine(5), self.mine(6, 0), self.lies(7)
        told = {5: (loaded, 1, "loaded"), 7: (lying, 0, "pending")}
        found, waits = self.known(5, 6, 7, 8)
        self.assertEqual((found[6][:2], waits), ((begun, 0), False))
        self.assertEqual({id: each for id, each in found.items() if id != 6}, told)
        self.assertEqual(self.known(8), ({}, False))
        self.assertEqual(self.exchange.counts["ids told"], 3)

    def test_what_lies_there_under_an_id_that_is_missing(self) -> None:
        """It comes, and is told instead of the entry without rows."""
        self.get(self.other.make_of(MEMBER))
        self.mine(6, 0)
        hash = self.lies(6)
        self.assertEqual(self.known(6), ({6: (hash, 0, "pending")}, False))

    def test_what_waits_from_an_id_on(self) -> None:
        """Only if it was asked for, and only from that id on; from the first of all, too."""
        self.lies(7)
        self.assertEqual([self.known(5, first=each)[1] for each in (0, 1, 7, 8)], [False, True, True, False])

    def test_many(self) -> None:
        """They are asked for in parts."""
        self.get(self.other.make_of(MEMBER))
        hash = self.mine(2 * IDS)
        self.assertEqual(self.known(*range(1, 2 * IDS + 1)), ({2 * IDS: (hash, 1, "loaded")}, False))
        self.assertEqual(self.count("known"), 2)

    def test_refusals(self) -> None:
        """Nobody of the cluster asks, or the question or the answer makes no sense, or the disk does not answer."""
        good = {"cluster": "c", "asker": MEMBER, "member": MEMBER, "ids": [5], "first": 0}
        asker = Asker(host="", address="")
        for odd, number in [
            ({"cluster": "d"}, 40), ({"asker": 9}, 40), ({"ids": []}, 21), ({"ids": None}, 21), ({"ids": ["5"]}, 40),
            ({"ids": [0]}, 40), ({"ids": [True]}, 40), ({"first": -1}, 40),
        ]:  # fmt: skip
            refusal = self.failureResultOf(self.exchange.known({**good, **odd}, b"", asker), AnyLogError).value
            self.assertEqual(refusal.number, number, odd)
        self.odd["known"] = lambda head: succeed(Reply(head={"known": [[9, "h", 1, "loaded"]]}))
        asked = Deferred.fromCoroutine(self.puller.known(self.peer, self.place, MEMBER, [5]))
        self.assertEqual(self.failureResultOf(asked, AnyLogError).value.number, 21)

        def unreadable(folder: Path) -> list[str]:
            raise OSError(errno.EIO, "Input/output error")

        self.other_disk.names = unreadable  # type: ignore[method-assign]
        refusal = self.failureResultOf(self.exchange.known(good, b"", asker), AnyLogError).value
        self.assertEqual(refusal.number, 63)

    def test_the_last_id(self) -> None:
        """One who asks for the last of its ids is told of files that are not registered yet, too."""
        self.get(self.other.make_of(MEMBER))
        self.mine(5)
        self.lies(7)
        for safe, last in ((None, 7), ({}, 5)):
            asked = self.puller.members(self.peer, self.place, Range(""), safe=safe, complete=False)
            self.assertEqual(self.get(Deferred.fromCoroutine(asked)).known, last)
