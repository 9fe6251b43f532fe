"""Strange, long, deep and secret input: always an answer or a refusal that names the culprit, never a fault."""

from __future__ import annotations

from typing import Any

import pytest
from language_node import LanguageCase
from twisted.internet.task import Clock

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.language.dictionary import Dictionary, Scope, is_secret, shown
from anylog.language.logs import Logs, masked, without_secrets
from anylog.language.tokens import LONGEST, Kind, logical_lines, tokens_of
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS

STRANGE = [
    "if " * 3000,
    "if 1 then " * 400 + "print a",
    "if 1 then else " * 400,
    "do " * 3000 + "print a",
    "x = " * 3000 + "1",
    "!v " * 3000,
    "& " * 3000,
    "print " + "(" * 3000,
    "x = " + "[" * 3000 + "]" * 3000,
    "x" + "[a]" * 3000 + " = 1",
    "!x" + "[a]" * 3000,
    "!" + "a/!" * 3000,
    "get " * 3000,
    "z" * 100_000,
    "x = " + "z" * LONGEST,
    "<" * 3000,
    "'" * 3001,
    '"' * 3001,
    "= 3",
    "'a' b",
    "\ud800",
    "print \ud800",
    "x[k] = \ud800 & !x",
    "\u202e = 5",
    "print a\0b",
    "x = \x1b[2Jx]",
    "get status where " + "a = b and " * 3000,
    "if !a contains",
    "if " + "(" * 90 + "!a" + ")" * 90,
    "if " + "9" * 5000 + " == " + "9" * 5000,
    "if " + " and ".join(["1"] * 5000),
    "incr " + "9" * 5000,
    "get error " + "9" * 5000,
    "wait " + "9" * 5000,
    "x = !a.int & x = !long.int & x = !long.float & !x",
    "set x",
    "set",
    "<",
    ">",
    "!",
    "$",
]


