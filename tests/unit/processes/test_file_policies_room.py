"""Policies on whole contents: what is mapped and what is not, when the ledger is asked, and what doors keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.disk.names import FileName
from anylog.disk.records import BufferId
from anylog.errors import AnyLogError
from anylog.interfaces import Receipt
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.logs import Logs
from anylog.ledger.policy import Policy
from anylog.mapping import topics
from anylog.mapping.body import content_hash, normal_form, sealed_hash
from anylog.mapping.parts import Parts
from anylog.processes import file_policies
from anylog.processes.buffers import Buffer, Pending, Where
from anylog.processes.file_policies import APART, FEW, SHORT, Asking, FilePolicies, made_of
from anylog.processes.files import understand
from anylog.processes.filing import streamed_hash
from anylog.processes.shares import Fails, Share
from anylog.processes.thresholds import Threshold
from anylog.processes.whole import WholeFile
from anylog.testing.lanes import InlineLane

BEGIN, AT = 1_790_000_000, "2026-09-21 14:13:20"
V: dict[str, Any] = {"v": {"type": "int", "bring": "[n]"}}
LATE = {"seen": {"type": "timestamp", "bring": "[ts]", "default": "now()"}}


def mapping(schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"mapping": {"id": "p", "dbms": "town", "table": "t", "schema": schema, **more}}


@define(eq=False)
class CountingLane(InlineLane):
    """Knows what was done in it."""

    done: list[str] = field(factory=list)

    def run(self, work: Any, *args: Any) -> Deferred[Any]:
        self.done.append(work.__name__)
        return super().run(work, *args)


@define(eq=False)
class Doors:
    """What is kept."""

    kept: list[tuple[Any, ...]] = field(factory=list)
    away: AnyLogError | None = None

    def refused(self, dbms: str, table: str) -> AnyLogError | None:
        return self.away

    def accept(self, dbms: str, table: str, body: bytes, rows: Sequence[Any], **how: Any) -> Deferred[Receipt]:
        self.kept.append((dbms, table, list(rows), how))
        return succeed(Receipt("f" * 32 if how.get("whole") else "0", len(rows)))


class PoliciesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(BEGIN)
        self.ledger: dict[str, Policy] = {}
        self.looks: list[Deferred[str]] = []
        self.lane, self.logs, self.doors = CountingLane(), Logs(self.clock), Doors()
        self.dictionary = Dictionary()
        self.policies = FilePolicies(
            clock=self.clock, lane=self.lane, find=lambda ident: self.ledger.get(ident), look=self.look,
            scope=Scope(self.dictionary, {}), logs=self.logs,
        )  # fmt: skip
        self.read = 0

    def look(self) -> Deferred[str]:
        self.looks.append(Deferred())
        return self.looks[-1]

    def add(self, policy: dict[str, Any]) -> None:
        read = Policy.read(policy)
        self.ledger[read.id] = read
        self.policies.forget()

    def share(self, rows: Sequence[dict[str, Any]], *, hash: str = "", put: bool = False, **options: Any) -> Share:
        normal = normal_form(rows)
        hash = hash or content_hash("town", "t", normal)
        kind = options.pop("kind", "json")
        where = Where("town", "t", "0", options.pop("policy", "p"))
        file = WholeFile(
            path=Path("/w/f"), dbms="town", table="t", source="0", instructions=where.instructions, hash=hash,
            rows=list(rows), normal=normal, stamp=(0, 0), kind=kind, **options,
        )  # fmt: skip
        buffer = Buffer(
            BufferId(b"epoch", 1), where, Threshold(), self.clock.seconds(), AT, hash, file=None if put else file
        )
        return Share(buffer, [Pending(None, 1, 10, list(rows))])

    async def _rows_of(self, share: Share) -> list[Mapping[str, Any]]:
        if not share.rows and share.made_by is None:
            self.read += 1
            share.rows.extend(share.pendings[0].rows or ())
            share.sizes.append(len(share.rows))
        return share.rows

    def map(self, share: Share) -> bool:
        return self.successResultOf(Deferred.fromCoroutine(self.policies.map(share, self._rows_of)))

    def refused(self, share: Share) -> Exception:
        failure = self.failureResultOf(Deferred.fromCoroutine(self.policies.map(share, self._rows_of)))
        assert isinstance(failure.value, Exception)
        return failure.value

    def take(self, rows: Sequence[dict[str, Any]], **how: Any) -> Deferred[Receipt]:
        given = {"source": "0", "instructions": "p", "whole": False, "key": "", **how}
        return self.policies.take(self.doors, "town", "t", normal_form(rows), rows, **given)


class WhatIsMapped(PoliciesCase):
    def test_kinds_of_content(self) -> None:
        """By the hash: as it came, cut from a stream, sealed by a publisher; no statements, and nothing without id."""
        self.add(mapping(V))
        rows, made = [{"n": 1}], [{"v": 1}]
        normal = normal_form(rows)
        streamed, sealed = streamed_hash("town.t.3.7", normal), sealed_hash("town", "t", "0123456789abcdef", normal)
        for options, wanted in [
            ({}, made),
            ({"put": True}, made),
            ({"hash": streamed, "member": "3", "id": 7}, rows),
            ({"hash": sealed}, rows),
            ({"kind": "sql"}, rows),
            ({"policy": "0"}, rows),
        ]:
            share = self.share(rows, **options)  # type: ignore[arg-type]
            self.assertTrue(self.map(share))
            found = share.rows or self.successResultOf(Deferred.fromCoroutine(self._rows_of(share)))
            self.assertEqual(found, wanted, options)

    def test_mapped_before(self) -> None:
        """All attributes of the first row are columns: the rows stay as they are, whatever is in the others."""
        self.add(mapping({**V, **LATE}, condition="if [kind] == x"))
        share = self.share([{"v": 1}, {"n": 2}])
        self.assertTrue(self.map(share))
        self.assertEqual(share.rows, [{"v": 1}, {"n": 2}])

    def test_the_time_is_that_of_the_file(self) -> None:
        """Registered later, it is mapped once more, with that time; without `now` in the policy it is not."""
        self.add(mapping({**V, **LATE}))
        share = self.share([{"n": 1}])
        self.map(share)
        self.assertEqual(share.rows, [{"v": 1, "seen": "2026-09-21T14:13:20Z"}])
        share.buffer.registered(5, "2026-09-21 15:00:00.250000")
        self.clock.advance(100)
        self.map(share)
        self.assertEqual(share.rows, [{"v": 1, "seen": "2026-09-21T15:00:00Z"}])
        self.assertEqual((self.read, share.sizes), (2, [1]))
        self.add(mapping(V))
        share = self.share([{"n": 1}])
        self.map(share)
        share.buffer.registered(5, "2026-09-21 15:00:00.250000")
        self.map(share)
        self.assertEqual(self.read, 3)

    def test_another_policy_once_it_is_registered(self) -> None:
        """The same content was registered under another name before: what that says counts."""
        self.add(mapping(V))
        share = self.share([{"n": 1, "v": 5}])
        self.map(share)
        self.assertEqual(share.rows, [{"v": 1}])
        share.buffer.where = Where("town", "t")
        self.assertTrue(self.map(share))
        self.assertEqual((share.rows, share.made_by), ([], None))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self._rows_of(share))), [{"n": 1, "v": 5}])

    def test_the_dictionary_plays_no_part(self) -> None:
        """Members may differ in it: in a file such a row cannot be mapped; what streams is mapped with it."""
        self.dictionary.set("limit", 1)
        self.add(mapping(V, condition="if [n] > !limit"))
        share = self.share([{"n": 5}])
        self.assertFalse(self.map(share))
        self.assertEqual([row for row, _ in share.unmapped], [{"n": 5}])
        self.assertIn("!limit", share.unmapped[0][1])
        self.assertEqual(self.successResultOf(self.take([{"n": 5}])).rows, 1)

    def test_parked(self) -> None:
        """Rows that cannot be mapped stand behind those that were made, each with the row as it came."""
        self.add(mapping({**V, "w": {"type": "varchar", "bring": "[w]", "default": ""}}, readings="r"))
        share = self.share([{"r": [{"n": 1}, {"n": 2}]}, {"x": 1}, {"r": [{"n": "much"}]}])
        self.map(share)
        parked = share.left_out({1: "too wide"})
        self.assertEqual(
            [(each.position, each.row) for each in parked],
            [(2, '{"x":1}'), (3, '{"r":[{"n":"much"}]}'), (1, '{"v":2,"w":""}')],
        )
        self.assertIn("'p'", parked[0].reason)

    def test_a_fault_of_ours(self) -> None:
        """It costs one row."""

        class Odd:
            def parts(self, message: Any, now: float, **names: Any) -> Parts[list[topics.Mapped]]:
                yield 1
                if message == {"n": 2}:
                    raise ZeroDivisionError("odd")
                return [topics.Mapped("town", "t", [message])]

        made = made_of(Odd(), [{"n": 1}, {"n": 2}, {"n": 3}], 0.0, "town", "t", lambda why: AnyLogError(500, str(why)))
        self.assertEqual((made.rows, made.unmapped), ([{"n": 1}, {"n": 3}], [({"n": 2}, str(AnyLogError(500, "odd")))]))

    def test_too_many(self) -> None:
        """A content must not be multiplied beyond measure; what came by PUT is kept aside then."""
        self.patch(file_policies, "MOST_OBJECTS", 100)
        self.add(mapping({"v": {"type": "str", "value": "params.0"}}, params=[["x"]] * 10))
        rows = [{"n": n} for n in range(11)]
        self.assertIn("policy 'p': more than 100 rows", str(self.refused(self.share(rows))))
        share = self.share(rows, put=True)
        self.assertFalse(self.map(share))
        self.assertEqual(len(share.unmapped), 11)
        self.assertEqual(self.failureResultOf(self.take(rows, whole=True)).value.number, 501)  # type: ignore[attr-defined]

    def test_many_are_mapped_in_the_lane(self) -> None:
        """Few are not worth it."""
        self.add(mapping(V))
        self.map(self.share([{"n": n} for n in range(FEW)]))
        self.assertEqual(self.lane.done, [])
        self.map(self.share([{"n": n} for n in range(FEW + 1)]))
        self.assertEqual(self.lane.done, ["made_of"])

    def test_long_ones_are_mapped_in_the_lane(self) -> None:
        """One row may hold any number of readings, or be as many rows as there are params."""
        self.add(mapping({"v": {"type": "varchar", "bring": "[n]"}}))
        self.assertTrue(self.map(self.share([{"n": 1}])))
        self.assertEqual(self.lane.done, [])
        self.successResultOf(self.take([{"n": "x" * SHORT}]))
        self.assertEqual(self.lane.done, ["made_of"])
        share = self.share([{"n": 1}])
        share.pendings[0].weight = SHORT + 1
        self.assertTrue(self.map(share))
        self.assertEqual(self.lane.done, ["made_of"] * 2)
        self.add(mapping(V, params=[[each] for each in range(FEW + 1)]))
        self.successResultOf(self.take([{"n": 1}]))
        self.assertEqual(self.lane.done, ["made_of"] * 3)

    def test_read_early(self) -> None:
        """Rows of a file are converted early only if no policy maps them."""
        rows = [{"v": n} for n in range(40)]
        data = normal_form(rows)
        streamed = streamed_hash("town.t.3.7", data)
        for name, early in [
            ("town.t.json", True),
            ("town.t.0.0.p.json", False),
            (f"town.t.0.{streamed}.p.3.7.260921141320.json", True),
            (f"town.t.0.{sealed_hash('town', 't', '0123456789abcdef', data)}.p.json", True),
            (f"town.t.0.{content_hash('town', 't', data)}.p.3.7.260921141320.json", False),
        ]:
            content = understand(FileName.parse(name), data, 1, {"v": "INT"})
            self.assertEqual((content.early is not None, len(content.rows)), (early, 0 if early else 40), name)

    def test_columns_of_the_table(self) -> None:
        """Those of the schema, by whichever policy; a transform and a policy that is gone say nothing."""
        self.add(mapping({**V, "*": {"type": "*", "bring": ["*"]}}))
        where = Where("town", "t", "0", "p")
        self.assertEqual(self.policies.types(where), {"v": "INT"})
        self.assertEqual(self.policies.types(Where("town", "t")), {})
        self.assertEqual(self.policies.types(Where("town", "t", "0", "q")), {})

    def test_content_of_a_file(self) -> None:
        """For who compares a file with its table: what the policy makes of it, at the time of the file."""
        self.add(mapping({**V, **LATE}))
        data = normal_form([{"n": 1}])
        where, hash = Where("town", "t", "0", "p"), content_hash("town", "t", data)

        def content(where: Where, hash: str) -> bytes:
            asked = self.policies.content(where, hash, "2026-09-21 14:13:20.000000", data)
            return self.successResultOf(Deferred.fromCoroutine(asked))

        self.assertEqual(content(where, hash), b'{"v":1,"seen":"2026-09-21T14:13:20Z"}\n')
        self.assertEqual(content(where, streamed_hash("town.t.1.1", data)), data)
        self.assertEqual(content(Where("town", "t"), hash), data)
        gone = Deferred.fromCoroutine(self.policies.content(Where("town", "t", "0", "q"), hash, AT, data))
        self.assertEqual(self.failureResultOf(gone).value.number, 113)  # type: ignore[attr-defined]


class WhenTheLedgerIsAsked(PoliciesCase):
    def test_it_says_no(self) -> None:
        """An id that is not known is looked for once; only what came before that look began is sure to have none."""
        first, second = self.share([{"n": 1}]), self.share([{"n": 2}])
        for share in (first, second, first):
            told = self.refused(share)
            self.assertIsInstance(told, Asking)
            self.assertIn("there is no policy 'p'", str(told))
        self.assertEqual(len(self.looks), 1)
        self.clock.advance(1)
        later = self.share([{"n": 3}])
        self.looks[0].callback("")
        for share in (first, second):
            told = self.refused(share)
            self.assertIsInstance(told, Fails)
            self.assertEqual(str(told), "there is no policy 'p'")
        self.assertIsInstance(self.refused(later), Asking)
        self.add(mapping(V))
        self.looks[1].callback("")
        self.assertTrue(self.map(later))

    def test_it_is_away(self) -> None:
        """Nothing fails; it is asked again, not too often; what it says then counts."""
        share = self.share([{"n": 1}])
        self.refused(share)
        self.looks[0].callback("Failed to connect to master")
        told = self.refused(share)
        self.assertIsInstance(told, Asking)
        self.assertIn("Failed to connect to master", str(told))
        self.assertEqual(len(self.looks), 1)
        self.clock.advance(APART)
        self.refused(share)
        self.looks[1].errback(AnyLogError(506, "closing"))
        self.assertIsInstance(self.refused(share), Asking)
        self.clock.advance(APART)
        self.refused(share)
        self.add(mapping(V))
        self.looks[2].callback("")
        self.assertTrue(self.map(share))

    def test_an_import_that_comes_late(self) -> None:
        """A policy whose import is not known is as one that is not known itself."""
        self.add(mapping(V, **{"import": {"other": "q"}}))
        share = self.share([{"n": 1}])
        told = self.refused(share)
        self.assertIsInstance(told, Asking)
        self.assertIn("'q'", str(told))
        self.add({"mapping": {"id": "q", "dbms": "town", "table": "t", "schema": V}})
        self.assertTrue(self.map(share))

    def test_wrong_ones(self) -> None:
        """Of another type, or with a fault: nobody is asked."""
        self.add({"device": {"id": "p", "name": "d"}})
        self.assertEqual(
            str(self.refused(self.share([{"n": 1}]))),
            "policy 'p': neither a 'mapping' nor a 'transform' policy: [\"device\"]",
        )
        self.add({"mapping": {"id": "p", "dbms": "town", "table": "t"}})
        self.assertIn("policy 'p': 'schema' is missing", str(self.refused(self.share([{"n": 1}]))))
        self.assertEqual(self.looks, [])

    def test_put_is_never_lost(self) -> None:
        """What was acknowledged by a policy that is gone, or takes nothing of it now, is kept aside with the reason."""
        for policy, told in [
            ({"device": {"id": "p", "name": "d"}}, "policy 'p': neither"),
            (mapping(V, condition="if [n] == 7"), "policy 'p' takes none of its rows"),
        ]:
            self.add(policy)
            share = self.share([{"n": 1}, {"n": 2}], put=True)
            self.assertFalse(self.map(share))
            self.assertEqual([row for row, _ in share.unmapped], [{"n": 1}, {"n": 2}])
            self.assertIn(told, share.unmapped[0][1])
            load = share.nothing(BEGIN, AT)
            self.assertEqual((load.rows, len(load.parked), load.marks[0].parked), (0, 2, 2))

    def test_files_of_which_nothing_is_taken(self) -> None:
        """One that is skipped goes away unless a member has registered it: then its entry has to say so."""
        self.add(mapping(V, condition="if [n] == 7"))
        share, known = self.share([{"n": 1}]), self.share([{"n": 1}], member="3", id=4)
        for each in (share, known):
            self.assertFalse(self.map(each))
            self.assertRaises(Fails, each.nothing, BEGIN, AT)
        self.assertEqual((share.skipped, known.skipped), (True, False))


class AtTheDoor(PoliciesCase):
    def test_streaming(self) -> None:
        """Rows are mapped, by source if the sender tells none; others are kept as a content of their own, and told."""
        self.add(mapping(V, source={"bring": "[who]", "default": "x"}))
        rows = [{"n": 1, "who": "a"}, {"n": "much"}, {"n": 2}, {"n": 3, "who": "a"}]
        self.assertEqual(self.successResultOf(self.take(rows, key="k")), Receipt("0", 3))
        self.assertEqual(
            self.doors.kept,
            [
                ("town", "t", [{"v": 1}, {"v": 3}], {"source": "a", "instructions": "p", "key": "k"}),
                ("town", "t", [{"v": 2}], {"source": "x", "instructions": "p", "key": "k.1"}),
                ("town", "t", [{"n": "much"}], {"source": "0", "instructions": "p", "whole": True}),
            ],
        )
        (entry,) = self.logs.error.find()
        self.assertIn("1 of 4 rows for town.t were not mapped", entry.text)
        self.doors.kept.clear()
        self.successResultOf(self.take(rows[2:], source="mine"))
        self.assertEqual([how["source"] for _, _, _, how in self.doors.kept], ["mine", "mine"])

    def test_a_content(self) -> None:
        """It is kept as it came, and looked at before: what nothing is taken of is not kept."""
        self.add(mapping(V, condition="if [n] == 7"))
        self.assertEqual(self.successResultOf(self.take([{"n": 1}], whole=True)), Receipt("0", 0))
        self.assertEqual(self.successResultOf(self.take([{"n": 7}, {"n": 1}], whole=True)).hash, "f" * 32)
        self.assertEqual([rows for _, _, rows, _ in self.doors.kept], [[{"n": 7}, {"n": 1}]])
        self.doors.away = AnyLogError(5, "nowhere")
        self.assertIn("nowhere", str(self.failureResultOf(self.take([{"n": 1}], whole=True)).value))

    def test_refused(self) -> None:
        """No such policy: 400, or 503 while nobody can say so; an id that no file can have."""
        for away, http in (("", 400), ("Failed to connect", 503)):
            taken = self.take([{"n": 1}])
            self.assertNoResult(taken)
            self.looks[-1].callback(away)
            why: Any = self.failureResultOf(taken).value
            self.assertEqual((why.number, why.http), (113, http))
            self.assertIn("there is no policy 'p'", str(why))
        taken = self.take([{"n": 1}])
        self.add(mapping(V))
        self.looks[-1].callback("")
        self.assertEqual(self.successResultOf(taken).rows, 1)
        body = {"id": "p.q", "dbms": "town", "table": "t", "schema": V}
        self.add({"mapping": body})
        why = self.failureResultOf(self.take([{"n": 1}], instructions="p.q", whole=True)).value
        self.assertEqual((why.number, why.http), (40, 400))
        self.assertIn("'p.q'", str(why))
