"""`from !x bring ...`: parts of JSON that is kept in a key (language.md 10.1)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.language.dictionary import Dictionary
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.words import Words
from anylog.ledger.cluster import Own, address_of
from anylog.ledger.from_commands import From


class FromTests(SynchronousTestCase):
    def setUp(self) -> None:
        clock = Clock()
        self.dictionary = Dictionary()
        own = Own(ip="10.0.0.1", external_ip="10.0.0.1")
        node = SimpleNamespace(
            dictionary=self.dictionary,
            environ={},
            clusters=SimpleNamespace(address_of=lambda policy: address_of(policy, own)),
        )
        self.interpreter = Interpreter(
            words=Words((From,)),
            dictionary=self.dictionary,
            environ={},
            clock=clock,
            node=node,
            logs=Logs(clock),
            read_file=self.nothing,
        )
        for key, value in {
            "policy": {"operator": {"name": "north", "ip": "10.0.0.7", "port": 32148}},
            "plain": {"city": "Reno", "lat": 39.5, "deep": {"a": [1, 2]}},
            "late": '{"operator" : {"name" : !who, "port" : !port.int}}',
            "list": [{"node": {"name": "a", "c": "US"}}, {"node": {"name": "b", "c": "US"}}, {"node": {"name": "c"}}],
            "who": "roof",
            "port": "5",
            "text": "abc",
            "numbers": [1, 2],
        }.items():
            self.dictionary.set(key, value)

    async def nothing(self, name: str, folder: str, local: bool) -> tuple[str, str]:
        raise AnyLogError(112, name)

    def test_values(self) -> None:
        """Policies, other dictionaries, lists, parts of lists; the flags are those of `blockchain get`."""
        for text, expected in [
            ("from !policy bring [operator][name]", "north"),
            ("from !policy bring [*][ip] : [*][port]", "10.0.0.7:32148"),
            ("from !policy bring.ip_port", "10.0.0.7:32148"),
            ("from !policy bring [*]", "operator"),
            ("from !plain bring [city]", "Reno"),
            ("from !plain bring [deep][a]", "[1, 2]"),
            ("from !plain bring [city] is [lat]", "Reno" + "is" + "39.5"),
            ("from !late bring [operator][name] [operator][port]", "roof5"),
            ("from !list bring [*][name] separator = ,", "a,b,c"),
            ("from !list bring.unique [*][c]", "US"),
            ("from !list bring.count", "3"),
            ("from !list bring.first [*][name]", "a"),
            ("from !list[1] bring [*][name]", "b"),
            ("from !list(2) bring [*][name]", "c"),
            ("from !list(-1) bring [*][name]", "c"),
            ("from !list[0:2] bring [*][name]", "ab"),
            ('from {"a" : {"b" : !port.int}} bring [a][b]', "5"),
        ]:
            result = self.successResultOf(self.interpreter.execute(text, Context(origin="console")))
            self.assertEqual(result.text, expected, text)

    def test_json(self) -> None:
        """Values stay what they are."""
        for text, expected in [
            (
                "from !list bring.json [*][name] [*][c]",
                [{"name": "a", "c": "US"}, {"name": "b", "c": "US"}, {"name": "c"}],
            ),
            ("from !plain bring.json", [{"city": "Reno", "lat": 39.5, "deep": {"a": [1, 2]}}]),
            ("from !policy bring.json", [self.dictionary.get("policy")]),
        ]:
            result: Any = self.successResultOf(self.interpreter.execute(text, Context(origin="console")))
            self.assertEqual(result.data, expected, text)

    def test_nothing_found(self) -> None:
        """An attribute that is not there leaves a key undefined."""
        self.dictionary.set("x", "old")
        self.successResultOf(self.interpreter.execute("x = from !policy bring [*][nope]", Context(origin="console")))
        self.assertIsNone(self.dictionary.get("x"))

    def test_refused(self) -> None:
        """Each says what is wrong."""
        for text, number in [
            ("from !nope bring [a]", 9),
            ("from !list(7) bring [a]", 9),
            ("from nope bring [a]", 9),
            ("from !text bring [a]", 60),
            ("from !numbers bring [a]", 60),
            ("from {bad} bring [a]", 60),
            ("from !policy", 2),
            ("from", 2),
            ("from !policy bring", 2),
            ("from !policy bring.nope [a]", 2),
        ]:
            asked = self.interpreter.execute(text, Context(origin="console"))
            if number is None:
                self.successResultOf(asked)
            else:
                self.assertEqual(self.failureResultOf(asked, AnyLogError).value.number, number, text)
