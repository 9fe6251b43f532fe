"""What may be typed next: made from the help of the commands themselves."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from anylog.language.help import explain
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS
from anylog.prompt.grammar import Grammar

GRAMMAR = Grammar.read(explain(Words(ALL_COMMANDS), "")[1])


def offered(text: str) -> list[str]:
    return [offer.text for offer in GRAMMAR.offers(text, lambda: ["ip", "external_ip", "io_buff_size"])]


class OfferTests(SynchronousTestCase):
    """Tab."""

    def test_offers(self) -> None:
        """Words one by one, then options and their values, keys after `!`; also behind what leads a command."""
        for text, expected in [
            ("conn", ["connect"]),
            ("connect ", ["dbms"]),
            ("connect  db", ["dbms"]),
            ("get data", ["data", "database", "databases"]),
            ("get database ", ["size"]),
            ("GET Databa", ["database", "databases"]),
            ("get status ", ["where"]),
            ("get status where ", ["format = ", "include = "]),
            ("get status where fo", ["format = "]),
            ("get status where format = ", ["table", "json"]),
            ("get status where format = j", ["json"]),
            ("get status where format = json and ", ["include = "]),
            ("connect dbms town where type = sqlite and mem", ["memory = "]),
            ("connect dbms town where memory = t", ["true"]),
            ("print !i", ["io_buff_size", "ip"]),
            ("x = get stat", ["stats", "status"]),
            ("x{} = get stat", ["stats", "status"]),
            ("run client (operator where (a = b)) get stat", ["stats", "status"]),
            ("run client 10.0.0.1:7848 get stat", ["stats", "status"]),
            ("help get stat", ["stats", "status"]),
            (". get stat", ["stats", "status"]),
            ("if !a then get stat", ["stats", "status"]),
            ("<get\n stat", ["stats", "status"]),
            ("set query log ", []),
            ("nosuch ", []),
            ("nosuch where ", []),
        ]:
            self.assertEqual(offered(text)[:5], expected, text)

    def test_replaces(self) -> None:
        """An offer replaces what was typed of it, no more."""
        for text, expected in [("get stat", 4), ("get status where fo", 2), ("print !i", 1), ("get ", 0)]:
            self.assertEqual(GRAMMAR.offers(text, lambda: ["ip"])[0].back, expected, text)

    def test_every_command_is_offered(self) -> None:
        """The words of each command of the registry can be reached by Tab alone."""
        known = {command.words for command in GRAMMAR.commands}
        missing = [
            command.words
            for command in ALL_COMMANDS
            if not any(f"{command.words} ".lower().startswith(f"{words} ") for words in known)
        ]
        self.assertEqual(missing, [])

    def test_begins(self) -> None:
        """Whether a text is a command; without a grammar everything may be one."""
        for text, expected in [
            ("get status", True),
            ("GET  status where x = y", True),
            ("got it", False),
            ("!a", False),
        ]:
            self.assertEqual(GRAMMAR.begins(text), expected, text)
        self.assertTrue(Grammar.read(None).begins("!a + !b"))

    def test_strange_help(self) -> None:
        """A node of another make cannot break the prompt."""
        for told in (None, [], {"commands": 5}, {"commands": [1, {"usage": 5}, {"usage": ""}, {"usage": "a | | b"}]}):
            Grammar.read(told).offers("get ")
