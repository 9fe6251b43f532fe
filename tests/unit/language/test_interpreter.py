"""Statements as a person types them: commands, options, assignment, if/do/else, who may, and the logs."""

from __future__ import annotations

from language_node import Fold, LanguageCase

from anylog.language.context import Call, Context, Control


class CommandTests(LanguageCase):
    """From a line to a command."""

    def test_reading(self) -> None:
        """Operands and options reach the command with their references replaced, keys by their names."""
        self.dictionary.set("db", "my town")
        self.dictionary.set("n", 5)
        for line, operands, options in [
            ("test fold", [], {"size": 1, "deep": False}),
            ("TEST Fold a !db", ["a", "my town"], {"size": 1, "deep": False}),
            ("test fold a=b", ["a=b"], {"size": 1, "deep": False}),
            ("test fold where name = !db and size=!n", [], {"name": "my town", "size": 5, "deep": False}),
            ("test fold where rest ip = x and deep = TRUE", [], {"rest_ip": "x", "size": 1, "deep": True}),
            ("test fold where topic = (a, b) and topic = c", [], {"topic": ["a", "b", "c"], "size": 1, "deep": False}),
            ("test fold where late = !nowhere", [], {"late": "!nowhere", "size": 1, "deep": False}),
            ("<test fold a\n  where name = b>", ["a"], {"name": "b", "size": 1, "deep": False}),
        ]:
            self.assertEqual(self.ask(line).data, [operands, options], line)

    def test_refusals_name_the_culprit(self) -> None:
        """Unknown words, keys and values; an undefined reference; a wrong structure."""
        for line, number, reason in [
            ("get statis", 1, "Unrecognized Command: 'get statis'; did you mean 'get status'"),
            ("qwzx", 1, "Unrecognized Command: 'qwzx'"),
            ("set nothing", 1, "Unrecognized Command: 'set nothing'"),
            ("test fold where nam = b", 2, "Unknown key in command: nam; did you mean 'name'?"),
            ("test fold where size = big", 175, "'big' is not a value for 'size': a whole number"),
            ("test fold where size = 1 and size = 2", 2, "Multiple values to key 'size'"),
            ("test fold where name = !nope", 2, "Missing dictionary definition for '!nope'"),
            ("test fold !nope", 2, "Missing dictionary definition for '!nope'"),
            ("test fold where", 2, "options are missing after 'where'"),
            ("get status now", 2, "unexpected 'now'"),
            ('print "a', 2, "missing double quotation"),
            ("<get status", 2, "line 1: missing closing >"),
            ("goto x", 2, "'goto x' has a meaning in a script alone"),
            ("get error 99999", 40, "no error has the number 99999"),
            ("!a + + !b", 302, "an operand is missing"),
            ("x = !a + !b !c", 302, "'+' is missing between '!b' and '!c'"),
        ]:
            error = self.refused(line)
            self.assertEqual(error.number, number, line)
            self.assertIn(reason, str(error))

    def test_raw_rest(self) -> None:
        """A raw command gets the rest of the line as written, references outside quotes replaced."""
        self.dictionary.set("n", 5)
        self.assertEqual(self.text("test raw select '!n'  from t where a != !n"), "select '!n'  from t where a != 5")
        self.assertIn("'!m'", str(self.refused("test raw where a = !m")))

    def test_several_statements(self) -> None:
        """`a & b` runs both, in order; an error ends it; nothing asked, nothing said."""
        self.assertEqual(
            self.text("x = 1 & get node name & get error 5"),
            "roof@10.0.0.1:32149\r\nWrong DBMS Name or DBMS not connected",
        )
        self.assertEqual(self.refused("test fail 5 & x = 2").number, 5)
        self.assertEqual(self.dictionary.get("x"), "1")
        for nothing in ("", "   ", "# comment", "\r\n"):
            self.assertIsNone(self.text(nothing))

    def test_a_key_may_hold_command_words(self) -> None:
        """`!what name` where what is `get node`."""
        self.dictionary.set("what", "get node")
        self.assertEqual(self.text("!what name"), "roof@10.0.0.1:32149")

    def test_values_are_shown(self) -> None:
        """A reference alone, a joined text, and nothing for what is not defined."""
        self.dictionary.set("a", 5)
        self.dictionary.set("d", {"x": True})
        for line, text in [
            ("!a", "5"),
            ("!d", '{"x": true}'),
            ("!nope", None),
            ("$HOME", "/home/a"),
            ("!a + - + $HOME", "5-/home/a"),
            ('"n = " + !a', "n = 5"),
            ("get !a", "5"),
            ("get $HOME", "/home/a"),
        ]:
            self.assertEqual(self.text(line), text, line)
        self.assertEqual(self.refused("get !nope").number, 184)

    def test_calls(self) -> None:
        """Our own code asks with typed values: defaults are filled in, no text is read."""
        self.assertEqual(
            self.ask(Call(command=Fold, operands=["!x"], options={"name": "a and b = c"})).data,
            [["!x"], {"name": "a and b = c", "size": 1, "deep": False}],
        )


