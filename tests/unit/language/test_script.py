"""Scripts: labels, jumps, errors, arguments, nesting, waiting (language.md 9)."""

from __future__ import annotations

import json

import pytest
from attrs import evolve
from language_node import LanguageCase
from twisted.internet.defer import Deferred

import anylog.language.script
from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.language.script import Frame, Script


class RunTests(LanguageCase):
    """What a script prints."""

    def test_scripts(self) -> None:
        """One row per statement that leads a script somewhere."""
        for text, printed in [
            ("print a\n\n# no\nprint b # c", ["a", "b"]),
            ("get node name", ["roof@10.0.0.1:32149"]),
            ("test json\ntest pages", ['{"a": [1, 2]}', "page 1,", "page 2"]),
            ("x = 5\nif !x == 5 then goto end\nprint no\n:end:\nprint end", ["end"]),
            ("call sub\nprint back\nend script\n:sub:\nprint sub\nreturn\nprint no", ["sub", "back"]),
            ("print a\nreturn\nprint no", ["a"]),
            ("print a\nend_script\nprint no", ["a"]),
            ("print a\nexit scripts\nprint no", ["a"]),
            ("n = 0\n:again:\nn = incr !n\nif !n < 3 then goto again\nprint !n", ["3"]),
            ("<if 1 == 1\n then print block>\ndo print yes", ["block", "yes"]),
            ("on error ignore\ntest fail 5\nnonsense\nprint on", ["on"]),
            ("on error goto bad\ntest fail 5\nprint no\n:bad:\nprint bad", ["bad"]),
            ("on error call bad\ntest fail 5\nprint on\nend script\n:bad:\nprint bad\nreturn", ["bad", "on"]),
            ("on error goto bad\nnonsense\n:bad:\nprint bad", ["bad"]),
            ("on error goto bad\nx = test fold where name = !nope\n:bad:\nprint bad", ["bad"]),
            ("on error end script\ntest fail 5\nprint no", []),
            ("on error goto bad\nraise error no !ip 'b c'\nprint no\n:bad:\nprint bad", ["bad"]),
            (":odd-label;\nprint a\n", ["a"]),
            ("goto odd\nprint no\n:odd;\nprint a\n", ["a"]),
        ]:
            self.assertEqual(self.run_script(text), printed, text)

    def test_errors_name_file_line_command_and_reason(self) -> None:
        """The number is that of the command; the text leads to the line."""
        self.patch(anylog.language.script, "MOST_JUMPS", 1500)
        for text, number, told in [
            ("print a\n\ntest fail 5", 5, "test.al line 3: test fail 5: on purpose"),
            ("print a\nnonsense here", 1, "test.al line 2: nonsense here: Unrecognized Command: 'nonsense here'"),
            (
                "<test fold\n where name = !nope>",
                2,
                "test.al line 1: test fold  where name = !nope: Missing dictionary",
            ),
            ("goto nowhere", 2, "test.al line 1: goto nowhere: there is no label ':nowhere:'"),
            ("on error goto x\ntest fail 5", 2, "test.al line 2: test fail 5: on purpose; and there is no label ':x:'"),
            (":a:\nprint 1\n:a:", 2, "test.al line 3: the label ':a:' is also in line 1"),
            ("print a\n<set x =\n 5", 2, "test.al line 2: missing closing >"),
            ("on error goto bad\ntest fail 5\n:bad:\ntest fail 10", 10, "test.al line 4: test fail 10: on purpose"),
            ("if !x == then print", 181, "test.al line 1: if !x == then print: cannot read '!x =='"),
            ("do print a", 2, "test.al line 1: do print a: there is no 'if' before"),
            ("call a\n:a:\ncall a", 2, "1000 calls without a 'return'"),
            (":a:\ngoto a", 3, "1,500 jumps backward without a 'wait'"),
            ("test fail 5 password = hunter2", 2, "test.al line 1: test fail 5 password = ****"),
        ]:
            self.disk.files["/s/test.al"] = text
            asked = self.interpreter.execute("process /s/test.al", self.context)
            while not asked.called:
                self.clock.advance(0)
            error = self.failureResultOf(asked, AnyLogError).value
            self.assertEqual(error.number, number, text)
            self.assertIn(told, str(error))

    def test_nested_scripts(self) -> None:
        """Registers, handlers and labels belong to one script; its error is the caller's; `exit scripts` ends all."""
        self.disk.files["/home/n/local_scripts/sub/in.al"] = "if 1 == 2 then print no\nelse print in"
        self.disk.files["/s/fail.al"] = "test fail 5"
        self.disk.files["/s/out.al"] = "print leaving\nexit scripts"
        for text, printed in [
            ("if 1 == 1 then process sub/in.al\ndo print still", ["in", "still"]),
            ("on error goto bad\nprocess /s/fail.al\nprint no\n:bad:\nprint bad", ["bad"]),
            ("on error ignore\nscript /s/fail.al\nprint on", ["on"]),
            ("process /s/out.al\nprint no", ["leaving"]),
        ]:
            self.assertEqual(self.run_script(text), printed, text)
        self.disk.files["/s/test.al"] = "print a\nprocess /s/fail.al"
        self.assertIn(
            "test.al line 2: process /s/fail.al: /s/fail.al line 1: test fail 5: on purpose",
            str(self.refused("process /s/test.al")),
        )
        self.disk.files["/s/me.al"] = "process /s/me.al"
        self.assertIn("more than 30 deep", str(self.refused("process /s/me.al")))

    def test_lines_of_no_file(self) -> None:
        """They find scripts beside the one that had them run; without one they do not."""
        self.disk.files["/s/in.al"] = "print in"
        frame = Frame(script="/s/out.al", folder="/s")
        for ask in (self.interpreter.process_lines, self.interpreter.run_lines):
            told = Deferred.fromCoroutine(ask("a table", ["process in.al"], evolve(self.context, frame=frame)))
            self.successResultOf(told)
            told = Deferred.fromCoroutine(ask("a table", ["process in.al"], evolve(self.context, frame=Frame())))
            self.assertEqual(self.failureResultOf(told, AnyLogError).value.number, 112)
        self.assertEqual(self.told, ["in", "in"])

    def test_raise_error(self) -> None:
        """It ends all scripts with its text, and a handler of a caller sees it; a text is needed."""
        self.disk.files["/s/in.al"] = "port = 7\nraise error \"the port\" !port 'is taken'\nprint no"
        self.disk.files["/s/out.al"] = "process in.al\nprint no"
        self.disk.files["/s/mild.al"] = "on error goto failed\nprocess out.al\n:failed:\nprint mild"
        error = self.refused("process /s/out.al")
        self.assertEqual(error.number, 3)
        self.assertTrue(str(error).endswith(": the port 7 is taken"))
        self.assertEqual(self.told, [])
        self.ask("process /s/mild.al")
        self.assertEqual(self.told, ["mild"])
        self.assertEqual(self.refused("raise error").number, 2)

    def test_arguments(self) -> None:
        """`variables` binds them; a wrong number of them is error 55."""
        self.disk.files["/s/args.al"] = "variables (a, !b)\nprint !b !a"
        self.ask('process /s/args.al one "two words"')
        self.assertEqual(self.told, ["two words one"])
        self.assertEqual(self.refused("process /s/args.al one").number, 55)

    def test_a_missing_script(self) -> None:
        """Who reads files says which one is missing."""
        self.assertEqual(self.refused("process no/such.al").number, 112)

    def test_json_script(self) -> None:
        """Sections: settings become keys, then the commands run in order."""
        sections = [
            {"name": "first", "setting": {"a": 5, "b": "x y"}, "commands": ["print !a", "print !b"]},
            {"name": "second", "commands": ["test fail 5"]},
        ]
        self.disk.files["/s/conf.json"] = json.dumps({"config": sections})
        self.assertIn("conf.json section second line 1: test fail 5", str(self.refused("process /s/conf.json")))
        self.assertEqual((self.told, self.dictionary.get("a")), (["5", "x y"], 5))
        self.disk.files["/s/conf.json"] = '{"a": 1}'
        self.assertEqual(self.refused("process /s/conf.json").number, 6)

    def test_a_long_script_lets_others_run(self) -> None:
        """After some hundred lines the clock gets a turn."""
        self.disk.files["/s/long.al"] = "x = 1\n" * 500
        asked = self.interpreter.execute("process /s/long.al", self.context)
        self.assertNoResult(asked)
        self.clock.pump([0, 0, 0])
        self.successResultOf(asked)

    def test_a_console_keeps_its_own_if(self) -> None:
        """The frame of a script ends with it."""
        self.disk.files["/s/a.al"] = "if 1 == 2 then print no"
        self.ask("if 1 == 1 then")
        self.ask("process /s/a.al")
        self.ask("do print yes")
        self.assertEqual(self.told, ["yes"])


