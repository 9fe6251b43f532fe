"""The registry, help, tables and logs; and the words of the node itself."""

from __future__ import annotations

from typing import Any

import pytest
from language_node import LanguageCase
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from anylog.commands import COMMANDS as OF_THE_NODE
from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.commands import COMMANDS
from anylog.language.logs import Log
from anylog.language.tables import bar_table
from anylog.language.tokens import tokens_of
from anylog.language.words import Words
from anylog.process import Process

ALL = (*COMMANDS, *OF_THE_NODE)


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.words)
def test_every_example_finds_its_command(command: type[Command]) -> None:
    """Help shows lines that work: each example is an assignment or finds the command it stands under."""
    words = Words(ALL)
    for example in command.examples:
        tokens = tokens_of(example)
        if len(tokens) > 1 and tokens[1].is_operator("="):
            tokens = tokens[2:]
        found = words.match([token.text for token in tokens])
        if command.words == "set":
            assert "=" in example
        else:
            assert found and found[0] is command, example
    assert command.explanation().splitlines()[0].rstrip().endswith((".", ":"))
    assert command.index


def test_registration_is_checked() -> None:
    """Words are unique, and help and examples are there."""

    class Silent(Command):
        words = "test silent"
        examples = ("test silent",)

    class Other(Command):
        """Does something."""

        words = "get other"
        also = ("Get Status",)
        examples = ("get other",)

    for wrong in (Silent, Other):
        with pytest.raises(AnyLogError):
            Words((*ALL, wrong))


def test_longest_match() -> None:
    """More words win; letter case does not matter; a reference may be an operand."""
    words = Words(ALL)
    for line, found in [
        ("exit node", ("exit node", 2)),
        ("EXIT Rest", ("exit", 1)),
        ("get !x", ("get !key", 1)),
        ("get $x", ("get !key", 1)),
        ("on error goto x", ("on error goto", 3)),
        ("end_script", ("end script", 1)),
        ("get nothing", None),
        ("", None),
    ]:
        match = words.match(line.split())
        assert (match and (match[0].words, match[1])) == found, line


def test_lookup_of_a_text() -> None:
    """What the doors ask: which command a text is, and how a begun one may go on."""
    words = Words(ALL)
    for text, expected in [
        ("get status where format = json", "get status"),
        ("x = get status", None),
        ('print "', None),
        ("<if a then b", "if"),
        ("nope", None),
    ]:
        command = words.command_of(text)
        assert (command and command.words) == expected, text
    assert words.starting_with("get st") == ["get stack trace", "get status", "get streaming log"]
    assert words.starting_with("exit ") == ["exit node", "exit scripts"]
    assert words.nearest("get stats")[0] == "get status"


def test_bar_table() -> None:
    """Bytes of the layout: title cells are one wider, numbers stand at the right, lines end with CR LF."""
    assert bar_table(("Key", "A\nB"), [("a", 5), ("b|c", "10.0.0.1"), ("", True)], heading="Head", indent=1) == (
        " Head\r\n"
        " Key A        \r\n"
        "     B        \r\n"
        " ---|--------|\r\n"
        " a  |       5|\r\n"
        " b¦c|10.0.0.1|\r\n"
        "    |true    |"
    )
    assert (
        bar_table(("T",), [("abcdefgh",), ("a\nb",)], width=3) == "T   \r\n---|\r\nabc|\r\ndef|\r\ngh |\r\na  |\r\nb  |"
    )
    assert bar_table(("Type", "Address"), []) == "Type Address \r\n----|-------|"


def test_a_log_is_a_ring() -> None:
    """The oldest goes first, what repeats is counted, numbers go on, long texts are cut."""
    clock = Clock()
    log = Log(clock, "event", 2)
    for text in ("a", "a", "b", "c", "x" * 9999):
        clock.advance(1)
        log.add("Command", text, "t")
    assert [(row["ID"], row["Count"], row["Text"][:5]) for row in log.rows()] == [(3, 1, "c"), (4, 1, "xxxxx")]
    assert len(log.rows()[1]["Text"]) == 4000
    assert log.rows(["C"])[0]["Time"] == "Thu Jan  1 00:00:04 1970" and not log.rows(["nope"])
    log.clear()
    log.add("Command", "d")
    assert log.rows()[0]["ID"] == 5