class AssignmentTests(LanguageCase):
    """language.md 5."""

    def test_forms(self) -> None:
        """Left and right sides of every form, and what the key then holds."""
        for line, key, value in [
            ("x = 5", "x", "5"),
            ("x=5", "x", "5"),
            ("t = 30 seconds", "t", "30 seconds"),
            ("loc = 0.0, 0.0", "loc", "0.0, 0.0"),
            ('c = "My  Company"', "c", "My  Company"),
            ("q = 'single'", "q", "'single'"),
            ("set x = status", "x", "status"),
            ("set x = test", "x", "test"),
            ('set x = "get status"', "x", "get status"),
            ("y = !x", "y", "get status"),
            ("n = 7", "n", "7"),
            ("i = !n.int", "i", 7),
            ("!i = 8", "i", "8"),
            ("x = !nope", "x", None),
            ("x = a !nope", "x", None),
            ("x = true", "x", "true"),
            ("x = +2h", "x", "+2h"),
            ("x = 2026-01-01T00:00:00+02:00", "x", "2026-01-01T00:00:00+02:00"),
            ("x = http://h/?a=1", "x", "http://h/?a=1"),
            ("x = get node name", "x", "roof@10.0.0.1:32149"),
            ("x = if !n == 7", "x", "True"),
            ("x = test json", "x", {"a": [1, 2]}),
            ("x = test pages", "x", "page 1,page 2"),
            ("x = incr !n", "x", "8"),
            ("n = incr !n 3", "n", "10"),
            ("x = print a", "x", None),
            ("x = !n + t", "x", "10t"),
            ('x = !n + ":" + !i', "x", "10:8"),
            ("x = !n+!i", "x", "108"),
            ("x = - + $HOME + d", "x", "-/home/ad"),
            ("x = !n + - + !i + -configs", "x", "10-8-configs"),
            ("x = !nope + a", "x", "a"),
            ('p = {"a" : !n}', "p", '{"a" : !n}'),
            ("d[k] = v", "d", {"k": "v"}),
            ("d[key with space] = !n.int", "d", {"k": "v", "key with space": 10}),
            ('d["k"] = ""', "d", {"key with space": 10}),
            ("d[!i] = {}", "d", {"key with space": 10, "8": {}}),
            ("d[!i][a] = get node name", "d", {"key with space": 10, "8": {"a": "roof@10.0.0.1:32149"}}),
            ("r[] = get node name", "r", [["10.0.0.1:32149", "roof@10.0.0.1:32149"]]),
            ("r{} = get node name", "r", {"10.0.0.1:32149": "roof@10.0.0.1:32149"}),
            ("x = 1", "x", "1"),
            ('x = ""', "x", None),
            ("x = 1", "x", "1"),
            ("set x = ''", "x", None),
        ]:
            self.assertIsNone(self.text(line), line)
            self.assertEqual(self.dictionary.get(key), value, line)

    def test_environment(self) -> None:
        """`$X = v` sets a variable of the process, an empty text removes it."""
        self.ask("$X = 5")
        self.ask("set $Y = a")
        self.assertEqual((self.text("$X"), self.text("$Y")), ("5", "a"))
        self.ask('$X = ""')
        self.assertNotIn("X", self.environ)

    def test_a_stale_value_never_survives(self) -> None:
        """If the command fails, the key is undefined and the error is the line's; the old value is seen by it."""
        self.dictionary.set("x", "5")
        self.assertEqual(self.refused("x = test fail !x").number, 5)
        self.assertNotIn("x", self.dictionary)

    def test_a_single_word_that_is_a_command_by_chance(self) -> None:
        """`mode = incr` stores the word, for as a command it lacks everything; the event log warns."""
        self.ask("mode = incr")
        self.assertEqual(self.dictionary.get("mode"), "incr")
        self.assertEqual(self.logs.event.rows(["warning"])[0]["Text"][:29], "'incr' is stored as text: as ")

    def test_refusals(self) -> None:
        """Names that no key may have, missing values, missing levels."""
        for line, number in [
            ("x =", 2),
            ("a/b = 1", 175),
            ("d[a][b] = 1", 2),
            ("set x = a b", 2),
            ('"x" = 1', 175),
            ("d[!no] = 1", 2),
        ]:
            self.assertEqual(self.refused(line).number, number, line)


