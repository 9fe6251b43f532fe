"""Words that give values: JSON that grows, parts of it, events, scripts of a table, call stacks (language.md 9, 10)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from language_node import LanguageCase

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.language.dictionary import Scope
from anylog.language.value_commands import in_line

POLICIES: list[tuple[list[str], str | int]] = [
    (["set policy p [a] = {}"], '{"a": {}}'),
    (["set policy p [a] = {} and [a][b] = v and [a][l] = [] and [a][l] + x and [a][l] + y"],
     '{"a": {"b": "v", "l": ["x", "y"]}}'),
    (["set policy p [a] = {}", "set policy p [a][b] = 1", "set policy p [a][b] = 2"], '{"a": {"b": "2"}}'),
    (["port = 5", "set policy p [a] = !port and [b] = !port.int and [c] = '!port' and [d] = !port.float"],
     '{"a": "5", "b": 5, "c": "!port", "d": 5.0}'),
    (["t = operator", "k = name", "set policy p [!t] = {} and [!t][!k] = x"], '{"operator": {"name": "x"}}'),
    (['set policy p [a] = My Company and [b] = "a and b" and [c] = \'d e\''],
     '{"a": "My Company", "b": "a and b", "c": "d e"}'),
    (["set policy p [a] = {\"x\" : 1, 'y' : [True]}"], '{"a": {"x": 1, "y": [true]}}'),
    (["n = 7", "p = {\"a\" : {\"b\" : !n.int}}", "n = 8", "set policy p [a][c] = 9"], '{"a": {"b": 8, "c": "9"}}'),
    (["x = {\"k\" : 1}", "set policy p [a] = !x"], '{"a": {"k": 1}}'),
    (["h = north", "set policy p [a] = !h + - + 1"], '{"a": "north-1"}'),
    (["set policy p [a] = []", "set policy p [a] + {}", "set policy p [a][0][b] = c"], '{"a": [{"b": "c"}]}'),
    (["set policy p [a] = 1 and"], '{"a": "1"}'),
    (["set policy !p [a] = 1"], '{"a": "1"}'),
    (["set policy p[a] = 1"], '{"a": "1"}'),
    (["set policy p [a][b] = 1"], 2),
    (["set policy p [a] + 1"], 2),
    (["set policy p [a] = 1 and [a] + 2"], 2),
    (["set policy p [a] = 1 and [a][b] = 2"], 2),
    (["set policy p [a] = []", "set policy p [a][5] = 1"], 2),
    (["set policy p [a] = 1 [b] = 2"], 2),
    (["set policy p [a]"], 2),
    (["set policy p [t][attr]"], 2),
    (["set policy p [a] ="], 2),
    (["set policy p"], 2),
    (["set policy"], 2),
    (["set policy [a] = 1"], 2),
    (["set policy p [a] = !nope"], 2),
    (["set policy p [!nope] = 1"], 2),
    (["set policy p [a] = {bad"], 2),
    (["set policy p [a] = {\"x\" : !nope}"], 2),
    (["p = text", "set policy p [a] = 1"], 2),
    (["set policy p [a] = 1 and and [b] = 2"], 2),
    (["set policy p [] = 1"], 2),
]  # fmt: skip


class Asked(LanguageCase):
    def runTest(self) -> None:
        """Never run by itself."""


@pytest.mark.parametrize(("lines", "expected"), POLICIES, ids=[lines[-1] for lines, _ in POLICIES])
def test_set_policy(lines: list[str], expected: str | int) -> None:
    """One row per form; a refusal says why and changes nothing."""
    node = Asked()
    node.setUp()
    for line in lines[:-1]:
        node.ask(line)
    before = node.dictionary.get("p")
    if isinstance(expected, int):
        error = node.refused(lines[-1])
        assert error.number == expected
        assert len(str(error)) > 20
        assert node.dictionary.get("p") == before
    else:
        node.ask(lines[-1])
        assert node.text("json !p") == expected


class Rows(Command):
    """Stand in for a database: rows as `sql` gives them."""

    words = "sql"
    raw = True
    examples = ("sql d x",)
    asked: list[str] = []

    async def run(self, node: Any, context: Context, operands: Any, **options: Any) -> Result | None:
        self.asked.append(operands[0])
        rows = [("print hello <>", "w1"), ("y = <>", 2), (" ", "")]
        if "select v" in operands[0]:
            return Result(data=[{"v": "nonsense"}], format="json")
        return Result(data=[{"line": line, "v": value} for line, value in rows], format="json")


class Values(LanguageCase):
    def setUp(self) -> None:
        super().setUp()
        self.words.register(Rows)
        self.node.chance = Random(1)

    def test_process_from_table(self) -> None:
        """Each row is a line; `<>` is its value; names are names and nothing else."""
        Rows.asked.clear()
        self.ask(
            "process from table where name = setup and dbms = config and command = line and value = v"
            ' and condition = "order by id"'
        )
        self.assertEqual(self.told, ["hello w1"])
        self.assertEqual(self.text("!y"), "2")
        self.assertTrue(Rows.asked[0].endswith("select line, v from setup order by id"), Rows.asked)
        for name in ("a;b", "a b", "1a", "'a'", "a--"):
            error = self.refused(f'process from table where name = "{name}" and dbms = config and command = line')
            self.assertEqual(error.number, 175, name)

    def test_errors_of_a_table(self) -> None:
        """They name the table and the row; what it runs is a script like others."""
        error = self.refused("process from table where name = setup and dbms = config and command = v")
        self.assertEqual(error.number, 1)
        self.assertIn("config.setup line 1: nonsense: Unrecognized", str(error))
        self.assertIn("Missing 'command'", str(self.refused("process from table where name = a and dbms = b")))

    def test_event(self) -> None:
        """A key names its script, else a file of the local scripts does; what is missing is an error."""
        self.disk.files["/home/n/local_scripts/door.al"] = "variables (who)\nprint door !who"
        self.disk.files["/s/other.al"] = "variables (who)\nprint other !who"
        self.ask("event door ann")
        self.ask("event_door = /s/other.al")
        self.ask("event door bob")
        self.assertEqual(self.told, ["door ann", "other bob"])
        for text, number in [("event window", 112), ("event ../x", 2), ("event", 2), ("event door a b", 55)]:
            self.assertEqual(self.refused(text).number, number, text)

    def test_random_substr(self) -> None:
        """Each part comes some time."""
        self.dictionary.set("ips", "10.0.0.1, 10.0.0.2")
        self.assertEqual({self.text("random substr , !ips") for _ in range(50)}, {"10.0.0.1", "10.0.0.2"})
        self.assertEqual({self.text("random substr '-' a-b") for _ in range(50)}, {"a", "b"})
        for text in ("random substr", "random substr ,", "random substr , ,,"):
            self.assertEqual(self.refused(text).number, 2, text)

    def test_python(self) -> None:
        """Typed values stay typed; who asks from elsewhere may not."""
        self.ask("x = python 5 > 3")
        self.assertIs(self.dictionary.get("x"), True)
        self.ask("x = python [1, 'a']")
        self.assertEqual(self.dictionary.get("x"), [1, "a"])
        self.assertEqual(self.text("python datetime.datetime.utcnow()"), "1970-01-01 00:00:00")
        self.assertEqual(self.refused("python 1", Context(origin="peer", local=False)).number, 212)
        self.assertEqual(self.refused("python").number, 2)

    def test_in_line(self) -> None:
        """References of a shell line, outside single quotes alone."""
        self.dictionary.set("dir", "/d")
        scope = Scope(self.dictionary, {"HOME": "/h"})
        self.dictionary.set("bad", 'a; rm -r "$HOME" `x`')
        self.dictionary.set("line", "ls -l | wc")
        for line, expected in [
            ("ls !dir | awk '{print $2}'", "ls /d | awk '{print $2}'"),
            ('ls $HOME !dir/x "!dir"', 'ls $HOME /d/x "/d"'),
            ("echo '!dir' !nope $NOPE ! $", "echo '!dir' !nope $NOPE ! $"),
            ("echo !bad", "echo 'a;' rm -r '\"$HOME\"' '`x`'"),
            ('echo "!bad"', 'echo "a; rm -r \\"\\$HOME\\" \\`x\\`"'),
            ("echo \"it's !dir's\"", "echo \"it's /d's\""),
            ('echo \\"!dir', 'echo \\"/d'),
            (" !line ", "ls -l | wc"),
        ]:
            self.assertEqual(in_line(line, scope), expected, line)
        for line in ('echo "$(ls !bad)"', "echo `ls !bad`"):
            with self.assertRaises(AnyLogError):
                in_line(line, scope)
        self.assertEqual(in_line('echo "$(ls !dir)"', scope), 'echo "$(ls /d)"')

    def test_tracebacks(self) -> None:
        """Where an error came from is in the error log if that is wanted, and no values are."""
        self.refused("test fail 5")
        self.assertNotIn(".py:", self.logs.error.rows()[-1]["Text"])
        self.ask("set error traceback on PURPOSE")
        self.refused("test fail 5")
        self.assertRegex(self.logs.error.rows()[-1]["Text"], r"at .*language_node\.py:\d+ run$")
        self.refused("stop x")
        self.assertNotIn(".py:", self.logs.error.rows()[-1]["Text"])
        self.ask("set traceback on")
        self.refused("stop x")
        self.assertIn(".py:", self.logs.error.rows()[-1]["Text"])
        self.ask("set traceback off")
        self.refused("stop x")
        self.assertNotIn(".py:", self.logs.error.rows()[-1]["Text"])
        for text in ("set error traceback", "set exception traceback maybe", "set traceback x"):
            self.assertEqual(self.refused(text).number, 2, text)

    def test_tracebacks_of_faults(self) -> None:
        """A fault of ours tells its own place."""

        class Broken(Command):
            """Fail as nobody expects."""

            words = "break it"
            examples = ("break it",)

            async def run(self, node: Any, context: Context, operands: Any, **options: Any) -> Result | None:
                return Result(data=1 // 0)

        self.words.register(Broken)
        self.ask("set exception traceback on")
        self.assertEqual(self.refused("break it").number, 500)
        self.assertRegex(self.logs.error.rows()[-1]["Text"], r"test_value_words\.py:\d+ run$")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.refused("test fail 5")
        self.assertNotIn(".py:", self.logs.error.rows()[-1]["Text"])

    def test_into_a_file(self) -> None:
        """`[file = f] =` is for `rest` alone; what is wrong in it is named."""
        for text, number in [
            ("[file = a] = get node name", 2),
            ("[key = a] = rest get where url = x", 2),
            ("[a] = 5", 175),
            ("[file = !nope] = rest get where url = x", 2),
        ]:
            self.assertEqual(self.refused(text).number, number, text)
        self.assertIsInstance(self.refused("[file = a] ="), AnyLogError)