class StrangeTests(LanguageCase):
    """Whatever is said to one node."""

    def test_lines(self) -> None:
        """A result or an AnyLogError that is no fault of ours; and the node goes on."""
        self.dictionary.set("a", "aa")
        self.dictionary.set("long", "9" * 5000)
        for line in STRANGE:
            ended: list[Any] = []
            self.interpreter.execute(line, self.context).addBoth(ended.append)
            self.assertTrue(ended, line[:40])
            if not isinstance(ended[0], Result):
                self.assertIsInstance(ended[0].value, AnyLogError, line[:40])
                self.assertNotEqual(ended[0].value.number, 500, line[:40])
            self.assertEqual(self.text("get node name"), "roof@10.0.0.1:32149")
        self.assertTrue(all(len(entry.text) <= 4100 for entry in self.logs.error.find()))

    def test_culprits(self) -> None:
        """The refusal names what was wrong, shortly."""
        for line, number, told in [
            ("print a\0b", 2, "control character 0x00 after 'print a'"),
            ("x = \x1b[2J]", 2, "control character 0x1b after 'x = '"),
            ("x = " + "z" * LONGEST, 2, "a command of 1,048,580 characters, at most 1,048,576"),
            ("z" * 100_000, 1, "Unrecognized Command: '" + "z" * 40 + "'"),
            ("= 3", 1, "Unrecognized Command: it does not begin with a word"),
            ("wait !nope", 2, "wait: '!nope' is not a number of seconds"),
            ("if 1 then " * 400 + "print a", 3, "more than 150 statements within each other, at 'if 1 then"),
            ("x" + "[a]" * 60 + " = 1", 2, "'x': at most 50 levels, not 60"),
            ("get version now", 2, "get version: unexpected 'now'; usage: get version where [format = table/json]"),
        ]:
            error = self.refused(line)
            self.assertEqual(error.number, number, line[:40])
            self.assertTrue(str(error).startswith(told), str(error)[:200])
            self.assertLess(len(str(error)), 300)

    def test_no_shared_values(self) -> None:
        """A value with entries is copied: a change of one key changes no other, and nothing is inside itself."""
        for line in ("x[a] = 1", "y = !x", "y[b] = 2", "x[k] = !x", "x[k][c] = 3"):
            self.ask(line)
        self.assertEqual(self.text("!x"), '{"a": "1", "k": {"a": "1", "c": "3"}}')
        self.assertEqual(self.text("!y"), '{"a": "1", "b": "2"}')
        for _ in range(200):
            self.interpreter.execute("x[k] = !x", self.context).addErrback(lambda failure: None)
        self.assertEqual(self.refused("x[k] = !x").number, 2)
        self.assertTrue(self.text("!x").startswith('{"a": "1"'))

    def test_numbers(self) -> None:
        """Text that does not parse is empty; what is kept can be shown."""
        for text, cast, expected in [
            ("5", "int", 5),
            (" -5 ", "int", -5),
            ("2.5", "int", None),
            ("2.5", "float", 2.5),
            ("1e3", "float", 1000.0),
            ("nan", "float", None),
            ("inf", "float", None),
            ("1e999", "float", None),
            ("1_000", "int", None),
            ("٣", "int", None),
            ("9" * 5000, "int", None),
            (7.9, "int", 7),
            (True, "int", 1),
            ([1], "int", None),
        ]:
            self.assertEqual(Scope(Dictionary({"x": text}), {}).resolve(f"!x.{cast}"), expected, (text, cast))
        self.dictionary.set("long", "9" * 5000)
        self.assertEqual(self.text("if !long == !long"), "True")

    def test_lost_condition(self) -> None:
        """After an `if` that could not be read neither `do` nor `else` is run."""
        self.assertEqual(
            self.run_script("on error ignore\nif 1 then print a\nif !n == then print x\ndo print y\nelse print z"),
            ["a"],
        )

    def test_deep_scripts(self) -> None:
        """A script that calls itself is ended, however it does so; as many as may be can wait and come back."""
        for script in (
            "process {0}",
            "if 1 then if 1 then if 1 then process {0}",
            "n = process {0}",
            "x = 1 & process {0}",
        ):
            self.disk.files["/s/me.al"] = script.format("/s/me.al")
            error = self.refused("process /s/me.al")
            self.assertEqual(error.number, 3, script)
            self.assertIn("/s/me.al line 1: ", str(error))
        self.disk.files["/s/me.json"] = '{"config": [{"commands": ["process /s/me.json"]}]}'
        self.assertEqual(self.refused("process /s/me.json").number, 3)
        for number in range(28):
            self.disk.files[f"{number}.al"] = f"wait 1\nprocess {number + 1}.al\nprint {number}\nwait 1"
        self.disk.files["28.al"] = "wait 1\nprint deepest"
        running = self.interpreter.execute("process 0.al", self.context)
        self.clock.pump([1] * 56)
        self.assertNoResult(running)
        self.clock.pump([1] * 2)
        self.successResultOf(running)
        self.assertEqual(self.told, ["deepest", *(str(number) for number in range(27, -1, -1))])

    def test_faults_in_forms(self) -> None:
        """A fault of ours in a condition is error 500 too, with its traceback in the log of the process."""
        self.patch(Scope, "resolve", lambda scope, word: 1 // 0)
        error = self.refused("if !x == 5 then print a")
        self.assertEqual((error.number, str(error)), (500, "internal error 0.000000: ZeroDivisionError"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("(Failed: Internal error) if !x == 5", self.logs.error.find()[-1].text)

    def test_late_list(self) -> None:
        """`include = (!!a, !!b)` is two keys."""
        self.dictionary.set("a", 1)
        self.assertEqual(self.text("get status where include = (!!a, !!b)").splitlines()[1:], ["a: 1", "b: "])

    def test_from_elsewhere(self) -> None:
        """No command gives a secret or the environment to who asks from another machine."""
        self.dictionary.set("db_password", "hush")
        self.dictionary.set("my_pwd", "hush")
        self.environ["DB_PASS"] = "hush"
        for word in ("!db_password", "!my_pwd", "$DB_PASS", "!db_password.str", "a/!my_pwd", "!my_pwd[0:9]"):
            for line in (
                f"get {word}",
                word,
                f"print {word}",
                f"echo a + {word}",
                f"help {word}",
                f"{word} + a",
                f"if {word} contains hush then print hush",
                f"wait 0 for {word} == hush",
                f"x = {word}",
                f"set x = {word}",
                f"incr {word}",
                f"json {word}",
                f"json {{'a' : {word}}}",
                f"get status where include = !{word}",
                f"get version where format = {word}",
                f"get event log {word}",
                f"test process {word}",
                f"{word} status",
            ):
                self.told.clear()
                ended: list[Any] = []
                elsewhere = Context(origin="rest", who="10.0.0.9", local=False, write=self.told.append)
                self.interpreter.execute(line, elsewhere).addBoth(ended.append)
                result = ended[0]
                said = f"{result.text} {result.data}" if isinstance(result, Result) else str(result.value)
                self.assertNotIn("hush", said.replace(line, "") + "".join(self.told), line)
                self.assertNotEqual(said, "True True", line)

    def test_secrets_in_errors(self) -> None:
        """What an error quotes of a secret stays out of the logs, also where a script tells it."""
        for line in (
            "password = hush and hash +",
            "set password = hush and hash",
            'db_pwd = "hush hash',
            "password = !a + hush hash",
            "test fold where password = hush hash",
            "test fold where name = a and passwd = hush",
            "password hush = hash",
        ):
            self.logs.error.clear()
            self.disk.files["/s/a.al"] = line
            told = str(self.refused("process /s/a.al"))
            told += " ".join(entry.text for entry in (*self.logs.error.find(), *self.logs.event.find()))
            if "password hush" not in line:
                self.assertNotIn("hush", told, line)
                self.assertNotIn("hash", told, line)
        self.refused("test fold a where nane = b and password = hush")
        self.assertIn("Unknown key in command: nane", self.logs.error.find()[-1].text)

    def test_from_elsewhere_changes(self) -> None:
        """Nor does any statement change something, alone or behind one that is allowed."""
        for line in (
            "x = 5",
            "set x = 5",
            "x[a] = 5",
            "$X = 5",
            "if 1 then x = 5",
            "get status & x = 5",
            "get status & exit node",
            "!go node",
            "process a.al",
            "set node name y",
            "reset error log",
        ):
            self.dictionary.set("go", "exit")
            self.refused(line, Context(origin="rest", local=False))
            self.assertEqual((self.ended, self.dictionary.get("x"), self.node.name), ([], None, "roof"), line)
            self.assertNotIn("X", self.environ)


MASKED = [
    ("connect dbms a where password = hush", "connect dbms a where password = ****"),
    ("a where password = my big one and ip = 1", "a where password = **** and ip = 1"),
    ("x[password] = hush", "x[password] = ****"),
    ("$DB_PWD = hush", "$DB_PWD = ****"),
    ("$DB_PASS = hush", "$DB_PASS = ****"),
    ("access_key = hush", "access_key = ****"),
    ('{"private_key": "hush", "b": 1}', '{"private_key": ****, "b": 1}'),
    ('password = "hush', "password = ****"),
    ("id where old = a and new = b", "id where old = **** and new = ****"),
    ("new_password = hush", "new_password = ****"),
    ("household = big and bypass = new", "household = big and bypass = new"),
    ("connect dbms psql anna@127.0.0.1:hush 5432 town", "connect dbms psql anna@127.0.0.1:**** 5432 town"),
    ("connect dbms psql anna@127.0.0.1:12345 5432 town", "connect dbms psql anna@127.0.0.1:**** 5432 town"),
    ("conn = anna@127.0.0.1:hush7", "conn = anna@127.0.0.1:****"),
    ("conn = anna@127.0.0.1:1234567", "conn = anna@127.0.0.1:****"),
    (
        "rest get where url = http://anna:hush@10.0.0.1:32049/a",
        "rest get where url = http://anna:****@10.0.0.1:32049/a",
    ),
    ("url = mqtts://anna:hu@sh@b.example.com:8883 and x = 1", "url = mqtts://anna:****@b.example.com:8883 and x = 1"),
    ("url = redis://:hush@10.0.0.1", "url = redis://:****@10.0.0.1"),
]

# What looks like it and is none.
SHOWN = [
    "run client (hill@10.0.0.2:32148) get status",
    "run client (hill@10.0.0.2:32148, roof@10.0.0.3:32148) sql town select 1",
    "blockchain get operator where name = hill@10.0.0.2:32148 bring.ip_port",
    "blockchain insert where policy = !p and local = true and master = hill@node.example.com:32048",
    '{"hill@10.0.0.2:32148": "running"}',
    "hill@10.0.0.2:32148: connection refused",
    "no answer of hill@10.0.0.2:32148.",
    "sql town dest = kafka@10.0.0.9:9092 and topic = a select 1",
    "file copy anna@hill.json /data/a@b:7.json",
    "file copy anna@hill:/data/a.json !prep_dir",
    "email to ops@example.com where subject = a",
    "http://10.0.0.1:32049/a@b",
    "new_policy = create policy cluster where name = hill",
    '<new_policy = {"operator": {"name": "hill", "port": 32148}}>',
    "set old_name = hill",
]


@pytest.mark.parametrize("text", SHOWN)
def test_what_is_no_secret(text: str) -> None:
    """Ports, addresses, file names with `@`, and keys whose names begin with `new` are shown as they are."""
    assert masked(text) == text


@pytest.mark.parametrize(("text", "expected"), MASKED)
def test_masked(text: str, expected: str) -> None:
    """Values of secret keys do not get into logs."""
    assert masked(text) == expected


def test_secret_keys() -> None:
    """Names whose values listings hide."""
    for key in ("password", "DB_PASSWD", "my_pass", "DB_PWD", "passphrase", "token", "secret_key", "aws_access_key"):
        assert is_secret(key), key
    for key in ("compass", "passage", "bypass", "node_name", "path"):
        assert not is_secret(key), key


@pytest.mark.parametrize("piece", ["(", "[", "{", "'", '"', "` ", "<", "\\", "a(", "[]", "''", "!", "&", "#", "a, "])
def test_long_pieces(piece: str) -> None:
    """A hundred thousand of anything are read or refused, and in a moment."""
    for text in (piece * 100_000, "x = " + piece * 100_000, "k = (" + piece * 100_000):
        for read in (tokens_of, logical_lines, masked):
            try:
                read(text)
            except AnyLogError as refused:
                assert refused.number == 2


LOOKED_UP = [
    ("get status", ("GET",)),
    ("get status & get version", ("GET",)),
    ("get status & exit node", ("POST",)),
    ("get status & x = 5", ("POST",)),
    ("get status & if 1 then exit node", ("POST",)),
    ("< get status >", ("GET",)),
    ("<get\nstatus", ("GET",)),
    ("nothing", None),
    ('print "', None),
]


@pytest.mark.parametrize(("text", "expected"), LOOKED_UP)
def test_looked_up(text: str, expected: tuple[str, ...] | None) -> None:
    """Who must know a command before it runs learns of the strictest of several."""
    command = Words(ALL_COMMANDS).command_of(text)
    assert (command and command.http) == expected


EXAMPLES = [(command, example) for command in ALL_COMMANDS for example in command.examples]


@pytest.mark.parametrize(("command", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_examples(command: type[Command], example: str) -> None:
    """Each example in each help is read as that command, whatever its references stand for."""
    from anylog.language.where import read_where

    (line,) = logical_lines(example)
    tokens = tokens_of(line.text)
    if command.statement:
        return
    if len(tokens) > 1 and tokens[1].is_operator("="):
        tokens = tokens[2:]
    found = Words(ALL_COMMANDS).match([token.text if token.kind is Kind.WORD else "" for token in tokens])
    assert found is not None and found[0] is command
    if command.raw:
        return
    rest = tokens[found[1] :]
    where = next((at for at, token in enumerate(rest) if token.is_word("where")), len(rest))
    keys = {token.text.lstrip("!").partition("/")[0].partition(".")[0] for token in rest if token.text[:1] == "!"}
    scope = Scope(Dictionary(dict.fromkeys(keys, "1")), {})
    command.read([shown(token.text) for token in rest[:where]], read_where(rest[where + 1 :], command.where, scope))


class LongTests(LanguageCase):
    """What is given is repeated in part, where it is long."""

    def test_errors(self) -> None:
        """The begin of a value and its length, and never more than its begin in the log of errors."""
        error = AnyLogError(12, f"no file '{'x' * 5000}' is here, nor '{'y' * 20}' of the node's own")
        self.assertEqual(
            str(error), f"no file '{'x' * 120}...' (5,000 characters) is here, nor '{'y' * 20}' of the node's own"
        )
        self.assertEqual(str(error), error.detail)
        known = f"the node's {'z' * 300} isn't here"
        self.assertEqual(str(AnyLogError(12, known)), known)
        logs = Logs(Clock())
        logs.command(f"file retry {'x' * 5000}", "console", error)
        (entry,) = logs.error.find()
        self.assertIn("... (5,011 characters): no file 'xxx", entry.text)
        self.assertLess(len(entry.text), 800)

    def test_secrets_that_are_cut(self) -> None:
        """A part of one is told as little as the whole."""
        text = f"connect where password = {'s' * 300}"
        self.assertEqual(without_secrets(str(AnyLogError(2, f"what is '{'s' * 300}'?")), text), "")
        self.assertEqual(without_secrets("what is where?", text), "what is where?")