class BranchTests(LanguageCase):
    """language.md 8: each list of lines, and what it prints."""

    def test_branches(self) -> None:
        for lines, printed in [
            (["if 1 == 1 then print a", "do print b", "else print c"], ["a", "b"]),
            (["if 1 == 2 then print a", "do print b", "else print c", "else print d"], ["c", "d"]),
            (["if 1 == 1 then", "print x", "do print b"], ["x", "b"]),
            (["IF 1 == 1 THEN print a"], ["a"]),
            (["if 1 == 2 then print a", "else if 1 == 1 then print b", "else print c", "do print d"], ["b", "d"]),
            (["if 1 == 1 then print a", "else if 1 == 1 then print b", "do print never", "else print c"], ["a"]),
            (["if 1 == 2 then", "else if 1 == 3 then", "else if 1 == 4 then", "else print last"], ["last"]),
            (["if 1 == 1 then if 1 == 2 then print a", "else print b"], ["b"]),
            (["if 1 == 1 then do print a"], ["a"]),
            (
                ["if 1 == 1 then", "do if 1 == 2 then print a", "do else print b", "do print c", "else print d"],
                ["b", "c"],
            ),
            (["if 1 == 1 then", "do if 1 == 1 then", "do do if 1 == 2 then", "do do else print deep"], ["deep"]),
            (["if 1 == 1 then", "do if 1 == 2 then", "do else if 1 == 1 then print b", "do do print c"], ["b", "c"]),
            (["if 1 == 2 then", "do if 1 == 1 then print a", "do else print b", "else print c"], ["c"]),
            (["if 1 == 2 then", "do if nonsense at all", "else print c"], ["c"]),
            (["if 1 == 1 then x = 5", "do print !x"], ["5"]),
            (["if 1 == 1 and (2 == 3 or 2 == 2) then print a & print b"], ["a", "b"]),
        ]:
            self.told.clear()
            context = Context(write=self.told.append)
            for line in lines:
                self.ask(line, context)
            self.assertEqual(self.told, printed, lines)

    def test_without_then(self) -> None:
        """The outcome is shown."""
        self.assertEqual((self.text("if 1 == 1"), self.text("if not !x and 1 == 2")), ("True", "False"))

    def test_refusals(self) -> None:
        """`do` and `else` need an `if`; a condition and a command are needed."""
        for line, number in [
            ("do print a", 2),
            ("else print a", 2),
            ("if then print a", 181),
            ("if !a != then print a", 181),
            ("if 1 == 1 goto x", 181),
        ]:
            self.assertEqual(self.refused(line, Context()).number, number, line)
        context = Context()
        self.ask("if 1 == 1 then", context)
        self.assertEqual(self.refused("do", context).number, 2)
        self.assertEqual(self.refused("do else print a", context).number, 2)

    def test_skipped_lines_say_so(self) -> None:
        """They are no errors; their control tells scripts."""
        context = Context()
        self.ask("if 1 == 2 then", context)
        self.assertIs(self.ask("do nonsense", context).control, Control.DO_IGNORED)
        self.ask("if 1 == 1 then", context)
        self.assertIs(self.ask("else nonsense", context).control, Control.ELSE_IGNORED)