class WaitTests(LanguageCase):
    """Time passes by the clock that is given."""

    def test_wait(self) -> None:
        """Some seconds, no more and no less, and nothing to say."""
        asked = self.interpreter.execute("wait 3", self.context)
        self.clock.advance(2.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(asked).text)

    def test_wait_for_a_condition(self) -> None:
        """True as soon as a look finds it so; False when the time is over."""
        asked = self.interpreter.execute("ok = wait 10 for !x == 5", self.context)
        self.clock.pump([1, 1])
        self.assertNoResult(asked)
        self.dictionary.set("x", 5)
        self.clock.advance(1)
        self.successResultOf(asked)
        self.assertEqual(self.dictionary.get("ok"), "True")
        asked = self.interpreter.execute("wait 2.5 for !y", self.context)
        self.clock.pump([1, 1, 1])
        self.assertEqual(self.successResultOf(asked).text, "False")

    def test_a_wait_in_a_script_holds_only_that_script(self) -> None:
        self.disk.files["/s/w.al"] = "print a\nwait 5\nprint b"
        asked = self.interpreter.execute("process /s/w.al", self.context)
        other = Context(write=self.told.append)
        self.ask("print meanwhile", other)
        self.clock.advance(5)
        self.successResultOf(asked)
        self.assertEqual(self.told, ["a", "meanwhile", "b"])

    def test_a_wait_can_be_given_up(self) -> None:
        """A cancelled statement leaves no timer behind."""
        asked = self.interpreter.execute("wait 5", self.context)
        asked.addErrback(lambda failure: None)
        asked.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refusals(self) -> None:
        for line, number in [
            ("wait", 2),
            ("wait long", 2),
            ("wait 5 until !x", 2),
            ("wait 5 for", 2),
            ("wait 5 for !x ==", 181),
            ("wait 5 for sync", 150),
        ]:
            self.assertEqual(self.refused(line).number, number, line)


@pytest.mark.parametrize("label", [":create-policy", ":partitioning-error;", "  :indented:"])
def test_odd_labels_are_kept_with_a_warning(label: str) -> None:
    """A missing or odd end mark is no reason to refuse a script."""
    script = Script.read("a.al", f"print a\n{label}\n")
    assert list(script.labels) == [label.strip().strip(":;")] and len(script.warnings) == 1