class Served(Process):
    """A process that runs, as `get processes` and `get connections` see it."""

    def __init__(self, name: str, details: str = "", **known: Any) -> None:
        self.name, self._details, self.ended = name, details, False
        self.__dict__.update(known)

    def describe(self) -> str:
        return self._details

    def stop(self) -> Any:
        self.ended = True
        return succeed(None)


class NodeWordTests(LanguageCase):
    """get status and its relatives."""

    def start(self, process: Process) -> Process:
        self.successResultOf(Deferred.fromCoroutine(self.node.processes.start(process)))
        return process

    def test_status(self) -> None:
        """The text, the keys of the JSON form, and what is included, resolved here."""
        self.assertEqual(self.text("get status"), "roof@10.0.0.1:32149 running")
        self.dictionary.set("disk", 5)
        self.dictionary.set("a_password", "x")
        result = self.ask(
            "get status where format=json and include = !!disk and include !nope and include = !!a_password"
        )
        self.assertEqual(
            result.data,
            {
                "Status": "roof@10.0.0.1:32149 running",
                "status": "roof@10.0.0.1:32149 running",
                "assigned_name": "roof@10.0.0.1:32149",
                "profiling": False,
                "disk": 5,
                "nope": None,
                "a_password": "****",
            },
        )
        self.assertEqual(result.format, "json")
        self.ask('set node name ""')
        self.assertEqual(self.text("get status"), "AnyLog@10.0.0.1:32149 running")
        self.assertEqual(self.refused('set node name "a\u200b"').number, 175)

    def test_processes(self) -> None:
        """Rows in their order, details while running; the same as JSON; true and false."""
        self.start(Served("rest", "Listening on: 10.0.0.1:32149"))
        self.start(Served("extra"))
        text = self.text("get processes") or ""
        lines = text.split("\r\n")
        self.assertEqual(lines[0], "")
        self.assertEqual(lines[3], "    TCP            |Not declared|                            |")
        self.assertEqual(lines[4], "    REST           |Running     |Listening on: 10.0.0.1:32149|")
        data = self.ask("get processes where format = json").data
        self.assertEqual(data["REST"], {"Status": "Running", "Details": "Listening on: 10.0.0.1:32149"})
        self.assertEqual((data["TCP"], data["extra"]), ({"Status": "Not declared"}, {"Status": "Running"}))
        self.assertEqual(
            [self.text(f"test process {name}") for name in ("rest", "TCP", "blobs archiver")],
            ["true", "false", "false"],
        )
        self.assertIn("Wrong process name: 'x'", str(self.refused("test process x")))

    def test_exit(self) -> None:
        """Stops what runs; what does not run is a note; what is no name is error 2."""
        process = self.start(Served("rest"))
        self.assertIsNone(self.text("exit REST"))
        self.assertTrue(process.ended)  # type: ignore[attr-defined]
        for name in (
            "tcp", "rest", "broker", "operator", "publisher", "synchronizer", "scheduler", "scheduler 1", "mqtt",
            "msg client 1", "msg client all", "smtp", "streamer", "distributor", "consumer", "archiver", "kafka",
            "grpc all", "plc client 1", "plc 1", "pull all", "uns streamer", "workers", "threads",
        ):  # fmt: skip
            self.assertEqual(self.text(f"exit {name}"), f"'{name}' is not running")
        self.assertEqual(self.refused("exit nothing").number, 2)
        self.assertEqual(self.refused("exit").number, 2)
        self.ask("exit node")
        self.assertEqual(self.ended, ["exit node"])

    def test_connections(self) -> None:
        """Three rows; a server that is not there is not declared."""
        places = ("1.2.3.4:32149", "10.0.0.1:32149", "0.0.0.0:32149")
        self.start(Served("rest", addresses=lambda: places))
        self.assertEqual(
            self.text("get connections"),
            "\r\nType      External Address Internal Address Bind Address  \r\n"
            "---------|----------------|----------------|-------------|\r\n"
            "TCP      |Not declared    |Not declared    |Not declared |\r\n"
            "REST     |1.2.3.4:32149   |10.0.0.1:32149  |0.0.0.0:32149|\r\n"
            "Messaging|Not declared    |Not declared    |Not declared |\r\n",
        )

    def test_dictionary_and_environment(self) -> None:
        """Sorted, by part of the name, secrets hidden; JSON keeps types."""
        for key, value in {"b": 5, "a_dir": "/x", "my_password": "x"}.items():
            self.dictionary.set(key, value)
        self.assertEqual(
            self.text("get dictionary"),
            "\r\nKey         Value \r\n-----------|-----|\r\n"
            "a_dir      |/x   |\r\nb          |    5|\r\nmy_password|**** |\r\n",
        )
        self.assertEqual(self.ask("get dictionary _D where format = json").data, {"a_dir": "/x"})
        self.assertEqual(self.ask("get env var where format = json").data, {"HOME": "/home/a"})

    def test_logs(self) -> None:
        """Their columns, their keys, and their reset."""
        self.refused("test fail 5")
        rows = self.ask("get error log where format = json and keys = purpose nothing").data
        self.assertEqual(list(rows[0]), ["ID", "Count", "Thread", "Time", "Type", "Text"])
        self.assertEqual(self.ask("get error log nothing-such").data, [])
        self.assertIn("Text", self.text("get event log") or "")
        for log in ("event", "error", "query", "rest", "streaming", "file"):
            self.ask(f"reset {log} log")
            self.ask(f"get {log} log")
        self.assertEqual(self.logs.error.rows(), [])

    def test_json(self) -> None:
        """References are resolved on use; what is no JSON gives nothing; an undefined key is error 6."""
        self.dictionary.set("ip", "1.2.3.4")
        self.ask('p = {"ip" : !ip}')
        self.dictionary.set("ip", "5.6.7.8")
        self.assertEqual(self.text("json !p"), '{"ip": "5.6.7.8"}')
        self.assertEqual(
            [self.text(f"json {text}") for text in ("!p test", "nope test", "nope", '{"a": !no} test')],
            ["true", "false", None, "false"],
        )
        self.assertEqual(self.refused('json {"a": !no}').number, 6)

    def test_help(self) -> None:
        """The layout of one command, groups, keywords, suggestions, JSON."""
        self.assertEqual(
            self.text("help goto"),
            "Usage:\r\n\tgoto [label]\r\n\r\n"
            "Explanation:\r\n\tGo on after a label of this script (`:name:` at the begin of a line).\r\n\r\n"
            "Examples:\r\n\tgoto end-script\r\n\r\n"
            "Index:\r\n\t['script']\r\n",
        )
        lines = (self.text("help") or "").split("\r\n")
        usages = lines[:-2]
        self.assertEqual(usages, sorted(usages))
        self.assertIn("goto [label]", usages)
        self.assertTrue(lines[-1].startswith("Documentation: "))
        self.assertEqual((self.text("help on error") or "").split("\r\n")[0], "on error call [label]")
        self.assertIn("set node name [name]", self.text("help set") or "")
        self.assertIn("Usage:\r\n\tset [key] = [value]", self.text("help set") or "")
        self.assertEqual((self.text("help nosuch") or "")[:7], "Maybe: ")
        keywords = (self.text("help index") or "").split("\r\n")
        self.assertEqual(keywords, sorted(keywords))
        self.assertIn("background processes", keywords)
        self.assertIn("json\r\n     json", self.text("help index j") or "")
        self.assertEqual(
            set(self.ask("help goto where format = json").data["command"]),
            {"usage", "explanations", "examples", "documentation"},
        )
        self.assertGreater(len(self.ask("help get where format = json").data["commands"]), 10)
        self.assertIn("Usage:\r\n\tget status", self.text("help get status where") or "")

    def test_errors_by_number(self) -> None:
        self.assertEqual(self.text("get error 212"), "Unauthorized command")
        self.assertEqual([self.refused(f"get error {number}").number for number in ("x", "4")], [40, 40])