class GuardTests(LanguageCase):
    """decisions.md 10: who asks from elsewhere may read, and may not change anything."""

    def test_elsewhere(self) -> None:
        far = Context(origin="rest", who="10.0.0.9", local=False)
        for line in (
            "x = 5", "set x = 5", "$X = 5", "!x", "get !x", "!x + a", "if 1 == 1 then get status", "get dictionary",
            "get env var", "process a.al", "exit rest", "exit node", "set node name a", "create work directories",
            "reset event log", "goto x", "x = get status", "d[a] = 5",
        ):  # fmt: skip
            self.assertEqual(self.refused(line, far).number, 212, line)
        self.assertEqual((self.ended, self.dictionary.items(), self.node.name), ([], [], "roof"))
        for line in ("get status", "get processes", "help", "get event log", "print a", "get version"):
            self.ask(line, far)
        self.assertEqual(
            self.refused(Call(command=self.words.find(["exit", "rest"])[0], operands=["rest"]), far).number, 212
        )

    def test_references_are_no_way_round(self) -> None:
        """The environment and secrets are undefined for who asks from elsewhere."""
        self.dictionary.set("db_password", "secret")
        told: list[str] = []
        self.ask("print $HOME !db_password end", Context(local=False, write=told.append))
        self.assertEqual(told, ["  end"])


class LogTests(LanguageCase):
    """Every command is in the event log, failures in the error log too, secrets in none."""

    def test_commands_are_logged(self) -> None:
        self.ask("get status")
        self.ask("get status")
        self.refused("test fail 5")
        self.ask("if 1 == 1 then x = 5")
        self.refused("if then a")
        rows = self.logs.event.rows()
        self.assertEqual(
            [(row["Count"], row["Thread"], row["Text"]) for row in rows],
            [
                (2, "tester", "(ok) get status"),
                (1, "tester", "(Failed: Wrong DBMS Name or DBMS not connected) test fail 5"),
                (1, "tester", "(ok) x = 5"),
                (1, "tester", "(Failed: Failed to parse if condition) if then a"),
            ],
        )
        self.assertEqual(len(self.logs.error.rows()), 2)
        self.assertIn("on purpose", self.logs.error.rows()[0]["Text"])

    def test_a_fault_of_ours_is_told_by_number(self) -> None:
        """The asker gets 500 with a number, the node's own log the traceback that it names."""
        self.node.processes = None
        error = self.refused("get processes")
        self.assertEqual((error.number, str(error)), (500, "internal error 0.000000: AttributeError"))
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertIn("(Failed: Internal error) get processes", self.logs.event.rows()[-1]["Text"])

    def test_secrets_are_masked(self) -> None:
        for line in (
            "test fold where name = a and password = hunter2",
            'set db_password = "hunter2"',
            "passwd = hunter2 hunter2",
            'p = {"user": "a", "password": "hunter2"}',
            "k[secret_key] = hunter2",
            "test fold where old = hunter2 and new = hunter2",
            "connect dbms psql user@10.0.0.1:hunter2 5432 x",
            "x = http://me:hunter2@host/",
            "print Authorization: Basic hunter2hunter2",
        ):
            self.interpreter.execute(line, self.context).addErrback(lambda failure: None)
        for log in (self.logs.event, self.logs.error):
            self.assertNotIn("hunter2", repr(log.rows()))
        self.assertEqual(len(self.logs.event.rows()), 9)


class LongTexts(LanguageCase):
    def test_a_command_has_an_end(self) -> None:
        """Reading takes time that all others wait."""
        for text in ("x" * 1_100_000, "print a & " * 110_000):
            error = self.refused(text)
            self.assertEqual(error.number, 2)
            self.assertIn("1,048,576", str(error))

    def test_a_long_unknown_word_is_not_repeated(self) -> None:
        """Nor compared to the end with all that is known."""
        self.assertLess(len(str(self.refused("get" + "x" * 100_000))), 300)
